"""What each column of a list of images is: its path, class, domain or split, by its title and by what it holds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.column_titles import (
    CLASS_NUMBERS,
    CLASSES,
    DOMAINS,
    NO,
    OTHERS,
    PATHS,
    RANKS,
    SPLIT_FLAGS,
    SPLITS,
    URLS,
    YES,
    title_word,
)
from deltaoe.images.splits import Split, canonical_split
from deltaoe.images.tables import Column, Table, body, described

NO_LABELS = "none"  # the word of --label-column for: take the folders


@dataclass(frozen=True)
class Roles:
    """What the columns of a list are.

    Attributes:
        path: the column of paths.
        label: that of classes; None without one.
        one_hot: columns that are one class each, with a 1 where an image is of it.
        domain, split: likewise None without one.
        flags: where the column of splits has true and false: what each of these means.
        assumed: how the columns were understood, in a sentence; none if their titles say it.
        notes: sentences on cells that make no sense.
    """

    path: Column
    label: Column | None
    one_hot: tuple[Column, ...]
    domain: Column | None
    split: Column | None
    flags: Mapping[str, Split]
    assumed: list[str]
    notes: list[str]

    @property
    def titles(self) -> set[str]:
        """Titles of the columns that are used beside the paths."""
        columns = (self.label, *self.one_hot, self.domain, self.split)
        return {column.title for column in columns if column is not None}


def is_header(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has titles: a known one of paths or URLs, or cells unlike those below that name images."""
    words = {title_word(cell) for cell in cells}
    if any(_names_image(cell) for cell in cells):
        return False
    if words & {*PATHS, *URLS}:
        return True
    return bool(rows) and any(
        all(_names_image(row[place]) for row in rows if place < len(row)) for place in range(len(cells))
    )


def roles_of(
    table: Table,
    header: Sequence[str] | None,
    width: int,
    *,
    labels: bool = True,
    label_column: str | None = None,
    only: Sequence[str] | None = None,
) -> Roles:
    """What the columns of a table are.

    Args:
        table: the list.
        header: its titles; None if its first row is an image.
        width: number of its columns.
        labels: whether classes are looked for.
        label_column: title of the column of classes, or ``none``, as the user says it.
        only: titles that a column of classes can have, where no other will do.

    Raises:
        DataError: there is no column of paths, several columns could be the classes, or a row cannot be read.
        ConfigError: there is no column ``label_column``.
    """
    columns = described(table, header, width)
    path = _path_column(table, columns, header is not None)
    rest = [column for column in columns if column is not path]
    domain = _titled(rest, DOMAINS)
    split, strange = _split_column([column for column in rest if column is not domain], label_column)
    flags: Mapping[str, Split] = {}
    if split is None:
        split, flags = _split_flags(rest)
    free = [column for column in rest if column not in (domain, split)]
    free = [column for column in free if column.place > path.place or not column.counts_rows]
    one_hot: tuple[Column, ...] = ()
    if only is not None:
        label = _titled(free, tuple(map(title_word, only)))
    elif not labels or (label_column is not None and title_word(label_column) == NO_LABELS):
        label = None
    elif label_column is not None:
        label = _named(table, rest, label_column)
        split = None if split is label else split
        domain = None if domain is label else domain
    else:
        label = _label_column(table, free, header is not None)
        one_hot = () if label is not None else _one_hot(table, free, header is not None, width)
    roles = Roles(path, label, one_hot, domain, split, flags, [], [])
    if labels and only is None:
        roles.assumed.extend(_said(table, columns, roles, header is not None))
    if strange and split is not None:
        roles.notes.append(
            f"{table.name}: no split is meant by {', '.join(map(repr, strange[:5]))} in {split.title!r}: "
            "these images have none (train, val and test are known)"
        )
    return roles


def _names_image(cell: str) -> bool:
    column = Column("", 0)
    column.add((cell,))
    return column.images == 1


def _titled(columns: Sequence[Column], words: Sequence[str]) -> Column | None:
    titles = {title_word(column.title): column for column in reversed(columns)}
    return next((titles[word] for word in words if word in titles), None)


def _named(table: Table, columns: Sequence[Column], wanted: str) -> Column:
    for column in columns:
        if wanted.strip() in (column.title, str(column.place + 1)) or title_word(wanted) == title_word(
            column.title
        ):
            return column
    raise ConfigError(
        f"--label-column: {table.name} has no column {wanted!r}",
        hint=f"it has {_listed(columns)}; none takes the folders",
    )


def _path_column(table: Table, columns: Sequence[Column], has_header: bool) -> Column:
    """The column of paths: the first by its title that holds names of images, or else the only one that does."""
    titled = sorted(
        (column for column in columns if has_header and title_word(column.title) in PATHS),
        key=lambda column: PATHS.index(title_word(column.title)),
    )
    named = [column for column in columns if column.names_images and not column.addresses]
    for column in titled:
        if column in named:
            return column
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        raise DataError(
            f"{table.name}: several columns name images: {_listed(named)}",
            hint="give the one with the paths the title path",
        )
    addressed = [column for column in titled or columns if column.addresses]
    usual = [column for column in columns if title_word(column.title) in URLS and column.addresses]
    if addressed and (titled or len(addressed) == 1):
        return addressed[0]
    if usual:
        return min(usual, key=lambda column: URLS.index(title_word(column.title)))
    if addressed:
        raise DataError(
            f"{table.name}: several columns hold URLs: {_listed(addressed)}",
            hint="give the one with the images the title url",
        )
    if titled:
        return titled[0]
    first = ", ".join(cell.strip() for cell in next(table.rows())[1][:8])
    raise DataError(
        f"{table.name}, line 1: there is no column of paths (only: {first})",
        hint="its first line must name one of the columns path; class, domain and split may follow",
    )


def _split_column(columns: Sequence[Column], label_column: str | None) -> tuple[Column | None, list[str]]:
    """The column of splits, and its values that are none."""

    def strange(column: Column) -> list[str]:
        return [value for value in column.values if canonical_split(value) is None]

    titled = [column for column in columns if title_word(column.title) in SPLITS and column.values]
    for column in sorted(titled, key=lambda column: SPLITS.index(title_word(column.title))):
        odd = strange(column)
        if not odd or (title_word(column.title) != "dataset" and len(odd) < len(column.values)):
            return column, odd
    for column in columns:
        known = title_word(column.title) in {*CLASSES, *RANKS} or column.title == label_column
        if len(column.values) > 1 and not strange(column) and not known:
            return column, []
    return None, []


def _split_flags(columns: Sequence[Column]) -> tuple[Column | None, Mapping[str, Split]]:
    """A column with true and false that says whether images are of a split, and what each of its values means."""
    for column in columns:
        yes, no = SPLIT_FLAGS.get(title_word(column.title), ("train", "train"))
        values = {value.casefold() for value in column.values}
        if yes != no and values and values <= YES | NO:
            return column, {value: yes if value in YES else no for value in values}
    return None, {}


def _label_column(table: Table, columns: Sequence[Column], has_header: bool) -> Column | None:
    """The column of classes; names are preferred to numbers. Raises DataError if there are several."""
    words = {title_word(column.title): column for column in reversed(columns) if column.values}
    ranks = [column for word, column in words.items() if word in RANKS and column.is_text]
    titled = [words[word] for word in CLASSES if word in words]
    if len(ranks) > 1:
        titled = [column for column in titled if column not in ranks] or ranks
    names = [column for column in titled if column.is_text]
    numbers = [column for column in titled if column.numbers]
    numbers += [words[word] for word in CLASS_NUMBERS if word in words and words[word].numbers]
    others = [
        column
        for column in columns
        if column.is_text and column.repeats and not column.names_images and not column.addresses
    ]
    others = [column for column in others if title_word(column.title) not in {*OTHERS, *PATHS, *SPLITS}]
    others = [column for column in others if not {value.lower() for value in column.values} <= YES | NO]
    if names:
        first = names[0]
        again = [
            one
            for one in columns
            if one.title.lower() == first.title.lower() and one is not first and one.values
        ]
        if any(not _same_classes(table, first, one, has_header) for one in again):
            raise _ambiguous(table, [first, *again])
        if title_word(first.title) == "class" and first not in ranks[1:] and len(ranks) < 2:
            return first  # as the documentation says
        unlike = [one for one in names[1:] if not _same_classes(table, first, one, has_header)]
        if unlike:
            raise _ambiguous(table, [first, *unlike])
        return first
    if numbers:
        named = [one for one in others if _same_classes(table, numbers[0], one, has_header)]
        return (named or numbers)[0]
    flags = _flags(columns)
    if len(others) == 1 and len(flags) < 2:
        return others[0]
    if others and len(flags) > 1:
        raise _ambiguous(table, [*others, *flags])
    if others:
        raise _ambiguous(table, others)
    if not has_header and len(columns) == 1 and columns[0].values and columns[0].repeats:
        return columns[0]
    return _titled(columns, CLASSES) if has_header else None  # a column that is to be filled in


def _ambiguous(table: Table, columns: Sequence[Column]) -> DataError:
    told = "; ".join(f"{column.title} ({column.examples()})" for column in columns[:6])
    titles = {column.title for column in columns}
    name = columns[0].title if len(titles) == len(columns) else str(columns[0].place + 1)
    return DataError(
        f"{table.name}: several columns could be the classes: {told}",
        hint=f"say which: --label-column {shlex.quote(name)} (none: the folders), or title it class",
    )


def _same_classes(table: Table, one: Column, other: Column, has_header: bool) -> bool:
    """Whether two columns say the same with other words: each value of one goes with one of the other."""
    if len(one.values) != len(other.values):
        return False
    there: dict[str, str] = {}
    back: dict[str, str] = {}
    for _, cells in body(table, has_header, _width(table)):
        a, b = cells[one.place].strip(), cells[other.place].strip()
        if there.setdefault(a, b) != b or back.setdefault(b, a) != a:
            return False
    return True


def _width(table: Table) -> int:
    return len(next(table.rows())[1])


def _flags(columns: Sequence[Column]) -> list[Column]:
    """Columns of zeros and ones."""
    return [
        column
        for column in columns
        if column.numbers and column.values and all(float(value) in (0.0, 1.0) for value in column.values)
    ]


def _one_hot(table: Table, columns: Sequence[Column], has_header: bool, width: int) -> tuple[Column, ...]:
    """Columns that are classes: in each row one of them is 1, and the others are 0. Fewer than two are none.

    Where other columns of zeros and ones stand beside, it is most of them, without others between.
    """
    found = _flags(columns)
    if len(found) < 2 or not has_header:
        return ()
    rows = {
        tuple(bool(float(cells[column.place].strip() or 0)) for column in found)
        for _, cells in body(table, has_header, width)
    }
    for length in range(len(found), max(1, len(found) // 2), -1):
        for start in range(len(found) - length + 1):
            if all(sum(row[start : start + length]) == 1 for row in rows):
                return tuple(found[start : start + length])
    return ()


def _said(table: Table, columns: Sequence[Column], roles: Roles, has_header: bool) -> list[str]:
    """One sentence on how a table was read, unless its titles are ours and all of them are used."""
    used = [roles.path, roles.label, *roles.one_hot, roles.domain, roles.split]
    unused = [column for column in columns if not any(column is one for one in used)]
    unused = [column for column in unused if column.title or not column.numbers]  # what pandas counts rows in
    ours = {"path": roles.path, "class": roles.label, "domain": roles.domain, "split": roles.split}
    plain = all(column is None or column.title.lower() == title for title, column in ours.items())
    if plain and not unused and not roles.one_hot and has_header:
        return []
    parts = [f"paths from {roles.path.title!r}"]
    if roles.label is not None:
        parts.append(f"classes from {roles.label.title!r}")
    elif roles.one_hot:
        parts.append(f"classes from the titles of {len(roles.one_hot)} columns with one 1 per row")
    elif len(flags := _flags(unused)) > 1:
        parts.append(
            f"no classes ({_listed(flags, 3)} are none, for not every row has one 1; folders say them)"
        )
    else:
        parts.append("no classes (folders say them)")
    if roles.domain is not None:
        parts.append(f"domains from {roles.domain.title!r}")
    if roles.split is not None:
        meant = ", ".join(f"{value}: {split}" for value, split in sorted(roles.flags.items()))
        parts.append(f"splits from {roles.split.title!r}" + (f" ({meant})" if meant else ""))
    said = f"{table.name}: " + ("" if has_header else "no header; ") + ", ".join(parts)
    return [said + (f"; not used: {_listed(unused)}" if unused else "")]


def _listed(columns: Sequence[Column], shown: int = 8) -> str:
    names = ", ".join(column.title or "(no title)" for column in columns[:shown])
    return names + (f" and {len(columns) - shown} more" if len(columns) > shown else "")

"""Which array of a file plays which part: features, labels, class names, text features, paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from deltaoe.errors import ConfigError, DataError
from deltaoe.interchange.arrays import Column
from deltaoe.interchange.name_lists import (
    NO_PICKLE,
    Labels,
    Values,
    check_names,
    class_names,
    label_indices,
    read_label_list,
    read_list,
    strings,
    values_of,
)
from deltaoe.interchange.parquet import CLASS_NAMES
from deltaoe.interchange.vectors import Vectors, oriented

# In the order of preference, in any case.
_FEATURES = (
    *("features", "image_features", "img_emb", "embeddings", "image_embeddings", "feats"),
    *("feature", "image_feature", "embedding", "image_embedding", "vectors", "vector", "x"),
)
LABELS = (
    *("labels", "label", "y", "targets", "target", "classes_idx", "class_idx"),
    *("class_ids", "class_id", "class", "category", "classes"),
)
NAMES = ("class_names", "classnames", "classes", "names", "label_names")
TEXTS = ("text_features", "text_embeddings", "text_feats", "classifier", "clip_weights", "zeroshot_weights")
_PATHS = (
    *("path_bytes", "paths", "path", "image_paths", "image_path", "filenames", "filename"),
    *("file_names", "file_name", "files", "file", "urls", "url", "keys", "key", "names"),
)
_MAX_DIM = 1 << 16  # a wider array is something else, or transposed


class Arrays:
    """The arrays of a file, and which of them have found their part."""

    def __init__(self, path: Path, columns: list[Column]) -> None:
        self.path, self.columns = path, columns
        self.is_table = path.suffix.lower() == ".parquet" or path.is_dir()
        self._used: set[str] = set()

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.columns[:12])) + (" …" if len(self.columns) > 12 else "")
        return shown or "nothing"

    def use(self, column: Column) -> Column:
        """Note that it has found its part."""
        self._used.add(column.name)
        return column

    def unused(self) -> list[str]:
        """Names of arrays without a part, in the file's order."""
        return [column.name for column in self.columns if column.name not in self._used]

    def get(self, name: str) -> Column | None:
        """The array of this name, or else of this name in another case."""
        same = [column for column in self.columns if column.name.lower() == name.lower()]
        return next((column for column in same if column.name == name), same[0] if same else None)

    def fitting(self, aliases: Sequence[str], fits: Callable[[Column], bool]) -> list[Column]:
        """Arrays of these names that fit and are not used yet, the preferred name first."""
        return [
            column
            for alias in dict.fromkeys(aliases)
            for column in self.columns
            if column.name.lower() == alias and column.name not in self._used and fits(column)
        ]


def image_features(arrays: Arrays, name: str | None) -> Column:
    """The image features: the array named, or one of the usual names, or the only 2-D floating array.

    Raises:
        ConfigError: there is no array of that name, or several could be meant.
        DataError: there is none, or it is not (n, D) of floating numbers.
    """
    if name is not None:
        column = arrays.get(name)
        if column is None:
            raise ConfigError(f"{arrays.path} has no array {name!r}", hint=f"it holds {arrays}")
        return _check_matrix(arrays.path, column)
    if len(arrays.columns) == 1 and arrays.columns[0].name.lower() not in TEXTS:
        return _check_matrix(arrays.path, arrays.columns[0])
    good = arrays.fitting(_FEATURES, is_matrix)
    rest = [column for column in arrays.columns if is_matrix(column) and column.name.lower() not in TEXTS]
    if not good and len(rest) > 1:
        raise ConfigError(
            f"several arrays of {arrays.path} could be the image features: {', '.join(map(str, rest[:12]))}",
            hint=f"name one of them: --features {rest[0].name}",
        )
    near = arrays.fitting(_FEATURES, lambda column: True)
    if good or rest or near:
        return _check_matrix(arrays.path, (good or rest or near)[0])
    texts = any(column.name.lower() in TEXTS for column in arrays.columns)
    raise DataError(
        f"{arrays.path} has no image features; it holds {arrays}",
        hint="these are text features, for `deltaoe score --text-features FILE`"
        if texts
        else "image features are a 2-D floating array, (n, D), named features",
    )


class Companions:
    """What goes with the image features. ``asked``: these were named, so the file's other arrays may be others'."""

    def __init__(self, arrays: Arrays, vectors: Column, *, asked: bool) -> None:
        self.arrays, self.path, self.vectors, self.asked = arrays, arrays.path, vectors, asked
        self.count, self.dim = vectors.shape

    def class_names(self, given: Path | None) -> tuple[str, ...] | None:
        """Names of the K classes, from the file given or else from the arrays. Raises ConfigError, DataError."""
        if given is not None:
            return class_names(given, read_list(given))
        # In a table, whatever has one entry per row is no list of classes.
        aliases = (CLASS_NAMES,) if self.arrays.is_table else NAMES
        for column in self.arrays.fitting(aliases, is_list):
            per_row = column.shape[0] == self.count
            if per_row and column.name.lower() == "names":  # of the images
                continue
            names = values_of(self.path, column)
            if per_row and column.name.lower() == "classes" and len({*strings(names)}) < self.count:
                continue
            self.arrays.use(column)
            return class_names(f"{self.path}, {column.name!r}", names)
        return None

    def labels(
        self, given: Path | str | None, names: tuple[str, ...] | None
    ) -> tuple[Labels | None, tuple[str, ...] | None, bool]:
        """Labels, class names, and whether these are in an order that text features could have."""
        where, values = self._label_values(given, names)
        if values is None:
            return None, names, True
        self._check_count(where, "labels", len(values))
        indices, named = label_indices(where, values, names)
        return indices, named, (named is None) == (names is None)

    def paths(self, given: Path | None) -> list[str] | None:
        """Names of the n images, from the file given or else from the arrays. Raises ConfigError, DataError."""
        if given is not None:
            where, found = given, strings(read_list(given))
        else:
            texts = self.arrays.fitting(_PATHS, is_list)
            held = [c for c in texts if c.shape[0] == self.count] or ([] if self.asked else texts)
            if not held:
                return None
            self._check_count(self.path, f"{held[0].name!r}", held[0].shape[0])
            where, found = self.path, strings(values_of(self.path, self.arrays.use(held[0])))
        self._check_count(where, "paths", len(found))
        check_names(where, "path", found)
        return found

    def text_features(self, classes: int | None) -> Vectors | None:
        """Text features (K, D), for so many classes if known. Raises DataError if the array does not fit."""
        for column in self.arrays.fitting(TEXTS, is_matrix):
            texts = oriented(self.path, column, classes, self.dim)
            if texts is not None:
                self.arrays.use(column)
                return texts
            if not self.asked:
                named = "" if classes is None else f" and {classes:,} class names"
                raise DataError(
                    f"{self.path}: {column} does not fit {self.vectors}{named}",
                    hint="text features are one row per class, from the model of the image features",
                )
        return None

    def _label_values(
        self, given: Path | str | None, names: tuple[str, ...] | None
    ) -> tuple[Path | str, Values | None]:
        if isinstance(given, str):
            column = self.arrays.get(given)
            if column is not None:
                return self._label_array(column)
            if not Path(given).is_file():
                raise ConfigError(
                    f"{self.path} has no array {given!r} for labels, and there is no such file",
                    hint=f"it holds {self.arrays}",
                )
        if given is not None:
            return given, read_label_list(Path(given), names)
        name = self.vectors.name.lower()
        starts = [name.removesuffix(alias) for alias in _FEATURES if name.endswith(alias)]
        aliases = [f"{start}{alias}" for start in starts for alias in LABELS]  # test_features, test_labels
        held = self.arrays.fitting([*aliases, *LABELS], lambda c: c.kind != "other")
        good = [c for c in held if c.shape in {(self.count,), (self.count, 1)}]
        if good:
            texts = [c for c in good if c.kind == "text" and names is None]
            return self._label_array((texts or good)[0])
        wrong = [c for c in held if c.name.lower() != "classes" and not self.asked]
        return self._label_array(wrong[0]) if wrong else (self.path, None)

    def _label_array(self, column: Column) -> tuple[str, Values]:
        where = f"{self.path}, {column.name!r}"
        if column.kind != "pickle":
            if len(column.shape) == 2 and column.shape[0] == self.count and column.shape[1] > 1:
                raise DataError(
                    f"{where} is {column.shape}, not ({self.count},)",
                    hint="if each row has a one for its class, save labels.argmax(axis=1)",
                )
            self._check_count(self.path, f"{column.name!r}", column.shape[0] if column.shape else 0)
            if len(column.shape) > 2 or column.shape[1:] > (1,):
                raise DataError(f"{where} is {column.shape}, not ({self.count},)", hint="one label per row")
        return where, values_of(self.path, self.arrays.use(column))

    def _check_count(self, where: Path | str, what: str, found: int) -> None:
        if found != self.count:
            turned = "the features seem to lie (D, n): save their transpose" if found == self.dim else ""
            raise DataError(
                f"{where}: {found:,} {what}, but {self.vectors} has {self.count:,} rows",
                hint=turned or "there must be one per row, in the order of the rows",
            )


def _check_matrix(path: Path, column: Column) -> Column:
    what = f"{path}: the array {column.name!r}"
    if column.kind == "pickle":
        raise DataError(f"{what} holds pickled Python objects", hint=NO_PICKLE)
    if len(column.shape) != 2:
        raise DataError(f"{what} is {column.shape}, not 2-D", hint="features are (n, D), one row per image")
    if 0 in column.shape:
        raise DataError(f"{what} is empty: {column.shape}", hint="there must be at least one row")
    if column.shape[1] > _MAX_DIM:
        raise DataError(
            f"{what} is {column.shape}, too wide for features", hint="they are (n, D), one row per image"
        )
    if column.kind != "float":
        lost = column.dtype == "|V2" or column.dtype.startswith("void")
        hint = (
            "NumPy files lose the type of bfloat16: save float32"
            if lost
            else "save them as float16 or float32"
        )
        raise DataError(f"{what} is of type {column.dtype}, not floating", hint=hint)
    return column


def is_matrix(column: Column) -> bool:
    """Whether it could be vectors: 2-D and floating."""
    return column.kind == "float" and len(column.shape) == 2


def is_list(column: Column) -> bool:
    """Whether it could be names: 1-D text, or pickled, which is to be refused by name."""
    return column.kind in {"text", "pickle"} and len(column.shape) == 1

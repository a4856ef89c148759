"""Which array of a file holds the image features, and which their labels, paths, class names and text features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.splits import canonical_split
from deltaoe.interchange.arrays import Column, is_list, is_matrix, npy_column
from deltaoe.interchange.name_lists import (
    Labels,
    Values,
    check_names,
    check_no_pickle,
    class_names,
    label_indices,
    read_label_list,
    read_list,
    strings,
    values_of,
)
from deltaoe.interchange.parquet import CLASS_NAMES
from deltaoe.interchange.vectors import Vectors, matrix_of_shape

# Usual names of the arrays, the preferred ones first; case does not count.
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
_SPLITS = ("splits", "split")
_MOST_CLASSES = 1_000_000
_MAX_DIM = 1 << 16  # a wider array is something else, or transposed


class Arrays:
    """The arrays of a file, and which of them are assigned a role.

    Attributes:
        path: the file or folder.
        columns: its arrays, in the file's order.
        is_table: whether every array has one entry per row, as in Parquet and in clip-retrieval's metadata.
    """

    def __init__(self, path: Path, columns: list[Column]) -> None:
        self.path, self.columns = path, columns
        self.is_table = path.suffix.lower() == ".parquet" or path.is_dir()
        self._assigned: set[str] = set()

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.columns[:12])) + (" …" if len(self.columns) > 12 else "")
        return shown or "nothing"

    def assign(self, column: Column) -> Column:
        """Mark the array as having a role, and return it."""
        self._assigned.add(column.name)
        return column

    def unassigned(self) -> list[str]:
        """The arrays without a role, in the file's order: their names, and why they must not be read."""
        return [
            str(column) if column.why else column.name
            for column in self.columns
            if column.name not in self._assigned
        ]

    def get(self, name: str) -> Column | None:
        """The array of this name, or else of this name in another case; None if there is neither."""
        same = [column for column in self.columns if column.name.lower() == name.lower()]
        return next((column for column in same if column.name == name), same[0] if same else None)

    def candidates(self, aliases: Sequence[str], fits: Callable[[Column], bool]) -> list[Column]:
        """The arrays of these names that fit and have no role yet, in the order of ``aliases``."""
        return [
            column
            for alias in dict.fromkeys(aliases)
            for column in self.columns
            if column.name.lower() == alias and column.name not in self._assigned and fits(column)
        ]


def image_features(arrays: Arrays, name: str | None) -> Column:
    """The image features: the array called ``name``, or one of a usual name, or the only 2-D floating array.

    Raises:
        ConfigError: there is no array of that name, or several could be the features.
        DataError: there are no features, or the array is not (n, D) of floating numbers.
    """
    if name is not None:
        column = arrays.get(name)
        if column is None:
            raise ConfigError(f"{arrays.path} has no array {name!r}", hint=f"it holds {arrays}")
        return _check_matrix(arrays.path, column)
    if len(arrays.columns) == 1 and arrays.columns[0].name.lower() not in TEXTS:
        return _check_matrix(arrays.path, arrays.columns[0])
    good = arrays.candidates(_FEATURES, is_matrix)
    rest = [column for column in arrays.columns if is_matrix(column) and column.name.lower() not in TEXTS]
    if not good and len(rest) > 1:
        raise ConfigError(
            f"several arrays of {arrays.path} could be the image features: {', '.join(map(str, rest[:12]))}",
            hint=f"name one of them: --features {rest[0].name}",
        )
    near = arrays.candidates(_FEATURES, lambda column: True)
    if good or rest or near:
        return _check_matrix(arrays.path, (good or rest or near)[0])
    texts = any(column.name.lower() in TEXTS for column in arrays.columns)
    raise DataError(
        f"{arrays.path} has no image features; it holds {arrays}",
        hint="these are text features, for `deltaoe score --text-features FILE`"
        if texts
        else "image features are a 2-D floating array, (n, D), named features",
    )


class Annotations:
    """Class names, labels, paths and text features that go with the image features of a file.

    Args:
        arrays: the file's arrays.
        features: the array of image features, (n, D).
        named: whether the user named that array. Arrays that do not fit it may then belong to other features of the
            file and are ignored; else they are errors.
    """

    def __init__(self, arrays: Arrays, features: Column, *, named: bool) -> None:
        self.arrays, self.path, self.features, self.named = arrays, arrays.path, features, named
        self.count, self.dim = features.shape

    def class_names(self, given: Path | None) -> tuple[str, ...] | None:
        """The K class names, from the list ``given`` or else from the arrays; None if there are none.

        Raises:
            ConfigError, DataError: the list cannot be read, or is no list of K different names.
        """
        if given is not None:
            return class_names(given, read_list(given, "names"))
        # In a table, whatever has one entry per row is no list of classes.
        aliases = (CLASS_NAMES,) if self.arrays.is_table else NAMES
        for column in self.arrays.candidates(aliases, is_list):
            per_row = column.shape[0] == self.count
            if per_row and column.name.lower() == "names":  # they name the images
                continue
            check_class_list(self.path, column)
            names = values_of(self.path, column)
            if per_row and column.name.lower() == "classes" and len({*strings(names)}) < self.count:
                continue
            self.arrays.assign(column)
            return class_names(f"{self.path}, {column.name!r}", names)
        return None

    def labels(
        self, given: Path | str | None, names: tuple[str, ...] | None
    ) -> tuple[Labels | None, tuple[str, ...] | None, bool]:
        """Labels, class names, and whether the class names are in an order that text features can have.

        Args:
            given: an array's name or a list of labels; None for the array of a usual name.
            names: the K class names; None if the file has none.

        Returns:
            (n,) indices into the class names, None without labels; the class names, made of the labels where those
            are strings and ``names`` is None; and False where they were made so.

        Raises:
            ConfigError: ``given`` is neither an array's name nor a file.
            DataError: the labels are not n, or one is none of the classes.
        """
        where, values = self._label_values(given, names)
        if values is None:
            return None, names, True
        self._check_count(where, "labels", len(values))
        indices, named = label_indices(where, values, names)
        return indices, named, (named is None) == (names is None)

    def paths(self, given: Path | None) -> list[str] | None:
        """The names of the n images, from the list ``given`` or else from the arrays; None if there are none.

        Raises:
            ConfigError, DataError: the list cannot be read, or is no list of n names.
        """
        if given is not None:
            self._check_array(given, "paths")
            where, found = given, strings(read_list(given))
        else:
            texts = self.arrays.candidates(_PATHS, is_list)
            held = [c for c in texts if c.shape[0] == self.count] or ([] if self.named else texts)
            if not held:
                return None
            self._check_count(self.path, f"{held[0].name!r}", held[0].shape[0])
            where, found = self.path, strings(values_of(self.path, self.arrays.assign(held[0])))
        self._check_count(where, "paths", len(found))
        check_names(where, "path", found)
        return found

    def splits(self, given: Path | None) -> list[str] | None:
        """The split of each of the n images, empty for none, from the list ``given`` or else from the arrays.

        None if there are none, or none of the n is the name of a split.

        Raises:
            ConfigError, DataError: the list cannot be read, or is no list of n names.
        """
        if given is not None:
            found = strings(read_list(given))
            self._check_count(given, "splits", len(found))
            return [canonical_split(name) or "" for name in found]
        for column in self.arrays.candidates(_SPLITS, is_list):
            if column.shape[0] == self.count and column.kind == "text":
                found = [canonical_split(name) or "" for name in strings(values_of(self.path, column))]
                if any(found):
                    self.arrays.assign(column)
                    return found
        return None

    def text_features(self, classes: int | None) -> Vectors | None:
        """The text features (K, D), of K = ``classes`` where that is known; None if there are none.

        Raises:
            DataError: the array does not fit, or a row has no direction.
        """
        for column in self.arrays.candidates(TEXTS, is_matrix):
            texts = matrix_of_shape(self.path, column, classes, self.dim)
            if texts is not None:
                self.arrays.assign(column)
                return texts
            if not self.named:
                classes_too = "" if classes is None else f" and {classes:,} class names"
                raise DataError(
                    f"{self.path}: {column} does not fit {self.features}{classes_too}",
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
            if not Path(given).exists():
                raise ConfigError(
                    f"{self.path} has no array {given!r} for labels, and there is no such file",
                    hint=f"it holds {self.arrays}",
                )
        if given is not None:
            self._check_array(Path(given), "labels")
            return given, read_label_list(Path(given), names)
        name = self.features.name.lower()
        starts = [name.removesuffix(alias) for alias in _FEATURES if name.endswith(alias)]
        aliases = [f"{start}{alias}" for start in starts for alias in LABELS]  # test_features, test_labels
        held = self.arrays.candidates([*aliases, *LABELS], lambda c: c.kind != "other")
        good = [c for c in held if c.shape in {(self.count,), (self.count, 1)}]
        if good:
            texts = [c for c in good if c.kind == "text" and names is None]
            return self._label_array((texts or good)[0])
        wrong = [c for c in held if c.name.lower() != "classes" and not self.named]
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
        return where, values_of(self.path, self.arrays.assign(column))

    def _check_array(self, given: Path, what: str) -> None:
        """Compare the length of an .npy list with the features before all of it is read."""
        if given.suffix.lower() == ".npy" and len(shape := npy_column(given).shape) == 1:
            self._check_count(given, what, shape[0])

    def _check_count(self, where: Path | str, what: str, found: int) -> None:
        if found != self.count:
            transposed = "the features seem to lie (D, n): save their transpose" if found == self.dim else ""
            raise DataError(
                f"{where}: {found:,} {what}, but {self.features} has {self.count:,} rows",
                hint=transposed or "there must be one per row, in the order of the rows",
            )


def check_class_list(path: Path, column: Column) -> None:
    """Raise DataError for more class names than any data set has, before they are read."""
    if column.shape[0] > _MOST_CLASSES:
        raise DataError(
            f"{path}: {column} would be {column.shape[0]:,} class names",
            hint="class names are one per class, not one per image",
        )


def _check_matrix(path: Path, column: Column) -> Column:
    check_no_pickle(path, column)
    what = f"{path}: the array {column.name!r}"
    if column.why:
        raise DataError(f"{what} {column.why}", hint="save the features themselves as an array (n, D)")
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

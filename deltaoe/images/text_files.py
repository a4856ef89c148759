"""Text in files that people and programs write: its encoding, and formats that are no lists and no tables."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from pathlib import Path

from deltaoe.errors import DataError, DeltaoeError
from deltaoe.files import read_small_file

# The longer mark first: UTF-16's is a part of it.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_START = 1 << 16  # characters by which a format is recognised
_TABLE = "write a .csv with the columns path,class from it"
_BOXES = f"deltaoe classifies whole images: {_TABLE}, one row per image"
_LINES = "write one name per line into a .txt file"


@dataclass(frozen=True)
class OtherFormat:
    """What a file is that is no list and no table.

    Attributes:
        kind: the format's name, with an article.
        images: what to do where a list of images was expected.
        names: what to do where names of classes were expected.
    """

    kind: str
    images: str = f"{_TABLE}, or name the folder of the images"
    names: str = _LINES


_SUFFIXES = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".geojson"), OtherFormat("a JSON file")),
    **dict.fromkeys((".yaml", ".yml"), OtherFormat("a YAML file")),
    ".xml": OtherFormat("an XML file"),
    ".toml": OtherFormat("a TOML file"),
    **dict.fromkeys((".htm", ".html"), OtherFormat("a web page")),
    **dict.fromkeys(
        (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"),
        OtherFormat("a spreadsheet", "save it as .csv (UTF-8)", "save it as .csv (UTF-8)"),
    ),
    **dict.fromkeys((".parquet", ".feather", ".arrow"), OtherFormat("an Arrow or Parquet file")),
    **dict.fromkeys((".pkl", ".pickle"), OtherFormat("a pickle, which can run programs and is not read")),
    ".mat": OtherFormat("a MATLAB file"),
    ".record": OtherFormat("a file of TensorFlow records", "write the images into one folder per class"),
    ".tfrecord": OtherFormat("a file of TensorFlow records", "write the images into one folder per class"),
    ".pbtxt": OtherFormat("a label map of TensorFlow"),
}
_YOLO_DATA = OtherFormat(
    "YOLO's description of a data set",
    "name the folder of the images; of a data set with boxes, write a .csv with the columns path,class",
    "copy its names into a .txt file, one per line",
)
_YOLO_BOXES = OtherFormat("a YOLO label file (a class and a box per line)", _BOXES, _LINES)
_COCO = OtherFormat(
    "a file of COCO annotations (JSON)",
    f"{_BOXES}: its file_name and the name of its category",
    "write the names of its categories into a .txt file, one per line",
)
_VOC = OtherFormat("a file of annotations by Pascal VOC or LabelMe (XML)", _BOXES)
_CVAT = OtherFormat("a file of annotations by CVAT (XML)", _BOXES)
_DICT = OtherFormat("a dictionary (JSON or Python)")
_DICT_START = re.compile(r"""\{\s*(?:"[^"\n]*"|'[^'\n]*'|-?\d+)\s*:""")
_LIST_START = re.compile(r"""\[\s*(?:\{\s*["}]|\[\s*["\d]|"[^"\n]*"\s*[,\]]|'[^'\n]*'\s*[,\]])""")
_NUMBERS = re.compile(r"[-+]?[0-9.]+(?:e[-+]?[0-9]+)?(?:[ \t]+[-+]?[0-9.]+(?:e[-+]?[0-9]+)?)*", re.IGNORECASE)


def other_format_of(suffix: str, text: str) -> OtherFormat | None:
    """What a file is by its suffix, in lower case, and the beginning of its text; None if it may be a list or a table.

    Example:
        >>> other_format_of(".txt", '["dog", "horse"]').kind
        'a JSON file'
        >>> other_format_of(".txt", "dog\\nhorse\\n") is None
        True
    """
    start = text[:_START].lstrip("\ufeff \t\r\n")
    return _by_content(start, suffix) or _SUFFIXES.get(suffix)


def refuse_other_formats(
    name: str, suffix: str, text: str, *, images: bool, error: type[DeltaoeError] = DataError
) -> None:
    """Raise an error of the kind ``error`` if a file is no list and no table, with what to do instead.

    Args:
        name: the file's.
        suffix: its suffix, in lower case.
        text: its content.
        images: whether images were expected in it, rather than names of classes.
        error: what is raised.
    """
    found = other_format_of(suffix, text)
    if found is not None:
        what = "list of images" if images else "list of names"
        raise error(f"{name} is {found.kind}, not a {what}", hint=found.images if images else found.names)


def is_other_format(suffix: str) -> bool:
    """Whether files with this suffix, in lower case, are of a format that is no list, no table and no image."""
    return suffix in _SUFFIXES


def _by_content(start: str, suffix: str) -> OtherFormat | None:
    if suffix == ".json" or start[:1] in "{[":
        found = _json(start)
        if found is not None:
            return found
    if start[:1] == "<" and re.match(r"<(?:\?xml|!doctype|html|annotations?\b|!--)", start, re.IGNORECASE):
        if re.search(r"<annotations\b", start):
            return _CVAT
        if re.search(r"<annotation\b", start):
            return _VOC
        return OtherFormat("a web page" if re.search(r"<(!doctype )?html", start, re.I) else "an XML file")
    yaml = suffix in (".yaml", ".yml")
    if re.search(r"^names[ \t]*:", start, re.M) and (
        yaml or re.search(r"^(nc|train|val|path)[ \t]*:", start, re.M)
    ):
        return _YOLO_DATA
    lines = [line.strip() for line in start.splitlines()[:1000] if line.strip()]
    if yaml or not lines:
        return None
    if (
        lines[0] == "---"
        or re.fullmatch(r"[\w ]+:", lines[0])
        or all(line[:2] in ("- ", "* ", "• ") for line in lines)
    ):
        return OtherFormat("a YAML file")
    if start.startswith("{\\rtf"):
        return OtherFormat("a text with formats (RTF)", "save it as plain text", "save it as plain text")
    if re.match(r"item\s*\{", start):
        return _SUFFIXES[".pbtxt"]
    if lines[0].lower().startswith("@relation"):
        return OtherFormat("an ARFF file")
    return _YOLO_BOXES if _are_boxes(lines) else None


def _json(start: str) -> OtherFormat | None:
    if re.search(r'"annotations"\s*:', start) and re.search(
        r'"(?:images|categories|info|licenses)"\s*:', start
    ):
        return _COCO
    if re.search(r'"categories"\s*:\s*\[', start) and re.search(r'"images"\s*:\s*\[', start):
        return _COCO
    if re.search(r'"shapes"\s*:', start) and re.search(r'"imagePath"\s*:', start):
        return OtherFormat("a file of annotations by LabelMe (JSON)", _BOXES)
    if re.search(r'"_via_|"regions"\s*:', start):
        return OtherFormat("a file of annotations by VIA (JSON)", _BOXES)
    # Whole, or by how it goes on: a name may begin with a bracket.
    if _DICT_START.match(start) or _LIST_START.match(start):
        return _SUFFIXES[".json"] if start[0] == "[" or '"' in start[:200] else _DICT
    try:
        json.loads(start)
    except (ValueError, RecursionError):
        return None
    return _SUFFIXES[".json"]


def _are_boxes(lines: list[str]) -> bool:
    """Whether all lines are a class number and four or more numbers from 0 to 1."""
    for line in lines:
        cells = line.split()
        if len(cells) < 5 or not cells[0].isdecimal() or not _NUMBERS.fullmatch(line):
            return False
        try:
            if not all(0 <= float(cell) <= 1 for cell in cells[1:5]):
                return False
        except ValueError:
            return False
    return True


def decoded(name: str, data: bytes, *, strict: bool = False, error: type[DeltaoeError] = DataError) -> str:
    """The text of a file: UTF-8, or UTF-16 and UTF-32 by their byte order mark, or UTF-16 without one by its NULs.

    Args:
        name: the file's, for messages.
        data: its bytes.
        strict: refuse other bytes, rather than turn them into lone surrogates, as in file names.
        error: what is raised.

    Raises:
        DeltaoeError: of the kind ``error``; the bytes are no text.

    Example:
        >>> decoded("a.csv", "path,class".encode("utf-16"))
        'path,class'
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None) or _without_mark(data)
    try:
        if encoding in (None, "utf-8-sig"):
            return data.decode("utf-8-sig", "strict" if strict else "surrogateescape")
        return data.decode(encoding or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as cause:
        what = "UTF-8" if encoding in (None, "utf-8-sig") else encoding.upper()
        raise error(
            f"{name} is not {what} text", hint='save it as UTF-8; in Excel: "CSV UTF-8 (comma delimited)"'
        ) from cause


def read_text(path: Path | str, *, error: type[DeltaoeError] = DataError) -> str:
    """The text of a file of names, as :func:`decoded` reads it, without other bytes.

    Raises:
        DeltaoeError: of the kind ``error``; it cannot be read, or is no text.
    """
    return decoded(str(path), read_small_file(path, error=error), strict=True, error=error)


def _without_mark(data: bytes) -> str | None:
    """UTF-16 if every second byte of a line's end is NUL; lists that end names with NULs have none in front of it."""
    for end, encoding in ((b"\r\0\n\0", "utf-16-le"), (b"\0\r\0\n", "utf-16-be"), (b"\n\0", "utf-16-le")):
        place = data.find(end)
        if place >= 0 and place % 2 == 0 and len(data) % 2 == 0 and _half_nul(data, encoding):
            return encoding
    return None


def _half_nul(data: bytes, encoding: str) -> bool:
    high = data[1::2] if encoding.endswith("le") else data[::2]
    low = data[::2] if encoding.endswith("le") else data[1::2]
    return high[:4096].count(0) > len(high[:4096]) // 2 and 0 not in low

"""What a file that is no picture, or none that can be read here, is by its first bytes, and what to do with it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from deltaoe.errors import DataError

HEAD_BYTES = 4096  # enough for :func:`recognise`


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        name: what it is, with an article.
        todo: what its owner can do.
        group: ``picture`` (of a kind that cannot be read here), ``archive``, ``data`` or ``other``.
    """

    name: str
    todo: str
    group: str = "other"

    @property
    def reason(self) -> str:
        """Why it is not read, in words that fit into a table cell."""
        first = "" if self.group == "picture" else "not an image, but "
        return f"{first}{self.name}: {self.todo}"


_UNPACK = "unpack it, and name the folder"
_EXPORT = "save its pictures as image files; features: deltaoe store import"
_DEVELOP = "develop it to JPEG, PNG or TIFF"
_CONVERT = "convert it to JPEG, PNG or TIFF"
HEIC = Kind("a HEIC picture", "pip install 'deltaoe[heic]'", "picture")
AVIF = Kind("an AVIF picture", "this Pillow reads none: pip install -U pillow", "picture")

_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIC),
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    b"crx ": Kind("a camera's raw file", _DEVELOP, "picture"),
    b"jxl ": Kind("a JPEG XL picture", _CONVERT, "picture"),
}
_VIDEO = Kind("a video", "save its frames as image files")
_ARCHIVE = Kind("an archive", _UNPACK, "archive")
_RAW = Kind("a camera's raw file", _DEVELOP, "picture")
_STARTS: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\x0a", Kind("a JPEG XL picture", _CONVERT, "picture")),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Kind("a JPEG XL picture", _CONVERT, "picture")),
    (b"v/1\x01", Kind("an OpenEXR picture", _CONVERT, "picture")),
    (b"SIMPLE  =", Kind("a FITS file", _CONVERT, "picture")),
    (b"gimp xcf", Kind("a GIMP picture", _CONVERT, "picture")),
    (b"8BPS", Kind("a Photoshop picture", _CONVERT, "picture")),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
    (b"MMOR", _RAW),
    (b"IIU\0", _RAW),
    (b"FOVb", _RAW),
    (b"\0MRM", _RAW),
    (b"%PDF", Kind("a PDF", "save its pages as image files")),
    (b"PAR1", Kind("a Parquet table", _EXPORT, "data")),
    (b"ARROW1", Kind("an Arrow table", _EXPORT, "data")),
    (b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", _EXPORT, "data")),
    (b"\x93NUMPY", Kind("a NumPy array", _EXPORT, "data")),
    (b"SQLite format 3\0", Kind("a SQLite data base", _EXPORT, "data")),
    (b"\x1f\x8b", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ\0", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE),
    (b"Rar!\x1a\x07", _ARCHIVE),
    (b"\x1a\x45\xdf\xa3", _VIDEO),
    (b"\0\0\1\xba", _VIDEO),
    (b"ID3", Kind("a sound file", "leave it out")),
    (b"OggS", Kind("a sound or video file", "leave it out")),
    (b"fLaC", Kind("a sound file", "leave it out")),
    (b"\0\x05\x16\x07", Kind("metadata of macOS", "copy the file that it belongs to")),
    (b"L\0\0\0\x01\x14\x02\0", Kind("a link of Windows", "copy the file that it leads to")),
    (b"\x7fELF", Kind("a program", "leave it out")),
    (b"MZ", Kind("a program", "leave it out")),
    (b"version https://git-lfs", Kind("a pointer of Git LFS", "git lfs pull fetches the file")),
    (b"/annex/objects/", Kind("a pointer of git-annex", "git annex get fetches the file")),
)
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE)
_SVG = re.compile(rb"<(?:!DOCTYPE\s+)?(?:\w+:)?svg\b", re.IGNORECASE)


def recognise(head: bytes) -> Kind | None:
    """The kind of a file by its first ``HEAD_BYTES`` bytes; None if nothing is known to start so, or a picture does.

    Example:
        >>> recognise(b"PK\\x03\\x04...").reason
        'not an image, but a ZIP archive: unpack it, and name the folder'
    """
    if head[4:8] == b"ftyp":
        brands = (head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), 64), 4)))
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), _VIDEO)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        if head[30:60].partition(b".npy")[1]:
            return Kind("an archive of NumPy arrays", _EXPORT, "data")
        return Kind("a ZIP archive", _UNPACK, "archive")
    if head.startswith(b"RIFF"):
        return {b"AVI ": _VIDEO, b"WAVE": Kind("a sound file", "leave it out")}.get(head[8:12])
    if head[257:262] == b"ustar":
        return _ARCHIVE
    if head[128:132] == b"DICM":
        return Kind("a DICOM file", _CONVERT, "picture")
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _RAW if head[8:10] == b"CR" else None
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    return _text(head)


def check_is_image(path: str) -> None:
    """Refuse an archive or a data set that is named where images are.

    Raises:
        DataError: it is one, by its first bytes. What cannot be read is left to whoever reads it.
    """
    try:
        if not os.path.isfile(path):  # reading a pipe may never end
            return
        with open(path, "rb") as file:
            kind = recognise(file.read(HEAD_BYTES))
    except OSError:
        return
    if kind is not None and kind.group in {"archive", "data"}:
        raise DataError(f"{path} is {kind.name}, not an image, a folder or a list", hint=kind.todo)


def _text(head: bytes) -> Kind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith((b"<", b"{", b"[", b"data:image")):
        return None
    if text.startswith(b"data:image"):
        return Kind("a picture as base64 text", "decode it to an image file")
    if _SVG.search(text) and not _HTML.match(text):
        return Kind("an SVG drawing", "render it to PNG")
    if _HTML.search(text):
        return Kind("a web page", "download the picture itself")
    if text.startswith(b"<?xml"):
        return Kind("an XML file", "name image files, or folders of them")
    if re.match(rb'[\[{]\s*["\[{\]}0-9-]', text):
        if re.search(rb'"(?:images|annotations|categories)"\s*:', text):
            return Kind(
                "annotations in COCO's JSON",
                "name its folder of images, or a .csv with path and class",
                "data",
            )
        return Kind("a JSON file", "name image files, folders, or a .csv with path and class", "data")
    return None

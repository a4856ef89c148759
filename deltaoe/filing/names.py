"""Names of files and folders that every operating system accepts, from text that may be anything."""

from __future__ import annotations

import os
import re
import unicodedata

# What Windows forbids in a name; a slash separates folders everywhere.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)
# Bytes of a name: most file systems end at 255, and a number or a temporary name needs some of them.
_LONGEST = 200
_LONGEST_SUFFIX = 20
_EMPTY = "unnamed"


def safe_name(text: str) -> str:
    """The text as the name of a file or a folder; text that is safe already stays as it is.

    Separators, control characters and what Windows forbids become ``_``, and so does a dot in front, which would hide
    the file. Dots and spaces at the end are left out, names of Windows devices get a ``_`` in front, and a long name
    is cut before its suffix.

    Example:
        >>> safe_name("sailing boat"), safe_name("../a:b."), safe_name("nul.txt"), safe_name(" . ")
        ('sailing boat', '_._a_b', '_nul.txt', 'unnamed')
    """
    name = "".join("_" if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"} else one for one in text)
    name = _FORBIDDEN.sub("_", name).strip(" ").rstrip(" .")
    if name.startswith("."):
        name = "_" + name[1:]
    if _DEVICES.match(name):
        name = "_" + name
    if len(os.fsencode(name)) > _LONGEST:
        stem, suffix = os.path.splitext(name)
        if len(os.fsencode(suffix)) > _LONGEST_SUFFIX:
            stem, suffix = name, ""
        while len(os.fsencode(stem + suffix)) > _LONGEST:
            stem = stem[:-1]
        name = stem.rstrip(" .") + suffix
    return name or _EMPTY


def numbered(name: str, number: int) -> str:
    """The name with a number before its suffix, for a file whose name is taken; number 1 is the name itself.

    Example:
        >>> numbered("a.jpg", 1), numbered("a.jpg", 2)
        ('a.jpg', 'a-2.jpg')
    """
    stem, suffix = os.path.splitext(name)
    return name if number == 1 else f"{stem}-{number}{suffix}"

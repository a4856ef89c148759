"""The images of a tar, and what its other members say of them: the samples of WebDataset and img2dataset."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Collection, Sequence

from deltaoe.images.tars import list_members, member_inode
from deltaoe.images.walk import is_image, is_passed_over

_BESIDE = ("cls", "json", "txt")
_MAX_BESIDE = 1 << 20  # bytes of a member that says something of an image
LONGEST_CELL = 200  # characters of a value that may be a class, domain or split
CAPTION = "txt"  # what a .txt says is a class only if it is short and comes again


class TarImages:
    """The images of a tar, n rows in the order of the archive.

    A sample is what has one key: a member's name up to the first dot behind the last slash. Of a sample with an image
    whose suffix follows the key, images of longer suffixes (``a.seg.png`` beside ``a.jpg``) are none of the list.

    Attributes:
        path: the tar's.
        observed: the tar, as observed when it was listed.
        names: the members' names.
        size: bytes of each.
        inode: what stands for each one's inode.
        hidden: number of hidden members, and those in hidden folders.
        other_files: number of members that are no images and say nothing of one.
        passed_over: kind → number, of :class:`~deltaoe.images.tars.TarListing`, and ``further image of a sample``.
        problem: why members behind the last one cannot be seen; empty for a whole tar.
        beside: which of ``cls``, ``json`` and ``txt`` there are.

    Raises:
        ContainerError, OSError: it cannot be listed.
    """

    def __init__(self, path: str) -> None:
        listing, self.observed = list_members(path)
        self.path, self.problem, self.passed_over = path, listing.problem, listing.passed_over
        images, self.hidden, self.other_files = [], 0, 0
        said: dict[str, list[tuple[str, int]]] = {}  # key → kind and row of what stands beside an image
        for row, name in enumerate(listing.names):
            if ("/." in name or name[0] == "." or "_" in name or "@" in name or "$" in name) and any(
                map(is_passed_over, name.split("/"))
            ):
                self.hidden += 1
            elif is_image(name):
                images.append(row)
            else:
                key, suffix = _key(name)
                if suffix in _BESIDE:
                    said.setdefault(key, []).append((suffix, row))
                else:
                    self.other_files += 1
        keys = [_key(listing.names[row]) for row in images]
        plain = {key for key, suffix in keys if "." not in suffix} if said else set()
        kept = [i for i, (key, suffix) in enumerate(keys) if "." not in suffix or key not in plain]
        if len(kept) < len(images):
            self.passed_over["further image of a sample"] += len(images) - len(kept)
        rows = [images[i] for i in kept]
        self.names = [listing.names[row] for row in rows]
        self.size = array("q", [listing.size[row] for row in rows])
        self.inode = array("Q", [member_inode(self.observed, listing.offset[row]) for row in rows])
        self.beside: set[str] = set()
        self._place = {kind: array("q", [-1]) * len(rows) for kind in _BESIDE}
        used = 0
        for new, i in enumerate(kept):
            for kind, row in said.get(keys[i][0], ()):
                if self._place[kind][new] < 0:
                    used += 1
                self._place[kind][new] = row
                self.beside.add(kind)
        self.other_files += max(0, sum(map(len, said.values())) - used)
        self._offset, self._sizes = listing.offset, listing.size

    def cells(self, rows: Sequence[int], wanted: Collection[str] | None = None) -> list[dict[str, str]]:
        """What stands beside the images of these rows: title → text. ``.cls`` and ``.txt`` are titles themselves.

        Args:
            rows: of the images.
            wanted: titles that are needed; None for all.
        """
        kinds = [kind for kind in sorted(self.beside) if wanted is None or _may_say(kind, wanted)]
        found: list[dict[str, str]] = []
        with open(self.path, "rb") as file:
            for row in rows:
                cells: dict[str, str] = {}
                for kind in kinds:
                    place = self._place[kind][row]
                    if place < 0 or self._sizes[place] > _MAX_BESIDE:
                        continue
                    file.seek(self._offset[place])
                    text = file.read(self._sizes[place]).decode("utf-8-sig", "replace").strip()
                    if kind == "json":
                        cells |= _scalars(text)
                    elif len(text) <= LONGEST_CELL or kind == CAPTION:
                        cells[kind] = text.replace("\0", "")
                found.append(cells)
        return found


def _may_say(kind: str, wanted: Collection[str]) -> bool:
    return kind in wanted or (kind == "json" and not {*wanted} <= {*_BESIDE})


def _key(name: str) -> tuple[str, str]:
    """The key of a member's name, and its suffix in lower case, of one dot or several."""
    folder, name = os.path.split(name)
    stem, _, suffix = name.partition(".")
    return f"{folder}/{stem}", suffix.lower()


def _scalars(text: str) -> dict[str, str]:
    """The entries of a JSON object that are texts or numbers, of some length at most."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(key): str(value).strip().replace("\0", "")
        for key, value in found.items()
        if isinstance(value, str | int | float) and len(str(value)) <= LONGEST_CELL and 0 < len(str(key)) < 64
    }

"""Glob patterns that a walk can follow folder by folder."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Set
from dataclasses import dataclass

_Matcher = Callable[[str], object]
_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True)
class Pattern:
    """A glob while a path is matched part by part: ``*``, ``?``, ``[…]`` and, as a part, ``**`` for any folders.

    Python's ``glob`` would follow a loop of links forty times, and says nothing of folders that it cannot list.

    Attributes:
        parts: of the whole glob, between its slashes.
        matchers: one of each part.
        states: numbers of parts that can be matched so far; more than one after a ``**``.
        takes_files: whether the path so far may be a file that matches; ``a/**`` needs a folder ``a`` first.

    Example:
        >>> pattern = Pattern.of("**/cat*.jpg")
        >>> [pattern.below(name).takes_files for name in ("photos", "cat1.jpg")]
        [False, True]
    """

    parts: tuple[str, ...]
    matchers: tuple[_Matcher, ...]
    states: frozenset[int]
    takes_files: bool = False

    @classmethod
    def of(cls, glob: str) -> Pattern:
        """The pattern of a glob with ``/``, relative to some folder, with nothing matched yet."""
        glob += "*" if glob.endswith("/") else ""  # "*/" names folders: everything in them
        parts = tuple(part for part in glob.split("/") if part not in {"", "."})
        flags = re.IGNORECASE if os.name == "nt" else 0
        matchers = tuple(re.compile(fnmatch.translate(part), flags).match for part in parts)
        return cls(parts, matchers, _reachable(parts, {0}))

    @property
    def complete(self) -> bool:
        """Whether the path so far matches the whole glob."""
        return len(self.parts) in self.states

    def below(self, name: str) -> Pattern | None:
        """The pattern after one more part of the path; None if that does not match."""
        end = len(self.parts)
        stay = {state for state in self.states if state < end and self.parts[state] == "**"}
        advance = {state + 1 for state in self.states - stay if state < end and self.matchers[state](name)}
        if not stay and not advance:
            return None
        takes_files = end in advance or end in _reachable(self.parts, stay)
        return Pattern(self.parts, self.matchers, _reachable(self.parts, stay | advance), takes_files)

    def asks_for(self, name: str) -> bool:
        """Whether the glob asks for a hidden name: as in a shell, by a part that begins with a dot, or by that name."""
        parts = [self.parts[state] for state in self.states if state < len(self.parts)]
        return any(part == name or part[0] == name[0] == "." for part in parts)


def _reachable(parts: tuple[str, ...], states: Set[int]) -> frozenset[int]:
    states = set(states)
    for state, part in enumerate(parts):
        if state in states and part == "**":  # which also matches no folder at all
            states.add(state + 1)
    return frozenset(states)


def is_pattern(text: str) -> bool:
    """Whether a text has any of the signs of a glob."""
    return _MAGIC.search(text) is not None

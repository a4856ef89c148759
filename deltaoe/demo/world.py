"""The demo's world: the classes of pretraining, those of the user, and those of the unknown folder.

Set up like the experiments of the paper: pretraining saw most classes and styles; the user has a dozen classes in two
styles (in-distribution); then come the same classes in a style that pretraining hardly knew (covariate shift), other
classes (near OOD) and patterns without any object (far OOD).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deltaoe.demo.catalogue import KINDS
from deltaoe.demo.patterns import PATTERNS

# Pretraining
UNSEEN = ("snail", "teapot", "trumpet", "windmill")  # in no picture or caption: new to everybody
PRETRAINED = tuple(sorted(set(KINDS) - set(UNSEEN)))
SEEN_PATTERNS = tuple(sorted(PATTERNS)[::2])
PATTERN_SHARE = 0.1  # of all pictures
STYLE_SHARES = {"photo": 0.45, "painting": 0.38, "sketch": 0.12, "cartoon": 0.05}  # of the others

# The user's images
KNOWN = (
    *("bicycle", "bird", "boat", "car", "clock", "fish"),
    *("flower", "guitar", "house", "key", "mug", "umbrella"),
)
STYLES = ("photo", "sketch")
NEW_STYLE = "cartoon"
OTHERS = tuple(sorted(set(KINDS) - set(KNOWN)))

Group = Literal["images", "same-styles", "new-style", "other-objects", "patterns"]
_IMAGES = 36  # of each class in each style; 16 of both together become shots, the rest calibrates
_FRESH, _SHIFTED, _OTHER, _PATTERNS = 16, 16, 6, 180  # of each class and style; class; class; in all
# The user's things are smaller and lie among more clutter than those that pretraining saw.
_MESS, _REACH = 2.5, 0.75


@dataclass(frozen=True)
class Picture:
    """One picture to be drawn.

    Attributes:
        path: relative to the demo's folder, with ``/``.
        group: where it belongs; ``images`` are the user's, all others lie in the unknown folder.
        kind: the class, or the pattern.
        style: photo, painting, cartoon or sketch; empty for patterns.
        number: tells pictures of the same kind and style apart.
        mess: amount of clutter; 1 is usual.
        reach: size of the object; 1 is usual.
    """

    path: str
    group: Group
    kind: str
    style: str
    number: int
    mess: float = _MESS
    reach: float = _REACH

    @property
    def known(self) -> bool:
        """Whether it shows one of the user's classes."""
        return self.group in {"images", "same-styles", "new-style"}


def pictures() -> list[Picture]:
    """All pictures of the world, in the order of their folders."""
    out = []
    for kind in KNOWN:
        for style in STYLES:
            out += [
                Picture(f"images/{style}/{kind}/{kind}-{i:02d}.jpg", "images", kind, style, i)
                for i in range(_IMAGES)
            ]
            out += [_unknown("same-styles", kind, style, i) for i in range(_FRESH)]
        out += [_unknown("new-style", kind, NEW_STYLE, i) for i in range(_SHIFTED)]
    for kind in OTHERS:
        out += [_unknown("other-objects", kind, STYLES[i % len(STYLES)], i) for i in range(_OTHER)]
    names = list(PATTERNS)
    out += [_unknown("patterns", names[i % len(names)], "", i // len(names)) for i in range(_PATTERNS)]
    return sorted(out, key=lambda picture: picture.path)


def _unknown(group: Group, kind: str, style: str, number: int) -> Picture:
    name = "-".join(word for word in (kind, style, f"{number:02d}") if word)
    return Picture(f"unknown/{group}/{name}.jpg", group, kind, style, number)

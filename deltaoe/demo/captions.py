"""Captions such as people write under pictures: some exact, some vague, some beside the point."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from deltaoe.demo.objects.kind import PAINTS
from deltaoe.demo.picture import Subject
from deltaoe.demo.scenery import PLACES

_STYLES = {
    "photo": ("photo", "photograph", "picture", "photo", "snapshot"),
    "painting": ("painting", "oil painting", "picture", "painting", "canvas"),
    "cartoon": ("cartoon", "comic", "picture", "cartoon", "illustration"),
    "sketch": ("sketch", "pencil sketch", "picture", "sketch", "drawing"),
}
# {s}: the style in a word; {n}: the name, {an}: with its article, {can}: with colour and article, {cn}: with colour;
# {p}: the place.
_EXACT = (
    "a {s} of {can} {p}.",
    "a {s} of {can}.",
    "a {s} of {an}.",
    "a {s} of {an}.",
    "a {s} of the {n}.",
    "{an} {p}, {s}.",
    "{cn}.",
    "{n}.",
    "{n}",
    "the {cn} {p}",
    "{s}: {cn} {p}",
    "this {s} shows {can} {p}.",
    "{can} {p}.",
    "in this {s} there is {can}.",
    "a {s} of one {n} {p}.",
    "here you can see a {s} of {can} that was {p}.",
    "one more {s} from my collection, and this time it shows {can} {p}.",
    "i like this old {s} very much because what you can see in it is {an}.",
    "what do you think of this {s}? it is the one that i made of {can}.",
    "a good {s} of the {n}, {p}, and it is {c}.",
)
_VAGUE = (
    "a {s}.",
    "untitled {s}",
    "a {c} thing {p}.",
    "my new {s}",
    "something {c} {p}",
    "{s} of something {p}.",
    "i made this {s} myself.",
)
_OF_PATTERNS = (
    "{n}",
    "a texture of {n}.",
    "a pattern of {n}.",
    "{n}, close.",
    "nothing but {n} in this picture.",
    "a photo of {n}.",
    "background with {n}",
)


def article(words: str) -> str:
    """The words with "a" or "an" in front.

    Example:
        >>> article("umbrella")
        'an umbrella'
    """
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def caption(subject: Subject, r: Random, vague: float) -> str:
    """A caption; ``vague`` is the share of those that do not name the object."""
    if not subject.style:
        return r.choice(_OF_PATTERNS).format(n=subject.kind)
    template = r.choice(_VAGUE if r.random() < vague else _EXACT)
    coloured = f"{subject.paint} {subject.kind}"
    return template.format(
        s=r.choice(_STYLES[subject.style]),
        n=subject.kind,
        an=article(subject.kind),
        cn=coloured,
        can=article(coloured),
        c=subject.paint,
        p=subject.place,
    )


def vocabulary(names: Sequence[str]) -> list[str]:
    """Sentences that together hold every word a caption can have, and those of the usual prompts."""
    words = [word for style in _STYLES.values() for word in style]
    return [*_EXACT, *_VAGUE, *_OF_PATTERNS, *words, *names, *PAINTS, *PLACES, "an"]

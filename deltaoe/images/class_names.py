"""Class names as CLIP reads them: ids of WordNet in words, names that are no words, and names that look the same."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deltaoe.errors import ModelError
from deltaoe.images.imagenet import synset_names
from deltaoe.images.labels import Labelling

_SHOWN = 3  # names that a sentence lists
_LONGEST = 40  # characters of a name that a sentence shows
_END = 12  # of them from its end

_WORDNET_ID = re.compile(r"[nN]\d{8}")
# "n02085936-Maltese dog" of Stanford Dogs, "n02084071 dog", "dog (n02084071)"
_ID_AND_WORDS = re.compile(
    r"(?P<id>[nN]\d{8})[\s_.,:-]+(?P<after>.+)|(?P<before>.+?)[\s_.,:-]+\(?(?P<last>[nN]\d{8})\)?"
)
_OFFSET = re.compile(r"[01]\d{7}")  # an id without its n, as ShapeNet writes it; dates begin with 19 or 20
_NLTK = re.compile(r"(?P<words>[a-z][a-z' -]*)\.n\.\d\d")  # "dog.n.01"

_DATE = re.compile(
    r"(?:(?:19|20)\d\d(?:[ ./-]?(?:0?[1-9]|1[0-2])(?:[ ./-]?(?:0?[1-9]|[12]\d|3[01]))?)?"
    r"|(?:0?[1-9]|[12]\d|3[01])[ ./-](?:0?[1-9]|1[0-2])[ ./-](?:19|20)?\d\d)"
    r"(?:[ T]?\d\d[:.-]?\d\d(?:[:.-]?\d\d)?Z?)?"
)
_FILE = re.compile(
    r".+\.(?:jpe?g|png|gif|bmp|tiff?|webp|heic|avif|svg|raw|zip|tar|t?gz|txt|csv|tsv|json|xml|pdf|npy|npz|pt|mp4)",
    re.IGNORECASE,
)
_UUID = re.compile(
    r"\{?[0-9a-f]{8}([ -]?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}\}?", re.IGNORECASE
)
_HEXADECIMAL = re.compile(r"(?:0x)?[0-9a-f]{8,}", re.IGNORECASE)
_KNOWLEDGE_GRAPH = re.compile(r"/?[mg][/.][0-9][0-9a-z_ ]{2,9}")  # "/m/01yrx" of Open Images
_NUMBERED = re.compile(
    r"(?:class(?:e|es)?|klasse|cls|clase|category|label|cluster|group|folder|dir|target|index|idx|id|no|num|number|nr)"
    r"[ .#_-]*\d+"
    r"|[^\W\d_][ .#_-]*\d",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_PLAIN = re.compile(
    r"[A-Za-z]{2,}(?:[ '-][A-Za-z]+)*"
)  # most names: two letters or more, no figure, no full stop
_FIGURES = re.compile(r"\d\d")


class Worded(NamedTuple):
    """Class names in words.

    Attributes:
        names: the K names, in the order of those that were given, and as different from each other as they were.
        notes: sentences for the user.
    """

    names: tuple[str, ...]
    notes: list[str]


def in_words(
    names: Sequence[str], *, keep: Collection[str] = (), keep_ids: bool = False, otherwise: str = ""
) -> Worded:
    """Class names with WordNet ids in words, and in Unicode's composed form (NFC).

    An id is ``n02084071``; without its ``n`` it counts if all names of eight digits are ids. Beside other words, as
    in ``n02084071-dog``, those are the name; of NLTK's ``dog.n.01`` they are the first part. No name takes a form that
    another class has, in upper or lower case: two classes never become one.

    Args:
        names: K different names.
        keep: names that the user gave, and that stay as they are.
        keep_ids: leave all ids as they are.
        otherwise: how the user can change what is said, in words.

    Example:
        >>> in_words(["n02084071", "n02374451", "zebra"])[0]
        ('dog', 'horse', 'zebra')
    """
    fixed = set(names) if keep_ids else set(keep)
    worded = {name: words for name, words in _words_of_ids(names).items() if name not in fixed}
    wanted = {name: worded.get(name, unicodedata.normalize("NFC", name)) for name in names}
    clashes: dict[str, str] = {}
    while True:
        times = Counter(new.casefold() for new in wanted.values())
        back = [name for name, new in wanted.items() if new != name and times[new.casefold()] > 1]
        if not back:
            break
        clashes |= {name: wanted[name] for name in back if name in worded}
        wanted |= {name: name for name in back}
    translated = {name: wanted[name] for name in worded if name not in clashes}
    return Worded(tuple(wanted[name] for name in names), _said(translated, clashes, otherwise))


def has_ids(names: Sequence[str]) -> bool:
    """Whether :func:`in_words` would put some of the names into words: they were kept."""
    return bool(in_words(names).notes)


def _said(translated: Mapping[str, str], clashes: Mapping[str, str], otherwise: str) -> list[str]:
    notes = []
    more = f" ({otherwise})" if otherwise else ""
    if translated:
        number = "1 class is" if len(translated) == 1 else f"{len(translated):,} classes are"
        listed = _listed([f"{shown(name)} is {words}" for name, words in translated.items()])
        notes.append(f"{number} named in words, not by WordNet ids: {listed}{more}")
    if clashes:
        listed = _listed([f"{shown(name)} is {words}" for name, words in clashes.items()])
        notes.append(f"WordNet ids that stay, because another class has the same words: {listed}{more}")
    return notes


def _words_of_ids(names: Sequence[str]) -> dict[str, str]:
    """Name → its words, of the names that are or hold a WordNet id that is known."""
    found: dict[str, str] = {}
    beside: dict[str, str] = {}  # name → id, where the words stand beside it
    for name in filter(_FIGURES.search, names):
        if _WORDNET_ID.fullmatch(name):
            found[name] = _synset(name)
        elif match := _NLTK.fullmatch(name):
            found[name] = match["words"]
        elif match := _ID_AND_WORDS.fullmatch(name):
            words = (match["after"] or match["before"]).strip()
            if not unreadable(words):
                found[name], beside[name] = words, match["id"] or match["last"]
    times = Counter(words.casefold() for words in found.values())
    for name, wordnet_id in beside.items():  # two cranes are told apart as WordNet's names do
        if times[found[name].casefold()] > 1:
            found[name] = _synset(wordnet_id) or found[name]
    by_offset = {name: _synset(f"n{name}") for name in names if _OFFSET.fullmatch(name)}
    if all(by_offset.values()):
        found |= by_offset
    return {name: words for name, words in found.items() if words}


def _synset(wordnet_id: str) -> str:
    """The name of a WordNet id in words; empty where it is not known."""
    try:
        return synset_names().get(wordnet_id.lower(), "")
    except ModelError:  # a version of open_clip or timm without these tables: the ids are warned about
        return ""


def relabelled(labelling: Labelling, names: Sequence[str]) -> Labelling:
    """The labelling with other names for its classes, sorted again.

    Args:
        labelling: of n images in K classes.
        names: K different names, in the order of ``labelling.class_names``.
    """
    order = sorted(range(len(names)), key=names.__getitem__)
    place = np.full(len(names) + 1, -1, dtype=np.int64)  # the last one is for images without a class
    place[order] = np.arange(len(names))
    return dataclasses.replace(
        labelling, class_names=tuple(names[i] for i in order), class_of=place[labelling.class_of]
    )


def unreadable(name: str) -> str:
    """Which kind of name it is that CLIP cannot read as words, in the plural; empty for a name that it can.

    Example:
        >>> [unreadable(name) for name in ("7", "A", "n02084071", "IMG_0001.JPG", "***", "tabby cat", "boeing 737")]
        ['numbers', 'single letters', 'WordNet ids', 'file names', 'symbols without letters', '', '']
    """
    if _PLAIN.fullmatch(name):
        return ""
    text = unicodedata.normalize("NFKC", name).strip()
    letters = [c for c in text if c.isalpha()]
    if _WORDNET_ID.fullmatch(text):
        return "WordNet ids"
    if _FILE.fullmatch(text):
        return "file names"
    if _DATE.fullmatch(text) and not text.isdigit():
        return "dates"
    if _DATE.fullmatch(text) and len(text) in (4, 8):
        return "dates"
    if _UUID.fullmatch(text) or _KNOWLEDGE_GRAPH.fullmatch(text):
        return "hashes and codes"
    if not letters:
        return "numbers" if any(c.isdigit() for c in text) else "symbols without letters"
    if (
        len(letters) == 1
        and unicodedata.category(letters[0]) in {"Ll", "Lu", "Lt"}
        and text.strip("._- ()") in letters
    ):
        return "single letters"
    if _NUMBERED.fullmatch(text):
        return "numbers"
    return "hashes and codes" if _is_code(text) else ""


def _is_code(text: str) -> bool:
    """Whether a text with a letter is a hash or code: more figures than words."""
    runs = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_a-zA-Z]+", text)
    figures = [run for run in runs if run.isdigit() and not _YEAR.fullmatch(run)]
    if _HEXADECIMAL.fullmatch(text) and figures:
        return True
    if any(len(run) > 3 for run in runs if not run.isdigit()) or any(not run.isascii() for run in runs):
        return len(text) >= 16 and len(runs) >= 6 and not any(c.isspace() for c in text)
    return any(len(run) > 3 for run in figures) or (len(runs) >= 5 and not any(c.isspace() for c in text))


def unreadable_names(names: Iterable[str]) -> dict[str, str]:
    """Name → kind, of the names that CLIP cannot read as words.

    Names that differ in nothing but their number, such as ``person 1`` and ``person 2``, are numbers if there are no
    others.

    Example:
        >>> unreadable_names(["person 1", "person 2"])
        {'person 1': 'numbers', 'person 2': 'numbers'}
    """
    names = list(names)
    stem = re.sub(r"\d+", "", names[0]) if names else ""
    if len(names) > 1 and all(re.sub(r"\d+", "", name) == stem for name in names):
        return {name: unreadable(name) or "numbers" for name in names}
    return {name: kind for name in names if (kind := unreadable(name))}


def mostly_unreadable(names: Sequence[str]) -> bool:
    """Whether CLIP can read less than half of the names as words, so that its prompts say nothing about the images."""
    return 2 * len(unreadable_names(names)) > len(names)


def unreadable_note(names: Sequence[str], remedy: str) -> list[str]:
    """A sentence about the names that CLIP cannot read as words, if there are any.

    Args:
        names: K class names.
        remedy: what the user can do.
    """
    found = unreadable_names(names)
    if not found:
        return []
    by_kind: dict[str, list[str]] = defaultdict(list)
    for name, kind in found.items():
        by_kind[kind].append(name)
    listed = "; ".join(f"{kind} ({listed_names(some)})" for kind, some in by_kind.items())
    number = f"{len(found):,} of {len(names):,} class names" if len(names) > 1 else "the class's name"
    return [f"CLIP cannot read {number} as words: {listed}; prompts with them say little. {remedy}"]


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of two or more names that look the same, but for case, blanks and Unicode's forms.

    Example:
        >>> look_alikes(["Hot dog", "hot  dog", "cat"])
        [('Hot dog', 'hot  dog')]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[plain_form(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def look_alike_note(names: Iterable[str], remedy: str) -> list[str]:
    """A sentence about names that look the same, if there are any; ``remedy`` is what the user can do."""
    return same_prompt_note(look_alikes(names), remedy)


def same_prompt_note(groups: Sequence[Sequence[str]], remedy: str) -> list[str]:
    """A sentence about groups of names that make one and the same prompt, if there are any."""
    if not groups:
        return []
    listed = "; ".join(
        " and ".join(shown(name, group) for name in group[:_SHOWN])
        + (f" and {len(group) - _SHOWN:,} more" if len(group) > _SHOWN else "")
        for group in groups[:_SHOWN]
    )
    more = " …" if len(groups) > _SHOWN else ""
    return [
        f"{sum(map(len, groups)):,} classes have the same prompt as another one, so that text cannot tell them apart: "
        f"{listed}{more}. {remedy}".rstrip()
    ]


def plain_form(name: str) -> str:
    """A name without what does not change its meaning: case, width of blanks and letters, Unicode's forms."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def shown(name: str, beside: Iterable[str] = ()) -> str:
    """A name for a sentence: cut where it is long, and escaped where it could not be told from those beside it."""
    composed = unicodedata.normalize("NFC", name).split()
    if any(one != name and unicodedata.normalize("NFC", one).split() == composed for one in beside):
        name = name.encode("ascii", "backslashreplace").decode()
    # Long names may differ at their end only.
    return name if len(name) <= _LONGEST else name[: _LONGEST - _END - 1] + "…" + name[-_END:]


def listed_names(names: Iterable[str]) -> str:
    """The first few names, for a sentence."""
    return _listed([shown(name) for name in names])


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (" …" if len(items) > _SHOWN else "")

"""ImageNet's classes: their WordNet ids, which its folders are named by, and their names in words.

The tables are read from the files of the installed open_clip and timm; neither is imported, which takes seconds.
"""

from __future__ import annotations

import functools
import importlib.util
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from deltaoe.errors import ModelError

_IN_WORDS = "name the class folders in words, or a list with a column class: --id LIST.csv"


def imagenet_names() -> tuple[str, ...]:
    """The 1,000 names of ``open_clip.IMAGENET_CLASSNAMES``, in the order of the classes; two of them occur twice.

    Raises:
        ModelError: open_clip is not installed, or this version does not have the names where they are looked for.

    Example:
        >>> names = imagenet_names()
        >>> len(names), names[0]
        (1000, 'tench')
    """
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise ModelError("open_clip is not installed", hint="pip install open_clip_torch")
    path = Path(package.submodule_search_locations[0]) / "zero_shot_metadata.py"
    spec = importlib.util.spec_from_file_location("deltaoe_open_clip_names", path)
    try:
        assert spec is not None  # noqa: S101 - a .py file always has one
        assert spec.loader is not None  # noqa: S101
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return tuple(str(name) for name in module.IMAGENET_CLASSNAMES)
    except (OSError, AttributeError) as cause:
        raise ModelError(
            "this version of open_clip has no ImageNet names", hint="name a file: --background FILE"
        ) from cause


def imagenet_folders() -> tuple[str, ...]:
    """The 1,000 WordNet ids that ImageNet's folders are named by, in the order of the classes.

    Raises:
        ModelError: the installed timm, which open_clip needs, does not have them in the expected file.
    """
    return tuple(_table_of_timm("imagenet_synsets.txt").split())


@functools.cache
def synset_names() -> Mapping[str, str]:
    """WordNet id → name in words, of the 21,844 noun synsets of ImageNet-21k; no two names differ in case only.

    The 1,000 classes of ImageNet have open_clip's names, where no two of them share one. Any other synset has its
    first lemma (word of WordNet) that no synset before it has, alone or with the others before it, else its first
    lemma and its id. Synsets come in the order of their ids. The name of an id does not depend on which other ids a
    data set has, so that data sets of the same folders agree.

    Raises:
        ModelError: the installed open_clip or timm does not have the tables where they are looked for.

    Example:
        >>> [synset_names()[wordnet_id] for wordnet_id in ("n02084071", "n02012849", "n03126707")]
        ['dog', 'crane bird', 'construction crane']
    """
    rows = (line.partition("\t") for line in _table_of_timm("imagenet_synset_to_lemma.txt").splitlines())
    lemmas = {wordnet_id: words.split(", ") for wordnet_id, _, words in sorted(rows)}
    clean = dict(zip(imagenet_folders(), imagenet_names(), strict=True))
    times = Counter(name.casefold() for name in clean.values())
    names = {wordnet_id: name for wordnet_id, name in clean.items() if times[name.casefold()] == 1}
    taken = {name.casefold() for name in names.values()}
    # ImageNet's other classes choose before the rest.
    for wordnet_id in dict.fromkeys((*clean, *lemmas)):
        if wordnet_id in names:
            continue
        words = lemmas.get(wordnet_id, [clean.get(wordnet_id, wordnet_id)])
        choices = [words[0], *(f"{words[0]}, {word}" for word in words[1:])]
        name = next((one for one in choices if one.casefold() not in taken), f"{words[0]} {wordnet_id}")
        names[wordnet_id] = name
        taken.add(name.casefold())
    return MappingProxyType(names)


def _table_of_timm(name: str) -> str:
    """The text of one of timm's tables about ImageNet. Raises ModelError."""
    package = importlib.util.find_spec("timm")
    try:
        folder = Path((package.submodule_search_locations or [])[0]) if package else Path()
        return (folder / "data" / "_info" / name).read_text("utf-8")
    except (OSError, IndexError) as cause:
        raise ModelError("this version of timm has no list of ImageNet's folders", hint=_IN_WORDS) from cause

"""Prompts as a model reads them: which of them have the same tokens, and which are longer than it reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltaoe.images.class_names import same_prompt_note, shown

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 512  # prompts per call of the tokenizer
_LONGEST = 1 << 14  # tokens; no longer prompt is counted to its end
_SHOWN = 3

Tokenizer = Callable[..., "Tensor"]


@dataclass(frozen=True)
class PromptTokens:
    """What a model reads of K prompts.

    Attributes:
        first: (K,) int64, the first prompt with the same tokens, by its index; a prompt's own where it is the first.
        lengths: (K,) int64, number of tokens of the prompts that are cut, 0 of all others. Start and end count.
        limit: number of tokens that the model reads.
    """

    first: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    limit: int

    @classmethod
    def of(cls, prompts: Sequence[str], tokenizer: Tokenizer) -> PromptTokens:
        """The tokens of K prompts.

        Args:
            prompts: K texts.
            tokenizer: open_clip's, from n texts to token ids (n, L); takes another L as ``context_length``.
        """
        first: dict[bytes, int] = {}
        same = np.zeros(len(prompts), dtype=np.int64)
        lengths = np.zeros(len(prompts), dtype=np.int64)
        empty = tokenizer([""])[0].numpy()
        padding = int(empty[-1])
        unseen = int((empty == padding).all())  # of tokenizers that pad with the token that ends a prompt
        limit = 0
        for start in range(0, len(prompts), _BATCH):
            rows = tokenizer(list(prompts[start : start + _BATCH])).numpy()
            limit = rows.shape[1]
            for index, row in enumerate(rows, start):
                same[index] = first.setdefault(row.tobytes(), index)
            # Two columns, because the last one may be the unseen end.
            for index in (start + np.flatnonzero((rows[:, -2:] != padding).any(axis=1))).tolist():
                length = _length(prompts[index], tokenizer, padding) + unseen
                lengths[index] = length if length > limit else 0
        return cls(same, lengths, limit)

    def groups(self) -> list[list[int]]:
        """Indices of the prompts with the same tokens, of those that share them with another one."""
        found: dict[int, list[int]] = defaultdict(list)
        repeated = np.flatnonzero(self.first != np.arange(len(self.first)))
        for index in repeated.tolist():
            place = int(self.first[index])
            found[place] = found[place] or [place]
            found[place].append(index)
        return [found[place] for place in sorted(found)]


def _length(prompt: str, tokenizer: Tokenizer, padding: int) -> int:
    """Number of tokens of a prompt up to its padding, at most :data:`_LONGEST`."""
    room = min(_LONGEST, 2 * len(prompt.encode()) + 16)  # a token holds at least one byte
    row = tokenizer([prompt], context_length=room).numpy()[0]
    return int(np.flatnonzero(row != padding)[-1]) + 1


def prompt_of(template: str, name: str) -> str:
    """The prompt of a class. Lone surrogates in its name become U+FFFD, as in open_clip's tokenizer."""
    return template.replace("{}", name).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def prompt_notes(names: Sequence[str], tokens: PromptTokens, remedy: str = "") -> list[str]:
    """Sentences about classes with one and the same prompt, and about prompts that are cut.

    Args:
        names: K names.
        tokens: of their prompts.
        remedy: what the user can do, a sentence.
    """
    notes = same_prompt_note([[names[i] for i in group] for group in tokens.groups()], remedy)
    cut = np.flatnonzero(tokens.lengths).tolist()
    if cut:
        listed = ", ".join(f"{shown(names[i])} ({tokens.lengths[i]:,})" for i in cut[:_SHOWN])
        number = f"The prompts of {len(cut):,} classes are" if len(cut) > 1 else "The prompt of 1 class is"
        notes.append(
            f"{number} longer than the {tokens.limit} tokens that the model reads, and cut there: {listed}"
            + (" …" if len(cut) > _SHOWN else "")
            + f". {remedy}".rstrip()
        )
    return notes

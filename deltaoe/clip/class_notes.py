"""What a user should know of class names before a model reads them in prompts."""

from __future__ import annotations

from collections.abc import Sequence

from deltaoe.clip.options import TEMPLATE
from deltaoe.clip.prompt_tokens import prompt_notes, prompt_of
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, MismatchError, ModelError
from deltaoe.images.class_names import look_alike_note, unreadable_note

# How the user can rename or join the classes of a data set.
RENAME = "deltaoe extract --classes FILE renames or joins classes."


def class_notes(
    names: Sequence[str],
    source: ModelSource,
    *,
    remedy: str,
    unread: str | None,
    template: str = TEMPLATE,
) -> list[str]:
    """Sentences about the names of K classes: what CLIP cannot read as words, cannot tell apart, or is cut.

    Args:
        names: K names.
        source: has the tokenizer of the model that reads the prompts; where it cannot be loaded, names that look the
            same are found, not prompts of the same tokens.
        remedy: how the user can rename or join classes, a sentence.
        unread: what becomes of names that are no words, a sentence; None says nothing about them.
        template: prompt of a class, with ``{}`` for its name.
    """
    notes = [] if unread is None else unreadable_note(names, f"{unread} {remedy}".strip())
    try:
        tokens = source.prompt_tokens([prompt_of(template, name) for name in names])
    except (ConfigError, MismatchError, ModelError):  # the command that needs the model says so
        return notes + look_alike_note(names, remedy)
    return notes + prompt_notes(names, tokens, remedy)


def tokens_are_kept(names: Sequence[str], source: ModelSource, template: str = TEMPLATE) -> bool:
    """Whether what the model reads of the prompts of these classes is known without its tokenizer."""
    return source.has_tokens([prompt_of(template, name) for name in names])

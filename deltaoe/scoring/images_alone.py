"""Where the images of a data set are the only evidence: asked for, or because text has nothing to say."""

from __future__ import annotations

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.class_names import mostly_unreadable
from deltaoe.scoring.options import ScoreOptions
from deltaoe.scoring.zero_shot_images import fitting_rows
from deltaoe.store.dataset import DataSet
from deltaoe.store.workspace import Workspace

UNREAD = "CLIP cannot read the class names"


def images_alone(data: DataSet | None, workspace: Workspace, options: ScoreOptions, has_text: bool) -> str:
    """Why the images of the data set are the only evidence, in words; empty where prompts are asked, too.

    They are if the options say so; else with ``auto`` if there are no text features, or if CLIP can read few of the
    class names as words and there are images enough: prompts of such names make fewer unknown images be found.

    Raises:
        DataError: there are no labelled images, and they are asked for.
    """
    if options.evidence == "images":
        if data is None or not data.labelled:
            raise DataError(
                "there are no labelled images to compare with",
                hint="extract them first: deltaoe extract DIR   (DIR holds one folder per class)",
            )
        return "--evidence images"
    if data is None or has_text or options.labels or options.evidence != "auto":
        return ""
    if options.prompts.template is not None:
        return ""
    space = workspace.known_space(data.space_id)
    if space is not None and space.is_imported:
        return f"no text features came with {data.title}"
    unread = data.labelled and not _prompts_asked(options) and mostly_unreadable(data.class_names)
    return UNREAD if unread and fitting_rows(data, "auto") is not None else ""


def check_no_prompts_asked(options: ScoreOptions) -> None:
    """Raise ConfigError if an option asks something of prompts, where there are none."""
    for flag in _prompts_asked(options):
        raise ConfigError(
            f"{flag} is about prompts, and images are compared alone here", hint=f"leave {flag} out"
        )


def _prompts_asked(options: ScoreOptions) -> list[str]:
    """The options that ask something of prompts."""
    prompts = options.prompts
    flags = {
        "--template": prompts.template is not None,
        "--temperature": prompts.temperature is not None,
        "--top-c": prompts.top_c is not None,
        "--background": prompts.background.source is not None,
        "--select": options.select,
    }
    return [flag for flag, is_set in flags.items() if is_set]

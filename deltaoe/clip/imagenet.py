"""The class names of ImageNet-1k in open_clip's wording."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from deltaoe.errors import ModelError


def imagenet_names() -> tuple[str, ...]:
    """The 1,000 names of ``open_clip.IMAGENET_CLASSNAMES``, without importing open_clip, which takes seconds.

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

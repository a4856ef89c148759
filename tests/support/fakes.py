"""A model that takes no time: features that can be told from the pixels, and a count of what it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from deltaoe.images.decode import decode
from deltaoe.images.inputs import FileList, find_files
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.workspace import Workspace

if TYPE_CHECKING:
    import torch

DIM = 3
SPACE = FeatureSpace("fake", "w", "c", "{}", "fp32", 1, DIM)


class FakeGeometry:
    """Pictures of a single pixel, the first; in view v its red is 20 v darker.

    ``decoded`` lists the views asked for, a tuple per picture; it knows nothing of what other processes do.
    """

    def __init__(self) -> None:
        self.decoded: list[tuple[int, ...]] = []

    def decode_noted(self, data: bytes, digest: bytes, views: Sequence[int]) -> np.ndarray:
        pixel = np.array(decode(data).getpixel((0, 0)))
        self.decoded.append(tuple(views))
        return np.stack([pixel - (20 * view, 0, 0) for view in views]).astype(np.uint8)[:, None, None]


class FakeClip:
    """The feature of a picture is the direction of its first pixel's colour.

    From call ``fail_at`` on, ``fails`` calls of the model raise ``error``.
    """

    def __init__(
        self,
        space: FeatureSpace = SPACE,
        *,
        fail_at: int = 0,
        fails: int = 1,
        error: BaseException | None = None,
    ):
        self.space, self.device, self.geometry = space, SimpleNamespace(type="cpu"), FakeGeometry()
        self.batches: list[int] = []
        self.most_waiting = 0
        self._calls, self._failing = 0, range(fail_at, fail_at + fails if fail_at else 0)
        self._error = error or RuntimeError("the driver is gone")

    def encode_pixels(self, pixels: np.ndarray) -> torch.Tensor:
        import torch  # here, as processes that decode import this module

        self._calls += 1
        waiting = sum(map(len, self.geometry.decoded)) - sum(self.batches)
        self.most_waiting = max(self.most_waiting, waiting)
        if self._calls in self._failing:
            raise self._error
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (1, 1, 3)
        self.batches.append(len(pixels))
        return torch.nn.functional.normalize(torch.from_numpy(pixels[:, 0, 0].astype(np.float32)), dim=1)


class FakeSource:
    """Like ModelSource: knows a space, loads the model when asked."""

    def __init__(self, workspace: Workspace, clip: FakeClip | None, known: FeatureSpace = SPACE):
        self.loaded = self.remembered = 0
        self._workspace, self._clip, self._known = workspace, clip, known

    def store(self) -> FeatureStore:
        return self._workspace.store(self._known)

    def clip(self) -> FakeClip:
        assert self._clip is not None, "the model is not needed"
        self.loaded += 1
        return self._clip

    def space(self) -> FeatureSpace:
        assert self._clip is not None, "the model is not needed"
        return self._clip.space

    def remember(self, *, default: bool = False) -> None:
        self.remembered += 1


def colour(i: int) -> tuple[int, int, int]:
    """Colours whose directions differ from each other by more than half precision."""
    return 255, (i * 37) % 251, (i * 91) % 241


def draw(path: Path, i: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour(i)).save(path)


def feature(i: int, view: int = 0) -> np.ndarray:
    red, green, blue = colour(i)
    pixel = np.array([red - 20 * view, green, blue], dtype=np.float64)
    return pixel / np.linalg.norm(pixel)


def listed(folder: Path) -> FileList:
    return find_files([str(folder)])

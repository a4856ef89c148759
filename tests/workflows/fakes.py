"""A model that takes no time: features that can be told from the pixels, and a count of what it was asked for."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from deltaoe.data.features import FeatureStore
from deltaoe.data.images import ImageFile, find_images
from deltaoe.data.space import FeatureSpace
from deltaoe.data.workspace import Workspace

DIM = 3
SPACE = FeatureSpace("fake", "w", "c", "{}", "fp32", 1, DIM)


class FakeClip:
    """The feature of a picture is the direction of its first pixel's colour."""

    def __init__(
        self, space: FeatureSpace = SPACE, *, fail_at: int = 0, error: type[BaseException] = RuntimeError
    ):
        self.space, self.device = space, SimpleNamespace(type="cpu")
        self.batches: list[int] = []
        self.decoded = self.most_waiting = 0
        self._fail_at, self._error, self._lock = fail_at, error, threading.Lock()

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        with self._lock:
            self.decoded += 1
            self.most_waiting = max(self.most_waiting, self.decoded - sum(self.batches))
        return torch.tensor(image.getpixel((0, 0)), dtype=torch.float32)

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        if self._fail_at and len(self.batches) + 1 == self._fail_at:
            raise self._error("out of memory")
        self.batches.append(len(batch))
        return torch.nn.functional.normalize(batch, dim=1)


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

    def remember(self) -> None:
        self.remembered += 1


def colour(i: int) -> tuple[int, int, int]:
    """Colours whose directions differ from each other by more than half precision."""
    return 255, (i * 37) % 251, (i * 91) % 241


def draw(path: Path, i: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour(i)).save(path)


def feature(i: int) -> np.ndarray:
    pixel = np.array(colour(i), dtype=np.float64)
    return pixel / np.linalg.norm(pixel)


def listed(folder: Path) -> list[ImageFile]:
    return list(find_images(folder))

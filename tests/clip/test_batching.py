"""Batches that shrink when memory runs out: no row lost, none twice, none out of order."""

from __future__ import annotations

import weakref
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltaoe.clip import batching
from deltaoe.clip.batching import BatchEncoder
from deltaoe.errors import ConfigError, ModelError
from deltaoe.runtime import free_memory, is_out_of_memory

CPU = torch.device("cpu")


class Fake:
    """The feature of a picture is its first pixel; more than ``room`` of them do not fit."""

    def __init__(self, room: int, error: BaseException | None = None, device: torch.device = CPU):
        self.room, self.device, self.space = room, device, SimpleNamespace(dim=3)
        self.error = error or RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …")
        self.sizes: list[int] = []

    def encode_pixels(self, pixels: np.ndarray) -> torch.Tensor:
        self.sizes.append(len(pixels))
        if len(pixels) > self.room:
            raise self.error
        return torch.from_numpy(pixels[:, 0, 0].astype(np.float32))


def numbered(count: int) -> np.ndarray:
    """Pictures (count, 2, 2, 3) that differ in their first pixel."""
    values = np.arange(count)
    first = np.stack([values % 256, values // 256, values % 7], axis=1).astype(np.uint8)
    return np.broadcast_to(first[:, None, None], (count, 2, 2, 3))


@mock.patch.object(batching, "free_memory", new=lambda device: None)  # collecting garbage takes its time
@given(count=st.integers(0, 300), batch_size=st.integers(1, 300), room=st.integers(1, 300))
def test_every_row_comes_back_once_and_in_order(count, batch_size, room):
    pixels, clip = numbered(count), Fake(room)
    encode = BatchEncoder(clip, batch_size)
    features = encode(pixels)
    assert (features.dtype, features.shape) == (np.float32, (count, 3))
    assert np.array_equal(features, pixels[:, 0, 0])
    tries = len(clip.sizes)
    assert np.array_equal(encode(pixels), features)
    assert max(clip.sizes[tries:], default=0) <= room  # what was learnt is remembered


def test_the_batch_is_halved_until_it_fits():
    said: list[str] = []
    clip = Fake(70)
    encode = BatchEncoder(clip, 256, said.append)
    encode(numbered(200))
    assert clip.sizes == [200, 100, 50, 50, 50, 50]
    assert encode.batch_size == 50
    assert said == [f"out of memory: batches of {size} from now on" for size in (100, 50)]
    encode(numbered(60))
    assert clip.sizes[6:] == [50, 10]
    assert len(said) == 2


def test_enough_memory_is_no_reason_to_speak():
    said: list[str] = []
    clip = Fake(64)
    assert len(BatchEncoder(clip, 64, said.append)(numbered(130))) == 130
    assert (clip.sizes, said) == ([64, 64, 2], [])


@pytest.mark.parametrize(
    ("device", "hint"), [("cpu", "close other programs"), ("cuda:0", "--device cpu"), ("mps", "--device cpu")]
)
def test_not_even_one(monkeypatch, device, hint):
    monkeypatch.setattr(batching, "free_memory", lambda device: None)
    said: list[str] = []
    clip = Fake(0, device=torch.device(device))
    with pytest.raises(ModelError, match="single image") as caught:
        BatchEncoder(clip, 5, said.append)(numbered(9))
    assert clip.sizes == [5, 2, 1]
    assert len(said) == 2
    assert "smaller model" in caught.value.hint and hint in caught.value.hint


@pytest.mark.parametrize(
    ("given", "device", "size"), [(None, "cpu", 32), (None, "cuda", 256), (None, "mps", 256), (7, "cuda", 7)]
)
def test_sizes_to_begin_with(given, device, size):
    assert BatchEncoder(Fake(1, device=torch.device(device)), given).batch_size == size


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one(size):
    with pytest.raises(ConfigError, match="at least 1"):
        BatchEncoder(Fake(1), size)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ModelError("not finite"),
        KeyboardInterrupt(),
        OSError("out of memory"),
    ],
)
def test_other_errors_are_not_ours(error):
    clip = Fake(3, error)
    with pytest.raises(type(error)) as caught:
        BatchEncoder(clip, 8)(numbered(8))
    assert caught.value is error
    assert clip.sizes == [8]


def test_the_failed_work_is_gone_before_memory_is_freed(monkeypatch):
    """An exception holds its frames, and they hold the activations: freeing under it would free nothing."""

    class Activations:
        pass

    alive: list[weakref.ref[Activations]] = []
    freed: list[bool] = []

    class Large(Fake):
        def encode_pixels(self, pixels):
            if len(pixels) > self.room:
                activations = Activations()
                alive.append(weakref.ref(activations))
                raise RuntimeError("out of memory")
            return super().encode_pixels(pixels)

    monkeypatch.setattr(batching, "free_memory", lambda device: freed.append(alive[-1]() is None))
    BatchEncoder(Large(2), 8)(numbered(8))
    assert freed == [True, True]


# What the exceptions look like


def test_the_real_exception_of_the_cpus_allocator():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)  # 1 PiB, more than a process can address
    assert is_out_of_memory(caught.value)
    free_memory(CPU)
    assert BatchEncoder(Fake(2, caught.value), 4)(numbered(5)).shape == (5, 3)


def test_the_real_exception_of_numpy():
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 50, dtype=np.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has …"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be …"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.56 GB, other allocations: 1.10 GB …"),
        RuntimeError("Invalid buffer size: 19.45 GB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: not enough memory: …"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_out_of_memory_in_everybodys_words(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: device-side assert triggered"), ValueError("out of memory")]
)
def test_other_exceptions(error):
    assert not is_out_of_memory(error)

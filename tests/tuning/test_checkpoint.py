"""Checkpoints: what comes out of a file is what went in, or the tuning starts anew and says so."""

from __future__ import annotations

import random

import pytest
import torch
from detector_files import joined_under, parts_under

from deltaoe.tuning.checkpoint import Checkpoint
from deltaoe.tuning.loop import Progress, Step

STATE = Progress(
    last=Step(3, 12, 1, 0.5, 0.25, 1.0, 0.75),
    best_loss=0.125,
    best=torch.arange(8.0).reshape(2, 4),
    context=torch.ones(2, 4),
    optimiser={"step": torch.tensor(3.0), "exp_avg": torch.full((2, 4), 0.5)},
    generator=torch.arange(16, dtype=torch.uint8),
)
KEY = "deltaoe-checkpoint"


def equal(a: Progress, b: Progress) -> bool:
    tensors = [(a.best, b.best), (a.context, b.context), (a.generator, b.generator)]
    tensors += [(a.optimiser[name], b.optimiser[name]) for name in a.optimiser]
    return (
        (a.last, a.best_loss, a.optimiser.keys()) == (b.last, b.best_loss, b.optimiser.keys())
        and all(one.dtype == other.dtype for one, other in tensors)
        and all(torch.equal(one, other) for one, other in tensors)
    )


@pytest.fixture
def checkpoint(tmp_path):
    written = Checkpoint(tmp_path, {"seed": 1})
    written.record(STATE)
    written.write()
    return Checkpoint(tmp_path, {"seed": 1})


def test_round_trip(checkpoint, tmp_path):
    said = []
    assert equal(checkpoint.load(said.append), STATE)
    assert Checkpoint(tmp_path, {"seed": 2}).load(said.append) is None
    nowhere = Checkpoint(None, {})
    assert nowhere.load(said.append) is None
    assert said == []


def test_flipped_bits_and_cuts_start_anew_and_say_so(checkpoint):
    rng, whole = random.Random(0), checkpoint.path.read_bytes()
    anew = 0
    for number in range(400):
        content = bytearray(whole)
        if number % 4:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        else:
            del content[rng.randrange(len(content)) :]
        checkpoint.path.write_bytes(content)
        said = []
        found = checkpoint.load(said.append)
        if found is None:
            (sentence,) = said
            assert str(checkpoint.path) in sentence
            assert sentence.endswith("the tuning starts anew")
            anew += 1
        else:  # a blank of the header became a tab
            assert equal(found, STATE)
            assert said == []
    assert anew > 380


def test_a_file_of_an_earlier_version_is_gone_on_from(checkpoint):
    table, head, body = parts_under(KEY, checkpoint.path.read_bytes())
    checkpoint.path.write_bytes(joined_under(KEY, table, head, body))
    assert equal(checkpoint.load(), STATE)
    checkpoint.path.write_bytes(joined_under(KEY, table, head | {"format": 0}, body))
    said = []
    assert checkpoint.load(said.append) is None
    assert "another version" in said[0]


def test_a_folder_or_a_pipe_in_its_place(checkpoint):
    checkpoint.path.unlink()
    checkpoint.path.mkdir()
    said = []
    assert checkpoint.load(said.append) is None
    assert "it is a folder" in said[0]

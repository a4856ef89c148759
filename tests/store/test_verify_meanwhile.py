"""Verifying while other processes write, compact and replace data sets: no damage is reported, and nothing is moved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from samples import digests, make_space
from stored import DIM, fill

from deltaoe.store import verification
from deltaoe.store.maintenance import verify
from deltaoe.store.workspace import Workspace

SPACE = make_space(DIM)
SUPPORT = Path(__file__).parents[1] / "support"
# Writes small shards, compacts them, and replaces a data set, until the other end of the pipe is closed.
BUSY = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import numpy as np
from samples import digests, make_space
from stored import DIM, fill
from deltaoe.store.dataset import DataSet
from deltaoe.store.maintenance import compact
from deltaoe.store.workspace import Workspace

space, place = make_space(DIM), Workspace(Path(sys.argv[1]))
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
ended, start = threading.Event(), 0
while not ended.is_set():
    for _ in range(3):
        fill(place.store(space), range(start, start + 4))
        start += 4
    numbers = range(start)
    place.save_dataset(DataSet(
        root="", space_id=space.id, model=space.model, layout="table", class_names=("a",), domain_names=(),
        paths=[f"{i}.png" for i in numbers], digests=digests(numbers), class_of=np.zeros(start, np.int64),
        domain_of=np.full(start, -1), name="mine",
    ))
    compact(place)
    print(start, flush=True)
print("done", flush=True)
"""


@pytest.mark.parametrize("repair", [False, True], ids=["verify", "repair"])
def test_no_false_damage(tmp_path, repair):
    place = Workspace(tmp_path / ".deltaoe")
    busy = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(place.folder), str(SUPPORT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert busy.stdin is not None and busy.stdout is not None
    try:
        rounds = int(busy.stdout.readline())
        for _ in range(12):
            done = verify(place, repair=repair)
            assert (done.damage, done.unreadable, done.aside) == ([], [], [])
            assert done.rows >= rounds
    finally:
        told, _ = busy.communicate()
    assert told.splitlines()[-1] == "done" and len(told.splitlines()) > 1  # it was at work all the time
    count = int(told.splitlines()[-2])
    assert verify(place).rows == count
    assert place.store(SPACE).has(digests(range(count))).all()


def test_a_shard_that_vanishes_while_it_is_read(tmp_path, monkeypatch):
    place = Workspace(tmp_path / ".deltaoe")
    for start in (0, 4):
        fill(place.store(SPACE), range(start, start + 4))
    real = verification.check_shard
    first = place.folder / "features" / SPACE.id / "shard-00000001.h5"

    def vanishing(path, space):
        if path == first:
            first.rename(first.with_name("shard-00000003.h5"))  # its rows lie elsewhere now
        return real(path, space)

    monkeypatch.setattr(verification, "check_shard", vanishing)
    done = verify(place, repair=True)
    assert (done.rows, done.damage, done.unreadable) == (8, [], [])


def test_a_file_that_reads_well_the_second_time_is_not_damaged(tmp_path, monkeypatch):
    place = Workspace(tmp_path / ".deltaoe")
    fill(place.store(SPACE), range(4))
    real, calls = verification.check_checksum, []

    def once_wrong(file):
        calls.append(file)
        if len(calls) == 1:
            raise verification.DamagedError("its content has changed since it was written")
        real(file)

    monkeypatch.setattr(verification, "check_checksum", once_wrong)
    done = verify(place, repair=True)
    assert (done.rows, done.damage, len(calls)) == (4, [], 2)

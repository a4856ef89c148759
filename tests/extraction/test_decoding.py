"""Pictures ahead of the model: each file once and in its place, within bounds of memory."""

from __future__ import annotations

import functools
import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import decoders
import numpy as np
import pytest
from decoded import PATIENCE, assert_good, either, needs_proc, until
from decoders import value_of

from deltaoe.extraction import decoder_processes, decoding_window
from deltaoe.extraction.decoding import pictures
from deltaoe.extraction.decoding_window import Picture

# Each once, in order


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_each_file_gets_its_own_pixels_in_order(files, workers):
    given = files(*["slow" if i % 7 == 0 else "good" for i in range(60)])
    result = given.run(workers=workers)
    assert_good(result, range(60))
    assert [picture.digest for picture in result] == [given.digest(i) for i in range(60)]
    assert given.asked == list(range(60)) and given.said == []


@either
@pytest.mark.parametrize("ahead", [0, 1, 2, 1000])
def test_any_look_ahead(files, workers, ahead):
    assert_good(files(*["good"] * 20).run(workers=workers, ahead=ahead), range(20))


@either
def test_views_that_were_asked_for(files, workers):
    views = {0: (0,), 1: (0, 1, 2), 2: (3,), 3: (2, 1)}
    given = files(*["good"] * 4)
    by_digest = {given.digest(i): views[i] for i in views}
    for i, picture in enumerate(given.run(workers=workers, wanted=by_digest.__getitem__)):
        wanted = decoders.decode(given.paths[i].read_bytes(), b"", views[i])
        assert picture.views == views[i]
        assert picture.pixels.dtype == np.uint8 and np.array_equal(picture.pixels, wanted)


@either
def test_nothing_to_do(files, workers):
    assert files().run(workers=workers) == []


@either
def test_known_contents_are_not_decoded(files, workers):
    given = files("good", "broken", "exit", "good")  # of which two must not reach a decoder
    given.known = {given.digest(1), given.digest(2)}
    result = given.run(workers=workers)
    assert_good(result, [0, 3])
    for i in (1, 2):
        assert result[i] == Picture(i, given.digest(i), None, (), "", False, given.seen(i))


@needs_proc
def test_without_anything_new_no_process_is_started(files, monkeypatch):
    monkeypatch.setattr(
        decoder_processes.subprocess, "Popen", lambda *a, **k: pytest.fail("a process was started")
    )
    given = files(*["good"] * 70)
    given.known = {given.digest(i) for i in range(70)}
    assert {picture.problem for picture in given.run(workers=2)} == {""}


def test_a_few_files_are_decoded_in_one_process_which_the_next_run_finds(files):
    runs = [files("here 1", "here 2").run(workers=2), files("here 3").run(workers=2)]
    pids = {value_of(picture.pixels) for run in runs for picture in run}
    assert len(pids) == 1 and os.getpid() not in pids


def test_workers_are_as_many_as_asked_for(files):
    given = files(*["slow"] * 30, *[f"here {i}" for i in range(60)])
    result = given.run(workers=2, ahead=90)
    assert 1 <= len({value_of(picture.pixels) for picture in result[30:]} - {os.getpid()}) <= 2


# Copies


@either
def test_a_copy_waits_for_its_twin(files, workers):
    given = files("slow 0", "slow 0", "good", "slow 0", "good")
    result = given.run(workers=workers)
    assert_good(result, [0, 2, 4])
    for i in (1, 3):
        assert result[i] == Picture(i, given.digest(0), None, (), "", False, given.seen(i))


@either
@pytest.mark.parametrize("word", ["broken", "bug", "missing"])
def test_a_copy_has_its_twins_problem(files, workers, word):
    given = files(*[f"{word} 0", "good"] * 6)
    if word == "missing":
        for path in given.paths[::2]:
            path.unlink()
    result = given.run(workers=workers, ahead=4)  # some twins are in flight, some have passed
    assert_good([*result[:2], *result[2:]], [1])
    assert result[0].problem and len({picture[1:6] for picture in result[::2]}) == 1


def test_a_copy_of_what_crashed_costs_no_further_process(files, monkeypatch):
    started, popen = [], decoder_processes.subprocess.Popen
    monkeypatch.setattr(
        decoder_processes.subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k)
    )
    result = files(*["exit 0"] * 5).run(workers=1)
    assert {picture.problem for picture in result} == {"the decoder crashed on this file (exit code 3)"}
    assert len(started) == 2


def test_a_copy_far_behind_is_decoded_once_as_the_caller_may_still_hold_the_first(files):
    given = files("good 0", *["good"] * 30, "good 0")
    assert given.run(workers=0, ahead=2)[-1].pixels is None


def test_of_very_many_contents_some_are_forgotten(files, monkeypatch):
    monkeypatch.setattr(decoding_window, "_MAX_CONTENTS", 3)
    given = files("good 0", *["good"] * 10, "good 0")
    result = given.run(workers=0, ahead=2)
    assert value_of(result[11].pixels) == 0


# Bounds


def test_no_more_than_so_many_files_ahead(files):
    given = files(*["good"] * 50)
    for number, _ in enumerate(given.stream(workers=0, ahead=7)):
        time.sleep(0.001)
        assert len(given.asked) <= number + 7


def test_no_more_bytes_of_files_than_so_many(files, monkeypatch):
    monkeypatch.setattr(decoding_window, "_MAX_FILE_BYTES", 1000)
    given = files(*[f"good {i:02d} {'x' * 240}" for i in range(30)])
    assert given.paths[0].stat().st_size == 248
    go = threading.Event()

    def waiting(data, digest, views):
        go.wait(PATIENCE)
        return decoders.decode(data, digest, views)

    pool = ThreadPoolExecutor(1)
    done = pool.submit(lambda: list(given.stream(workers=0, ahead=1000, decode=waiting)))
    until(lambda: len(given.asked) == 5)  # the fifth for its size only
    time.sleep(0.1)
    assert len(given.asked) == 5
    go.set()
    assert_good(done.result(PATIENCE), range(30))
    pool.shutdown()


def test_a_file_beyond_all_bounds_passes(files, monkeypatch):
    monkeypatch.setattr(decoding_window, "_MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(decoding_window, "_MAX_PIXEL_BYTES", 100)
    given = files("good", f"good 1 {'x' * 5000}", "good", f"wide 3 {'x' * 9000}", "good")
    for workers in (0, 1):
        result = given.run(workers=workers)
        assert_good(result, [0, 1, 2, 4])
        assert result[3].pixels.shape == (1, 512, 512, 3)


def test_no_more_pixels_than_so_many(files, monkeypatch):
    monkeypatch.setattr(decoding_window, "_EXPECTED_VIEW_BYTES", 12)
    monkeypatch.setattr(decoding_window, "_MAX_PIXEL_BYTES", 5 * 12)
    decoded = itertools.count()
    latest = [0]

    def counting(data, digest, views):
        latest[0] = next(decoded) + 1
        return decoders.decode(data, digest, views)

    given = files(*["good"] * 40)
    for number, _ in enumerate(given.stream(workers=0, ahead=1000, decode=counting)):
        time.sleep(0.002)
        assert latest[0] - number <= 5


# Files that are no pictures


@either
def test_files_that_cannot_be_read(files, workers, tmp_path):
    given = files(*["good"] * 6)
    given.paths[1].unlink()
    given.paths[2].unlink()
    given.paths[2].mkdir()
    given.paths[4] = tmp_path / "zero\0byte"
    result = given.run(workers=workers)
    assert_good(result, [0, 3, 5])
    assert result[1] == Picture(1, b"", None, (), "no such file or folder", False, None)
    assert result[2].problem == "is a directory"
    assert result[4].problem.startswith("cannot be read: ")
    assert not any(picture.lasting or picture.digest for picture in (result[2], result[4]))


@either
def test_what_a_decoder_raises_is_a_problem_of_its_file(files, workers):
    given = files("good", "broken", "bug", "large", "wordless", "good")
    result = given.run(workers=workers)
    assert_good(result, [0, 5])
    assert [(p.problem, p.lasting) for p in result[1:5]] == [
        ("broken image: on purpose", True),
        ("cannot be decoded: ZeroDivisionError: a bug", False),
        ("too large for this machine's memory", False),
        ("not a usable picture", True),
    ]
    assert [p.digest for p in result] == [given.digest(i) for i in range(6)]
    assert {p.pixels is None and p.views == () for p in result[1:5]} == {True}


def test_file_names_that_are_no_text(tmp_path, monkeypatch):
    names = [b"caf\xe9.jpg", b"new\nline.jpg", b"<script>'.jpg", b"x" * 255]
    for i, name in enumerate(names):
        try:
            (tmp_path / os.fsdecode(name)).write_text(f"good {i}")
        except OSError:
            pytest.skip("this file system takes no such names")
    paths = [os.path.join(tmp_path, os.fsdecode(name)) for name in names]
    for workers in (0, 1):
        result = list(
            pictures(range(4), paths.__getitem__, lambda _: (0,), decoders.decode, workers=workers, ahead=4)
        )
        assert_good(result, range(4))


def test_a_partial_is_a_decoder_too(files):
    given = files(*["good"] * 3)
    assert_good(given.run(workers=1, decode=functools.partial(decoders.decode)), range(3))

"""Every kind of good and broken file through the command: each bad one named, each good one encoded."""

from __future__ import annotations

from pathlib import Path

from command import Run
from corpus import corpus


def test_corpus(tmp_path: Path, run: Run) -> None:
    cases = [case for case in corpus(tmp_path / "images") if case.skip is None]
    good = [case.name for case in cases if case.reason is None]
    bad = {case.name: case.reason for case in cases if case.reason is not None and case.found}
    assert len(good) > 40 and len(bad) > 15  # else this machine cannot make what is to be tested

    done = run("extract", "images", "--json", "--strict", cwd=tmp_path, rc=1)
    failed = {entry["path"]: entry["error"] for entry in done.json["failed"]}
    assert failed.keys() == bad.keys()
    assert all(failed[name].startswith(bad[name]) for name in bad), failed
    assert done.json["encoded"] == done.json["images"] == len(good)
    assert "\x1b" not in done.stderr

    # What lies in the bytes is remembered; what may pass, a missing right for one, costs a look and no model.
    again = run("extract", "images", "--json", cwd=tmp_path)
    assert again.json["failed"] == done.json["failed"]
    assert (again.json["encoded"], again.json["unchanged"]) == (0, len(good))

    retried = run("extract", "images", "--json", "--strict", "--retry-failed", cwd=tmp_path, rc=1)
    assert retried.json["failed"] == done.json["failed"]
    assert (retried.json["encoded"], retried.json["unchanged"]) == (0, len(good))
    info = run("store", "info", "--json", cwd=tmp_path).json["spaces"][0]
    assert (info["images"], info["features"]) == (len(good), len(good))
    # Files that cannot even be looked at have no size to be remembered with.
    assert info["failed"].keys() <= {f"images/{name}" for name in bad}
    assert all(failed[name.removeprefix("images/")] == reason for name, reason in info["failed"].items())

"""Workspaces that are damaged, foreign, read-only or full: named, never repaired in silence, nothing lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Fails, Run, contents
from folders import only, set_mode


def test_shard_cut_in_half(project: Path, run: Run, fails: Fails) -> None:
    run("store", "compact", cwd=project)
    shard = only(project, "features/*/shard-*.h5")
    os.truncate(shard, shard.stat().st_size // 2)
    says = (f"cannot read {shard} as a deltaoe features file", "`deltaoe store verify --repair`")
    for command in (("extract", "images"), ("tune",), ("score", "unknown")):
        fails(*command, cwd=project, says=says)
    told = run("store", "verify", "--repair", "--json", cwd=project, rc=1).json  # as the message asks
    (kept,) = (int(words[1]) for note in told["notes"] if (words := re.search(r"(\d+) of its 96 f", note)))
    assert 0 < kept < 96
    again = run("extract", "images", "--json", cwd=project).json
    assert (again["encoded"], again["known_by_content"]) == (96 - kept, kept)


def test_shard_of_another_space(project: Path, other_model: Path, run: Run, fails: Fails) -> None:
    run("store", "compact", cwd=project)
    mine = only(project, "features/*/shard-*.h5")
    run("extract", "unknown", cwd=project, model=other_model)
    (foreign,) = set((project / ".deltaoe").glob("features/*/shard-*.h5")) - {mine}
    shutil.copy(foreign, mine.with_name("shard-00000009.h5"))
    says = ("shard-00000009.h5", f"it holds features of another space ({foreign.parent.name})")
    fails("extract", "images", cwd=project, says=says)
    shutil.copy(mine, mine.with_name("shard-00000009.h5"))  # a copy of its own does no harm
    assert run("extract", "images", "--json", cwd=project).json["unchanged"] == 96


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", ("cannot read", "move that file away")),
        ("[]", ("is damaged", "move that file away")),
        ('{"format": 1, "spaces": ["?"]}', ("is damaged", "move that file away")),
        ('{"format": 2}', ("was written by another version of deltaoe", "--workspace")),
    ],
)
def test_state_file(project: Path, fails: Fails, text: str, says: tuple[str, ...]) -> None:
    (project / ".deltaoe" / "workspace.json").write_text(text)
    fails("extract", "images", cwd=project, says=(str(project / ".deltaoe" / "workspace.json"), *says))


def test_state_file_that_points_nowhere(project: Path, fails: Fails) -> None:
    state = {"format": 1, "dataset": ["?"], "detector": "../../other"}
    (project / ".deltaoe" / "workspace.json").write_text(json.dumps(state))
    fails("tune", cwd=project, says=("nothing with classes has been extracted",))


def test_description_of_another_space(project: Path, fails: Fails) -> None:
    description = only(project, "features/*/space.json")
    described = json.loads(description.read_text())
    description.write_text(json.dumps(described | {"weights": "0" * 64}))
    says = (f"{description} describes another feature space", "move that folder away")
    fails("extract", "images", cwd=project, says=says)
    description.write_text("{}")
    fails("extract", "images", cwd=project, says=("not a description of a feature space",))


def test_listing_cut_in_half(project: Path, run: Run, fails: Fails) -> None:
    os.truncate(only(project, "datasets/*.h5"), 1000)
    says = (
        "as a deltaoe dataset file",
        "`deltaoe store verify --repair`",
        "the same `deltaoe extract` again",
    )
    fails("tune", cwd=project, says=says)
    assert run("extract", "images", "--json", cwd=project).json["unchanged"] == 96  # and writes it anew


def test_a_file_in_its_place(fresh: Path, fails: Fails) -> None:
    (fresh / ".deltaoe").write_text("mine")
    says = (f"{fresh / '.deltaoe'} is a file, not a workspace folder", "--workspace DIR")
    fails("extract", "images", cwd=fresh, says=says)
    says = ("notes.txt is a file, not a workspace folder",)
    (fresh / "notes.txt").write_text("mine")
    fails("extract", "images", cwd=fresh, says=says, env={"DELTAOE_WORKSPACE": "notes.txt"})


def test_read_only(project: Path, run: Run, fails: Fails, mortal: bool) -> None:
    (project / "more" / "a").mkdir(parents=True)
    shutil.copy(project / "images" / "red_stripes" / "00.png", project / "more" / "a")
    set_mode(project / ".deltaoe", 0o555)
    try:
        says = ("cannot write", str(project / ".deltaoe"), "permission denied", "check permissions")
        fails("extract", "more", cwd=project, mortal=mortal, says=says)
        fails("tune", "--shots", "4", cwd=project, mortal=mortal, says=says)
        # Reading is enough where everything is in the cache.
        before = contents(project / ".deltaoe")
        run("score", "images", "--report", "html", cwd=project, mortal=mortal)
        assert contents(project / ".deltaoe") == before
    finally:
        set_mode(project / ".deltaoe", 0o755)


def test_read_only_project(fresh: Path, fails: Fails, mortal: bool) -> None:
    fresh.chmod(0o555)
    says = (f"cannot write {fresh / '.deltaoe'}: permission denied", "check permissions")
    try:
        fails("extract", "images", cwd=fresh, mortal=mortal, says=says)
    finally:
        fresh.chmod(0o755)


def test_unreadable_images(project: Path, run: Run, fails: Fails, mortal: bool) -> None:
    secret = project / "new" / "secret.png"
    shutil.copytree(project / "unknown", project / "new")
    shutil.copy(project / "unknown" / "noise" / "0.png", secret)
    secret.chmod(0)
    told = run("score", "new", "--json", cwd=project, mortal=mortal).json
    assert told["counts"]["failed"] == 1
    assert told["images"][-1]["error"] == "permission denied"
    secret.chmod(0o644)  # not remembered: it may pass, and has
    assert run("score", "new", "--json", cwd=project, mortal=mortal).json["counts"]["failed"] == 0
    (project / "new" / "noise").chmod(0)
    try:
        told = run("score", "new", "--json", "--out", "o", cwd=project, mortal=mortal).json
        assert told["counts"]["failed"] == 1
        assert told["images"][-1]["error"] == "cannot be listed: permission denied"
        (project / "new").chmod(0)
        fails("score", "new", cwd=project, mortal=mortal, says=("cannot list new: permission denied",))
        (project / "new").chmod(0o755)
    finally:
        (project / "new" / "noise").chmod(0o755)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("may not mount a small file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_disk_full(project: Path, small_disk: Path, run: Run, fails: Fails) -> None:
    (small_disk / "ballast").write_bytes(bytes(112 * 1024))
    says = ("cannot write", "shard-00000001.h5", "no space left on device", "free space")
    command = ("extract", project / "images", "--workspace", small_disk / "cache")
    fails(*command, cwd=small_disk, says=says, writes=True)
    left = sorted(path.name for path in (small_disk / "cache").rglob("*") if path.is_file())
    assert left == ["space.json", "writer.lock"]  # no half shard, no temporary file
    (small_disk / "ballast").unlink()
    assert run(*command, "--json", cwd=small_disk).json["encoded"] == 96

    # The outputs of a score are whole or the old ones.
    disk = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(disk.f_bavail * disk.f_bsize - 24 * 1024))
    out = ("score", "images", "--report", "html", "--out", small_disk)
    fails(*out, cwd=project, says=("cannot write", "report.html", "no space left on device"), writes=True)
    assert not list(small_disk.glob("report*")) and not list(small_disk.glob(".deltaoe-tmp*"))

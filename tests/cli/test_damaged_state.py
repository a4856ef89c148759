"""Commands over files of a workspace that are damaged somewhere: the right result, or a refusal, and no traceback."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from command import Run
from copied import copied_project

# What is damaged, and whether it is made again in silence if it is.
FILES = {
    "workspace.json": False,
    "datasets/*.h5": False,
    "detectors/*.safetensors": False,
    "features/*/space.json": False,
    "features/*/shard-*.h5": False,
    "features/*/text/*.safetensors": True,
    "features/*/zero-shot/*.safetensors": True,
}
TUNED = ("score", "images", "--out", "tuned")
ZERO_SHOT = ("score", "images", "--zero-shot", "--out", "zero-shot")
LOOKING = (("status",), ("store", "info"), ("store", "verify"), ("detectors",), ("extract", "images"))


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A project with results, and with all that is kept to be quick. Not to be changed."""
    folder = copied_project(template, tmp_path_factory.mktemp("whole") / "project")
    for command in (TUNED, ZERO_SHOT):
        run(*command, "-q", cwd=folder)
    return folder


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Content with a changed bit, two bytes exchanged, a block of zeros, or a missing end."""
    changed, at = bytearray(content), chance.randrange(len(content))
    match chance.choice(["bit", "bit", "bit", "swap", "zeros", "cut"]):
        case "bit":
            changed[at] ^= 1 << chance.randrange(8)
        case "swap":
            other = chance.randrange(len(content))
            changed[at], changed[other] = changed[other], changed[at]
        case "zeros":
            changed[at : at + 64] = bytes(len(changed[at : at + 64]))
        case "cut":
            del changed[at:]
    return bytes(changed)


def check(
    whole: Path, folder: Path, pattern: str, chance: random.Random, run: Run, *looking: tuple[str, ...]
) -> None:
    """Damage one of the files; no command gives another result than before."""
    # Files keep times and inodes as hard links: pictures count as unchanged. What is written replaces its link.
    shutil.copytree(whole, folder, copy_function=lambda source, target: Path(target).hardlink_to(source))
    target = chance.choice(sorted((folder / ".deltaoe").glob(pattern)))
    content = target.read_bytes()
    target.unlink()
    target.write_bytes(damaged(content, chance))
    for command in looking:
        run(*command, cwd=folder, rc=None)
    for command in (TUNED, ZERO_SHOT):
        done = run(*command, "-q", "--force", cwd=folder, rc=0 if FILES[pattern] else None)
        place = f"{command[-1]}/scores.csv"
        same = (folder / place).read_bytes() == (whole / place).read_bytes()
        assert same, f"{target.name}: another result with exit code {done.rc}\n{done.stderr}"
        assert done.rc == 0 or "  try: " in done.stderr
    shutil.rmtree(folder)


@pytest.mark.parametrize("pattern", FILES)
def test_a_damaged_file_changes_no_result(pattern: str, whole: Path, tmp_path: Path, run: Run) -> None:
    chance = random.Random(pattern)
    check(whole, tmp_path / "project", pattern, chance, run)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", FILES)
def test_damaged_files_change_no_result(pattern: str, whole: Path, tmp_path: Path, run: Run) -> None:
    chance = random.Random(f"many {pattern}")
    for number in range(12):
        check(
            whole,
            tmp_path / str(number),
            pattern,
            chance,
            run,
            *LOOKING[: chance.randrange(len(LOOKING) + 1)],
        )

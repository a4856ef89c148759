"""``score --copy-to``, ``--move-to`` and ``--link-to``, and ``deltaoe undo``."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from pathlib import Path

import pytest
from command import Fails, Run, contents
from outputs import table

from deltaoe.filing.names import safe_name


def filed(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and not path.name.startswith("deltaoe-undo-")
    }


@pytest.mark.parametrize("mode", ["copy", "move", "link"])
def test_images_go_where_their_verdict_says_and_back(project: Path, run: Run, mode: str) -> None:
    shutil.copy(project / "unknown/noise/0.png", project / "unknown/red_stripes/00.png.copy.png")
    before = contents(project / "unknown")
    score = ("score", "unknown", "--alpha", "0.2", f"--{mode}-to", "sorted")
    dry = run(*score, "--dry-run", cwd=project)
    assert not (project / "sorted").exists() and contents(project / "unknown") == before
    planned = dict(line.split(" -> ") for line in dry.stdout.splitlines() if " -> " in line)
    done = run(*score, cwd=project)
    rows = {row["path"]: row for row in table(project / "scores.csv")}
    assert {row["verdict"] for row in rows.values()} == {"known", "unknown"}
    for path, row in rows.items():
        if path in planned:
            within = row["looks_like"] if row["verdict"] == "unknown" else row["class"]
            assert os.path.dirname(planned[path]) == f"sorted/{row['verdict']}/{safe_name(within)}"
    # The copy of a picture stays where it is: its content is in that folder.
    assert len(planned) == 6 and len(rows) == 7 and "the same content is in that folder: 1" in done.stderr
    assert {f"sorted/{name}" for name in filed(project / "sorted")} == set(planned.values())
    assert len(contents(project / "unknown")) == {"move": 1}.get(mode, 7)
    assert all(os.path.islink(project / target) == (mode == "link") for target in planned.values())
    for source, target in planned.items():
        assert contents(project)[str(project / target)] == before[str(project / source)]
    (undo_list,) = (project / "sorted").glob("deltaoe-undo-*.jsonl")
    assert f"deltaoe undo {undo_list.relative_to(project)}" in done.stderr
    told = run("undo", undo_list, "--json", cwd=project, model=None).json
    assert (told["mode"], len(told["back"]), told["kept"], told["list_removed"]) == (mode, 6, [], True)
    assert contents(project / "unknown") == before and not (project / "sorted").exists()


def test_only_one_verdict_and_json(project: Path, run: Run) -> None:
    told = run(
        *("score", "unknown", "--alpha", "0.2", "--copy-to", "sorted", "--only", "unknown", "--json"),
        cwd=project,
    ).json
    assert len(told["filed"]["files"]) == told["counts"]["unknown"] > 0
    assert os.listdir(project / "sorted/unknown") and not (project / "sorted/known").exists()
    assert (project / told["filed"]["undo_list"]).is_file()
    again = run(
        *("score", "unknown", "--alpha", "0.2", "--copy-to", "sorted", "--only", "unknown", "--json"),
        cwd=project,
    ).json
    assert again["filed"]["files"] == [] and again["filed"]["already_there"] == told["counts"]["unknown"]
    assert again["filed"]["undo_list"] is None


def test_without_calibration_everything_is_undecided(project: Path, run: Run) -> None:
    (project / "names.txt").write_text("cat\n../dog\n", encoding="utf-8")
    run("score", "unknown", "--labels", "names.txt", "--copy-to", "sorted", cwd=project)
    assert {os.path.dirname(name) for name in filed(project / "sorted")} <= {
        "undecided/cat",
        "undecided/_._dog",
    }


def test_files_that_cannot_be_moved_are_named(project: Path, run: Run, mortal: bool) -> None:
    locked = project / "unknown" / "noise"
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = run("score", "unknown", "--move-to", "sorted", cwd=project, rc=1, mortal=mortal)
    locked.chmod(stat.S_IRWXU)
    assert "3 of 6 files could not be put there" in done.stderr
    assert done.stderr.count("permission denied") == 3 and len(os.listdir(locked)) == 3
    assert not os.listdir(project / "unknown" / "red_stripes")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--copy-to", "a", "--move-to", "b"), "exclude each other"),
        (("--only", "unknown"), "--only says nothing"),
        (("--dry-run",), "--dry-run says nothing"),
        (("--copy-to", "unknown/noise/0.png"), "is a file"),
        *(
            ((flag, ""), "the name of the folder is empty")
            for flag in ("--copy-to", "--move-to", "--link-to")
        ),
    ],
)
def test_what_is_refused(project: Path, fails: Fails, arguments: tuple[str, ...], says: str) -> None:
    fails("score", "unknown", *arguments, cwd=project, rc=2, says=(says,))


def test_commands_that_are_named_can_be_run(project: Path, run: Run) -> None:
    (project / "unknown").rename(project / "in box")
    done = run("score", "in box", "--copy-to", "it's sorted", cwd=project)
    (command,) = (line.partition(": ")[2] for line in done.stderr.splitlines() if "to take it back: " in line)
    run(*shlex.split(command)[1:], cwd=project, model=None)
    assert not (project / "it's sorted").exists()


def test_what_is_no_undo_list(project: Path, fails: Fails) -> None:
    fails("undo", "gone.jsonl", cwd=project, says=("no such file",))
    fails("undo", "unknown/noise/0.png", cwd=project, says=("is no undo list",))

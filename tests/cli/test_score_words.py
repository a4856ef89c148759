"""What ``deltaoe score`` says, which files it writes, and how it exits."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from command import Fails, Run, contents, environment

from deltaoe_cli.main import app

KNOWN, UNKNOWN = "images/red_stripes/20.png", "unknown/noise/0.png"


def names_of(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["looks_like"] for row in csv.DictReader(file)]


def test_one_image_is_one_line_and_no_file(project: Path, run: Run) -> None:
    (project / "broken.png").write_bytes(b"no picture")
    images = run("score", "images", "--json", "--alpha", "0.1", "--zero-shot", cwd=project).json["images"]
    likely = max(images, key=lambda image: image["p_value"])
    before = contents(project).keys()
    done = run("score", likely["path"], UNKNOWN, "broken.png", "--alpha", "0.1", "--zero-shot", cwd=project)
    known, unknown, failed = done.stdout.splitlines()
    assert re.fullmatch(
        rf"{likely['path']}: {likely['class']} \(known; (more|as) familiar (than|as) .* of your images\)",
        known,
    )
    assert re.fullmatch(
        rf"{UNKNOWN}: unknown \(less familiar than (\d+ %|all) of your images; .*; "
        r'(looks like ".*"|no name of the vocabulary fits)\)',
        unknown,
    )
    assert failed.startswith("broken.png: failed (")
    new = contents(project).keys() - before
    assert all("/.deltaoe/" in path for path in new)
    assert "0." not in done.stdout.replace("0.png", ""), "raw numbers belong to --verbose"
    assert re.search(r"^ score +-", run("score", UNKNOWN, "-v", cwd=project).stdout, re.MULTILINE)


def test_undecided_is_one_line_too(project: Path, run: Run) -> None:
    done = run("score", KNOWN, "--alpha", "0.0001", cwd=project)
    assert re.fullmatch(
        rf"{KNOWN}: undecided \(\d+ calibration images are too few; most like .*\)\n", done.stdout
    )


@pytest.mark.parametrize("arguments", [("--json",), ("--print0", "unknown")])
def test_what_goes_to_stdout_writes_no_file(project: Path, run: Run, arguments: tuple[str, ...]) -> None:
    done = run("score", "unknown", *arguments, cwd=project)
    assert not (project / "scores.csv").exists() and done.stdout
    run("score", "unknown", *arguments, "--out", "asked", cwd=project)
    assert (project / "asked" / "scores.csv").exists()


def test_print0_lists_the_files_of_a_verdict(project: Path, run: Run) -> None:
    shutil.copy(project / UNKNOWN, project / "unknown" / "two\nlines.png")
    told = run("score", "unknown", "--json", cwd=project).json
    for verdict in ("known", "unknown"):
        paths = run("score", "unknown", "--print0", verdict, cwd=project).stdout.split("\0")
        assert paths.pop() == ""
        assert sorted(paths) == sorted(
            record["path"] for record in told["images"] if record["verdict"] == verdict
        )
        assert all((project / path).is_file() for path in paths)


def test_no_result_of_other_inputs_is_replaced(project: Path, run: Run, fails: Fails) -> None:
    run("score", "unknown", "--report", "json", cwd=project)
    run("score", "./unknown", "--report", "json", cwd=project)  # the same inputs
    run("score", "unknown", "--workspace", "../project/.deltaoe", cwd=project)
    fails("score", "images", cwd=project, says=("scores.csv has the result of unknown", "--force"))
    fails("score", "unknown/noise", cwd=project, says=("scores.csv has the result of unknown", "--out DIR"))
    run("score", "unknown/noise", "--out", "other", cwd=project)
    run("score", "images", "--force", cwd=project)
    (project / "scores.csv").write_text((project / "scores.csv").read_text() + "notes of mine\n")
    fails("score", "images", cwd=project, says=("scores.csv was changed after deltaoe wrote it",))
    shutil.rmtree(project / ".deltaoe" / "detectors")
    state = json.loads((project / ".deltaoe" / "workspace.json").read_text())
    del state["results"], state["sha256"]
    (project / ".deltaoe" / "workspace.json").write_text(json.dumps(state))
    fails("score", "images", cwd=project, says=("it is not known here what it was made from",))
    (project / "scores.csv").write_text("mine\n")  # not even by force
    fails("score", "images", "--force", cwd=project, says=("was not written by deltaoe",))


def test_an_input_that_is_missing_is_named_first(project: Path, run: Run, fails: Fails) -> None:
    run("score", "unknown", cwd=project)
    for more in ((), ("--out", ".")):
        fails("score", "unknown/nosuch.png", *more, cwd=project, says=("no such file or folder",))


@pytest.mark.parametrize("command", ["score", "discover"])
def test_what_another_process_has_written_meanwhile_stays(
    project: Path, run: Run, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(
        {"score": "deltaoe.scoring.score", "discover": "deltaoe.discovery.discover"}[command]
    )
    finished = getattr(module, command)

    def slow(*arguments: Any, **more: Any) -> Any:
        found = finished(*arguments, **more)
        run(command, "images", cwd=project)  # another one, which takes less time
        return found

    monkeypatch.chdir(project)
    for name, value in environment(None).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, command, slow)
    assert app([command, "unknown"], standalone_mode=False) == 1
    assert "has the result of images" in capsys.readouterr().err
    monkeypatch.setattr(module, command, finished)
    name = {"score": "scores.csv", "discover": "discovered.csv"}[command]
    assert "images" in (project / name).read_text() and "unknown/" not in (project / name).read_text()


def test_a_list_on_standard_input_is_never_the_same(project: Path, run: Run, fails: Fails) -> None:
    run("score", "-", cwd=project, stdin=os.fsencode(UNKNOWN))
    fails("score", "-", cwd=project, stdin=os.fsencode(KNOWN), says=("scores.csv has the result of -",))


def test_a_moved_project_knows_its_results(project: Path, tmp_path: Path, run: Run) -> None:
    run("score", "unknown", cwd=project)
    shutil.move(project, tmp_path / "moved")
    run("score", "unknown", cwd=tmp_path / "moved")


def test_exit_codes_tell_unknown_undecided_and_errors_apart(project: Path, run: Run) -> None:
    gate = ("score", "unknown", "--fail-on-unknown")
    run(*gate, "--json", "--alpha", "0.9", cwd=project, rc=3)
    run(*gate, "--json", "--alpha", "0.0001", cwd=project, rc=4)
    run("score", "unknown", "--json", "--alpha", "0.0001", cwd=project)
    run(*gate, "--alpha", "2", cwd=project, rc=2)
    run("score", "absent", "--fail-on-unknown", cwd=project, rc=1)
    (project / "unknown" / "broken.png").write_bytes(b"no picture")
    run(*gate, "--json", "--alpha", "0.9", "--strict", cwd=project, rc=1)


def test_a_false_discovery_rate_that_calls_nothing_unknown_says_why(project: Path, run: Run) -> None:
    told = run("score", "images/red_stripes", "--fdr", "0.02", "--json", cwd=project).json
    assert told["counts"]["unknown"] == 0
    (sentence,) = [note for note in told["notes"] if note.startswith("--fdr")]
    smallest = min(record["p_value"] for record in told["images"])
    assert f"the smallest is {smallest:.2g}" in sentence
    assert f"would have to be at most {0.02 / len(told['images']):.2g}" in sentence


def test_names_come_from_the_vocabulary(project: Path, run: Run, fails: Fails) -> None:
    (project / "names.txt").write_text("blue waves\nTV static\nnoise\n")
    score = ("score", "unknown", "--alpha", "0.9", "--out", "named")
    run(*score, "--vocabulary", "names.txt", cwd=project)
    names = set(names_of(project / "named" / "scores.csv"))
    assert names <= {"TV static", "noise", "none fits", ""} and names - {""}, (
        "a class is no name of an unknown image"
    )
    run(*score, "--vocabulary", "none", cwd=project)
    with (project / "named" / "scores.csv").open(encoding="utf-8") as file:
        assert "looks_like" not in file.readline()
    fails("score", "unknown", "--vocabulary", "absent.txt", cwd=project, rc=2, says=("absent.txt",))

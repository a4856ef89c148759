"""``deltaoe evaluate --protocol``, as a user runs it: a file of one's own, kill -9 in the middle, and photographs."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import COMMAND, Fails, Run, environment
from shops import PROTOCOL
from tiny import HUES, make_noise, make_pictures

COMMON = ("--protocol", "mine.toml", "--root", "data", "--scores", "delta_energy,mcm", "--background", "none")
RUNS = 2 * 4


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops")
    for d, shop in enumerate(("left", "right")):
        for k, name in enumerate(list(HUES)[:3]):
            make_pictures(folder / "data" / "shops" / shop / name, 6, seed=10 * d + k)
    make_noise(folder / "data" / "rubbish", 8)
    (folder / "mine.toml").write_text(PROTOCOL, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole(shops: Path, run: Run) -> Path:
    """The folder that an undisturbed run has written."""
    told = run("evaluate", *COMMON, "--out", "whole", cwd=shops)
    assert "On held-out" in told.stdout and "The shift to held-out (" in told.stdout
    assert "warning: not there, and left out: --ood absent (absent)" in told.stderr
    assert "Run 8/8  method deltaoe  split right  seed 3" in told.stderr
    return shops / "whole"


def test_a_protocol_of_ones_own(whole: Path) -> None:
    found = rows(whole / "evaluation.csv")
    assert {row["detector"] for row in found} == {"zero-shot", "zero-shot + images", "CoOp", "deltaoe"}
    assert {row["known"] for row in found} == {"source", "held-out", "held-out/left", "held-out/right"}
    (row,) = (
        row
        for row in found
        if (row["detector"], row["score"], row["known"], row["metric"])
        == ("deltaoe", "delta_energy", "held-out", "auroc")
    )
    assert (row["unknown"], row["n_known"], row["n_unknown"], row["low"]) == ("rubbish", "18", "5", "")
    assert "Two shops" in (whole / "evaluation.html").read_text(encoding="utf-8")
    assert json.loads((whole / "evaluation.json").read_text())["manifest"]["recipe"]["seeds"] == [3]
    assert len(list((whole / "runs").iterdir())) == RUNS


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.slow
def test_after_kill_9_the_same_command_goes_on(
    shops: Path, whole: Path, tmp_path: Path, tiny_model: Path, run: Run
) -> None:
    place = Path(
        shutil.copytree(shops, tmp_path / "place", ignore=shutil.ignore_patterns("whole", ".deltaoe"))
    )
    process = subprocess.Popen(
        [COMMAND, "evaluate", *COMMON, "--out", "out"],
        cwd=place,
        env=environment(tiny_model),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while len(list((place / "out" / "runs").glob("[!.]*.json"))) < 2:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = {
        p: p.stat().st_mtime_ns
        for name in ("runs", "detectors")
        for p in (place / "out" / name).glob("[!.]*")
    }
    assert 2 <= sum(path.suffix == ".json" for path in kept) < RUNS
    run("evaluate", *COMMON, "--out", "out", cwd=place)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert rows(place / "out" / "evaluation.csv") == rows(whole / "evaluation.csv")
    told = run("evaluate", *COMMON, "--out", "out", cwd=place)
    assert "Tuning" not in told.stderr and f"Run {RUNS}/{RUNS}" in told.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "rc", "says"),
    [
        (PROTOCOL + "limit = 3", (), 2, ("mine.toml: there is no key unknown.absent.limit",)),
        (PROTOCOL.replace("[tune]", "[tuna]"), (), 2, ("no key tuna", "did you mean tune?")),
        (PROTOCOL.replace('"shops"', '"../shops"'), (), 2, ("'../shops' leads out of --root",)),
        (PROTOCOL.replace("[3]", "[3"), (), 2, ("mine.toml is no TOML", "line 6")),
        (
            PROTOCOL,
            ("--root", "rubbish"),
            1,
            (
                "--id (missing or shops); --ood rubbish (rubbish); --ood absent (absent)",
                "--root",
                "--ood NAME=DIR",
            ),
        ),
        (PROTOCOL, ("--detector", "zero-shot"), 2, ("tunes its own detectors", "leave --detector out")),
        (
            PROTOCOL.replace("shots = 2", "shots = 30"),
            (),
            1,
            ("none is left to judge beside 30 shots per class",),
        ),
    ],
)
def test_refusals(
    shops: Path,
    tmp_path: Path,
    fails: Fails,
    text: str,
    arguments: tuple[str, ...],
    rc: int,
    says: tuple[str, ...],
) -> None:
    place = Path(
        shutil.copytree(shops, tmp_path / "place", ignore=shutil.ignore_patterns("whole", ".deltaoe"))
    )
    (place / "mine.toml").write_text(text, encoding="utf-8")
    fails("evaluate", *COMMON, *arguments, cwd=place, rc=rc, says=says, writes=True)


@pytest.mark.slow
def test_pacs_on_photographs(shared: Path, tmp_path: Path, run: Run) -> None:
    """Ten minutes on two cores. Leaving a domain out, EBM's energies tell unknown images better than CoOp's."""
    model = shared / "models" / "photo-clip"
    if not model.is_dir():
        pytest.skip(f"needs {model}, which is not here")
    run(
        *("evaluate", "--protocol", "pacs-lodo", "--root", shared / "data" / "photos"),
        *("--model", f"local-dir:{model}", "--offline", "--out", "out"),
        cwd=tmp_path,
        timeout=3600,
    )
    found = {
        (row["detector"], row["score"], row["known"], row["unknown"], row["metric"]): float(row["value"])
        for row in rows(tmp_path / "out" / "evaluation.csv")
    }
    ours, coop, plain = "deltaoe", "CoOp", "zero-shot"
    for known in ("source", "held-out"):
        area = {name: found[name, "delta_energy", known, "mean", "auroc"] for name in (ours, coop)}
        assert area[ours] > area[coop] + 0.05
        assert found[ours, "", known, "", "accuracy"] > found[coop, "", known, "", "accuracy"] - 0.02
    assert found[ours, "", "source", "", "accuracy"] > found[plain, "", "source", "", "accuracy"]
    assert found[ours, "delta_energy", "source", "", "false_alarms"] < 0.06
    names = {known for _, _, known, _, metric in found if metric == "accuracy"}
    assert {f"held-out/{name}" for name in ("art_painting", "cartoon", "photo", "sketch")} < names

"""``--decode`` through the installed command: a feature space of its own, remembered, or refused."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from command import Fails, Run
from PIL import Image

from deltaoe.scoring.detector import Detector


def exact_precision(project: Path) -> str:
    """Of the features that the detector of a project was made with."""
    (file,) = (project / ".deltaoe" / "detectors").glob("*.safetensors")
    return Detector.load(file).space.precision


def test_fast_decoding_is_a_feature_space(project: Path, run: Run, fails: Fails) -> None:
    """In a project whose features and detector are decoded exactly."""
    for file in sorted((project / "images" / "red_stripes").iterdir())[:3]:
        Image.open(file).resize((400, 300), Image.Resampling.BICUBIC).save(
            file.with_suffix(".jpg"), quality=92
        )
        file.unlink()
    exact = run("extract", "images", "--json", cwd=project).json
    assert (exact["encoded"], exact["decode"]) == (3, "exact")
    told = run("extract", "images", "--decode", "fast", "--json", cwd=project)
    fast = told.json
    assert fast["feature_space"] != exact["feature_space"] and fast["encoded"] == fast["images"]
    assert "encodes all images anew: decode fast / exact" in told.stderr
    (now,) = [note for note in fast["notes"] if "to go back" in note]
    assert "use images with --decode fast from now on, not images with --decode exact" in now
    assert now.endswith("--decode exact")
    # Remembered, and said; and there is a way back, for which nothing is encoded.
    same = run("extract", "images", cwd=project)
    assert "decoded fast" in same.stdout and "96 unchanged" in same.stdout
    assert "decoding" in run("store", "info", cwd=project).stdout
    assert "--decode fast" in run("status", cwd=project).stdout
    # A detector reads only what was decoded as for it, and says which option is in the way.
    refused = ("the detector was made with --decode exact, not fast", "leave --decode out")
    fails("score", "images", "--decode", "fast", cwd=project, says=refused)
    # Also where no such features were ever made, and all images have stored ones that fit the detector.
    never = ("the detector was made with --decode exact, not gpu", "leave --decode out")
    fails("score", "images", "--decode", "gpu", cwd=project, says=never)
    other = "bf16" if exact_precision(project) == "fp32" else "fp32"
    refused = (
        f"the detector was made with --precision {exact_precision(project)}, not {other}",
        "leave --precision",
    )
    fails("score", "images", "--precision", other, cwd=project, says=refused)
    back = run("extract", "images", "--decode", "exact", "--json", cwd=project).json
    assert (back["feature_space"], back["encoded"]) == (exact["feature_space"], 0)


def test_decoding_on_a_gpu_is_refused_without_one(fresh: Path, fails: Fails) -> None:
    says = ("--decode gpu", "this run computes on cpu", "--decode exact or fast")
    fails("extract", "images", "--decode", "gpu", "--device", "cpu", cwd=fresh, rc=2, says=says, writes=True)


def test_what_score_asks_once_is_not_what_later_runs_use(fresh: Path, run: Run) -> None:
    """The default is that of the last extraction, and score takes the way to decode of its data set."""
    some = fresh / "some"
    shutil.copytree(fresh / "images" / "red_stripes", some)
    first = run("extract", "images", "--json", cwd=fresh).json
    for number, way in enumerate([("--decode", "fast"), ("--precision", "fp32")]):
        zero_shot = ("score", "some", "--force")
        run(*zero_shot, *way, cwd=fresh)
        again = run("extract", "images", "--json", cwd=fresh).json
        assert (again["feature_space"], again["encoded"]) == (first["feature_space"], 0), way
        told = run(*zero_shot, cwd=fresh)
        assert "There is no calibration" not in told.stdout + told.stderr
        rows = list(csv.DictReader((fresh / "scores.csv").read_text(encoding="utf-8").splitlines()))
        assert {row["verdict"] for row in rows} <= {"known", "unknown"} and rows, number

"""What ``extract``, ``tune`` and ``evaluate`` end with, and how it looks in a narrow window."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Fails, Run, unwrapped
from terminal import shown
from tiny import make_noise, make_pictures

from deltaoe.scoring.detector import Detector
from deltaoe.store.workspace import Workspace

QUICK = ("--shots", "4", "--epochs", "4")
WIDTHS = (80, 60)

on_terminal = pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are of POSIX")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A project with images enough to set some aside for validation, and a detector."""
    folder = tmp_path_factory.mktemp("many")
    for number, name in enumerate(("blue_waves", "green_checks", "red_stripes", "yellow_dots")):
        make_pictures(folder / "images" / name, 40, seed=number)
        make_pictures(folder / "shifted" / name, 5, seed=number + 100)
    make_noise(folder / "noise", 12)
    make_pictures(folder / "others" / "red_stripes", 8, seed=500)
    assert run("extract", "images", cwd=folder).stderr.endswith("next: deltaoe tune --shots 16\n")
    run("tune", *QUICK, cwd=folder)
    return folder


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Three classes of 20 images each, one of them twice."""
    for number, name in enumerate(("blue_waves", "green_checks", "red_stripes")):
        make_pictures(tmp_path / "images" / name, 20, seed=number)
    shutil.copy(
        tmp_path / "images" / "red_stripes" / "00.png", tmp_path / "images" / "red_stripes" / "copy.png"
    )
    return tmp_path


def paragraph(lines: list[str], start: str, end: str) -> str:
    """The lines from the one that starts with some words up to one that starts with others, as one."""
    first = next(i for i, line in enumerate(lines) if line.startswith(start))
    last = next(i for i, line in enumerate(lines) if i > first and line.startswith(end))
    return " ".join(lines[first:last])


# Tune


def test_tune_says_how_good_its_detector_is(many: Path, run: Run) -> None:
    told = run("tune", *QUICK, "--out", "again.safetensors", "--json", cwd=many)
    found = told.json
    assert "Of 160 distinct images, 16 are learned from, 16 validate and 128 calibrate" in told.stderr
    assert (found["shots"], found["validation_images"], found["calibration_images"]) == (16, 16, 128)
    assert found["smallest_alpha"] == 0.0078 and len(found["outcome"]) in (3, 4)
    # The same number from the detector as it is read from its file, and the images that are in no other role.
    detector = Detector.load(many / "again.safetensors")
    place = Workspace(many / ".deltaoe")
    data = place.dataset()
    assert data is not None
    features = place.features_of(data).features(data.digests)
    shots = {digest.tobytes() for digest in detector.shots}
    others = [i for i, digest in enumerate(data.digests) if digest.tobytes() not in shots]
    predicted, scores = detector.predict(features), detector.score(features)
    apart = ~np.isin(np.round(scores, 6), np.round(detector.calibration, 6))
    validation = [i for i in others if apart[i]]
    if len(validation) == 16:  # no two images have the same score
        right = float(np.mean(predicted[validation] == data.class_of[validation]))
        assert f"{100 * right:.1f} % of 16 validation images" in found["outcome"][0]
    facts = found["facts"]["with_and_without_tuning"]
    assert facts["images"] == 16
    difference = facts["accuracy_difference"][0]
    assert difference == pytest.approx(facts["tuned"]["accuracy"] - facts["zero_shot"]["accuracy"], abs=1e-5)
    aurocs = [np.mean([facts[name][kind] for kind in ("near", "far")]) for name in ("tuned", "zero_shot")]
    value, low, high = facts["auroc_difference"]
    assert value == pytest.approx(aurocs[0] - aurocs[1], abs=1e-5) and low <= value <= high


def test_evidence_of_text_alone_is_compared_by_accuracy(many: Path, run: Run) -> None:
    found = run("tune", *QUICK, "--method", "coop", "--out", "coop.safetensors", "--json", cwd=many).json
    facts = found["facts"]["with_and_without_tuning"]
    assert facts["tuned"]["near"] is None and "auroc_difference" not in facts
    assert "AUROC" not in " ".join(found["outcome"])
    images = run("tune", *QUICK, "--evidence", "images", "--out", "i.safetensors", "--json", cwd=many).json
    assert images["outcome"][0].endswith("are classified right.")


@on_terminal
@pytest.mark.parametrize("columns", WIDTHS)
def test_tune_in_a_narrow_window(many: Path, run: Run, columns: int) -> None:
    command = ("tune", *QUICK, "--out", "again.safetensors")
    lines = shown(*command, cwd=many, run=run, columns=columns)
    assert max(map(len, lines)) <= columns
    text = " ".join(lines)
    assert re.search(r"\d+\.\d % of 16 validation images, which nothing was learned from, are", text)
    assert "128 calibrate: " not in text and "128 images calibrate: the smallest usable α" in text
    assert lines[-1] == "The detector: again.safetensors"
    assert "threshold at" not in text
    told = " ".join(shown(*command, "--verbose", cwd=many, run=run, columns=columns))
    assert "threshold at α = 0.05" in told and "class prompts" in told


def test_what_is_not_known_is_not_said(project: Path, run: Run) -> None:
    found = run("tune", *QUICK, "--json", cwd=project).json
    assert found["validation_images"] == 0
    assert found["outcome"] == [
        "Accuracy on new images is not known: there are too few images to set some aside for validation. "
        "Fewer --shots leave more; deltaoe evaluate measures it on other images.",
        "80 images calibrate: the smallest usable α, the accepted share of false alarms, is 0.0124.",
    ]


# Too few images


def test_too_few_images_are_found_before_the_work(few: Path, run: Run, fails: Fails) -> None:
    extracted = run("extract", "images", cwd=few)
    assert (
        "13 shots of each class leave 21 images to calibrate with, and 14 shots 18: α = 0.05 needs 19."
        in unwrapped(extracted.stderr)
    )
    assert extracted.stderr.endswith("next: deltaoe tune --shots 13\n")
    assert run("extract", "images", "--json", cwd=few).json["usable_shots"] == 13
    done = fails(
        *("tune", "--shots", "16"),
        cwd=few,
        says=(
            "--shots 16 leaves 12 of 60 distinct images to calibrate; α = 0.05 needs 19",
            "every image would be undecided",
            "use --shots 13: it leaves 21 images, enough for α = 0.05, or --allow-undecided",
        ),
    )
    assert "Loading model" not in done.stderr and "Tuning" not in done.stderr
    advised = run("tune", "--shots", "13", "--epochs", "1", "--json", cwd=few)
    assert "Of 60 distinct images, 39 are learned from and 21 calibrate" in advised.stderr
    assert advised.json["thresholds"]["0.05"] is not None
    asked = run("tune", "--shots", "16", "--epochs", "1", "--allow-undecided", cwd=few)
    assert (
        "Only 12 images calibrate: the smallest usable α, the accepted share of false alarms, is 0.077"
        in asked.stdout
    )


@pytest.mark.parametrize(("images", "following"), [(20, "deltaoe score ./unknown --zero-shot"), (4, None)])
def test_extract_suggests_nothing_that_cannot_work(
    tmp_path: Path, run: Run, fails: Fails, images: int, following: str | None
) -> None:
    for number, name in enumerate(("blue_waves", "red_stripes")):
        make_pictures(tmp_path / "images" / name, images // 2, seed=number)
    done = run("extract", "images", cwd=tmp_path)
    missing = 21 - images
    assert f"Too few images to tune: {images} distinct ones in 2 classes" in done.stderr
    assert f"{missing} more would do" in done.stderr
    assert ("next: " in done.stderr) == (following is not None)
    assert following is None or done.stderr.endswith(f"next: {following}\n")
    assert run("extract", "images", "--json", cwd=tmp_path).json["usable_shots"] is None
    fails(
        *("tune", "--shots", "1"),
        cwd=tmp_path,
        says=(f"extract at least {missing} more distinct images, or --allow-undecided",),
    )


# Evaluate


EVALUATE = (
    *("evaluate", "--id", "images", "--ood", "noise=noise", "--ood", "stripes=others"),
    *("--shift", "others=shifted", "--bootstrap", "20", "--scores", "verdict,delta_energy,mcm"),
)


@on_terminal
@pytest.mark.parametrize("columns", WIDTHS)
def test_evaluate_ends_with_its_conclusions(many: Path, run: Run, columns: int) -> None:
    lines = shown(*EVALUATE, cwd=many, run=run, columns=columns)
    assert max(map(len, lines)) <= columns
    told = json.loads((many / "evaluation" / "evaluation.json").read_text())
    said = told["conclusions"]
    assert " ".join(lines).endswith(" ".join(said))
    assert said[0].startswith("Best score: ") and "2 sets (mean)" in said[0]
    assert said[1].startswith("Tuning ") and "beside zero-shot + images" in said[1]
    assert said[2].startswith("The shift to others (")
    page = (many / "evaluation" / "evaluation.html").read_text(encoding="utf-8")
    markdown = (many / "evaluation" / "evaluation.md").read_text(encoding="utf-8")
    assert "## Conclusions" in markdown
    for sentence in said:
        assert sentence.replace("[", r"\[").replace("]", r"\]") in markdown.replace(r"\_", "_")
        assert f"<li><bdi>{sentence}</bdi></li>" in page.replace("&#43;", "+")
    # Of the tables, only the one that fits.
    assert paragraph(lines, "On id", "On others").count("0.") == 2 * 3
    assert "FPR@95" not in " ".join(lines)


@on_terminal
@pytest.mark.parametrize("columns", WIDTHS)
def test_no_number_of_a_table_is_broken(many: Path, run: Run, columns: int) -> None:
    lines = shown(*EVALUATE, "--theory", "--verbose", cwd=many, run=run, columns=columns)
    assert max(map(len, lines)) <= columns
    with (many / "evaluation" / "evaluation.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] in {"auroc", "fpr95", "accuracy"}]
    text = "\n".join(lines)
    for row in rows:
        value, low, high = (float(row[name] or "nan") for name in ("value", "low", "high"))
        wanted = f"{value:.3f}" if np.isnan(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"
        assert wanted in text
    assert "The EBM bound" in text


def test_a_name_in_a_conclusion_is_shown_and_not_obeyed(many: Path, run: Run) -> None:
    told = run(
        *EVALUATE[:3],
        "--ood",
        "<b>x\x1b[31m=noise",
        "--scores",
        "mcm",
        "--bootstrap",
        "0",
        "--force",
        cwd=many,
    )
    assert "\x1b[31m" not in told.stdout and r"against <b>x\x1b[31m" in told.stdout
    page = (many / "evaluation" / "evaluation.html").read_text(encoding="utf-8")
    assert "<b>x" not in page and "&lt;b&gt;x" in page
    assert "AUROCs have no intervals here" in told.stdout

"""``deltaoe score --evidence``: prompts, labelled images or both, with many images and with few."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from command import Fails, Run
from outputs import COLUMNS, PARTS, check_outputs

ALPHA = ("--alpha", "0.2")
FILES = ("--json", "--out", ".")


def header(folder: Path) -> list[str]:
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


@pytest.fixture
def extracted(project: Path) -> Path:
    """96 images of four classes, extracted and not tuned on."""
    shutil.rmtree(project / ".deltaoe" / "detectors")
    return project


@pytest.fixture
def of_few(project: Path, run: Run) -> Path:
    """Eight images of each class: too few to fit on a half and calibrate with the other."""
    shutil.rmtree(project / ".deltaoe")
    for folder in (project / "images").iterdir():
        for path in sorted(folder.iterdir())[8:]:
            path.unlink()
    run("extract", "images", cwd=project)
    return project


@pytest.mark.parametrize("evidence", ["auto", "both"])
def test_with_enough_images_every_part_has_a_column(extracted: Path, run: Run, evidence: str) -> None:
    told = run(
        *(
            "score",
            "unknown",
            *ALPHA,
            "--evidence",
            evidence,
            "--report",
            "json",
            "--report",
            "html",
            "--json",
        ),
        cwd=extracted,
    ).json
    rows = check_outputs(extracted, extracted / "unknown", alpha=0.2, fused=True)
    assert told["calibration_images"] == 48
    noise = [row for row in rows if "noise" in row["path"]]
    assert len(noise) == 3 and {row["verdict"] for row in noise} == {"unknown"}
    assert all("images" in row["unknown_by"] for row in noise)


def test_prompts_alone_score_by_delta_energy(extracted: Path, run: Run) -> None:
    told = run("score", "unknown", *ALPHA, "--evidence", "text", *FILES, cwd=extracted).json
    assert header(extracted) == COLUMNS.split()
    assert told["calibration_images"] == 96


def test_images_alone_know_their_classes(extracted: Path, run: Run) -> None:
    told = run("score", "unknown", "images", *ALPHA, "--evidence", "images", *FILES, cwd=extracted).json
    assert header(extracted) == COLUMNS.split()
    assert told["calibration_images"] == 48
    known = [image for image in told["images"] if image["path"].startswith("images")]
    right = sum(image["class"].replace(" ", "_") == Path(image["path"]).parent.name for image in known)
    assert right >= 0.9 * len(known)
    assert all(image["score"] <= 0 for image in told["images"])
    assert {image["verdict"] for image in told["images"] if "noise" in image["path"]} == {"unknown"}


def test_with_few_images_prompts_are_the_evidence(of_few: Path, run: Run, fails: Fails) -> None:
    told = run("score", "unknown", *ALPHA, *FILES, cwd=of_few).json
    assert header(of_few) == COLUMNS.split()
    assert told["calibration_images"] == 32
    for evidence in ("images", "both"):
        fails(
            *("score", "unknown", "--evidence", evidence),
            cwd=of_few,
            says=("32 distinct images, too few to fit image evidence", "half of them must be 19 or more"),
        )


def test_the_calibration_images_of_a_side_are_those_of_both(extracted: Path, run: Run) -> None:
    """What is called unknown by images alone is what the fused table's column of images says."""
    of_both = run("score", "unknown", "--evidence", "both", "--json", cwd=extracted).json["images"]
    alone = run("score", "unknown", "--evidence", "images", "--json", cwd=extracted).json["images"]
    assert [image["p_value"] for image in alone] == [image["p_images"] for image in of_both]
    assert set(PARTS) <= of_both[0].keys() and not set(PARTS) & alone[0].keys()


@pytest.mark.parametrize("evidence", ["images", "both"])
def test_without_images_there_is_no_evidence_of_images(
    extracted: Path, tmp_path: Path, fails: Fails, evidence: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "names.txt").write_text("cat\ndog\n")
    fails(
        *("score", extracted / "unknown", "--labels", "names.txt", "--evidence", evidence),
        cwd=empty,
        says=("no labelled images", "deltaoe extract DIR"),
        writes=True,
    )

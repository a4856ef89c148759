"""``deltaoe score``: zero-shot and tuned, folders and files, and what it takes to get a verdict."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from command import Run
from outputs import check_outputs, table


def test_zero_shot_before_any_tuning(project: Path, run: Run) -> None:
    shutil.rmtree(project / ".deltaoe" / "detectors")
    plain = ("score", "unknown", "--alpha", "0.4", "--report", "json", "--report", "html")
    done = run(*plain, "--fail-on-unknown", "--verbose", cwd=project, rc=3)
    rows = check_outputs(project, project / "unknown", alpha=0.4, fused=True)
    assert {row["verdict"] for row in rows} == {"known", "unknown"}
    # Half of 24 images in each of four classes is fitted, the other half calibrates.
    assert re.search(
        r"zero-shot prompts 'a photo of a \{\}\.', fitted on 48 images of \S*images, calibrated on 48 others",
        done.stdout,
    )
    assert "48 calibration images" in done.stdout
    assert re.search(r"threshold +fused score ≥ -\S+ is known", done.stdout)
    assert re.search(r"unknown if +p ≤ 0.4 \(α\): at most 40 % of your images are less familiar", done.stdout)

    sketch = run(*plain, "--template", "a sketch of a {}.", "--json", cwd=project).json
    assert "a sketch of a {}." in sketch["detector"]
    assert [record["score"] for record in sketch["images"]] != [float(row["score"]) for row in rows]
    # The same prompts again: nothing needs the model any more, and the file is the same to the byte.
    first = (project / "scores.csv").read_bytes()
    again = run(*plain, "--template", "a sketch of a {}.", cwd=project)
    assert "Loading model" not in again.stderr and (project / "scores.csv").read_bytes() == first


def test_labels_without_any_extracted_data(template: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "names.txt").write_text("\ufeffcat\n\n  red stripes \n", encoding="utf-8")
    done = run("score", template / "unknown", "--labels", "names.txt", "--json", "--out", ".", cwd=tmp_path)
    assert done.json["counts"] == {"known": 0, "unknown": 0, "undecided": 6, "failed": 0}
    assert done.json["threshold"] is None
    assert re.search("warning: There is no calibration, so nothing is called known or unknown", done.stderr)
    assert {record["class"] for record in done.json["images"]} <= {"cat", "red stripes"}
    for row in table(tmp_path / "scores.csv"):
        assert (row["verdict"], row["p_value"], row["margin"]) == ("undecided", "", "")
        assert float(row["score"]) > -1


def test_labels_that_hold_all_extracted_classes_are_calibrated(project: Path, run: Run) -> None:
    (project / "names.txt").write_text("red stripes\nblue waves\ngreen checks\nyellow dots\nzebra\n")
    told = run("score", "unknown", "--labels", "names.txt", "--json", cwd=project).json
    assert told["calibration_images"] == 48 and told["counts"]["undecided"] == 0
    (project / "names.txt").write_text("red stripes\nblue waves\nzebra\n")
    told = run("score", "unknown", "--labels", "names.txt", "--json", cwd=project).json
    assert told["calibration_images"] == 0 and told["counts"]["undecided"] == 6
    assert "calibrated" not in told["detector"]


def test_data_chooses_the_classes(project: Path, run: Run) -> None:
    for name in ("red_stripes", "blue_waves"):
        shutil.copytree(project / "images" / name, project / "two" / name)
    run("extract", "two", cwd=project)
    told = run("score", "unknown", "--data", "images", "--json", cwd=project).json
    assert (len(told["images"][0]["top"]), told["calibration_images"]) == (3, 48)


def test_detector_file_from_another_folder(project: Path, tmp_path: Path, run: Run) -> None:
    (file,) = (project / ".deltaoe" / "detectors").iterdir()
    here = run("score", project / "unknown", "--json", cwd=project).json
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(file, elsewhere / "mine.safetensors")
    shutil.move(project, tmp_path / "gone")  # the file is all that is needed, the model is named in it
    there = run(
        *("score", tmp_path / "gone" / "unknown", "--detector", "mine.safetensors", "--json"),
        cwd=elsewhere,
        model=None,
    ).json
    assert there["detector"] == "tuned detector mine.safetensors"
    for key in ("threshold", "counts", "calibration_images", "feature_space"):
        assert there[key] == here[key]
    strip = [{**record, "path": Path(record["path"]).name} for record in here["images"]]
    assert [{**record, "path": Path(record["path"]).name} for record in there["images"]] == strip


def test_too_few_calibration_images_for_alpha(project: Path, run: Run) -> None:
    done = run("score", "unknown", "--alpha", "0.001", "--json", cwd=project)
    assert done.json["counts"]["undecided"] == 6 and done.json["threshold"] is None
    (sentence,) = done.json["notes"]
    assert sentence in done.stderr
    assert "has 80 images; alpha 0.001 needs at least 999" in sentence
    match = re.search(r"use --alpha (\S+) or larger", sentence)
    assert match
    done = run("score", "unknown", "--alpha", match[1], "--json", cwd=project)  # the advice must work
    assert done.json["counts"]["undecided"] == 0 and done.json["notes"] == []


def test_single_files_each_once_in_the_order_given(project: Path, run: Run) -> None:
    run("score", "unknown", "--json", cwd=project)
    twice = project / "unknown" / "noise" / "1.png"
    shutil.copy(twice, project / "unknown" / "odd.suffix")
    done = run(
        *(
            "score",
            "unknown/noise/2.png",
            "unknown",
            "unknown/noise/2.png",
            "./unknown/../unknown/noise/2.png",
        ),
        *(twice, "images/red_stripes/03.png", "unknown/odd.suffix", "--out", "new/folder", "--json"),
        cwd=project,
    )
    paths = [record["path"] for record in done.json["images"]]
    # Named both from here and from the root, files are shown from the root.
    assert [os.path.relpath(project / path, project) for path in paths] == [
        "unknown/noise/2.png",
        "unknown/noise/0.png",
        "unknown/noise/1.png",
        *(f"unknown/red_stripes/0{i}.png" for i in range(3)),
        "images/red_stripes/03.png",
        "unknown/odd.suffix",
    ]
    assert done.json["images"][2]["score"] == done.json["images"][7]["score"]
    assert [row["path"] for row in table(project / "new" / "folder" / "scores.csv")] == paths
    assert json.loads(done.stdout)["counts"]["failed"] == 0


def test_zero_shot_score_options(project: Path, run: Run) -> None:
    told = run(
        "score", "unknown", "--zero-shot", "--temperature", "0.01", "--top-c", "3", "--json", cwd=project
    ).json
    assert (told["temperature"], told["top_c"], told["counts"]["undecided"]) == (0.01, 3, 0)


def test_too_few_images_for_image_evidence_say_how_many_would_do(project: Path, run: Run) -> None:
    for name in ("red_stripes", "blue_waves"):
        for file in sorted((project / "images" / name).iterdir())[:12]:
            (project / "few" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, project / "few" / name)
    run("extract", "few", cwd=project)
    told = run("score", "unknown", "--zero-shot", "--json", cwd=project)
    (sentence,) = told.json["notes"]
    assert f"warning: {sentence}" in told.stderr
    assert sentence.startswith("Only the prompts were asked: ") and "has 24 distinct images" in sentence
    assert sentence.endswith("leave 19 to calibrate with; 38 would do.")
    assert (told.json["score"], told.json["evidence"], told.json["parts"]) == (
        "delta_energy",
        "text",
        {"text": 1.0},
    )
    assert told.json["calibration_images"] == 24
    # Asked for text alone, nothing is missing.
    assert (
        run("score", "unknown", "--evidence", "text", "--zero-shot", "--json", cwd=project).json["notes"]
        == []
    )


def test_one_class_says_that_images_speak_alone(project: Path, run: Run) -> None:
    for file in (project / "images").glob("*/*.png"):
        (project / "good" / "part").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, project / "good" / "part" / f"{file.parent.name}-{file.name}")
    run("extract", "good", cwd=project)
    told = run("score", "unknown", "--zero-shot", "--json", cwd=project).json
    assert re.fullmatch(
        r"images alone \(one class\), fitted on 48 images of \S+good, calibrated on 48 others",
        told["detector"],
    )
    assert (told["score"], told["evidence"], told["parts"]) == ("mahalanobis", "images", {"images": 1.0})
    done = run("score", "unknown", "--zero-shot", "--verbose", cwd=project)
    assert re.search(r"threshold +negative squared Mahalanobis distance ≥ -\S+ is known", done.stdout)

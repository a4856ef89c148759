"""``deltaoe tune``: the same file for the same seed, and what its options do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from command import Run
from safetensors import safe_open

QUICK = ("--shots", "4", "--epochs", "4")


def test_same_seed_gives_the_same_file(project: Path, run: Run) -> None:
    (first,) = (project / ".deltaoe" / "detectors").iterdir()
    run("tune", *QUICK, "--seed", "1", "--out", "again.safetensors", cwd=project)
    assert (project / "again.safetensors").read_bytes() == first.read_bytes()
    other = run("tune", *QUICK, "--seed", "0", "--json", cwd=project).json
    assert other["settings"]["seed"] == 0
    assert Path(other["detector"]).read_bytes() != first.read_bytes()
    assert first.exists()  # nothing is overwritten by another detector


def test_plain_coop_from_a_phrase(project: Path, run: Run) -> None:
    done = run(
        "tune",
        *QUICK,
        "--ebm-weight",
        "0",
        "--context",
        "a photo of a",
        "--out",
        "coop",
        "--json",
        cwd=project,
    )
    told = done.json
    assert told["detector"] == "coop" and (project / "coop").is_file()
    assert (told["settings"]["ebm_weight"], told["settings"]["context_phrase"]) == (0, "a photo of a")
    assert told["classes"] == ["blue waves", "green checks", "red stripes", "yellow dots"]
    assert (told["shots"], told["calibration_images"]) == (16, 80)
    with safe_open(project / "coop", "numpy") as file:
        assert file.get_tensor("context").shape == (4, 32)  # the words' tokens, the tower's width
        assert np.isfinite(file.get_tensor("text_features")).all()
    # --out leaves the workspace's own detector in place.
    (own,) = (project / ".deltaoe" / "detectors").iterdir()
    scored = run("score", "unknown", "--json", cwd=project).json
    assert scored["detector"] == f"tuned detector {own.stem}"


def test_domains_and_a_second_folder(project: Path, run: Run) -> None:
    for domain, files in (("photo", "0*.png"), ("sketch", "1*.png")):
        for folder in sorted((project / "images").iterdir())[:2]:
            place = project / "drawings" / domain / folder.name
            place.mkdir(parents=True)
            for file in folder.glob(files):
                shutil.copy(file, place)
    extracted = run("extract", "drawings", "--json", cwd=project).json
    assert (extracted["layout"], extracted["domains"]) == ("domain/class", ["photo", "sketch"])
    assert (extracted["encoded"], extracted["known_by_content"]) == (0, 40)

    asked = ("--domain", "photo", "--allow-undecided", "--json")  # of the last folder extracted
    told = run("tune", *QUICK, *asked, cwd=project).json
    assert told["classes"] == ["blue waves", "green checks"]
    assert told["settings"]["domains"] == ["photo"]
    assert (told["shots"], told["calibration_images"]) == (8, 12)

    told = run("tune", *QUICK, "--data", "./images", "--json", cwd=project).json
    assert (len(told["classes"]), told["data"]) == (4, str(project / "images"))
    assert told["settings"]["domains"] == []

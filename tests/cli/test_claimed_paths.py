"""Imported images: their paths are what a file claims, so no local file is shown or moved by them unasked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from command import Fails, Run
from PIL import Image


@pytest.fixture
def imported(fresh: Path, run: Run) -> Path:
    """A project with imported features whose list of files names a picture outside, one inside, and odd things."""
    (fresh / "private").mkdir()
    Image.new("RGB", (40, 40), "red").save(fresh / "private" / "secret.png")
    (fresh / "shown").mkdir()
    Image.new("RGB", (40, 40), "blue").save(fresh / "shown" / "a.png")
    (fresh / "shown" / "link.png").symlink_to(fresh / "private" / "secret.png")
    names = [str(fresh / "private" / "secret.png"), "private/secret.png", "a.png", "../private/secret.png"]
    names += ["link.png", str(fresh / "shown" / "a.png"), "/dev/zero", "shown"]
    rows = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    np.save(fresh / "rows.npy", rows)
    (fresh / "names.txt").write_text("\n".join([*names, *(f"x{i}.png" for i in range(len(names), 40))]))
    (fresh / "labels.txt").write_text("\n".join(["cat", "dog"] * 20))
    run(
        *(
            "store",
            "import",
            "rows.npy",
            "--paths",
            "names.txt",
            "--labels",
            "labels.txt",
            "--name",
            "theirs",
        ),
        cwd=fresh,
        model=None,
    )
    return fresh


def pictures(page: Path) -> int:
    return len(re.findall(r"data:image/webp;base64,[A-Za-z0-9+/]{20}", page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("command", ["score", "discover"])
def test_no_thumbnails_unless_a_folder_is_named(imported: Path, run: Run, command: str) -> None:
    page = imported / {"score": "report.html", "discover": "discovered.html"}[command]
    how = (command, "data:theirs", "--evidence", "images", "--report", "html", "--force")
    how += ("--all",) if command == "discover" else ()
    done = run(*how, cwd=imported, model=None)
    assert pictures(page) == 0
    assert "no thumbnails: these images were imported" in done.stderr
    # a.png and its absolute path; what leads out of the folder, by dots, links or a root, stays unseen.
    run(*how, "--thumbnails", "shown", cwd=imported, model=None)
    assert pictures(page) == 2


def test_thumbnails_of_images_of_ones_own(project: Path, run: Run, fails: Fails) -> None:
    done = run("score", "unknown", "--report", "html", "--thumbnails", ".", cwd=project)
    assert pictures(project / "report.html") == 6
    assert "--thumbnails changes nothing" in done.stderr
    fails("score", "unknown", "--thumbnails", ".", cwd=project, rc=2, says=("without a report",))
    fails(
        *("score", "unknown", "--report", "html", "--thumbnails", "nowhere"),
        cwd=project,
        rc=2,
        says=("nowhere is not a folder",),
    )


@pytest.mark.parametrize("flag", ["--copy-to", "--move-to", "--link-to", "--as-classes"])
def test_no_file_is_taken_by_a_claimed_path(imported: Path, fails: Fails, flag: str) -> None:
    command = "discover" if flag == "--as-classes" else "score"
    how = ("--evidence", "images", "--all") if command == "discover" else ("--evidence", "images")
    fails(
        *(command, "data:theirs", *how, flag, "taken"),
        cwd=imported,
        model=None,
        says=(f"{flag} touches no files of them", "extract the folder of the images"),
        writes=True,  # what was fitted for the score is kept
    )
    assert (imported / "private" / "secret.png").is_file() and not (imported / "taken").exists()


def test_json_still_has_the_claimed_paths(imported: Path, run: Run) -> None:
    told = json.loads(
        run("score", "data:theirs", "--evidence", "images", "--json", cwd=imported, model=None).stdout
    )
    assert "private/secret.png" in {image["path"] for image in told["images"]}

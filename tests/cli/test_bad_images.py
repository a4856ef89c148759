"""Broken images cost their own row and nothing else, and are named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from command import Fails, Run
from many_scans import jpeg_of_many_scans
from outputs import table


def test_broken_images_among_good_ones(fresh: Path, run: Run) -> None:
    images = fresh / "images"
    good = (images / "red_stripes" / "00.png").read_bytes()
    (images / "red_stripes" / "cut.png").write_bytes(good[: len(good) // 2])
    (images / "red_stripes" / "nothing.jpg").write_bytes(b"")
    (images / "red_stripes" / "words.webp").write_text("not an image")
    (images / "red_stripes" / "link.png").symlink_to("nowhere")
    (images / "red_stripes" / "folder.png").mkdir()
    reasons = {
        "red_stripes/cut.png": "broken image: ",
        "red_stripes/link.png": "no such file or folder",
        "red_stripes/nothing.jpg": "empty file",
        "red_stripes/words.webp": "not an image",
    }
    done = run("extract", "images", "--json", cwd=fresh)
    assert (done.json["encoded"], done.json["images_per_class"]["red stripes"]) == (96, 24)
    failed = {entry["path"]: entry["error"] for entry in done.json["failed"]}
    assert failed.keys() == reasons.keys()
    assert "warning: 4 files could not be used (--retry-failed reads them again):" in done.stderr
    for path, reason in reasons.items():
        assert failed[path].startswith(reason)
        assert f"  {path}: {failed[path]}\n" in done.stderr

    # Remembered: no file is read again, no model loaded, and --strict says it by the exit code.
    again = run("extract", "images", "--strict", "--json", cwd=fresh, rc=1)
    assert again.json["failed"] == done.json["failed"] and again.json["unchanged"] == 96
    assert "Loading model" not in again.stderr

    # One is replaced by a picture, which its size betrays; the others go. Nothing is left to complain about.
    shutil.copyfile(images / "red_stripes" / "01.png", images / "red_stripes" / "words.webp")
    for name in ("cut.png", "nothing.jpg", "link.png"):
        (images / "red_stripes" / name).unlink()
    told = run("extract", "images", "--strict", "--json", cwd=fresh).json
    assert (told["failed"], told["unchanged"], told["known_by_content"]) == ([], 96, 1)


def test_a_repair_that_leaves_size_and_time_is_noticed(fresh: Path, run: Run) -> None:
    file = fresh / "images" / "red_stripes" / "00.png"
    good, stat = file.read_bytes(), file.stat()
    file.write_bytes(bytes(len(good)))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(run("extract", "images", "--json", cwd=fresh).json["failed"]) == 1
    file.write_bytes(good)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    told = run("extract", "images", "--json", cwd=fresh).json
    assert (told["failed"], told["encoded"], told["unchanged"]) == ([], 1, 95)


def test_all_images_broken(project: Path, run: Run, fails: Fails) -> None:
    for name in ("a", "b"):
        (project / "bad" / name).mkdir(parents=True)
        (project / "bad" / name / "1.png").write_text("no")
    says = ("none of the 2 image files can be used (a/1.png: not an image", "--retry-failed")
    fails("extract", "bad", cwd=project, says=says, writes=True)
    fails("score", "bad", cwd=project, says=says)
    told = run("extract", "images", "--json", cwd=project).json
    assert told["unchanged"] == 96


def test_broken_images_are_rows_of_the_scores(project: Path, run: Run) -> None:
    (project / "unknown" / "bad.jpg").write_text("no")
    run("score", "unknown", cwd=project)
    *good, bad = table(project / "scores.csv")
    assert len(good) == 6 and all(row["error"] == "" for row in good)
    assert (bad["path"], bad["verdict"], bad["score"]) == ("unknown/bad.jpg", "failed", "")
    assert bad["error"].startswith("not an image")
    run("score", "unknown", "--strict", cwd=project, rc=1)


def test_an_image_that_takes_for_ever_is_given_up_and_remembered(fresh: Path, run: Run) -> None:
    """Among a few files and among many; the default limit lets all others pass."""
    images = fresh / "images"
    (images / "red_stripes" / "scans.jpg").write_bytes(jpeg_of_many_scans(20_000))
    done = run("extract", "images/red_stripes", "--image-seconds", ".5", "--json", cwd=fresh)
    (failed,) = done.json["failed"]
    assert failed == {"path": "scans.jpg", "error": "not decoded within 0.5 seconds"}
    again = run("extract", "images", "--json", cwd=fresh)
    assert [entry["error"] for entry in again.json["failed"]] == ["not decoded within 0.5 seconds"]
    assert again.json["images"] == 96

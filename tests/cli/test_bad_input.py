"""Refused at once: one message, the next action, the right exit code, and not a file touched."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import Fails, Run
from copied import copied_project
from tiny import make_pictures


@dataclass(frozen=True)
class Case:
    """A command line, its exit code, and words that its message must hold."""

    command: str
    rc: int
    says: tuple[str, ...]


CASES = [
    # Folders
    Case("extract nope", 1, ("no such file or folder: nope", "check the path")),
    Case("extract empty", 1, ("no images in empty: it is empty", "images are files ending in")),
    Case("extract texts", 1, ("no images in texts (1 other file, 1 hidden entry)", ".webp")),
    Case("extract", 2, ("Missing argument",)),
    Case("score", 2, ("no images are named", "--stream")),
    Case("score nope", 1, ("no such file or folder: nope", "check the path")),
    Case("score picture.png nope.png", 1, ("no such file or folder: nope.png", "did you mean picture.png?")),
    Case("score empty", 1, ("no images in empty",)),
    Case("tune --data nope", 1, ("nope has not been extracted or imported in", "run: deltaoe extract nope")),
    Case("score unknown --data nope", 1, ("nope has not been extracted or imported in",)),
    # Class names
    Case("extract images --classes nope.csv", 2, ("cannot read nope.csv",)),
    Case("extract images --classes empty", 2, ("cannot read empty: it is a folder",)),
    Case("extract images --classes blank.txt", 2, ("blank.txt names no folder", "folder,name")),
    Case(
        "extract images --classes one-cell.csv", 2, ("one-cell.csv, line 2: expected two cells", "tabby cat")
    ),
    Case(
        "extract images --classes typo.csv",
        2,
        ("that holds images: 'red_strips'", "did you mean 'red_stripes'?"),
    ),
    Case(
        "extract images --classes twice.csv", 2, ("twice.csv, line 2: folder 'red_stripes' is named twice",)
    ),
    Case("extract images --classes latin1.txt", 2, ("latin1.txt is not UTF-8 text", "save it as UTF-8")),
    Case("score unknown --labels nope.txt", 2, ("cannot read nope.txt",)),
    Case("score unknown --labels blank.txt", 2, ("blank.txt holds no labels", "one label per line")),
    Case("score unknown --labels doubled.txt", 2, ("doubled.txt holds the label 'cat' twice",)),
    Case("tune --domain photo", 2, ("there is no domain 'photo'", "the layout is class")),
    # Numbers
    Case("extract images --batch-size 0", 2, ("--batch-size must be at least 1, not 0",)),
    Case("tune --shots 0", 2, ("--shots must be at least 1, not 0",)),
    Case("tune --seed -1", 2, ("--seed must be at least 0 and at most",)),
    Case("tune --shots 4 --top-c 5", 2, ("top-c is 5, but there are 4 classes", "between 1 and 4")),
    Case("tune --shots four", 2, ("Invalid value for '--shots'",)),
    Case("tune --shots 25", 1, ("4 of 4 classes have fewer than 25", "red stripes 24", "--allow-fewer")),
    Case("score unknown --alpha 1.5", 2, ("--alpha must be above 0 and below 1, not 1.5",)),
    Case("score unknown --alpha nan", 2, ("--alpha must be above 0 and below 1, not nan",)),
    Case("score unknown --alpha some", 2, ("Invalid value for '--alpha'",)),
    Case("score unknown --zero-shot --temperature 0", 2, ("--temperature must be above 0, not 0.0",)),
    # Choices
    Case("extract images --layout tree", 2, ("'--layout'", "'domain/class'")),
    Case("extract unknown --device cuda:99", 2, ("device 'cuda:99' is not present", "--device cpu")),
    Case("extract unknown --device toaster", 2, ("unknown device 'toaster'", "auto, cpu, cuda")),
    Case("score unknown --report pdf", 2, ("'--report'", "html", "json")),
    Case("score unknown --template photo", 2, ("must contain {} once", "a photo of a {}.")),
    Case("score unknown --temperature 1", 2, ("--temperature is fixed in a tuned detector", "--zero-shot")),
    Case("score unknown --detector d --labels doubled.txt", 2, ("--detector and --labels exclude",)),
    Case("score unknown --out picture.png", 2, ("picture.png is a file, not a folder", "--out")),
]


@pytest.fixture(scope="module")
def scene(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuned project with everything lying about that the cases name."""
    folder = copied_project(template, tmp_path_factory.mktemp("scene") / "project")
    shutil.copy(folder / "unknown" / "noise" / "0.png", folder / "picture.png")
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "notes.md").write_text("no image")
    (folder / "texts" / ".hidden.png").write_text("not looked at")
    (folder / "blank.txt").write_text("\n\n")
    (folder / "latin1.txt").write_bytes("café,café".encode("latin-1"))
    (folder / "doubled.txt").write_text("cat\ndog\ncat\n")
    (folder / "one-cell.csv").write_text("folder,name\nred_stripes\n")
    (folder / "typo.csv").write_text("red_strips,zebra\n")
    (folder / "twice.csv").write_text("red_stripes,zebra\nred_stripes,tiger\n")
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.command)
def test_refused(case: Case, scene: Path, fails: Fails) -> None:
    fails(*case.command.split(), cwd=scene, rc=case.rc, says=case.says)


@pytest.mark.parametrize(
    ("command", "rc"),
    [
        ("extract empty", 1),
        ("tune --data nope", 1),
        ("tune --shots 0", 2),
        ("score unknown --alpha nan", 2),
        ("score unknown --labels doubled.txt", 2),
        ("score unknown --zero-shot --template photo", 2),
    ],
)
def test_a_mistake_is_said_before_anything_slow_is_loaded(
    command: str, rc: int, scene: Path, run_cold: Run
) -> None:
    done = run_cold(*command.split(), cwd=scene, rc=rc, env={"PYTHONPROFILEIMPORTTIME": "1"})
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "deltaoe" in loaded and not loaded & {"torch", "open_clip", "faiss", "sklearn"}


def test_before_anything_is_extracted(tmp_path: Path, fails: Fails) -> None:
    make_pictures(tmp_path / "red_stripes", 2, seed=0)
    fails("tune", cwd=tmp_path, says=("nothing with classes has been extracted", "deltaoe extract DIR"))
    fails("score", ".", cwd=tmp_path, says=("no class names to score against", "--labels FILE"))


def test_one_class_learns_no_prompts(tmp_path: Path, run: Run, fails: Fails) -> None:
    make_pictures(tmp_path / "images" / "red_stripes", 60, seed=0)
    make_pictures(tmp_path / "odd" / "blue_waves", 10, seed=1)
    assert "next: deltaoe tune" in run("extract", "images", cwd=tmp_path).stderr
    says = ("no prompts can be learned", "has one class")
    fails("tune", "--evidence", "text", cwd=tmp_path, rc=2, says=says)
    tuned = run("tune", "--shots", "16", "--json", cwd=tmp_path)
    assert "No prompts were learned" in tuned.stderr and "Loading model" not in tuned.stderr
    assert (tuned.json["shots"], tuned.json["calibration_images"]) == (16, 44)
    scored = run("score", "odd", "images", "--json", cwd=tmp_path).json
    odd = [one["score"] for one in scored["images"] if "blue_waves" in one["path"]]
    own = [one["score"] for one in scored["images"] if "red_stripes" in one["path"]]
    assert max(odd) < min(own)
    assert {one["class"] for one in scored["images"]} == {"red stripes"}
    assert scored["counts"]["unknown"] >= len(odd)


def test_fewer_images_than_shots(project: Path, run: Run, fails: Fails) -> None:
    for file in sorted((project / "images" / "blue_waves").iterdir())[5:]:
        file.unlink()
    run("extract", "images", cwd=project)
    tune = ("tune", "--shots", "8", "--epochs", "1")
    done = fails(*tune, cwd=project, says=("1 of 4 classes have fewer than 8 distinct images: blue waves 5",))
    assert "red stripes" not in done.stderr
    told = run(*tune, "--allow-fewer", "--json", cwd=project)
    assert told.json["shots"] == 5 + 3 * 8
    assert "warning: 1 of 4 classes have fewer than 8 images; they give all they have" in told.stderr


def test_tuning_that_diverges(project: Path, fails: Fails) -> None:
    says = ("tuning diverged in step", "lower --learning-rate")
    fails("tune", "--shots", "4", "--learning-rate", "1e9", cwd=project, says=says)


def test_class_name_too_long_for_the_text_tower(fresh: Path, run: Run, fails: Fails) -> None:
    long_name = "C" * 255
    (fresh / "images" / "red_stripes").rename(fresh / "images" / long_name)
    run("extract", "images", cwd=fresh)
    done = run("tune", "--shots", "4", "--epochs", "1", cwd=fresh)
    assert (
        "The prompt of 1 class is longer than the 77 tokens that the model reads, and cut there"
        in done.stderr
    )
    says = (f"the prompt for class '{long_name}' has", "the model reads 77", "--classes FILE")
    fails("tune", "--shots", "4", "--context-length", "40", cwd=fresh, rc=2, says=says)


@pytest.mark.parametrize("name", ["scores.csv", "report.html"])
def test_files_of_others_are_not_overwritten(project: Path, fails: Fails, name: str) -> None:
    (project / name).write_text("path,what I think\n")
    says = (f"{name} exists and was not written by deltaoe", "--out")
    fails("score", "unknown", "--report", "html", cwd=project, says=says)

"""What the commands say of class names that CLIP cannot read, cannot tell apart, or reads in part."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Finished, Run

from deltaoe.store.workspace import Workspace

FOLDERS = ("blue_waves", "green_checks", "red_stripes", "yellow_dots")


def warnings_of(done: Finished) -> list[str]:
    return re.findall(r"^warning: (.*)$", done.stderr, re.MULTILINE)


def said(done: Finished, *words: str) -> str:
    """The one warning that holds these words."""
    (found,) = [line for line in warnings_of(done) if all(word in line for word in words)]
    return found


def silent_about(done: Finished, *words: str) -> bool:
    return not any(word in line for line in warnings_of(done) for word in words)


def renamed(pictures: Path, folder: Path, *names: str, count: int = 24) -> Path:
    """The pictures' class folders under other names."""
    for name, old in zip(names, FOLDERS, strict=False):
        (folder / name).mkdir(parents=True)
        for file in sorted((pictures / old).iterdir())[:count]:
            shutil.copy(file, folder / name)
    return folder


def classes(folder: Path) -> tuple[str, ...]:
    data = Workspace(folder / ".deltaoe").dataset()
    assert data is not None
    return data.class_names


IDS = ("n02084071", "n02374451", "n02503517", "n02439033")
SAME_PROMPT = "have the same prompt as another one"
NO_WORDS = "CLIP cannot read"
IN_WORDS = "named in words, not by WordNet ids"


def test_wordnet_ids_are_named_in_words(pictures: Path, tmp_path: Path, run: Run) -> None:
    renamed(pictures, tmp_path / "images", *IDS)
    (tmp_path / "names.csv").write_text("folder,name\nn02084071,my dog\n", encoding="utf-8")
    done = run("extract", "images", cwd=tmp_path)
    assert classes(tmp_path) == ("dog", "elephant", "giraffe", "horse")
    assert "n02084071 is dog" in said(done, "4 classes are " + IN_WORDS) and silent_about(done, NO_WORDS)
    # Images keep their classes, and the names reach the prompts.
    run("score", "images", "--zero-shot", "--evidence", "images", "--alpha", "0.1", cwd=tmp_path)
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        pairs = [(row["path"].split("/")[1], row["class"]) for row in csv.DictReader(file)]
    words = dict(zip(IDS, ("dog", "horse", "elephant", "giraffe"), strict=True))
    assert sum(words[folder] == name for folder, name in pairs) / len(pairs) > 0.9

    done = run("extract", "images", "--classes", "names.csv", cwd=tmp_path)
    assert classes(tmp_path) == ("elephant", "giraffe", "horse", "my dog")
    said(done, "3 classes are " + IN_WORDS)
    done = run("extract", "images", "--keep-ids", cwd=tmp_path)
    assert classes(tmp_path) == tuple(sorted(IDS)) and silent_about(done, IN_WORDS)
    said(done, NO_WORDS, "4 of 4", "WordNet ids (n02084071, n02374451")


def test_lists_and_labels_are_named_in_words_too(pictures: Path, tmp_path: Path, run: Run) -> None:
    renamed(pictures, tmp_path / "images", "a", "b", count=3)
    (tmp_path / "images.csv").write_text(
        "path,class\nimages/a/00.png,n02084071\nimages/b/00.png,n02374451\n", encoding="utf-8"
    )
    said(run("extract", "images.csv", cwd=tmp_path), "2 classes are " + IN_WORDS)
    assert classes(tmp_path) == ("dog", "horse")
    (tmp_path / "labels.txt").write_text("n02084071\nhorse\nn02503517\n", encoding="utf-8")
    done = run("score", "images", "--labels", "labels.txt", "--json", cwd=tmp_path)
    assert "2 classes are " + IN_WORDS in " ".join(json.loads(done.stdout)["notes"])
    # An id that is a class of the data set means that class.
    run("extract", "images.csv", "--keep-ids", cwd=tmp_path)
    done = run("score", "images", "--labels", "labels.txt", "--json", cwd=tmp_path)
    assert "1 class is " + IN_WORDS in " ".join(json.loads(done.stdout)["notes"])


def test_a_shifted_set_of_the_same_ids_has_the_same_classes(pictures: Path, tmp_path: Path, run: Run) -> None:
    renamed(pictures, tmp_path / "images", *IDS[:2])
    renamed(pictures, tmp_path / "moved", *IDS[:2], count=4)
    common = "--shift", "moved=moved", "--scores", "msp", "--json"
    told = run("evaluate", "--id", "images", *common, "--out", "a", cwd=tmp_path).json
    assert f"id: 2 classes are {IN_WORDS}: n02084071 is dog, n02374451 is horse" in "".join(told["notes"])
    # A detector of the ids themselves still fits the folders.
    run("extract", "images", "--keep-ids", cwd=tmp_path)
    run("tune", "--shots", "2", "--evidence", "images", "--name", "ids", cwd=tmp_path)
    run("evaluate", "--id", "images", *common, "--detector", "ids", "--out", "b", cwd=tmp_path)


def test_numbers_leave_the_verdict_to_the_images(pictures: Path, tmp_path: Path, run: Run) -> None:
    renamed(pictures, tmp_path / "images", "0", "1", "2", "3")
    done = run("extract", "images", cwd=tmp_path)
    said(done, NO_WORDS, "4 of 4 class names as words: numbers (0, 1, 2 …)", "--classes FILE")
    told = run("score", "images", "--json", cwd=tmp_path).json
    assert told["evidence"] == "images" and "CLIP cannot read the class names" in told["detector"]
    assert any(NO_WORDS in note for note in told["notes"])
    for asked in (("--evidence", "text"), ("--template", "number {}")):
        told = run("score", "images", *asked, "--json", cwd=tmp_path).json
        assert told["evidence"] != "images" and any(NO_WORDS in note for note in told["notes"])
    done = run("tune", "--shots", "2", cwd=tmp_path)
    said(done, "No prompts were learned", "CLIP cannot read the class names", "--evidence both")
    done = run("tune", "--shots", "2", "--epochs", "2", cwd=tmp_path)  # asks for learning
    said(done, NO_WORDS, "4 of 4")
    assert silent_about(done, "No prompts were learned")


def test_few_images_of_numbers_are_judged_by_prompts_and_that_is_said(
    pictures: Path, tmp_path: Path, run: Run
) -> None:
    renamed(pictures, tmp_path / "images", "0", "1", count=4)
    run("extract", "images", cwd=tmp_path)
    told = run("score", "images", "--json", cwd=tmp_path).json
    assert told["evidence"] == "text" and any(NO_WORDS in note for note in told["notes"])


def test_words_are_not_warned_about(template: Path, run: Run, tmp_path: Path) -> None:
    project = Path(shutil.copytree(template, tmp_path / "project"))
    for done in (
        run("extract", "images", cwd=project),
        run("score", "images", "--zero-shot", cwd=project),
        run("tune", "--shots", "2", "--epochs", "1", cwd=project),
    ):
        assert silent_about(done, NO_WORDS, SAME_PROMPT, IN_WORDS, "longer than")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("caf\u00e9", "cafe\u0301", "horse"), r"caf\xe9"),
        (("hot dog", "HOT DOG", "horse"), "HOT DOG and hot dog"),
        (("rock & roll", "rock &amp; roll", "horse"), "rock &amp; roll"),
        (("l\u2019eau", "l'eau", "horse"), "eau"),
    ],
)
def test_equal_prompts_are_found_in_folders(
    names: tuple[str, ...], told: str, pictures: Path, tmp_path: Path, run: Run
) -> None:
    renamed(pictures, tmp_path / "images", *names)
    if len(list((tmp_path / "images").iterdir())) < 3:
        pytest.skip("this file system does not tell these names apart")
    assert told in said(run("extract", "images", cwd=tmp_path), "2 classes " + SAME_PROMPT, "--classes FILE")
    assert len(classes(tmp_path)) == 3


def test_equal_prompts_are_found_by_every_command(pictures: Path, tmp_path: Path, run: Run) -> None:
    renamed(pictures, tmp_path / "images", "hot-dog", "hot - dog", "horse")
    for command in (
        ("extract", "images"),
        ("extract", "images"),  # also where nothing is encoded
        ("score", "images", "--zero-shot"),
        ("tune", "--shots", "2", "--epochs", "1"),
    ):
        said(run(*command, cwd=tmp_path), "2 classes " + SAME_PROMPT, "hot - dog and hot-dog")
    (tmp_path / "other").mkdir()
    shutil.copy(next((pictures / "yellow_dots").iterdir()), tmp_path / "other")
    told = run("evaluate", "--id", "images", "--ood", "other", "--scores", "msp", "--json", cwd=tmp_path).json
    assert any(SAME_PROMPT in note for note in told["notes"])


def test_names_are_stored_composed(pictures: Path, tmp_path: Path, run: Run) -> None:
    renamed(pictures, tmp_path / "images", "cafe\u0301", "horse")
    run("extract", "images", cwd=tmp_path)
    assert classes(tmp_path) == ("caf\u00e9", "horse")


def test_equal_prompts_are_found_in_labels(project: Path, tmp_path: Path, run: Run) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\nDog\nhot dog\nhot\u00a0dog\nhorse\n", encoding="utf-8")
    done = run("score", "unknown", "--labels", labels, "--out", tmp_path / "out", cwd=project)
    assert "labels.txt" in said(done, "4 classes " + SAME_PROMPT, "dog and Dog", r"hot\xa0dog")


def test_prompts_that_are_cut_are_named_by_every_command(pictures: Path, tmp_path: Path, run: Run) -> None:
    long = "狗" * 60  # 180 bytes, 180 tokens
    renamed(pictures, tmp_path / "images", long + "大", long + "小", "cat")
    commands = (
        ("extract", "images"),
        ("score", "images", "--zero-shot"),
        ("tune", "--shots", "2", "--epochs", "1"),
    )
    for command in commands:
        done = run(*command, cwd=tmp_path)
        cut = said(done, "The prompts of 2 classes are longer than the 77 tokens")
        assert "大" in cut and "小" in cut and re.search(r"\(\d{3}\)", cut)
        said(done, "2 classes " + SAME_PROMPT)


def test_a_context_that_leaves_no_room_is_refused(template: Path, run: Run) -> None:
    done = run("tune", "--shots", "2", "--context-length", "75", cwd=template, rc=2)
    assert "--context-length" in done.stderr and "tokens" in done.stderr


# Imported features


def imported(folder: Path, run: Run, *more: str, **arrays: object) -> tuple[list[str], tuple[str, ...]]:
    """Notes and class names of an import of twelve features with these arrays beside them."""
    rows = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    np.savez(folder / "a.npz", features=rows, **{name: np.asarray(array) for name, array in arrays.items()})
    told = run("store", "import", "a.npz", "--name", "a", *more, "--json", cwd=folder).json
    data = Workspace(folder / ".deltaoe").dataset("data:a")
    assert data is not None
    return told["notes"], data.class_names


@pytest.mark.parametrize("labels", [[0, 1, 2] * 4, [True, False] * 6, [0.0, 1.0] * 6])
def test_labels_without_names_are_said(labels: list[object], tmp_path: Path, run: Run) -> None:
    notes, names = imported(tmp_path, run, labels=labels)
    assert names == tuple(f"class {i}" for i in range(len(set(labels))))
    (note,) = notes
    assert f"class 0 to class {len(names) - 1}" in note and "--classes FILE" in note


def test_boolean_labels_are_classes_in_every_file(tmp_path: Path, run: Run) -> None:
    h5py = pytest.importorskip("h5py")
    truth = np.array([True, False] * 6)
    rows = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["labels"] = rows, truth
    np.save(tmp_path / "b.npy", rows)
    np.save(tmp_path / "b.labels.npy", truth)
    files = ["a.h5", "b.npy"]
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        pass
    else:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 8)
        parquet.write_table(pa.table({"features": vectors, "label": pa.array(truth)}), tmp_path / "c.parquet")
        files.append("c.parquet")
    for file in files:
        run("store", "import", file, "--name", "x", cwd=tmp_path)
        data = Workspace(tmp_path / ".deltaoe").dataset("data:x")
        assert data is not None and data.class_of.tolist() == truth.astype(int).tolist(), file


def test_labels_of_no_kind_are_said(tmp_path: Path, run: Run) -> None:
    notes, names = imported(tmp_path, run, labels=np.arange(12).astype("datetime64[D]"))
    assert names == () and any("labels holds neither integers nor names" in note for note in notes)


def test_names_in_imported_files(tmp_path: Path, run: Run) -> None:
    notes, names = imported(tmp_path, run, labels=["n02084071", "Dog", "7"] * 4)
    assert names == ("7", "Dog", "n02084071")  # dog and Dog would be one prompt
    assert any("stay" in note for note in notes) and any(
        NO_WORDS in note and "2 of 3" in note for note in notes
    )
    notes, names = imported(tmp_path, run, labels=["n02084071", "cat"] * 6)
    assert names == ("cat", "dog") and any(IN_WORDS in note for note in notes)
    assert imported(tmp_path, run, "--keep-ids", labels=["n02084071", "cat"] * 6)[1] == ("cat", "n02084071")
    notes, names = imported(tmp_path, run, labels=["hot dog", "Hot\u00a0dog"] * 6)
    assert len(names) == 2 and any(SAME_PROMPT in note for note in notes)


def test_text_features_stay_with_their_classes(tmp_path: Path, run: Run) -> None:
    texts = np.eye(8, dtype=np.float32)[:3]
    imported(
        tmp_path,
        run,
        labels=[0, 1, 2] * 4,
        class_names=["n02374451", "zebra", "n02084071"],
        text_features=texts,
    )
    data = Workspace(tmp_path / ".deltaoe").dataset("data:a")
    assert data is not None and data.text_features is not None
    assert data.class_names == ("dog", "horse", "zebra")
    assert data.text_features.argmax(axis=1).tolist() == [2, 0, 1]
    assert data.class_of.tolist() == [1, 2, 0] * 4

"""``deltaoe store`` export and import: features out and in, and what can be done with those made elsewhere."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from command import Fails, Run, contents
from folders import features, shards, vectors
from outputs import table
from sklearn.metrics import roc_auc_score

from deltaoe.store.dataset import DataSet
from deltaoe.store.workspace import Workspace

KINDS = ["h5", "npz", "npy", "parquet"]


def data_set(folder: Path, name: str) -> DataSet:
    data = Workspace(folder / ".deltaoe").dataset(name)
    assert data is not None
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_out_and_in_again(kind: str, template: Path, tmp_path: Path, run: Run) -> None:
    if kind == "parquet" and importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    file = tmp_path / "out" / f"images.{kind}"
    file.parent.mkdir()
    told = run("store", "export", file, "--json", cwd=template).json
    assert told == {"data": str(template / "images"), "images": 96, "file": str(file)}
    told = run("store", "import", file, "--name", "mine", "--json", cwd=tmp_path).json
    assert (told["data"], told["images"], told["new"], told["notes"]) == ("data:mine", 96, 96, [])

    kept = contents(tmp_path / ".deltaoe")
    told = run("store", "import", file, "--name", "mine", "--json", cwd=tmp_path).json
    assert told["new"] == 0 and contents(tmp_path / ".deltaoe").keys() == kept.keys()  # no shard of nothing

    source, mine = data_set(template, str(template / "images")), data_set(tmp_path, "data:mine")
    assert list(mine.paths) == list(source.paths)
    assert mine.class_names == source.class_names and np.array_equal(mine.class_of, source.class_of)
    right, rows = features(template, str(template / "images")), features(tmp_path, "data:mine")
    assert np.abs(rows - right).max() < 1e-3  # others' files are rounded to 16 bits twice
    if kind == "h5":
        assert np.array_equal(rows, right) and np.array_equal(mine.digests, source.digests)
        assert mine.space_id == source.space_id
        # What a file says of an image does not stand in for encoding it; what was encoded here then counts.
        told = run("extract", template / "images", "--name", "again", "--json", cwd=tmp_path).json
        assert (told["encoded"], told["known_by_content"]) == (96, 0)
        assert np.array_equal(data_set(tmp_path, "data:again").digests, source.digests)
        assert [len(vectors([shard])) for shard in shards(tmp_path)] == [96, 96]


def test_an_export_holds_views_and_text_features(
    fresh: Path, tmp_path: Path, tiny_model: Path, run: Run, fails: Fails
) -> None:
    rng = np.random.default_rng(3)
    names = ["cat", "aardvark", "=1+1"]
    given = rng.normal(size=(40, 8)).astype(np.float32)
    labels, texts = rng.integers(0, 3, 40), rng.normal(size=(3, 8)).astype(np.float32)
    arrays = {"features": given, "labels": labels, "class_names": names, "text_features": texts}
    np.savez(fresh / "foreign.npz", **arrays, extra=np.zeros(3))
    told = run("store", "import", "foreign.npz", "--name", "foreign", "--json", cwd=fresh)
    assert told.json["text_features"] and told.json["notes"][-1] == "not used: extra"
    assert "warning: not used: extra" in told.stderr
    run("extract", "images", "--views", "2", "--name", "views", cwd=fresh)
    there = tmp_path / "there"
    there.mkdir()
    for name, number in (("foreign", 40), ("views", 96)):
        run("store", "export", there / f"{name}.h5", "--data", f"data:{name}", cwd=fresh)
        assert run("store", "import", f"{name}.h5", "--json", cwd=there).json["images"] == number
    fails(
        *("store", "export", there / "views.h5"),
        cwd=fresh,
        rc=2,
        says=("views.h5 is there already", "--force"),
    )

    views = data_set(there, "data:views")
    for one in (fresh, there):
        place = Workspace(one / ".deltaoe")
        space = place.known_space(views.space_id)
        assert space is not None and place.store(space).views(views.digests) == 2
    kept = [vectors(sorted(one.glob(f".deltaoe/features/{views.space_id}/*.h5"))) for one in (fresh, there)]
    assert kept[0].keys() == kept[1].keys() and len(kept[0]) == 288
    assert all(np.array_equal(row, kept[1][key]) for key, row in kept[0].items())

    carried = data_set(there, "data:foreign")
    assert carried.class_names == ("=1+1", "aardvark", "cat")
    assert carried.text_features is not None
    right = (texts / np.linalg.norm(texts, axis=1, keepdims=True))[[2, 1, 0]]
    assert np.allclose(carried.text_features, right, atol=1e-6)

    # Nobody said which model made them, so no text tower can be right: no prompts are learned.
    tune = ("tune", "--data", "data:foreign", "--shots", "2")
    for model in (None, tiny_model):
        says = ("no prompts can be learned: data:foreign was imported", "use --evidence images")
        fails(*tune, "--evidence", "text", cwd=there, model=model, rc=2, says=says)
        tuned = run(*tune, "--out", "both.safetensors", "--json", cwd=there, model=model).json
        (note,) = tuned["notes"]
        assert note.startswith("No prompts were learned: data:foreign was imported")
        assert (tuned["score"], tuned["evidence"], tuned["calibration_images"]) == (
            "fused",
            "text and images",
            34,
        )

    # Zero-shot with the text features that came along: no model, no text encoder, and the textbook's numbers.
    done = run(
        *("score", "data:foreign", "--data", "data:foreign", "--alpha", "0.2"),
        *("--evidence", "text", "--temperature", "0.5", "--json"),
        cwd=there,
        model=None,
    )
    assert "Loading" not in done.stderr
    assert (done.json["calibration_images"], done.json["model"]) == (40, "unknown")
    cosines = given.astype(np.float64) @ right.T.astype(np.float64)
    cosines /= np.linalg.norm(given.astype(np.float64), axis=1, keepdims=True)
    best = cosines.argmax(axis=1)
    without = cosines.copy()
    without[np.arange(40), best] = 0
    expected = 0.5 * (np.log(np.exp(cosines / 0.5).sum(axis=1)) - np.log(np.exp(without / 0.5).sum(axis=1)))
    assert [record["class"] for record in done.json["images"]] == [carried.class_names[i] for i in best]
    assert np.allclose([record["score"] for record in done.json["images"]], expected, atol=1e-3)


def test_tune_and_score_on_imported_features(
    project: Path, tmp_path: Path, tiny_model: Path, other_model: Path, run: Run, fails: Fails
) -> None:
    here, model = tmp_path / "here", f"local-dir:{tiny_model}"
    here.mkdir()
    run("store", "export", here / "mine.npz", "--data", "images", cwd=project)
    told = run("store", "import", "mine.npz", "--name", "mine", "--model", model, cwd=here)
    assert f"made by {model}" in " ".join(told.stdout.split())
    tune = ("tune", "--data", "data:mine", "--shots", "4", "--epochs", "2")
    says = (
        f"the cache of data:mine was made with features imported as {model}, 16 numbers each",
        f"local-dir:{other_model} makes 16",
        f"use --model {model}",
    )
    fails(*tune, cwd=here, model=other_model, says=says)
    tuned = run(*tune, "--json", cwd=here, model=None).json
    assert (tuned["data"], tuned["shots"], tuned["calibration_images"]) == ("data:mine", 16, 80)

    # Images, by the detector made of somebody's features: said to rest on trust.
    done = run("score", project / "images", "--json", cwd=here, model=None)
    (note,) = done.json["notes"]
    assert (
        f"imported as {model}" in note and "taken on trust" in note and note in " ".join(done.stderr.split())
    )
    stored = run("score", "data:mine", "--out", "stored", "--json", cwd=here, model=None)
    (note,) = stored.json["notes"]
    assert (
        note.startswith("All of these images are in the data set data:mine")
        and "Loading" not in stored.stderr
    )
    # Here the trust is deserved: both are the same images.
    images, imported = done.json["images"], stored.json["images"]
    assert [Path(one["path"]).parts[-2:] for one in images] == [Path(one["path"]).parts for one in imported]
    assert np.allclose([one["score"] for one in images], [one["score"] for one in imported], atol=2e-3)

    says = (f"the detector was made with features imported as {model}", f"local-dir:{other_model} makes 16")
    fails("score", project / "images", cwd=here, model=other_model, says=says)
    # Features of another kind, and a detector of these: both named.
    run("extract", project / "unknown", "--name", "strangers", cwd=here, model=other_model)
    (detector,) = (here / ".deltaoe" / "detectors").iterdir()
    says = (f"data:strangers was made with local-dir:{other_model}", f"the detector with {model}")
    fails("score", "data:strangers", "--detector", detector, cwd=here, model=None, says=says)


def test_files_that_are_refused(tmp_path: Path, run: Run, fails: Fails) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    np.savez(tmp_path / "pickles.npz", features=np.array([{"a": 1}, print], dtype=object))
    rows[7, 3] = np.nan
    names = [f"photo {i}.jpg" for i in range(20)]
    np.savez(tmp_path / "nan.npz", features=rows, paths=names)
    for name, says in (
        ("pickles.npz", ("pickles.npz", "features", "object")),
        ("nan.npz", ("nan.npz", "photo 7.jpg", "holds NaN")),
        ("gone.npz", ("gone.npz", "no such file or")),
    ):
        fails("store", "import", name, "--name", "x", cwd=tmp_path, says=says, writes=True)
    fails("score", "data:x", cwd=tmp_path, says=("data:x has not been extracted or imported",))
    run("store", "verify", cwd=tmp_path)


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """A folder in whose workspace the real features are, by name."""
    source = shared / "data" / "clip-features"
    if not (source / "reference.json").is_file():
        pytest.skip(f"needs {source}, which is not here")
    folder = tmp_path_factory.mktemp("real")
    for name in ("caltech52-id", "caltech48-near-ood", "dtd-ood", "flowers-ood"):
        run(
            *("store", "import", source / f"{name}.npz"),
            *("--name", name, "--model", "ViT-B-32", "--dtype", "float32"),
            cwd=folder,
        )
    return folder


def test_real_features(real: Path, shared: Path, run: Run) -> None:
    source = shared / "data" / "clip-features"
    reference = json.loads((source / "reference.json").read_text(encoding="utf-8"))
    (row,) = (
        row
        for row in reference["rows"]
        if (row["score"], row["temperature"], row["top_c"]) == ("delta_energy", 0.1, 1)
        and row["background_fraction"] is None
    )

    def scored(name: str, *texts: str | Path) -> list[dict[str, str]]:
        plain = ("--evidence", "text", "--out", name, "--json")
        done = run("score", f"data:{name}", *texts, *plain, cwd=real, model=None)
        assert "Loading" not in done.stderr and done.json["model"] == "ViT-B-32/openai"
        assert (done.json["temperature"], done.json["top_c"]) == (0.1, 1)
        return table(real / name / "scores.csv")

    inside = scored("caltech52-id")  # the last data set with classes, and its own text features
    with np.load(source / "caltech52-id.npz") as arrays:
        right = arrays["class_names"][arrays["labels"]]
    hits = [row["class"] == name for row, name in zip(inside, right, strict=True)]
    assert np.mean(hits) == pytest.approx(reference["id_accuracy"], abs=1e-12)
    given = ("--text-features", source / "caltech52-id.npz")
    for name, texts in {
        "caltech48-near-ood": ("--data", "data:caltech52-id"),
        "dtd-ood": given,
        "flowers-ood": given,
    }.items():
        outside = scored(name, *texts)
        scores = [float(one["score"]) for one in [*inside, *outside]]
        auroc = roc_auc_score([1] * len(inside) + [0] * len(outside), scores)
        assert auroc == pytest.approx(row[name.removesuffix("-ood")]["auroc"], abs=1e-4), name


def test_features_of_any_encoder_are_compared_with_images_alone(fresh: Path, run: Run) -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 40)
    features = rng.normal(size=(80, 8)) + 6 * np.eye(8)[labels]
    np.savez(fresh / "dino.npz", features=features, labels=labels, class_names=["good", "fair"])
    # The same two classes, and images of neither.
    others = np.concatenate([rng.normal(size=(20, 8)) + 6 * np.eye(8)[place] for place in (0, 1, 5)])
    np.savez(fresh / "others.npz", features=others)
    for name in ("dino", "others"):
        run("store", "import", f"{name}.npz", "--name", name, cwd=fresh)
    told = run("score", "data:others", "--data", "data:dino", "--json", cwd=fresh, model=None).json
    assert told["detector"] == (
        "images alone (no text features came with data:dino), fitted on 40 images of data:dino, "
        "calibrated on 40 others"
    )
    assert (told["score"], told["evidence"], told["parts"]) == ("mahalanobis", "images", {"images": 1.0})
    verdicts = [image["verdict"] for image in told["images"]]
    assert verdicts[40:] == ["unknown"] * 20 and verdicts[:40].count("unknown") <= 6
    assert [image["class"] for image in told["images"][:40]] == ["good"] * 20 + ["fair"] * 20

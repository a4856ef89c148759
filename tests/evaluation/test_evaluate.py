"""Evaluations on generated pictures and features: what enters, what must not, and independent numbers."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import average_precision_score, roc_auc_score
from tiny import HUES, make_model, make_noise, make_pictures

from deltaoe.clip.options import ModelOptions
from deltaoe.errors import ConfigError, DataError
from deltaoe.evaluation.evaluate import evaluate
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.evaluation.protocol import Part, Protocol, load, shipped
from deltaoe.evaluation.run_protocol import find_inputs, run_protocol
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.functional.scores import SCORES
from deltaoe.interchange.import_export import import_features
from deltaoe.interchange.options import ImportOptions
from deltaoe.scoring.options import BackgroundOptions, PromptOptions
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.options import TuneOptions, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.tune import tune_workspace

NAMES = ("cat", "dog", "owl")
QUIET = IngestOptions(workers=0)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(7)
    text = unit(rng.normal(size=(3, 16)))
    labels = np.arange(240) % 3
    known = unit(text[labels] + 0.25 * rng.normal(size=(240, 16)))
    shifted = unit(text[labels[:90]] + 0.35 * rng.normal(size=(90, 16)))
    return {
        "text": text,
        "labels": labels,
        "id": known,
        "shifted": shifted,
        "far": unit(rng.normal(size=(70, 16))),
        "odd": unit(rng.normal(size=(50, 16)) + 0.5),
    }


@pytest.fixture(scope="module")
def imported(arrays, tmp_path_factory):
    root = tmp_path_factory.mktemp("imported")
    place = Workspace(root / ".deltaoe")
    for name in ("id", "shifted", "far", "odd"):
        held = {"features": arrays[name]}
        if name in {"id", "shifted"}:
            held |= {"labels": arrays["labels"][: len(arrays[name])], "class_names": list(NAMES)}
            held["text_features"] = arrays["text"]
        np.savez(root / f"{name}.npz", **held)
        import_features(
            root / f"{name}.npz", place, ImportOptions(name=name, model="made-up", dtype="float32")
        )
    return place


OPTIONS = EvaluateOptions(
    "data:id",
    {"far": "data:far", "odd": "data:odd"},
    {"shifted": "data:shifted"},
    scores=("delta_energy", "delta_energy_plain", "mcm"),
    draws=50,
    prompts=PromptOptions(background=BackgroundOptions("none"), temperature=1.0),
)


def value(found, **wanted) -> float:
    (row,) = found.find(**wanted)
    return row.value


def test_numbers_are_scikit_learns(imported, arrays):
    found = evaluate(imported, OPTIONS)
    assert found.notes == []
    for known in ("id", "shifted"):
        for unknown in ("far", "odd"):
            inside, out = (arrays[n].astype(np.float64) @ arrays["text"].T for n in (known, unknown))
            a, b = (softmax(s, axis=1).max(axis=1) for s in (inside, out))
            truth = np.r_[np.ones(len(a)), np.zeros(len(b))]
            where = {"known": known, "unknown": unknown, "score": "mcm"}
            scores = np.r_[a, b]
            assert value(found, metric="auroc", **where) == pytest.approx(
                roc_auc_score(truth, scores), abs=1e-6
            )
            area = average_precision_score(truth, scores)
            assert value(found, metric="aupr_in", **where) == pytest.approx(area, abs=1e-6)
            area = average_precision_score(1 - truth, -scores)
            assert value(found, metric="aupr_out", **where) == pytest.approx(area, abs=1e-6)
            (row,) = found.find(metric="auroc", **where)
            assert row.low < row.value < row.high
            assert (row.n_known, row.n_unknown) == (len(a), len(b))
        right = inside.argmax(axis=1) == arrays["labels"][: len(inside)]
        assert value(found, metric="accuracy", known=known) == pytest.approx(right.mean())
    mean = value(found, metric="auroc", known="id", score="mcm", unknown="mean")
    each = [value(found, metric="auroc", known="id", score="mcm", unknown=n) for n in ("far", "odd")]
    assert mean == pytest.approx(np.mean(each))
    # No background: it is the paper's score.
    for row in found.find(score="delta_energy"):
        (other,) = found.find(
            score="delta_energy_plain", known=row.known, unknown=row.unknown, metric=row.metric
        )
        assert other.value == pytest.approx(row.value, abs=1e-6)
    alarms = value(found, metric="false_alarms", known="id", score="mcm")
    assert 0.02 < alarms < 0.06
    assert value(found, metric="false_alarms", known="shifted", score="mcm") > alarms


def test_the_other_convention_turns_fpr_alone(imported):
    plain = evaluate(imported, dataclasses.replace(OPTIONS, draws=0))
    turned = evaluate(imported, dataclasses.replace(OPTIONS, draws=0, convention="ood"))
    pairs = list(zip(plain.rows, turned.rows, strict=True))
    assert any(a.value != b.value for a, b in pairs if a.metric == "fpr95")
    assert all(a.value == b.value for a, b in pairs if a.metric != "fpr95")
    assert all(np.isnan(a.low) for a, _ in pairs if a.metric == "auroc")


def test_the_gallery_is_not_judged(imported, arrays, tmp_path):
    found = evaluate(imported, dataclasses.replace(OPTIONS, scores=("knn", "mcm"), gallery_shots=10))
    (row,) = found.find(metric="accuracy", known="id")
    assert row.n_known == 240 - 30
    assert any("30 images of id" in note for note in found.notes)
    named = evaluate(
        imported, dataclasses.replace(OPTIONS, scores=("knn",), gallery="data:shifted", shifts={})
    )
    (row,) = named.find(metric="accuracy", known="id")
    assert row.n_known == 240
    distance = np.linalg.norm(arrays["id"][:, None] - arrays["shifted"][None], axis=2)
    far = np.linalg.norm(arrays["far"][:, None] - arrays["shifted"][None], axis=2)
    a, b = (-d.min(axis=1) for d in (distance, far))  # 90 images: k = 1
    expected = roc_auc_score(np.r_[np.ones(len(a)), np.zeros(len(b))], np.r_[a, b])
    assert value(named, metric="auroc", known="id", unknown="far") == pytest.approx(expected, abs=1e-4)


def test_a_gallery_may_have_fewer_classes_in_another_order(imported, arrays, tmp_path):
    """Its owls are class 0; it has no dogs. Tip-Adapter by its formula, with the text's order of classes."""
    rows = np.flatnonzero(arrays["labels"][:90] != 1)
    shots, classes = arrays["shifted"][rows], arrays["labels"][rows]
    np.savez(
        tmp_path / "few.npz", features=shots, labels=(classes == 0).astype(int), class_names=["owl", "cat"]
    )
    import_features(
        tmp_path / "few.npz", imported, ImportOptions(name="few", model="made-up", dtype="float32")
    )
    names = ("tip_adapter", "gda", "relative_mahalanobis", "fdbd")
    found = evaluate(
        imported, dataclasses.replace(OPTIONS, scores=names, gallery="data:few", shifts={}, draws=0)
    )

    def fused(images):
        cached = np.exp(-5.5 * (1 - images @ shots.T)) @ np.eye(3)[classes]
        return (100 * images @ arrays["text"].T + cached).max(axis=1)

    a, b = fused(arrays["id"]), fused(arrays["far"])
    expected = roc_auc_score(np.r_[np.ones(len(a)), np.zeros(len(b))], np.r_[a, b])
    assert value(found, metric="auroc", known="id", score="tip_adapter", unknown="far") == pytest.approx(
        expected, abs=1e-4
    )
    for name in ("gda", "fdbd"):  # relative Mahalanobis needs more than two classes
        assert value(found, metric="auroc", known="id", score=name, unknown="far") > 0.6
    plain = evaluate(imported, dataclasses.replace(OPTIONS, scores=("mcm",), shifts={}, draws=0))
    accuracies = [value(one, metric="accuracy", known="id") for one in (found, plain)]
    assert accuracies[0] == accuracies[1]


def test_scores_that_cannot_be_are_named(imported):
    found = evaluate(imported, dataclasses.replace(OPTIONS, scores=()))
    assert any(
        note.startswith("NegLabel: left out, there are no background labels; --background")
        for note in found.notes
    )
    assert set(found.scores) == {"verdict", *SCORES} - {"neglabel"}


def test_files(imported, tmp_path):
    found = evaluate(imported, OPTIONS)
    paths = found.write(tmp_path / "out")
    with paths["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.rows)
    assert float(rows[0]["value"]) == pytest.approx(found.rows[0].value, abs=1e-6)
    kept = json.loads(paths["json"].read_text())
    assert [row["value"] for row in kept["rows"]] == [row.value for row in found.rows]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"scores": ("mcn",)}, ConfigError, "no score 'mcn'"),
        ({"unknown": {}, "shifts": {}}, ConfigError, "nothing to evaluate"),
        ({"alpha": 2.0}, ConfigError, "alpha"),
        ({"draws": -1}, ConfigError, "bootstrap"),
        ({"shifts": {"id": "data:shifted"}}, ConfigError, "used twice"),
        ({"known": "data:nobody"}, DataError, "nobody"),
        ({"known": "data:far"}, DataError, "no classes"),
        ({"shifts": {"odd": "data:odd"}, "unknown": {}}, DataError, "no classes"),
        ({"unknown": {"same": "data:id"}}, DataError, "all of its images also lie among the known"),
    ],
)
def test_refusals(imported, changes, error, says):
    with pytest.raises(error, match=says) as caught:
        evaluate(imported, dataclasses.replace(OPTIONS, **changes))
    assert caught.value.hint


# Pictures, and protocols


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    model = make_model(root / "model", seed=0)
    for d, domain in enumerate(("ink", "oil")):
        for k, name in enumerate(HUES):
            make_pictures(root / "pacs" / domain / name, 8, seed=10 * d + k)
    make_noise(root / "textures", 9)
    make_pictures(root / "ood-mini" / "scenes" / "yellow_dots", 12, seed=77)
    shutil.copy(root / "pacs" / "ink" / next(iter(HUES)) / "00.png", root / "textures" / "stray.png")
    return root, f"local-dir:{model}"


def options_for(model: str, **changes) -> EvaluateOptions:
    base = EvaluateOptions(
        "", {}, ingest=QUIET, draws=20, model=ModelOptions(model=model, device="cpu", offline=True)
    )
    return dataclasses.replace(base, **changes)


PROTOCOL = Protocol(
    "test",
    "Two domains",
    "",
    "leave-one-domain-out",
    Part(("nowhere", "pacs")),
    unknown={"textures": Part(("textures",)), "scenes": Part(("ood-mini/scenes",), 5), "food": Part(("f",))},
    seeds=(1, 2),
    shots=2,
    epochs=2,
    context_length=2,
)


def test_no_image_that_was_learned_from_is_judged(world, tmp_path):
    root, model = world
    place = Workspace(tmp_path / ".deltaoe")
    extract(
        root / "pacs",
        place,
        ExtractOptions(ingest=QUIET, model=ModelOptions(model=model, device="cpu", offline=True)),
    )
    prompts = TuningOptions(shots=3, recipe=Recipe(epochs=2))
    tuned = tune_workspace(place, TuneOptions(tuning=prompts, model=ModelOptions(device="cpu", offline=True)))
    assert len(tuned.detector.shots) == 12
    found = evaluate(
        place,
        options_for(model, known=str(root / "pacs"), unknown={"t": str(root / "textures")}, scores=("mcm",)),
    )
    assert list(found.detectors) == ["zero-shot", tuned.path.stem]
    for name in found.detectors:
        (row,) = found.find(detector=name, metric="accuracy", known="id")
        assert row.n_known == 64 - 12
        assert found.find(detector=name, metric="accuracy", known="id/ink")
    assert "t: 1 images also lie among the known ones; left out" in found.notes
    (row,) = found.find(detector="zero-shot", metric="auroc", unknown="t")
    assert row.n_unknown == 9


def test_leave_one_domain_out_resumes(world, tmp_path, monkeypatch):
    root, model = world
    place, out = Workspace(tmp_path / ".deltaoe"), tmp_path / "out"
    options = options_for(model, scores=("delta_energy", "mcm"))
    found = run_protocol(place, PROTOCOL, root, options, out, lambda event: None)
    assert list(found.detectors) == ["zero-shot", "zero-shot + images", "CoOp", "deltaoe"]
    assert any("food" in note for note in found.notes)
    assert place.current_detector() is None and place.dataset() is None
    assert len(list((out / "runs").glob("*.json"))) == 2 * 2 * 4
    assert len(list((out / "detectors").glob("*"))) == 2 * 2 * 2
    for row in found.find(metric="auroc", known="held-out", unknown="scenes"):
        assert (row.n_known, row.n_unknown) == (32, 5)
        assert 0 <= row.low <= row.value <= row.high <= 1
    for row in found.find(metric="accuracy", known="source"):
        assert row.n_known == 32 - 8
    each = [
        value(found, metric="accuracy", detector="deltaoe", known=f"held-out/{d}") for d in ("ink", "oil")
    ]
    assert value(found, metric="accuracy", detector="deltaoe", known="held-out") == pytest.approx(
        np.mean(each)
    )

    # What was finished is not run again; what is lost or torn is.
    runs = sorted((out / "runs").glob("*.json"))
    runs[0].unlink()
    runs[1].write_text(runs[1].read_text()[:50])
    changed = runs[2].read_text()
    first = re.search(r'"value": 0\.(\d)', changed)
    runs[2].write_text(changed[: first.start(1)] + str(9 - int(first[1])) + changed[first.end(1) :])
    stored = json.loads(runs[3].read_text())  # as an earlier version has written it
    del stored["sha256"]
    runs[3].write_text(json.dumps(stored))
    from deltaoe.evaluation import tuned_runs

    seen = []
    real = tuned_runs.measurements
    monkeypatch.setattr(tuned_runs, "measurements", lambda *a: seen.append(a[0]) or real(*a))
    monkeypatch.setattr(tuned_runs, "tune_data", lambda *a: pytest.fail("tuned again"))
    again = run_protocol(place, PROTOCOL, root, options, out, lambda event: None)
    assert len(seen) == 3
    assert again.to_dict() == found.to_dict()


def test_class_split(world, tmp_path):
    root, model = world
    protocol = dataclasses.replace(PROTOCOL, kind="class-split", unknown={}, seeds=(1,))
    place = Workspace(tmp_path / ".deltaoe")
    options = options_for(model, scores=("mcm",))
    found = run_protocol(place, protocol, root, options, tmp_path / "out", lambda event: None)
    for row in found.find(metric="auroc"):
        assert (row.known, row.unknown) == ("source", "held-out classes")
        assert (row.n_known, row.n_unknown) == (32 - 4, 32)
        assert np.isnan(row.low)


def test_a_fixed_protocol(world, tmp_path):
    root, model = world
    protocol = dataclasses.replace(PROTOCOL, kind="fixed")
    options = options_for(model, scores=("mcm",), unknown={"mine": str(root / "textures")})
    place = Workspace(tmp_path / ".deltaoe")
    found = run_protocol(place, protocol, root, options, tmp_path / "out", lambda event: None)
    assert set(found.names("unknown", metric="auroc")) == {"textures", "scenes", "mine", "mean"}
    (row,) = found.find(metric="auroc", unknown="scenes", detector="zero-shot")
    assert row.n_unknown == 5


# Protocols as files


def test_every_shipped_protocol_is_complete():
    assert {"pacs-lodo", "vlcs-lodo", "imagenet-far", "imagenet-10", "imagenet-20", "imagenet-100"} < set(
        shipped()
    )
    for name in shipped():
        protocol = load(name)
        assert protocol.title and (protocol.unknown or protocol.shifts or protocol.kind == "class-split")


def test_missing_data_is_named(tmp_path):
    with pytest.raises(DataError, match="does not find all of its data") as caught:
        find_inputs(load("pacs-lodo"), tmp_path, options_for("m"))
    assert "--id (pacs or PACS" in str(caught.value) and "textures" in str(caught.value)
    assert "--root" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("titel = 'x'", "no key titel", "did you mean title"),
        ("[known]\nfolder = ['x']", "no key known.folder", "known.folders"),
        ("[known]\nfolders = ['../x']", "leads out of --root", ""),
        ("[known]\nfolders = ['/etc']", "leads out of --root", ""),
        ("[known]\nfolders = 'x'", "list of folder names", ""),
        ("[known]\nfolders = ['x']\n[tune]\nshots = 'many'", "whole numbers", ""),
        ("seeds = [1.5]\n[known]\nfolders = ['x']", "seeds", ""),
        ("protocol = 'magic'\n[known]\nfolders = ['x']", "protocol must be one of", ""),
        ("title = 3\n[known]\nfolders = ['x']", "title must be text", ""),
        ("unknown = 3\n[known]\nfolders = ['x']", "unknown must be", ""),
        ("title = 'x'", "no in-distribution images", ""),
        ("title = ", "no TOML", ""),
        ("title = '\\ud800'", "", ""),
    ],
)
def test_broken_protocols(tmp_path, text, says, hint):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert says in str(caught.value)
    assert hint in caught.value.hint and caught.value.hint


@pytest.mark.parametrize("name", ["pacs-lod", "nothing", "../x", "gone.toml", "a\0b"])
def test_no_such_protocol(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert caught.value.hint
    if name == "pacs-lod":
        assert "pacs-lodo" in caught.value.hint

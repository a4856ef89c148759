"""Protocols that tune, on generated pictures: what is drawn and judged, means, and going on after an interruption."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from tiny import HUES, make_model, make_noise, make_pictures

from deltaoe.clip.options import ModelOptions
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DataError
from deltaoe.evaluation import tuned_runs
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.evaluation.protocol import Part, Protocol
from deltaoe.evaluation.results import Evaluation
from deltaoe.evaluation.run_protocol import run_protocol
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.progress import Event, silent
from deltaoe.report.tables import evaluation_tables
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.image_evidence import LabelledImages, with_image_evidence
from deltaoe.scoring.options import BackgroundOptions, PromptOptions
from deltaoe.scoring.zero_shot import zero_shot_detector
from deltaoe.store.dataset import DataSet
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.options import ContextOptions, TuneOptions, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.tune import tune_workspace

DOMAINS = ("ink", "oil", "wax")
METHODS = ["zero-shot", "zero-shot + images", "CoOp", "deltaoe"]
QUIET = IngestOptions(workers=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three domains of four classes, noise, and other pictures; one picture of each class of ink is also one of oil."""
    root = tmp_path_factory.mktemp("world")
    model = make_model(root / "model", seed=0)
    for d, domain in enumerate(DOMAINS):
        for k, name in enumerate(HUES):
            make_pictures(root / "pacs" / domain / name, 6, seed=10 * d + k)
    for name in HUES:
        shutil.copy(root / "pacs" / "ink" / name / "00.png", root / "pacs" / "oil" / name / "twin.png")
    make_noise(root / "textures", 9)
    for k, name in enumerate(list(HUES)[:2]):
        make_pictures(root / "scenes" / name, 7, seed=70 + k)
    return root, f"local-dir:{model}"


PROTOCOL = Protocol(
    "test",
    "Three domains",
    "",
    "leave-one-domain-out",
    Part(("pacs",)),
    unknown={"textures": Part(("textures",)), "scenes": Part(("scenes",), 3)},
    seeds=(1, 2),
    shots=2,
    epochs=1,
    context_length=2,
)


def options_for(model: str, **changes) -> EvaluateOptions:
    base = EvaluateOptions(
        "",
        {},
        scores=("energy", "mcm"),
        ingest=QUIET,
        prompts=PromptOptions(background=BackgroundOptions("none")),
        model=ModelOptions(model=model, device="cpu", offline=True),
    )
    return dataclasses.replace(base, **changes)


def listed(place: Workspace, folder: Path, model: str) -> DataSet:
    how = ExtractOptions(ingest=QUIET, model=ModelOptions(model=model, device="cpu", offline=True))
    return extract(folder, place, how, keep=False).data


def kept_runs(out: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((out / "runs").glob("*.json"))]


def kept_detectors(out: Path) -> list[Detector]:
    return [Detector.load(path) for path in sorted((out / "detectors").iterdir())]


def held_out(detector: Detector) -> str:
    (name,) = set(DOMAINS) - set(detector.settings["domains"])
    return name


def judged(run: dict) -> dict[str, int]:
    return {row["known"]: row["n_known"] for row in run["rows"] if row["metric"] == "accuracy"}


def hash_of(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def same(one: Evaluation, other: Evaluation) -> bool:
    return json.dumps(one.to_dict()) == json.dumps(other.to_dict())


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory):
    """A whole run: the evaluation, its workspace, its folder and its events."""
    root, model = world
    folder = tmp_path_factory.mktemp("undisturbed")
    events: list[Event] = []
    place = Workspace(folder / ".deltaoe")
    found = run_protocol(place, PROTOCOL, root, options_for(model), folder / "out", events.append)
    return found, place, folder / "out", events


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A copy of the whole run's workspace and folder."""
    _, place, out, _ = undisturbed
    shutil.copytree(place.folder, tmp_path / ".deltaoe")
    return Workspace(tmp_path / ".deltaoe"), Path(shutil.copytree(out, tmp_path / "out"))


@pytest.fixture
def calls(monkeypatch):
    """How often was tuned and graded."""
    found = Counter(tune_data=0, measurements=0)
    for name in found:
        real = getattr(tuned_runs, name)
        monkeypatch.setattr(tuned_runs, name, lambda *a, n=name, f=real: found.update([n]) or f(*a))
    return found


def test_rows_are_complete(undisturbed):
    found = undisturbed[0]
    assert found.title == "Three domains" and list(found.detectors) == METHODS
    assert list(found.scores) == ["mcm", "energy"]
    assert found.notes == []
    for method in METHODS:
        for score in found.scores:
            for known in ("source", "held-out"):
                for unknown in ("textures", "scenes", "mean"):
                    for metric in ("auroc", "fpr95", "aupr_in", "aupr_out"):
                        where = {"detector": method, "score": score, "known": known}
                        (row,) = found.find(unknown=unknown, metric=metric, **where)
                        assert 0 <= row.low <= row.value <= row.high <= 1
        for metric in ("accuracy", "ece"):
            names = found.names("known", detector=method, metric=metric)
            domains = [f"held-out/{name}" for name in DOMAINS] if metric == "accuracy" else []
            assert set(names) == {"source", "held-out", *domains}
    keys = [(r.detector, r.score, r.known, r.unknown, r.metric) for r in found.rows]
    assert len(set(keys)) == len(keys)
    assert [row.detector for row in found.rows] == sorted((r.detector for r in found.rows), key=METHODS.index)
    tables = {table.title: table for table in evaluation_tables(found)}
    assert {"AUROC, source against", "AUROC, held-out against", "Classification"} <= set(tables)
    assert len(tables["AUROC, held-out against"].rows) == 4 * 2


def test_counts(undisturbed):
    found, _, out, _ = undisturbed
    assert Counter((r["method"], r["split"], r["seed"]) for r in kept_runs(out)) == {
        (method, domain, seed): 1 for method in METHODS for domain in DOMAINS for seed in PROTOCOL.seeds
    }
    for unknown, count in {"textures": 9, "scenes": 2 * 3, "mean": 9 + 2 * 3}.items():
        for row in found.find(metric="auroc", unknown=unknown):
            assert row.n_unknown == count


def test_no_held_out_image_is_a_shot_and_no_shot_is_judged(world, undisturbed):
    root, model = world
    _, place, out, _ = undisturbed
    data = listed(place, root / "pacs", model)
    homes: dict[bytes, set[str]] = {}
    for key, home in zip(data.keys(), data.domain_of.tolist(), strict=True):
        homes.setdefault(key, set()).add(data.domain_names[home])
    counts = {(run["split"], run["seed"]): judged(run) for run in kept_runs(out)}
    seen = Counter()
    for detector in kept_detectors(out):
        held = held_out(detector)
        learned = {row.tobytes() for row in detector.shots}
        # A twin of a shot may lie in the held-out domain: drawn from the other one, and then not judged there.
        assert all(homes[key] - {held} for key in learned)
        assert len(learned) == 4 * 2
        assert counts[held, detector.settings["seed"]] == {
            "source": len({key for key, where in homes.items() if where - {held}} - learned),
            "held-out": len({key for key, where in homes.items() if held in where} - learned),
        }
        seen[held] += 1
    assert seen == dict.fromkeys(DOMAINS, 4)  # two methods, two seeds


def test_numbers_are_those_of_the_kept_detectors(world, undisturbed):
    root, model = world
    found, place, out, _ = undisturbed
    data, other = listed(place, root / "pacs", model), listed(place, root / "textures", model)
    store = place.store(place.known_space(data.space_id))
    unknown = store.features(other.digests).astype(np.float64)
    hits: dict[int, dict[str, float]] = {1: {}, 2: {}}
    areas: dict[int, dict[str, float]] = {1: {}, 2: {}}
    for detector in kept_detectors(out):
        if detector.settings["ebm_weight"]:
            continue
        held, seed = held_out(detector), detector.settings["seed"]
        taken = {row.tobytes() for row in detector.shots}
        rows = [
            row
            for row, key in enumerate(data.keys())
            if data.domain_names[data.domain_of[row]] == held and key not in taken
        ]
        text = detector.text_features.astype(np.float64)
        cosines = store.features(data.digests[rows]).astype(np.float64) @ text.T
        hits[seed][held] = float(np.mean(cosines.argmax(axis=1) == data.class_of[rows]))
        scores = [softmax(c, axis=1).max(axis=1) for c in (cosines, unknown @ text.T)]
        truth = np.r_[np.ones(len(cosines)), np.zeros(len(unknown))]
        areas[seed][held] = float(roc_auc_score(truth, np.concatenate(scores)))
    for name in DOMAINS:
        (row,) = found.find(detector="CoOp", known=f"held-out/{name}", metric="accuracy")
        assert row.value == pytest.approx(np.mean([hits[seed][name] for seed in (1, 2)]))
    for by_seed, wanted in (
        (hits, {"metric": "accuracy"}),
        (areas, {"metric": "auroc", "score": "mcm", "unknown": "textures"}),
    ):
        each = [np.mean(list(by_seed[seed].values())) for seed in (1, 2)]
        half = stats.t.ppf(0.975, 1) * np.std(each, ddof=1) / np.sqrt(2)
        (row,) = found.find(detector="CoOp", known="held-out", **wanted)
        assert row.value == pytest.approx(np.mean(each), abs=1e-6)
        assert row.low == pytest.approx(max(0, np.mean(each) - half), abs=1e-5)
        assert row.high == pytest.approx(min(1, np.mean(each) + half), abs=1e-5)


def test_the_verdict_is_that_of_each_methods_detector(world, copied):
    """With 2 shots there are no validation images: the shots are fitted on, and what is left calibrates."""
    root, model = world
    place, out = copied
    found = run_protocol(place, PROTOCOL, root, options_for(model, scores=("verdict",)), out, silent)
    assert found.names("detector", score="verdict") == ["zero-shot + images", "deltaoe"]
    assert found.scores == {"verdict": "Verdict"}
    assert found.notes == [
        "Verdict: left out for a detector without image evidence, which decides by ΔEnergy"
    ]
    data, other = listed(place, root / "pacs", model), listed(place, root / "textures", model)
    store, keys = place.store(place.known_space(data.space_id)), data.keys()
    encoder = ModelSource(options_for(model).model, place, model, on=silent)
    zero_shot = zero_shot_detector(data.class_names, options_for(model).prompts, encoder, place, silent)
    hits: dict[str, list[float]] = {"zero-shot + images": [], "deltaoe": []}
    areas: dict[str, list[float]] = {"zero-shot + images": [], "deltaoe": []}
    for detector in kept_detectors(out):
        if not detector.settings["ebm_weight"]:
            assert not detector.parts  # CoOp is text alone
            continue
        held, shots = held_out(detector), [row.tobytes() for row in detector.shots]
        inside = data.rows_in([name for name in DOMAINS if name != held])
        source = {keys[row]: row for row in data.distinct_rows(np.where(inside, data.class_of, -1)).tolist()}
        drawn, rest = [source[key] for key in shots], [source[key] for key in source if key not in shots]
        images = LabelledImages.shots(
            store.features(data.digests[drawn]), data.class_of[drawn], data.domain_of[drawn]
        )
        images = dataclasses.replace(images, seed=detector.settings["seed"])
        plain = with_image_evidence(zero_shot, images)
        plain = plain.calibrated(plain.part_values(store.features(data.digests[rest])).values)
        target = data.distinct_rows(np.where(data.rows_in([held]), data.class_of, -1))
        target = np.array([row for row in target if keys[row] not in shots])
        known, unknown = (store.features(rows) for rows in (data.digests[target], other.digests))
        truth = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
        for method, one in (("zero-shot + images", plain), ("deltaoe", detector)):
            assert one.fused
            areas[method].append(roc_auc_score(truth, np.r_[one.score(known), one.score(unknown)]))
            hits[method].append(np.mean(one.predict(known) == data.class_of[target]))
    assert abs(np.mean(areas["deltaoe"]) - np.mean(areas["zero-shot + images"])) > 4e-3
    for method in hits:
        (row,) = found.find(detector=method, known="held-out", metric="accuracy")
        assert row.value == pytest.approx(np.mean(hits[method]), abs=1e-9)
        (row,) = found.find(detector=method, known="held-out", metric="auroc", unknown="textures")
        # A twin of a calibration image ties with it, or nearly: rounding may move its rank by one.
        assert row.value == pytest.approx(np.mean(areas[method]), abs=2e-3)
        assert len(hits[method]) == 6


def test_detectors_are_what_tune_makes(world, undisturbed, tmp_path):
    root, model = world
    place = Workspace(tmp_path / ".deltaoe")
    extract(
        root / "pacs",
        place,
        ExtractOptions(ingest=QUIET, model=ModelOptions(model=model, device="cpu", offline=True)),
    )
    options = TuneOptions(
        tuning=TuningOptions(
            shots=2,
            seed=2,
            context=ContextOptions(length=2),
            recipe=Recipe(epochs=1),
            background=BackgroundOptions("none"),
        ),
        domains=("ink", "wax"),
        allow_fewer=True,
        model=ModelOptions(device="cpu", offline=True),
    )
    made = tune_workspace(place, options).detector
    assert made.digest in {detector.digest for detector in kept_detectors(undisturbed[2])}


def test_progress_says_which_run(undisturbed):
    events = undisturbed[3]
    heads = [event for event in events if ":" not in event.stage and event.stage.startswith("Run ")]
    assert [event.stage for event in heads] == [f"Run {i}/24" for i in range(1, 25)]
    assert heads[0].info == {"method": "zero-shot", "split": "ink", "seed": 1}
    assert {"Run 24/24: Tuning, energy prompts", "Run 24/24: Scoring held-out"} < {
        event.stage for event in events
    }


def test_the_users_workspace_keeps_its_own(world, tmp_path, undisturbed):
    root, model = world
    place = Workspace(tmp_path / ".deltaoe")
    (tmp_path / "names.csv").write_text("red_stripes,tiger\n")
    how = ExtractOptions(
        ingest=QUIET,
        classes=tmp_path / "names.csv",
        model=ModelOptions(model=model, device="cpu", offline=True),
    )
    extract(root / "pacs", place, how)
    prompts = TuningOptions(shots=2, recipe=Recipe(epochs=1))
    mine = tune_workspace(
        place, TuneOptions(tuning=prompts, model=ModelOptions(device="cpu", offline=True))
    ).path
    before = {path: path.read_bytes() for path in place.listings()}
    found = run_protocol(place, PROTOCOL, root, options_for(model), tmp_path / "out", silent)
    # The same folder under names of the user's: neither he nor the protocol sees anything of the other.
    assert {path: path.read_bytes() for path in place.listings()} == before
    assert place.current_detector() == mine
    assert "tiger" in place.dataset().class_names
    assert [row.value for row in found.rows] == [row.value for row in undisturbed[0].rows]


# Going on


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize(
    ("where", "finished", "tuned"),
    [
        pytest.param("Encoding images", 0, 0, marks=pytest.mark.slow),
        ("Run 3/24: Tuning, class prompts", 2, 0),
        ("Run 11/24: Scoring textures", 10, 5),  # runs 3, 4, 7, 8, and that of run 11 itself
        pytest.param("Run 17/24", 16, 8, marks=pytest.mark.slow),
    ],
)
def test_interrupted_anywhere_it_ends_the_same(world, tmp_path, calls, undisturbed, where, finished, tuned):
    root, model = world
    place, out = Workspace(tmp_path / ".deltaoe"), tmp_path / "out"

    def stop(event: Event) -> None:
        if event.stage == where:
            raise Stop

    with pytest.raises(Stop):
        run_protocol(place, PROTOCOL, root, options_for(model), out, stop)
    runs, detectors = (list((out / name).glob("*")) for name in ("runs", "detectors"))
    assert (len(runs), len(detectors)) == (finished, tuned)
    before = {path: path.stat().st_mtime_ns for path in (*runs, *detectors)}
    calls.update(tune_data=-calls["tune_data"], measurements=-calls["measurements"])
    found = run_protocol(place, PROTOCOL, root, options_for(model), out, silent)
    assert same(found, undisturbed[0])
    assert calls == {"tune_data": 12 - tuned, "measurements": 24 - finished}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(out.rglob("*tmp*"))


def test_other_scores_tune_nothing_again(world, copied, calls, undisturbed):
    root, model = world
    place, out = copied
    options = options_for(model, scores=("msp",), alpha=0.2, unknown={"more": str(root / "scenes")})
    found = run_protocol(place, PROTOCOL, root, options, out, silent)
    assert calls == {"tune_data": 0, "measurements": 24}
    assert list(found.scores) == ["msp"]
    assert set(found.names("unknown", metric="auroc")) == {"textures", "scenes", "more", "mean"}
    for row in found.find(metric="accuracy"):
        (other,) = undisturbed[0].find(metric="accuracy", known=row.known, detector=row.detector)
        assert row.value == other.value
    assert len(kept_runs(out)) == 2 * 24


@pytest.mark.parametrize(
    ("changes", "tuned", "measured"),
    [
        ({"seeds": (1,)}, 0, 0),
        ({"seeds": (2, 3)}, 6, 12),
        ({"title": "Another", "source": "else"}, 0, 0),
        ({"epochs": 2, "seeds": (1,)}, 6, 6),
        ({"shots": 1, "seeds": (1,)}, 6, 12),
        ({"context_length": 3, "seeds": (1,)}, 6, 6),
    ],
)
def test_what_has_changed_is_run_again(world, copied, calls, changes, tuned, measured):
    root, model = world
    place, out = copied
    protocol = dataclasses.replace(PROTOCOL, **changes)
    found = run_protocol(place, protocol, root, options_for(model), out, silent)
    assert calls == {"tune_data": tuned, "measurements": measured}
    if len(protocol.seeds) == 1:
        assert all(np.isnan(row.low) and np.isnan(row.high) for row in found.rows)


def test_another_background_file_is_another_detector(world, tmp_path):
    root, model = world
    names = tmp_path / "names.txt"
    names.write_text("lamp\nharbour\n")
    options = options_for(
        model, prompts=PromptOptions(background=BackgroundOptions(str(names))), scores=("neglabel", "mcm")
    )
    place = Workspace(tmp_path / ".deltaoe")
    protocol = dataclasses.replace(PROTOCOL, seeds=(1,), unknown={"textures": Part(("textures",))})
    first = run_protocol(place, protocol, root, options, tmp_path / "out", silent)
    names.write_text("lamp\nteapot\nkite\n")
    second = run_protocol(place, protocol, root, options, tmp_path / "out", silent)
    assert len(kept_runs(tmp_path / "out")) == 2 * 12
    one, other = (found.find(score="neglabel", metric="auroc")[0].value for found in (first, second))
    assert one != other


def test_what_lies_in_runs_is_not_trusted(world, copied, undisturbed):
    root, model = world
    place, out = copied
    runs = sorted((out / "runs").glob("*.json"))
    kept = json.loads(runs[0].read_text())
    bad = ["", "[]", "{}", "\0", json.dumps(kept | {"format": 1}), json.dumps(kept | {"notes": 3})]
    bad.append(json.dumps(kept | {"rows": [kept["rows"][0] | {"extra": 1}]}))
    for path, text in zip(runs, bad, strict=False):
        path.write_text(text)
    assert same(run_protocol(place, PROTOCOL, root, options_for(model), out, silent), undisturbed[0])


# Other kinds


def test_a_fixed_protocol_that_tunes(world, tmp_path):
    root, model = world
    protocol = dataclasses.replace(
        PROTOCOL, kind="fixed", tuned=True, known=Part(("pacs/ink",)), shifts={"oil": Part(("pacs/oil",))}
    )
    place, out = Workspace(tmp_path / ".deltaoe"), tmp_path / "out"
    found = run_protocol(place, protocol, root, options_for(model, scores=("mcm", "knn")), out, silent)
    assert len(kept_runs(out)) == 2 * 4
    assert found.names("known", metric="accuracy") == ["id", "oil"]
    assert found.names("known", metric="auroc") == ["id", "oil"]
    shots = {d.settings["seed"]: {row.tobytes() for row in d.shots} for d in kept_detectors(out)}
    twins = {hash_of(root / "pacs" / "oil" / name / "twin.png") for name in HUES}
    assert any(twins & drawn for drawn in shots.values())
    for run in kept_runs(out):
        # A twin of a shot is not judged among the shifted images either.
        assert judged(run) == {"id": 24 - 8, "oil": 28 - len(twins & shots[run["seed"]])}


def test_a_shift_beside_the_held_out_domain(world, tmp_path):
    root, model = world
    place = Workspace(tmp_path / ".deltaoe")
    options = options_for(model, shifts={"more": str(root / "scenes")})
    protocol = dataclasses.replace(PROTOCOL, seeds=(1,))
    with pytest.raises(DataError, match="all of its images also lie among the known"):
        run_protocol(place, protocol, root, options, tmp_path / "out", silent)
    protocol = dataclasses.replace(protocol, unknown={"textures": Part(("textures",))})
    found = run_protocol(place, protocol, root, options, tmp_path / "out", silent)
    assert found.names("known", metric="auroc") == ["source", "held-out", "more"]


def test_class_splits(world, tmp_path):
    root, model = world
    protocol = dataclasses.replace(
        PROTOCOL, kind="class-split", seeds=(1, 2, 3), unknown={"textures": Part(("textures",))}
    )
    # One image of every class lies under another one, too: if that one is not known, it is evidence for nothing.
    images = Path(shutil.copytree(root / "pacs" / "ink", tmp_path / "images"))
    names = list(HUES)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        shutil.copy(images / name / "00.png", images / other / "stray.png")
    out = tmp_path / "out"
    options = options_for(model, known=str(images))
    found = run_protocol(Workspace(tmp_path / ".deltaoe"), protocol, root, options, out, silent)
    assert found.names("unknown", metric="auroc") == ["held-out classes", "textures", "mean"]
    assert found.names("known") == ["source"]
    chosen = {(d.settings["seed"], d.class_names) for d in kept_detectors(out)}
    assert len(chosen) == 3 and len({drawn for _, drawn in chosen}) > 1
    keys = {name: {hash_of(path) for path in (images / name.replace(" ", "_")).iterdir()} for name in names}
    keys = {name.replace("_", " "): found for name, found in keys.items()}
    for run in kept_runs(out):
        (row,) = (
            row
            for row in run["rows"]
            if (row["metric"], row["score"], row["unknown"]) == ("auroc", "mcm", "held-out classes")
        )
        (known,) = (drawn for seed, drawn in chosen if seed == run["seed"])
        assert len(known) == 2
        inside = keys[known[0]] | keys[known[1]]
        both = keys[known[0]] & keys[known[1]]  # of two known classes at once
        outside = set().union(*(keys[name] for name in keys if name not in known)) - inside
        assert (row["n_known"], row["n_unknown"]) == (len(inside - both) - 4, len(outside))


@pytest.mark.parametrize(
    ("changes", "given", "error", "says"),
    [
        ({"known": Part(("pacs/ink",))}, {}, DataError, "no domains to leave out"),
        ({"known": Part(("textures",)), "unknown": {}}, {}, DataError, "has no classes"),
        ({"shots": 18}, {}, DataError, "known images: none is left to judge beside 18 shots"),
        (
            {"kind": "class-split", "known": Part(("scenes",)), "unknown": {}},
            {},
            DataError,
            "too few classes",
        ),
        ({"kind": "class-split"}, {"shifts": {"s": "pacs/ink"}}, ConfigError, "half of the classes only"),
        ({}, {"detectors": ("zero-shot",)}, ConfigError, "tunes its own detectors"),
        ({}, {"gallery": "x"}, ConfigError, "compares with the shots"),
        ({}, {"scores": ("mcn",)}, ConfigError, "no score"),
        ({}, {"alpha": 0.0}, ConfigError, "alpha"),
    ],
)
def test_refused_before_anything_is_tuned(world, tmp_path, calls, changes, given, error, says):
    root, model = world
    protocol, options = dataclasses.replace(PROTOCOL, **changes), options_for(model, **given)
    with pytest.raises(error, match=says) as caught:
        run_protocol(Workspace(tmp_path / ".deltaoe"), protocol, root, options, tmp_path / "out", silent)
    assert caught.value.hint
    assert calls == {"tune_data": 0, "measurements": 0}


def test_classes_that_lie_in_few_domains(world, tmp_path):
    root, model = world
    shutil.copytree(root / "pacs", tmp_path / "pacs")
    make_pictures(tmp_path / "made" / "blue_waves", 2, seed=5)
    shutil.copytree(tmp_path / "made" / "blue_waves", tmp_path / "pacs" / "wax" / "sea")
    protocol = dataclasses.replace(PROTOCOL, unknown={}, seeds=(1,))
    place = Workspace(tmp_path / ".deltaoe")
    with pytest.raises(DataError, match="no image of sea to learn from without the domain wax"):
        run_protocol(place, protocol, tmp_path, options_for(model), tmp_path / "out", silent)
    make_pictures(tmp_path / "more" / "blue_waves", 1, seed=6)
    shutil.copytree(tmp_path / "more" / "blue_waves", tmp_path / "pacs" / "ink" / "sea")
    found = run_protocol(place, protocol, tmp_path, options_for(model), tmp_path / "out", silent)
    assert found.notes == ["1 of 5 classes have fewer than 2 images to learn from (wax held out)"]
    assert not found.find(metric="auroc") and found.find(metric="accuracy", known="held-out/wax")


def test_numbers_that_some_runs_lack_are_left_out(world, tmp_path):
    root, model = world
    # 1 / 0.05 − 1 = 19 images must calibrate, half of the known ones: too few are left where oil is held out.
    shutil.copytree(root / "pacs" / "oil", tmp_path / "pacs" / "oil")
    for name in HUES:
        for domain, count in (("ink", 2), ("wax", 5)):
            there = tmp_path / "pacs" / domain / name
            there.mkdir(parents=True)
            for i in range(1, 1 + count):
                shutil.copy(root / "pacs" / domain / name / f"0{i}.png", there)
    protocol = dataclasses.replace(PROTOCOL, seeds=(1,), unknown={})
    place, out = Workspace(tmp_path / ".deltaoe"), tmp_path / "out"
    found = run_protocol(place, protocol, tmp_path, options_for(model), out, silent)
    assert any(row["metric"] == "false_alarms" for run in kept_runs(out) for row in run["rows"])
    assert not found.find(metric="false_alarms")
    assert found.notes == ["false alarms: left out where some runs have too few images to measure it"]
    found = run_protocol(place, protocol, tmp_path, options_for(model, alpha=0.2), out, silent)
    assert found.find(metric="false_alarms", known="source") and found.notes == []

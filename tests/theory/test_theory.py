"""The theorems on generated pictures and features: independent numbers, what is said, and what is not measured."""

from __future__ import annotations

import csv
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score
from tiny import HUES, make_model, make_noise, make_pictures
from torch.nn.attention import SDPBackend, sdpa_kernel

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.options import ModelOptions
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import ConfigError, MismatchError, ModelError
from deltaoe.evaluation.evaluate import evaluate, prepare
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.interchange.import_export import import_features
from deltaoe.interchange.options import ImportOptions
from deltaoe.report.tables import theory_tables
from deltaoe.runtime import generator
from deltaoe.scoring.detector import Detector
from deltaoe.store.workspace import Workspace
from deltaoe.theory.conclusions import conclude
from deltaoe.theory.measure import bound_points, measure_theory
from deltaoe.theory.rebuilding import rebuilt_learner
from deltaoe.theory.results import Conclusion, Finding, Theory
from deltaoe.tuning.options import ContextOptions, TuneOptions, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.tune import tune_workspace

QUIET = IngestOptions(workers=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two domains of four classes, noise, and two detectors of λ = 0 and λ > 0 from the first domain."""
    root = tmp_path_factory.mktemp("world")
    model = f"local-dir:{make_model(root / 'model', seed=0)}"
    for d, domain in enumerate(("ink", "oil")):
        for k, name in enumerate(HUES):
            make_pictures(root / "pictures" / domain / name, 8, seed=10 * d + k)
    make_noise(root / "noise", 9)
    place = Workspace(root / ".deltaoe")
    extract(
        root / "pictures",
        place,
        ExtractOptions(ingest=QUIET, model=ModelOptions(model=model, device="cpu", offline=True)),
    )
    for name, weight in (("coop", 0.0), ("ebm", 0.5)):
        options = TuneOptions(
            tuning=TuningOptions(
                shots=3,
                context=ContextOptions(length=2),
                recipe=Recipe.coop(epochs=4, ebm_weight=weight, temperature=1.0, top_c=2),
            ),
            domains=("ink",),
            out=root / f"{name}.safetensors",
            model=ModelOptions(device="cpu", offline=True),
        )
        tune_workspace(place, options)
    return root, model, place


def options_for(world, **changes) -> EvaluateOptions:
    root, model, _ = world
    base = EvaluateOptions(
        str(root / "pictures"),
        {"noise": str(root / "noise")},
        detectors=("zero-shot", *(str(root / f"{name}.safetensors") for name in ("coop", "ebm"))),
        scores=("delta_energy_plain", "mcm"),
        draws=30,
        ingest=QUIET,
        model=ModelOptions(model=model, device="cpu", offline=True),
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def found(world) -> Theory:
    return measure_theory(world[2], options_for(world), probes=48)


def one(found: Theory, **wanted) -> Finding:
    (row,) = found.find(**wanted)
    return row


def test_separation_is_that_of_the_evaluation(world, found):
    measured = evaluate(world[2], options_for(world))
    for detector in ("zero-shot", "coop"):
        where = {"detector": detector, "known": "id", "against": "noise", "at": "MCM, τ = 1"}
        for quantity, score in (("auroc", "delta_energy_plain"), ("rival_auroc", "mcm")):
            (row,) = measured.find(detector=detector, score=score, metric="auroc", unknown="noise")
            assert one(found, quantity=quantity, **where).value == pytest.approx(row.value, abs=2e-3)
        change = one(found, quantity="difference", **where)
        assert change.low <= change.value <= change.high
        assert change.n == 64 - 12


def test_energy_prompts_are_what_it_is_about(world, found):
    """The theorem compares scores of the same prompts: AUROC by SciPy and scikit-learn on the energy prompts."""
    _, _, place = world
    data = prepare(place, options_for(world))
    detector = data.detectors["ebm"]
    text = detector.energy_features.astype(np.float64)
    assert not np.allclose(text, detector.text_features, atol=1e-3)
    known, store = data.known("id", detector), data.id_sets["id"].store
    noise = data.ood_sets["noise"]
    sides = store.features(known.digests), noise.store.features(data.unknown("noise"))
    cosines = [rows.astype(np.float64) @ text.T for rows in sides]
    truth = np.repeat([1, 0], [len(rows) for rows in sides])

    def delta(rows):  # τ = 1, c = 2
        cropped = rows.copy()
        np.put_along_axis(cropped, np.argsort(-rows, axis=1)[:, :2], 0.0, axis=1)
        return logsumexp(rows, axis=1) - logsumexp(cropped, axis=1)

    where = {"detector": "ebm", "known": "id", "against": "noise", "at": "MCM, τ = 1"}
    for quantity, score in (
        ("auroc", delta),
        ("rival_auroc", lambda rows: softmax(rows, axis=1).max(axis=1)),
    ):
        wanted = roc_auc_score(truth, np.concatenate([score(rows) for rows in cosines]))
        assert one(found, quantity=quantity, **where).value == pytest.approx(wanted, abs=2e-3)
    bound = {"part": "bound", "detector": "ebm", "known": "id", "at": "score: τ = 1, c = 2"}
    wanted = delta(cosines[0]).mean()
    assert one(found, quantity="change", **bound).value == pytest.approx(wanted, abs=1e-6)


def test_the_bound_is_looked_at_by_domain_and_at_both_temperatures(world, found):
    groups = {(row.known, row.at) for row in found.find(part="bound", detector="ebm")}
    points = set(bound_points(Detector.load(world[0] / "ebm.safetensors")))
    assert points == {"score: τ = 1, c = 2", "EBM loss: τ = 0.01, c = 2"}
    assert groups == {(known, at) for known in ("id", "id/ink", "id/oil") for at in points}
    for row in found.find(part="bound", quantity="premise"):
        held = one(found, part="bound", detector=row.detector, known=row.known, at=row.at, quantity="bound")
        assert held.value == row.value and row.low <= row.value <= row.high
    parts = [
        one(found, detector="ebm", known=f"id/{d}", at="score: τ = 1, c = 2", quantity="gap")
        for d in ("ink", "oil")
    ]
    whole = one(found, detector="ebm", known="id", at="score: τ = 1, c = 2", quantity="gap")
    assert whole.value == pytest.approx(sum(p.value * p.n for p in parts) / whole.n)


def test_hessians_are_those_that_are_formed_whole(world, found):
    _, model, place = world
    data = prepare(place, options_for(world))
    clip = FrozenClip.load(ModelRef.parse(model, None), torch.device("cpu"), offline=True)
    detector = data.detectors["ebm"]
    known = data.known("id", detector)
    store = data.id_sets["id"].store
    for point in ("start", "learned"):
        learner = rebuilt_learner(clip, detector, start=point == "start")
        whole = {}
        for domain, mask in known.domains.items():
            features = torch.from_numpy(store.features(known.digests[mask]))
            truth = torch.from_numpy(known.labels[mask])

            def loss(context):
                text = torch.func.functional_call(learner, {"context": context}, ())  # noqa: B023
                return F.cross_entropy(detector.logit_scale * features @ text.T, truth)  # noqa: B023

            with sdpa_kernel(SDPBackend.MATH):
                context = learner.context.detach()
                matrix = torch.autograd.functional.hessian(loss, context).reshape(64, 64).numpy()
                slope = torch.func.grad(loss)(context)
            whole[domain] = matrix
            where = {"detector": "ebm", "known": f"id/{domain}", "at": point}
            assert one(found, quantity="loss", **where).value == pytest.approx(float(loss(context)), rel=1e-4)
            assert one(found, quantity="gradient", **where).value == pytest.approx(
                float(slope.norm()), rel=1e-3
            )
            for quantity, true in (("norm", np.linalg.norm(matrix)), ("trace", np.trace(matrix))):
                row = one(found, quantity=quantity, **where)
                assert abs(row.value - true) < 2 * (row.high - row.low)
        ink, oil = whole["ink"], whole["oil"]
        pair = {"detector": "ebm", "known": "id/ink", "against": "id/oil", "at": point}
        row = one(found, quantity="distance", **pair)
        assert abs(row.value - np.linalg.norm(ink - oil)) < 2 * (row.high - row.low)


def test_detectors_of_one_seed_share_their_start_and_their_probes(found):
    starts = [
        [row.value for row in found.find(detector=name, at="start", part="hessian")]
        for name in ("coop", "ebm")
    ]
    assert starts[0] == starts[1] and len(starts[0]) == 8
    change = one(found, detector="ebm", at="learned − coop", quantity="relative")
    each = [
        one(found, detector=n, known="mean", at="learned", quantity="relative").value for n in ("ebm", "coop")
    ]
    assert change.value == pytest.approx(each[0] - each[1])
    assert not found.find(detector="coop", at="learned − ebm")
    assert change.reference == ("coop", "learned")
    assert one(found, detector="ebm", at="learned − start", quantity="relative").reference == ("ebm", "start")


def test_conclusions_follow_their_rules(found):
    told = {
        part: [c for c in found.conclusions if c.part == part] for part in ("bound", "separation", "hessian")
    }
    assert len(told["bound"]) == 2 * 3
    for row in found.find(part="separation", quantity="difference"):
        word = "supports" if row.low > 0 else "contradicts" if row.high < 0 else "undecided"
        if row.at.startswith("Energy"):  # which the theorem is not about
            word = {"supports": "higher", "contradicts": "lower"}.get(word, word)
        start = f"{row.detector}, id against noise: AUROC of ΔEnergy"
        assert any(
            c.verdict == word and c.text.startswith(start) and row.at in c.text for c in told["separation"]
        )
    assert (
        len(told["hessian"]) == 2 + 4
    )  # absolute and relative: coop from its start; ebm from its own and from coop
    assert all(c.verdict == "undecided" for c in told["hessian"] if c.text.startswith("coop"))
    for quantity, word in (("distance", "absolute"), ("relative", "relative")):
        row = one(found, detector="ebm", at="learned − coop", quantity=quantity)
        expected = "supports" if row.high < 0 else "contradicts" if row.low > 0 else "undecided"
        (said,) = (
            c
            for c in told["hessian"]
            if c.text.startswith("ebm (λ = 0.5) beside coop (λ = 0)") and word in c.text
        )
        assert said.verdict == expected


def bound(low: float, high: float) -> list[Finding]:
    numbers = {"premise": (low + high) / 2, "informative": 0.0, "lower": -0.1, "change": 0.1}
    return [
        Finding("bound", "d", "id", "", "score", name, value, low, high, 9) for name, value in numbers.items()
    ]


@pytest.mark.parametrize(
    ("ends", "word"), [((0.96, 1), "supports"), ((0.2, 0.94), "contradicts"), ((0.9, 0.97), "undecided")]
)
def test_the_premise_is_held_against_95_percent(ends, word):
    first, separation = conclude(bound(*ends), [])
    assert first.verdict == word and "9 images of id" in first.text
    assert (separation.part, separation.verdict) == ("separation", "not measured")


def test_no_conclusion_is_read_from_a_label():
    def bounds(**changes):
        rows = [dataclasses.replace(row, known="a/b", **changes) for row in bound(0.96, 1)]
        return [one for one in conclude(rows, []) if one.part == "bound"]

    assert [one.verdict for one in bounds()] == ["supports"]  # a shift may be called a/b
    assert not bounds(by_domain=True)
    means = [
        Finding("distance", name, "mean", "", "learned", quantity, value)
        for name, value in (("start", 3.0), ("ebm", 1.0))
        for quantity in ("distance", "relative", "shuffled")
    ]
    changes = [
        Finding(
            "distance",
            "ebm",
            "mean",
            "",
            "learned − start",
            quantity,
            -2,
            -3,
            -1,
            reference=("start", "learned"),
        )
        for quantity in ("distance", "relative")
    ]
    # A detector may be called start.
    absolute, relative, _ = conclude([*means, *changes], [], {"start": 0.1, "ebm": 0.5})
    assert absolute.verdict == relative.verdict == "supports"
    assert absolute.text.startswith("ebm (λ = 0.5) beside start (λ = 0.1): ")


def test_files(found, tmp_path):
    paths = found.write(tmp_path / "out")
    table, document = paths.values()
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.findings)
    kept = json.loads(document.read_text())
    assert kept["settings"]["probes"] == 48
    assert [row["value"] for row in kept["findings"]] == [
        None if math.isnan(row.value) else row.value for row in found.findings
    ]
    assert [len(table.rows) for table in theory_tables(found)] == [
        3 * 2 * 3,
        3 + 3 + 4,
        2 * 2 * 2,
        2 * (2 + 2) + 3,
    ]


# What is not measured


def refusals(found: Theory) -> list[Conclusion]:
    return [c for c in found.conclusions if c.verdict == "not measured"]


def test_without_a_tuned_detector_there_is_no_hessian(world):
    found = measure_theory(world[2], options_for(world, detectors=("zero-shot",)))
    (said,) = refusals(found)
    assert "no detector is tuned" in said.text and not found.find(part="hessian")


def test_one_domain_has_nothing_to_be_compared_with(world):
    root, *_ = world
    known = str(root / "pictures" / "oil")
    found = measure_theory(
        world[2], options_for(world, known=known, detectors=(str(root / "ebm.safetensors"),))
    )
    (said,) = refusals(found)
    assert "one domain" in said.text and not found.find(part="distance")
    shifted = options_for(
        world,
        known=known,
        shifts={"drawn": str(root / "pictures" / "ink")},
        unknown={},
        detectors=(str(root / "ebm.safetensors"),),
    )
    found = measure_theory(world[2], shifted, probes=2)
    assert one(found, detector="ebm", known="id", against="drawn", at="start", quantity="cosine")
    assert [c.part for c in refusals(found)] == ["separation"]


def test_a_model_that_nobody_named_is_no_error(world, tmp_path):
    """Features may be imported without their model; then there is no text tower to differentiate through."""
    root = world[0]
    tuned = Detector.load(root / "ebm.safetensors")
    rng = np.random.default_rng(0)
    other = Workspace(tmp_path / ".deltaoe")
    rows = rng.normal(size=(40, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for name, part in (("a", rows[:20]), ("b", rows[20:])):
        held = {"features": part, "labels": np.arange(20) % 4, "class_names": list(tuned.class_names)}
        np.savez(tmp_path / f"{name}.npz", **held)
        import_features(tmp_path / f"{name}.npz", other, ImportOptions(name=name, dtype="float32"))
    space = other.known_space(other.dataset("data:a").space_id)
    dataclasses.replace(tuned, space=space).save(tmp_path / "d.safetensors")
    options = EvaluateOptions(
        "data:a",
        {},
        {"b": "data:b"},
        detectors=(str(tmp_path / "d.safetensors"),),
        scores=("mcm",),
        draws=0,
        model=ModelOptions(offline=True, device="cpu"),
    )
    said = [c.text for c in refusals(measure_theory(other, options)) if c.part == "hessian"]
    assert len(said) == 2 and all("without the name of the model" in text for text in said)


def test_a_learner_is_rebuilt_or_refused(world):
    root, model, _ = world
    clip = FrozenClip.load(ModelRef.parse(model, None), torch.device("cpu"), offline=True)
    tuned = Detector.load(root / "coop.safetensors")
    with torch.no_grad():
        np.testing.assert_allclose(rebuilt_learner(clip, tuned)(), tuned.text_features, atol=1e-5)
    start = clip.prompt_learner(tuned.class_names, 2, None, generator(1)).context
    torch.testing.assert_close(rebuilt_learner(clip, tuned, start=True).context, start)
    ebm = Detector.load(root / "ebm.safetensors")
    with torch.no_grad():
        np.testing.assert_allclose(rebuilt_learner(clip, ebm)(), ebm.energy_features, atol=1e-5)
    turned = dataclasses.replace(tuned, text_features=tuned.text_features[::-1].copy())
    with pytest.raises(MismatchError, match="differ from its own"):
        rebuilt_learner(clip, turned)
    blended = dataclasses.replace(turned, settings={**tuned.settings, "blend": 0.7})
    assert rebuilt_learner(clip, blended).context.shape == (2, 32)
    with pytest.raises(MismatchError, match="shape"):
        rebuilt_learner(clip, dataclasses.replace(tuned, context=tuned.context[:, :8].copy()))
    with pytest.raises(MismatchError, match="seed"):
        rebuilt_learner(clip, dataclasses.replace(tuned, settings={}), start=True)
    with pytest.raises(ModelError, match="no learned context"):
        rebuilt_learner(clip, dataclasses.replace(tuned, context=None))


def test_probes_must_be_some(world):
    with pytest.raises(ConfigError, match="probes"):
        measure_theory(world[2], options_for(world), probes=0)

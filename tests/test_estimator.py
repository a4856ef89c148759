"""The scikit-learn classifier: scikit-learn's own checks, the same verdicts as the command, and an independent sum."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from command import Run
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, LabelEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

from deltaoe import DeltaoeClassifier
from deltaoe.errors import ConfigError, DataError
from deltaoe.estimator import EXPECTED_FAILED_CHECKS
from deltaoe.scoring.detector import Detector

DIM = 12
NAMES = ("airliner", "banjo", "cactus")


class World:
    """Images of three classes, images of a fourth, and text features that point roughly where the images do."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.normal(size=(4, DIM)) + 2.0
        gap = self.rng.normal(size=DIM)
        self.text = self.centres[:3] + gap + 0.2 * self.rng.normal(size=(3, DIM))

    def images(self, of: int, count: int) -> np.ndarray:
        rows = self.centres[of] + 0.5 * self.rng.normal(size=(count, DIM))
        return rows * self.rng.uniform(0.5, 20, size=(count, 1))

    def known(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([self.images(k, count) for k in range(3)]), np.repeat(NAMES, count)


@pytest.fixture
def world() -> World:
    return World()


@parametrize_with_checks([DeltaoeClassifier()], expected_failed_checks=lambda _: EXPECTED_FAILED_CHECKS)
@pytest.mark.filterwarnings("ignore")  # scikit-learn's checks provoke them
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


@pytest.mark.parametrize("text", ["array", "mapping", None])
def test_the_command_gives_the_same_verdicts(text, world, tmp_path, run: Run):
    images, classes = world.known(60)
    new = np.concatenate([world.known(15)[0], world.images(3, 15)])
    arrays = {"labels": np.unique(classes, return_inverse=True)[1], "class_names": np.array(NAMES)}
    if text:
        arrays["text_features"] = world.text.astype(np.float32)
    np.savez(tmp_path / "mine.npz", features=images.astype(np.float32), **arrays)
    np.savez(tmp_path / "new.npz", features=new.astype(np.float32))
    for name in ("new", "mine"):
        run("store", "import", f"{name}.npz", "--name", name, "--dtype", "float32", cwd=tmp_path)
    told = run("score", "data:new", "--data", "data:mine", "--alpha", "0.1", "--json", cwd=tmp_path).json

    given = dict(zip(NAMES, world.text, strict=True)) if text == "mapping" else world.text
    classifier = DeltaoeClassifier(text_features=given if text else None, alpha=0.1)
    classifier.fit(images.astype(np.float32), classes)
    assert told["evidence"] == ("text and images" if text else "images")
    assert told["calibration_images"] == len(classifier.detector_.calibration) == 90
    # The command answers in the order of its data set, which is that of the file.
    verdicts = [one["class"] if one["verdict"] == "known" else one["verdict"] for one in told["images"]]
    assert classifier.predict(new).tolist() == verdicts
    assert {"unknown", *NAMES} == set(verdicts)
    assert classifier.p_values(new) == pytest.approx([one["p_value"] for one in told["images"]], abs=1e-12)
    assert classifier.score_samples(new) == pytest.approx([one["score"] for one in told["images"]], rel=1e-4)


def test_of_images_alone_probabilities_are_those_of_gaussians(world):
    images, classes = world.known(60)
    classifier = DeltaoeClassifier().fit(images, classes)
    new = world.known(20)[0]
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    detector = classifier.detector_
    root = detector.root.astype(float)
    covariance = np.linalg.inv(root @ root.T)
    density = np.stack([multivariate_normal.pdf(new, mean, covariance) for mean in detector.means], axis=1)
    posterior = density / density.sum(axis=1, keepdims=True)
    assert classifier.predict_proba(new) == pytest.approx(posterior, abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("with_text", [False, True])
def test_its_outputs_agree(classes, with_text, world):
    images, labels = world.known(40)
    chosen = np.isin(labels, NAMES[:classes])
    text = world.text[:classes] if with_text else None
    classifier = DeltaoeClassifier(text_features=text).fit(images[chosen], labels[chosen])
    new = np.concatenate([world.known(20)[0], world.images(3, 20)])
    decision, share = classifier.decision_function(new), classifier.predict_proba(new)
    best = (decision > 0).astype(int) if classes == 2 else decision.argmax(axis=1)
    predicted = classifier.predict(new)
    assert (predicted == classifier.classes_[best]).all()
    assert (predicted == classifier.classes_[share.argmax(axis=1)]).all()
    assert share.sum(axis=1) == pytest.approx(1.0)
    assert (classifier.detector_.predict(new) == best).all()
    p, score = classifier.p_values(new), classifier.score_samples(new)
    assert (np.diff(p[np.argsort(score)]) >= 0).all()


def test_at_alpha_it_says_unknown(world):
    images, labels = world.known(100)
    classifier = DeltaoeClassifier(alpha=0.1).fit(images, labels)
    known, right = world.known(200)
    flagged = classifier.predict(known) == "unknown"
    assert flagged.mean() < 0.2 and (classifier.predict(known)[~flagged] == right[~flagged]).mean() > 0.9
    strange = world.images(3, 200)
    assert (classifier.predict(strange) == "unknown").mean() > 0.5
    assert ((classifier.predict(strange) == "unknown") == (classifier.p_values(strange) <= 0.1)).all()
    # α is a setting of the answer: another one needs no new fit.
    assert "unknown" not in classifier.set_params(alpha=None).predict(strange)
    assert clone(classifier).get_params()["alpha"] is None


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        ([0, 1, 2], None, -1),
        (["a", "b", "c"], None, "unknown"),
        ([0, 1, 2], 99, 99),
        (["a", "b", "c"], "?", "?"),
        (np.array([0, 1, 2], dtype=np.uint8), None, -1),
        ([0, 1, 2], "?", "?"),
    ],
)
def test_what_unknown_images_are_called(labels, given, expected, world):
    images, _ = world.known(40)
    classifier = DeltaoeClassifier(alpha=0.2, unknown_label=given).fit(images, np.repeat(labels, 40))
    predicted = classifier.predict(np.concatenate([images, world.images(3, 40)])).tolist()
    assert set(predicted) == {expected, *np.asarray(labels).tolist()}


def test_it_works_in_scikit_learn_tools(world):
    images, labels = world.known(40)
    pipeline = make_pipeline(FunctionTransformer(), DeltaoeClassifier(text_features=world.text))
    assert cross_val_score(pipeline, images, labels, cv=3).min() > 0.9
    options = {"deltaoeclassifier__evidence": ["text", "images", "auto"]}
    search = GridSearchCV(pipeline, options, cv=3, error_score="raise").fit(images, labels)
    assert search.best_score_ > 0.9
    again = pickle.loads(pickle.dumps(search.best_estimator_))  # noqa: S301
    assert (again.predict(images) == search.predict(images)).all()
    mapping = dict(zip(NAMES, world.text, strict=True))
    assert cross_val_score(DeltaoeClassifier(text_features=mapping), images, labels, cv=3).min() > 0.9


def test_the_seed_and_the_content_divide_the_images(world):
    images, labels = world.known(40)
    order = np.random.default_rng(1).permutation(len(images))
    fitted = DeltaoeClassifier().fit(images, labels).detector_
    assert fitted.calibration == pytest.approx(
        DeltaoeClassifier().fit(images[order], labels[order]).detector_.calibration
    )
    other = DeltaoeClassifier(random_state=1).fit(images, labels).detector_
    assert not np.allclose(fitted.calibration, other.calibration)
    generator = DeltaoeClassifier(random_state=np.random.RandomState(3)).fit(images, labels).detector_
    assert len(generator.calibration) == 60
    assert len(DeltaoeClassifier(calibration_share=0.25).fit(images, labels).detector_.calibration) == 30


def test_background_features_count(world):
    images, labels = world.known(60)
    background = world.rng.normal(size=(5, DIM))
    given = DeltaoeClassifier(text_features=world.text, background_features=background).fit(images, labels)
    assert len(given.detector_.background) == 5
    without = DeltaoeClassifier(text_features=world.text).fit(images, labels)
    assert not np.allclose(given.detector_.part_calibration, without.detector_.part_calibration)


def test_its_detector_can_be_saved(world, tmp_path):
    images, labels = world.known(60)
    classifier = DeltaoeClassifier(text_features=world.text).fit(images, labels)
    classifier.detector_.save(tmp_path / "detector.safetensors")
    loaded = Detector.load(tmp_path / "detector.safetensors")
    assert loaded.class_names == NAMES
    assert loaded.score(images) == pytest.approx(classifier.score_samples(images))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"alpha": 1.5}, ConfigError, "alpha must lie between 0 and 1"),
        ({"alpha": 0.001}, DataError, "too few for alpha = 0.001"),
        ({"evidence": "none"}, ConfigError, "evidence must be auto, text or images"),
        ({"evidence": "text"}, ConfigError, "without text_features"),
        ({"calibration_share": 1.0}, ConfigError, "calibration_share must lie between 0 and 1"),
        ({"alpha": 0.1, "unknown_label": "banjo"}, ConfigError, "'banjo' is a class"),
        ({"text_features": np.ones((2, DIM))}, DataError, "2 text features and 3 classes"),
        ({"text_features": np.ones((3, 4))}, DataError, "text features must be"),
        ({"text_features": {"banjo": np.ones(DIM)}}, DataError, "class 'airliner' has no text feature"),
        ({"text_features": np.ones((3, DIM)), "top_c": 4}, ConfigError, "top-c is 4"),
        ({"text_features": np.ones((3, DIM)), "temperature": 0}, ConfigError, "temperature"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_it_refuses(options, error, says, world):
    images, labels = world.known(40)
    with pytest.raises(error, match=says) as caught:
        DeltaoeClassifier(**options).fit(images, labels)
    assert caught.value.hint or "must" in str(caught.value) or "without" in str(caught.value)


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "decision_function", "score_samples", "p_values"]
)
def test_nothing_is_answered_before_it_is_fitted(method, world):
    with pytest.raises(NotFittedError):
        getattr(DeltaoeClassifier(), method)(world.known(2)[0])


def test_equal_images_of_two_classes_are_used_for_nothing(world):
    images, labels = world.known(40)
    twice, both = np.concatenate([images, images[:5]]), np.concatenate([labels, np.repeat("banjo", 5)])
    assert len(DeltaoeClassifier().fit(twice, both).detector_.calibration) == 18 + 20 + 20
    with pytest.raises(DataError, match="no image of class 'x' is in that class alone"):
        DeltaoeClassifier().fit(
            np.concatenate([images, images[:1]]), np.concatenate([labels, np.array(["x"])])
        )


def test_encoded_labels_do_as_well(world):
    images, labels = world.known(40)
    numbers = LabelEncoder().fit_transform(labels)
    by_name = DeltaoeClassifier().fit(images, labels).score_samples(images)
    assert (DeltaoeClassifier().fit(images, numbers).score_samples(images) == by_name).all()

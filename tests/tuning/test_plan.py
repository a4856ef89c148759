"""The plan says what the draw does, whatever copies and images of two classes there are."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.errors import DataError
from deltaoe.functional.sampling import few_shot_split
from deltaoe.tuning.data import draw, require_calibration
from deltaoe.tuning.plan import NEEDED, best_plan, plan

NAMES = ("cat", "dog", "owl")
# Images of each class, copies of the first of them, and how many of them also lie under the next class.
CLASSES = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 3), st.integers(0, 2)),
    min_size=len(NAMES),
    max_size=len(NAMES),
)
quick = settings(max_examples=150, deadline=None, derandomize=True)


def images(classes) -> tuple[list[int], list[bytes]]:
    labels, keys = [], []
    for label, (count, copies, shared) in enumerate(classes):
        own = [hashlib.sha256(b"%d-%d" % (label, i)).digest() for i in range(count)]
        keys += own + own[:1] * copies + own[1 : 1 + shared]
        labels += [label] * (count + min(count, 1) * copies)
        labels += [(label + 1) % len(NAMES)] * len(own[1 : 1 + shared])
    return [*labels, -1], [*keys, b"without a class"]


def class_sizes(labels, keys, count) -> list[int]:
    available = few_shot_split(labels, keys, 0, 0).available
    return [available.get(label, 0) for label in range(count)]


@quick
@given(CLASSES, st.integers(1, 40), st.integers(0, 3), st.booleans())
def test_a_plan_is_what_the_draw_leaves(classes, shots, seed, allow_fewer):
    labels, keys = images(classes)
    sizes = class_sizes(labels, keys, len(NAMES))
    smallest = min(sizes)
    try:
        drawn = draw(labels, keys, NAMES, shots=shots, seed=seed, allow_fewer=allow_fewer)
    except DataError:
        assert smallest < shots and not (allow_fewer and smallest)
        return
    found = drawn.plan
    assert found == plan(sizes, shots) and list(drawn.sizes) == sizes
    assert len(drawn.split.shots) == found.learned_from
    assert len(drawn.validation) == found.validation
    assert len(drawn.calibration) == found.calibration
    assert found.learned_from + found.validation + found.calibration == sum(sizes)


@quick
@given(CLASSES, st.integers(1, 40), st.booleans())
def test_the_best_plan_is_the_largest_draw_that_leaves_enough(classes, most, allow_fewer):
    labels, keys = images(classes)
    sizes = class_sizes(labels, keys, len(NAMES))

    def enough(shots: int) -> bool:
        try:
            drawn = draw(labels, keys, NAMES, shots=shots, seed=0, allow_fewer=allow_fewer)
        except DataError:
            return False
        return len(drawn.calibration) >= NEEDED

    works = [shots for shots in range(1, most + 1) if enough(shots)]
    best = best_plan(sizes, most, allow_fewer=allow_fewer)
    assert (best.shots if best else None) == (works[-1] if works else None)


@quick
@given(CLASSES, st.integers(1, 40), st.booleans())
def test_what_is_refused_is_refused_for_a_reason_and_the_advice_works(classes, shots, allow_fewer):
    labels, keys = images(classes)
    try:
        drawn = draw(labels, keys, NAMES, shots=shots, seed=0, allow_fewer=allow_fewer)
    except DataError:
        return
    if len(drawn.calibration) >= NEEDED:
        require_calibration(drawn, allow_fewer=allow_fewer)
        return
    with pytest.raises(DataError, match=f"leaves {len(drawn.calibration)} of") as caught:
        require_calibration(drawn, allow_fewer=allow_fewer)
    words = caught.value.hint.replace(":", "").split()
    if "--shots" in words:
        better = draw(
            labels, keys, NAMES, shots=int(words[words.index("--shots") + 1]), seed=0, allow_fewer=allow_fewer
        )
        require_calibration(better, allow_fewer=allow_fewer)
        assert f"it leaves {len(better.calibration)} images" in caught.value.hint
    else:
        missing = int(words[words.index("least") + 1])
        sizes = list(drawn.sizes)
        assert best_plan([sizes[0] + missing, *sizes[1:]]) is not None
        assert best_plan([sizes[0] + missing - 1, *sizes[1:]]) is None


# Images held out


@quick
@given(CLASSES, st.lists(st.integers(0, 60), min_size=3, max_size=3), st.integers(1, 20), st.integers(0, 3))
def test_no_shot_is_drawn_of_images_held_out(classes, held, shots, seed):
    labels, keys = images(classes)
    own = class_sizes(labels, keys, len(NAMES))
    held_labels = np.repeat(np.arange(3), held).tolist()
    held_keys = [b"held out %d" % i for i in range(len(held_labels))]
    held_out = np.arange(len(labels) + len(held_labels)) >= len(labels)
    try:
        drawn = draw(
            labels + held_labels,
            keys + held_keys,
            NAMES,
            shots=shots,
            seed=seed,
            allow_fewer=True,
            held_out=held_out,
        )
    except DataError:
        assert min(own) == 0
        return
    assert not held_out[drawn.split.shots].any()
    uses = [drawn.split.shots, drawn.validation, drawn.calibration]
    together = np.concatenate(uses)
    assert len(np.unique(together)) == len(together)
    if sum(held) >= NEEDED:  # they alone validate and calibrate
        assert held_out[drawn.validation].all() and held_out[drawn.calibration].all()
        assert len(drawn.validation) + len(drawn.calibration) == sum(held)
    else:
        assert len(together) == sum(own) + sum(held)
    found = drawn.plan
    assert [len(use) for use in uses] == [found.learned_from, found.validation, found.calibration]
    assert found.unused == sum(own) + sum(held) - len(together)

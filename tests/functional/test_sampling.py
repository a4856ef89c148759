"""Few-shot samples depend on the images and the seed, and on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from deltaoe.errors import ConfigError
from deltaoe.functional.sampling import distinct_rows, few_shot_split

quick = settings(max_examples=100, deadline=None, derandomize=True)


def digest(image: int) -> bytes:
    return hashlib.sha256(b"image-%d" % image).digest()


# (label, image): few images, so that duplicates and conflicts are common; −1 is unlabelled.
ROWS = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 25)), max_size=40)
SEEDS = st.integers(0, 2**128 - 1) | st.integers(0, 3)
SHOTS = st.integers(0, 5)


def split(rows, k, seed):
    return few_shot_split([label for label, _ in rows], [digest(image) for _, image in rows], k, seed)


def images(rows, indices) -> set[int]:
    return {rows[i][1] for i in indices}


def usable(rows) -> dict[int, set[int]]:
    """Class → images that appear under this class alone."""
    classes = {}
    for label, image in rows:
        if label >= 0:
            classes.setdefault(image, set()).add(label)
    return {
        label: {image for image, found in classes.items() if found == {label}}
        for label in sorted({label for found in classes.values() if len(found) == 1 for label in found})
    }


def clean(per_class: int, classes: int) -> list[tuple[int, int]]:
    return [(i % classes, i) for i in range(per_class * classes)]


# What a sample is


@quick
@given(ROWS, SHOTS, SEEDS)
def test_k_images_of_each_class_or_all_it_has(rows, k, seed):
    found = split(rows, k, seed)
    expected = usable(rows)
    assert found.available == {label: len(members) for label, members in expected.items()}
    for label, members in expected.items():
        drawn = [i for i in found.shots if rows[i][0] == label]
        assert len(drawn) == min(k, len(members))
        assert images(rows, drawn) <= members
    labels = [rows[i][0] for i in found.shots]
    assert labels == sorted(labels)


@quick
@given(ROWS, SHOTS, SEEDS)
def test_shots_and_rest_share_no_image_and_cover_all_usable_ones_once(rows, k, seed):
    found = split(rows, k, seed)
    taken = [rows[i][1] for i in (*found.shots, *found.rest)]
    assert len(taken) == len(set(taken))
    assert set(taken) == set().union(*usable(rows).values())
    assert found.rest.tolist() == sorted(found.rest.tolist())
    assert found.shots.dtype == found.rest.dtype == found.conflicting.dtype == np.int64


@quick
@given(ROWS, SHOTS, SEEDS)
def test_an_image_under_two_classes_is_used_for_nothing(rows, k, seed):
    found = split(rows, k, seed)
    labels_of = {
        image: {label for label, other in rows if other == image and label >= 0} for _, image in rows
    }
    conflict = {image for image, labels in labels_of.items() if len(labels) > 1}
    assert found.conflicting.tolist() == [i for i, (_, image) in enumerate(rows) if image in conflict]
    assert not conflict & images(rows, (*found.shots, *found.rest))


@quick
@given(ROWS, SHOTS, SEEDS)
def test_unlabelled_rows_are_ignored(rows, k, seed):
    found = split(rows, k, seed)
    assert all(rows[i][0] >= 0 for i in (*found.shots, *found.rest))
    labelled = [row for row in rows if row[0] >= 0]
    same = split(labelled, k, seed)
    assert images(labelled, same.shots) == images(rows, found.shots)
    assert images(labelled, same.rest) == images(rows, found.rest)


# What it depends on


@quick
@given(ROWS, SHOTS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows, k, seed, random):
    shuffled = random.sample(rows, len(rows))
    before, after = split(rows, k, seed), split(shuffled, k, seed)
    assert [rows[i] for i in before.shots] == [shuffled[i] for i in after.shots]
    assert images(rows, before.rest) == images(shuffled, after.rest)
    assert before.available == after.available


@quick
@given(ROWS, SHOTS, SEEDS, st.randoms(use_true_random=False))
def test_copies_of_an_image_do_not_matter(rows, k, seed, random):
    copied = rows + random.sample(rows, len(rows) // 2)
    assert images(copied, split(copied, k, seed).shots) == images(rows, split(rows, k, seed).shots)


@quick
@given(ROWS, SHOTS, SEEDS)
def test_classes_are_drawn_independently_of_their_number(rows, k, seed):
    """Renaming the classes changes their order, not their images."""
    renamed = [(3 - label if label >= 0 else label, image) for label, image in rows]
    assert images(renamed, split(renamed, k, seed).shots) == images(rows, split(rows, k, seed).shots)


@quick
@given(st.integers(1, 12), st.integers(1, 12), SHOTS, SEEDS)
def test_added_images_displace_one_shot_each_at_most(before, added, k, seed):
    old = [(0, i) for i in range(before)]
    new = [(0, 100 + i) for i in range(added)]
    first, second = images(old, split(old, k, seed).shots), images(old + new, split(old + new, k, seed).shots)
    arrived = second & {image for _, image in new}
    assert second - arrived <= first
    assert len(first - second) == len(arrived) - (len(second) - len(first))


@quick
@given(ROWS, SHOTS, SEEDS)
def test_more_shots_contain_fewer_shots(rows, k, seed):
    assert images(rows, split(rows, k, seed).shots) <= images(rows, split(rows, k + 1, seed).shots)


def test_seeds_draw_different_images():
    rows = clean(per_class=40, classes=2)
    seeds = [0, 1, 2, 255, 256, 2**64, 2**127]
    samples = {frozenset(images(rows, split(rows, 4, seed).shots)) for seed in seeds}
    assert len(samples) == len(seeds)


def test_every_image_and_every_pair_is_drawn_as_often_as_chance_has_it():
    """3 of 10 images, seeds 0..2999: each image in 3/10 of the samples, each pair in 3/45."""
    rows, trials = clean(per_class=10, classes=1), 3000
    together = np.zeros((10, 10), dtype=int)
    for seed in range(trials):
        drawn = sorted(images(rows, split(rows, 3, seed).shots))
        together[np.ix_(drawn, drawn)] += 1
    alone, pairs = np.diag(together), together[~np.eye(10, dtype=bool)]
    # 55 counts: a 99.99 % band each.
    for counts, chance in ((alone, 3 / 10), (pairs, 3 * 2 / (10 * 9))):
        low, high = binom.interval(0.9999, trials, chance)
        assert low <= counts.min() <= counts.max() <= high


@pytest.mark.parametrize(
    ("seed", "shots"),
    [
        (0, [18, 21, 12, 13, 1, 22, 5, 23, 2]),
        (1, [3, 9, 21, 13, 22, 10, 5, 20, 14]),
        (2, [15, 6, 9, 16, 7, 13, 17, 5, 2]),
        (2**64, [6, 9, 12, 16, 7, 22, 17, 5, 8]),
    ],
)
def test_every_machine_and_every_release_draws_these(seed, shots):
    """Pinned: stored detectors name a seed, and papers too. A change here is a change of their samples."""
    found = split(clean(per_class=8, classes=3), 3, seed)
    assert found.shots.tolist() == shots
    assert found.rest.tolist() == sorted(set(range(24)) - set(shots))


# Edges


def test_nothing_to_draw_from():
    for rows in ([], [(-1, 0), (-1, 1)]):
        found = split(rows, 3, 0)
        assert len(found.shots) == len(found.rest) == len(found.conflicting) == 0
        assert found.available == {}
        assert found.shots.dtype == np.int64


def test_labels_may_be_numpy_integers():
    labels = np.array([0, 1, 0, -1], dtype=np.int32)
    found = few_shot_split(labels, [digest(i) for i in range(4)], 1, 0)
    assert sorted([*found.shots, *found.rest]) == [0, 1, 2]
    assert found.available == {0: 2, 1: 1}


def test_labels_and_keys_must_have_one_length():
    with pytest.raises(ValueError, match="shorter"):
        few_shot_split([0, 1], [digest(0)], 1, 0)


@pytest.mark.parametrize(("k", "seed", "what"), [(-1, 0, "shots"), (1, -1, "seed"), (1, 2**128, "seed")])
def test_k_and_seed_must_be_in_range(k, seed, what):
    with pytest.raises(ConfigError, match=what):
        split(clean(2, 2), k, seed)


@quick
@given(ROWS, st.booleans())
def test_distinct_rows_are_the_first_of_each_usable_image(rows, same_start):
    """Also where contents differ in the last of their 32 bytes alone."""
    images_of = [image for _, image in rows]
    digests = [bytes(31) + bytes([image]) if same_start else digest(image) for image in images_of]
    found = distinct_rows(
        np.array([label for label, _ in rows], dtype=np.int64),
        np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32),
    ).tolist()
    one_class = set().union(*usable(rows).values())
    first = {}
    for row, (label, image) in enumerate(rows):
        if label >= 0 and image in one_class:
            first.setdefault(image, row)
    assert found == sorted(first.values())

"""The same formula on arrays of NumPy and on tensors of PyTorch, in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp as scipy_logsumexp

from deltaoe.functional.arrays import double, largest, logsumexp, replaced, taken
from deltaoe.functional.energy import crop, delta_energy, delta_energy_from_top, energy

INF = np.inf


def cosines(rows: int = 40, labels: int = 9, seed: int = 0) -> np.ndarray:
    """Cosines of random rows; one row is of equal numbers, one of the largest there are, one is below zero."""
    values = np.random.default_rng(seed).uniform(-0.3, 0.5, (rows, labels))
    values[0], values[1], values[2] = 0.25, 1.0, -np.abs(values[2])
    values[3, :4] = values[3].max()
    return values


def both(function, *arguments):
    """The results by NumPy and by PyTorch."""
    tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    return function(*arguments), function(*tensors).numpy()


@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.049, 0.05, 0.1, 1.0, 50.0])
@pytest.mark.parametrize("top_c", [1, 2, 9])
def test_energies_are_the_same_numbers(temperature, top_c):
    s = cosines()
    for function, arguments in (
        (energy, (s, temperature)),
        (lambda s, c: crop(s, c).sum(-1), (s, top_c)),  # of equal cosines, either is cropped
        (delta_energy, (s, temperature, top_c)),
        (delta_energy_from_top, (s[:, :top_c], scipy_logsumexp(s / temperature, axis=1), temperature)),
    ):
        ours, theirs = both(function, *arguments)
        assert type(ours) is np.ndarray and ours.dtype == np.float64
        assert ours == pytest.approx(theirs, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_with_no_other_label_the_floor_is_empty(temperature):
    top, empty = cosines()[:, :2], np.full(40, -INF)
    ours, theirs = both(delta_energy_from_top, top, empty, temperature)
    assert np.isfinite(ours).all()
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_precision_stays_what_it_was(kind):
    s = cosines().astype(kind)
    for temperature in (0.01, 0.1):
        ours, theirs = both(delta_energy, s, temperature, 2)
        assert ours.dtype == theirs.dtype == kind


def test_logsumexp_is_scipys():
    values = np.array([[1.0, 2.0, -INF], [-INF, -INF, -INF], [1000.0, 1000.0, -1000.0], [INF, 0.0, 1.0]])
    with np.errstate(all="raise", under="ignore"):
        assert logsumexp(values[:3]).tolist() == pytest.approx(scipy_logsumexp(values[:3], axis=1).tolist())
    assert logsumexp(np.zeros((2, 0))).tolist() == [-INF, -INF]
    assert logsumexp(torch.from_numpy(values)).tolist() == pytest.approx(
        scipy_logsumexp(values, axis=1).tolist()
    )


def test_places_name_the_largest_values():
    values = np.random.default_rng(1).permuted(np.arange(60.0).reshape(4, 15), axis=1)
    ours, theirs = largest(values, 4), largest(torch.from_numpy(values), 4)
    assert ours[0].tolist() == theirs[0].tolist() == (-np.sort(-values, axis=1)[:, :4]).tolist()
    assert ours[1].tolist() == theirs[1].tolist()
    assert taken(values, ours[1]).tolist() == ours[0].tolist()
    assert taken(torch.from_numpy(values), theirs[1]).tolist() == ours[0].tolist()


def test_replaced_leaves_its_argument_alone():
    values = np.arange(6.0).reshape(2, 3)
    for kind in (values, torch.from_numpy(values)):
        places = largest(kind, 1)[1]
        assert replaced(kind, places, -1.0).tolist() == [[0, 1, -1], [3, 4, -1]]
        assert kind.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert double(np.float32([1])).dtype == np.float64 and double(torch.ones(1)).dtype == torch.float64

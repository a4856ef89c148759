"""Hessians through probes, against Hessians that are formed whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deltaoe.errors import ConfigError
from deltaoe.theory.curvature import Curvature, curvature, gradients_and_products, rademacher


def softmax_loss(seed: int):
    """Cross-entropy of a tiny softmax model of 2 × 3 parameters, in float64."""
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.normal(size=(30, 3)))
    labels = torch.from_numpy(rng.integers(0, 4, 30))
    mix = torch.from_numpy(rng.normal(size=(4, 2)))

    def loss(theta: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(images @ torch.tanh(mix @ theta).T, labels)

    return loss


def hessian(loss, theta) -> np.ndarray:
    return torch.autograd.functional.hessian(loss, theta).reshape(theta.numel(), -1).numpy()


THETA = torch.from_numpy(np.random.default_rng(9).normal(size=(2, 3)))


def seen_by(probes: torch.Tensor) -> Curvature:
    theta = THETA.clone().requires_grad_()
    _, products = gradients_and_products([softmax_loss(s)(theta) for s in (0, 1)], theta)
    return curvature(products, probes.double())


def test_products_and_gradients_are_those_of_the_whole_hessian():
    theta = THETA.clone().requires_grad_()
    losses = [softmax_loss(s) for s in (0, 1)]
    slopes, products = gradients_and_products([loss(theta) for loss in losses], theta)
    v = torch.from_numpy(np.random.default_rng(2).normal(size=6))
    for loss, slope, times in zip(losses, slopes, products, strict=True):
        np.testing.assert_allclose(times(v), hessian(loss, THETA) @ v.numpy(), atol=1e-12)
        np.testing.assert_allclose(slope, torch.func.grad(loss)(THETA).reshape(-1).numpy(), atol=1e-14)


def test_probes_along_every_axis_give_the_exact_numbers():
    a, b = (hessian(softmax_loss(s), THETA) for s in (0, 1))
    # √6 times the axes: their mean of v vᵀ is the identity, as that of random probes is on average.
    found = seen_by(math.sqrt(6) * torch.eye(6))
    far = np.linalg.norm(a - b)
    assert found.norm(0).value == pytest.approx(np.linalg.norm(a))
    assert found.trace(1).value == pytest.approx(np.trace(b))
    assert found.distance(0, 1).value == pytest.approx(far)
    scale = np.sqrt(np.linalg.norm(a) * np.linalg.norm(b))
    assert found.relative_distance(0, 1).value == pytest.approx(far / scale)
    expected = (a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b))
    assert found.cosine(0, 1).value == pytest.approx(expected)
    assert found.mean_distance([(0, 1), (0, 0)], relative=True).value == pytest.approx(
        far / scale / 2, abs=1e-6
    )


def test_random_probes_come_within_a_few_standard_errors():
    a, b = (hessian(softmax_loss(s), THETA) for s in (0, 1))
    found = seen_by(rademacher(400, 6, torch.Generator().manual_seed(0)))
    for estimate, true in (
        (found.norm(0), np.linalg.norm(a)),
        (found.trace(0), np.trace(a)),
        (found.distance(0, 1), np.linalg.norm(a - b)),
        (found.cosine(0, 1), (a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b))),
    ):
        assert abs(estimate.value - true) < 4 * estimate.error < 0.5 * abs(true) + 0.2


def test_the_error_of_a_trace_is_that_of_a_mean():
    found = seen_by(rademacher(25, 6, torch.Generator().manual_seed(1)))
    expected = found.traces[:, 0].std(ddof=1) / 5
    assert found.trace(0).error == pytest.approx(expected)
    assert math.isnan(seen_by(torch.ones(1, 6)).trace(0).error)


def test_a_hessian_is_at_no_distance_from_itself_nor_from_its_copy():
    found = seen_by(rademacher(8, 6, torch.Generator().manual_seed(2)))
    assert found.distance(0, 0) == (0, 0)
    assert found.cosine(1, 1).value == pytest.approx(1)
    assert found.change_from(found, [(0, 1)], relative=True) == (0, 0)
    assert found.change_from(found, [(0, 1)], relative=False) == (0, 0)


def test_quadratics_of_one_shape_differ_by_their_scale():
    theta = torch.zeros(4, requires_grad=True)
    losses = [k * (theta**2).sum() / 2 for k in (1.0, 4.0)]
    _, products = gradients_and_products(losses, theta)
    done = []
    found = curvature(products, rademacher(3, 4, torch.Generator().manual_seed(0)), done.append)
    assert done == [1, 2, 3]
    assert found.norm(1) == pytest.approx((8, 0))
    assert found.distance(0, 1).value == pytest.approx(6)
    assert found.relative_distance(0, 1).value == pytest.approx(6 / math.sqrt(2 * 8))
    assert found.cosine(0, 1).value == pytest.approx(1)


def test_a_flat_loss_has_no_relative_distance():
    gram = np.zeros((2, 2, 2))
    assert math.isnan(Curvature(gram, np.zeros((2, 2))).relative_distance(0, 1).value)


def test_probes_are_signs():
    probes = rademacher(5, 7, torch.Generator().manual_seed(0))
    assert probes.shape == (5, 7) and set(probes.unique().tolist()) == {-1.0, 1.0}
    with pytest.raises(ConfigError, match="probes"):
        rademacher(0, 7, torch.Generator())

"""Laws of the mask and of the energy bound."""

from __future__ import annotations

import numpy as np
import pytest
import references
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deltaoe.errors import ConfigError
from deltaoe.functional.ebm import EbmTerms, ebm_loss, ebm_terms, mask_features
from deltaoe.functional.energy import delta_energy

quick = settings(max_examples=60, deadline=None, derandomize=True)
TEMPERATURES = st.sampled_from([0.01, 0.05, 0.1, 1.0, 10.0])


@st.composite
def spaces(draw):
    """Unit features (N, D) and text features (K, D); narrow spaces give every kind of row."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width = draw(st.integers(1, 8))
    features = references.unit_rows(rng, draw(st.integers(1, 5)), width)
    text = references.unit_rows(rng, draw(st.integers(1, 6)), width)
    top_two = np.sort(features @ text.T, axis=1)[:, -2:]
    assume(len(text) == 1 or (top_two[:, 1] - top_two[:, 0]).min() > 1e-9)  # one top-1, whatever the rounding
    return torch.from_numpy(features), torch.from_numpy(text)


@quick
@given(spaces())
def test_mask_equals_the_definition_element_by_element(space):
    features, text = space
    expected = [references.mask(h, text.tolist()) for h in features.tolist()]
    np.testing.assert_allclose(mask_features(features, text), expected, rtol=1e-13, atol=0)


@quick
@given(spaces())
def test_mask_keeps_a_unit_row_whose_top_1_cosine_has_not_fallen(space):
    features, text = space
    masked = mask_features(features, text)
    cosines = features @ text.T
    top1 = text[cosines.argmax(dim=-1)]
    assert bool((masked * top1 >= 0).all())
    for before, after, peak, target in zip(features, masked, cosines.amax(dim=-1), top1, strict=True):
        agrees = bool((before * target > 0).any())
        assert float(after.norm()) == pytest.approx(1.0 if agrees else 0.0)
        assert agrees or float(peak) <= 0
        if peak >= 0:
            assert float(after @ target) >= float(peak) - 1e-15


@quick
@given(spaces(), TEMPERATURES, st.integers(1, 6))
def test_the_bound_holds_wherever_its_premise_does(space, temperature, top_c):
    features, text = space
    top_c = min(top_c, len(text))
    terms = ebm_terms(features, text, temperature, top_c)
    change = delta_energy(features @ text.T, temperature, top_c)
    premise = [e2 <= e1 for e2, e1 in zip(terms.e2.tolist(), terms.e1.tolist(), strict=True)]
    for holds, value, e2, e0 in zip(
        premise, change.tolist(), terms.e2.tolist(), terms.e0.tolist(), strict=True
    ):
        # 1e-13: at τ = 10 energies are near 20, an ulp of which is 4e-15.
        assert (value >= e2 - e0 - 1e-13) if holds else (value < e2 - e0 + 1e-13)
    assert float(terms.bound_share) == pytest.approx(sum(premise) / len(premise))


@quick
@given(spaces(), TEMPERATURES, st.integers(1, 6))
def test_the_three_energies_equal_direct_sums(space, temperature, top_c):
    features, text = space
    top_c = min(top_c, len(text))
    terms = ebm_terms(features, text, temperature, top_c)
    for h, e0, e1, e2 in zip(features, terms.e0, terms.e1, terms.e2, strict=True):
        row = (text @ h).tolist()
        masked = (text @ torch.tensor(references.mask(h.tolist(), text.tolist()), dtype=h.dtype)).tolist()
        cropped = references.crop(row, references.top(row, top_c))
        expected = [float(references.energy(r, temperature)) for r in (row, cropped, masked)]
        assert [float(e0), float(e1), float(e2)] == pytest.approx(expected, rel=1e-14, abs=1e-14)
    expected = float(np.mean((terms.e0 - terms.e2).tolist()))
    assert float(terms.loss) == pytest.approx(expected, abs=1e-14)
    assert float(ebm_loss(features, text, temperature)) == pytest.approx(expected, abs=1e-14)


def test_the_loss_falls_as_the_bound_rises():
    low, high = torch.tensor([-0.1]), torch.tensor([-0.5])
    weak = EbmTerms(e0=high, e1=low, e2=high)
    strong = EbmTerms(e0=high, e1=low, e2=low)
    assert float(strong.loss) < float(weak.loss)


def test_bound_share_counts_images():
    terms = EbmTerms(
        e0=torch.zeros(4),
        e1=torch.tensor([1.0, 1.0, 1.0, 1.0]),
        e2=torch.tensor([0.5, 1.0, 1.5, 2.0]),
    )
    assert float(terms.bound_share) == 0.5


# Gradients


def test_no_gradient_flows_through_the_mask():
    rng = np.random.default_rng(0)
    features = torch.from_numpy(references.unit_rows(rng, 3, 8))
    text = torch.from_numpy(references.unit_rows(rng, 4, 8)).requires_grad_()
    assert not mask_features(features, text).requires_grad

    # With respect to h, the mask is a constant selection: the slope of normalise(h ⊙ m) alone.
    leaf = features[:1].clone().requires_grad_()
    weights = torch.from_numpy(rng.standard_normal(8))
    (mask_features(leaf, text)[0] @ weights).backward()
    keep = (mask_features(features[:1], text)[0] != 0).double()
    kept = features[0] * keep
    along = weights * keep
    unit = kept / kept.norm()
    expected = (along - unit * (unit @ along)) / kept.norm()
    np.testing.assert_allclose(leaf.grad[0], expected, rtol=1e-12, atol=1e-14)


@quick
@given(spaces(), TEMPERATURES)
def test_gradient_of_the_loss_with_respect_to_the_prompts(space, temperature):
    """∂E_0/∂z_j = −p_j h, so ∂L/∂z_j = mean( p'_j h' − p_j h ): no other path leads to a prompt."""
    features, text = space
    leaf = text.clone().requires_grad_()
    ebm_loss(features, leaf, temperature).backward()
    expected = np.zeros(text.shape)
    for h in features.tolist():
        masked = references.mask(h, text.tolist())
        for image, sign in ((h, -1), (masked, 1)):
            row = (text @ torch.tensor(image, dtype=text.dtype)).tolist()
            for j, p in enumerate(references.softmax(row, temperature)):
                expected[j] += sign * float(p) * np.array(image) / len(features)
    np.testing.assert_allclose(leaf.grad, expected, rtol=1e-10, atol=1e-12)


# Edges


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_row_without_any_positive_product_is_zero_not_nan(dtype):
    features = torch.tensor([[0.6, 0.8], [1.0, 0.0]], dtype=dtype)
    text = torch.tensor([[-1.0, 0.0], [-0.6, -0.8]], dtype=dtype)
    assert mask_features(features[1:], text[:1]).tolist() == [[0.0, 0.0]]
    masked = mask_features(features, text)
    assert masked.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert masked.dtype == dtype
    leaf = text.clone().requires_grad_()
    ebm_loss(features, leaf, 1.0).backward()
    assert bool(torch.isfinite(leaf.grad).all())


@pytest.mark.parametrize("top_c", [0, 3])
def test_top_c_must_fit_the_classes(top_c):
    with pytest.raises(ConfigError, match="top-c"):
        ebm_terms(torch.eye(2), torch.eye(2), 0.1, top_c)


def test_temperature_must_be_positive():
    with pytest.raises(ConfigError, match="temperature"):
        ebm_terms(torch.eye(2), torch.eye(2), 0.0, 1)
    with pytest.raises(ConfigError, match="temperature"):
        ebm_loss(torch.eye(2), torch.eye(2), 0.0)

"""Tuning that was broken off goes on as if nothing had happened; anchor and schedule do what they say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from towers import CAUSAL, load, make_folder

from deltaoe.tuning import loop
from deltaoe.tuning.loop import TrainingSet, fit_context
from deltaoe.tuning.recipe import Recipe

NAMES = ["cat", "polar bear", "twin-engined aeroplane"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return load(make_folder(tmp_path_factory.mktemp("m") / "m", CAUSAL["CLIP"]))


@pytest.fixture(scope="module")
def problem():
    rng = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(3, 24, generator=rng), dim=1)
    labels = torch.arange(3).repeat(12)
    features = F.normalize(centres[labels] + 0.15 * torch.randn(36, 24, generator=rng), dim=1)
    anchor = F.normalize(torch.randn(3, 24, generator=rng), dim=1)
    return TrainingSet(features, labels, 20.0, anchor)


class BrokenOff(Exception):
    pass


def run(clip, problem, recipe, epochs=12, **options):
    learner = clip.prompt_learner(NAMES, 4, None, torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    return fit_context(learner, problem, recipe, epochs=epochs, generator=rng, **options), learner


RECIPES = [Recipe(), Recipe(batch_size=7), Recipe.coop(batch_size=7, learning_rate=0.05)]


@pytest.fixture(scope="module")
def undisturbed(clip, problem):
    """How each of the recipes ends: progress and context."""
    ends = [run(clip, problem, recipe) for recipe in RECIPES]
    return {
        recipe: (progress, learner.context) for recipe, (progress, learner) in zip(RECIPES, ends, strict=True)
    }


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("at", [1, 5, 11])
def test_broken_off_and_gone_on_is_undisturbed(clip, problem, undisturbed, recipe, at):
    whole, context = undisturbed[recipe]
    seen = []

    def break_off(progress):
        seen.append(progress)
        if progress.last.epoch == at:
            raise BrokenOff

    with pytest.raises(BrokenOff):
        run(clip, problem, recipe, on_epoch=break_off)
    steps = []
    other = clip.prompt_learner(NAMES, 4, None, torch.Generator().manual_seed(9))
    resumed = fit_context(
        other,
        problem,
        recipe,
        epochs=12,
        generator=torch.Generator().manual_seed(9),
        start=seen[-1],
        on_step=steps.append,
    )
    assert torch.equal(other.context, context)
    assert resumed.last == whole.last
    assert resumed.best_loss == whole.best_loss
    assert torch.equal(resumed.best, whole.best)
    assert steps[0].epoch == at + 1


def test_what_is_kept_does_not_change_afterwards(clip, problem):
    """A copy, not the parameter itself."""
    seen = []
    first = []
    progress, learner = run(
        clip,
        problem,
        Recipe(),
        on_epoch=lambda one: (seen.append(one), first.append(one.context.clone())),
    )
    assert not torch.equal(seen[0].context, seen[-1].context)
    assert torch.equal(first[0], seen[0].context)
    assert torch.equal(progress.context, learner.context.detach())


def test_the_best_is_where_the_loss_was_smallest(clip, problem):
    # Without the anchor's pull the rate of the first epoch finds a good place, the next one throws it away.
    recipe, seen = Recipe.coop(learning_rate=1e4, warmup_rate=0.05, batch_size=36), []
    progress, learner = run(clip, problem, recipe, epochs=4, on_epoch=seen.append)
    losses = [one.last.loss(recipe) for one in seen]
    assert progress.best_loss == min(losses) < losses[-1]
    with torch.no_grad():
        learner.context.copy_(progress.best)
        text = learner()
        cross_entropy = F.cross_entropy(20 * problem.features @ text.T, problem.labels)
    best = seen[int(np.argmin(losses))].last
    assert best.cross_entropy == pytest.approx(float(cross_entropy), rel=1e-4)


def test_an_anchor_holds_the_features(clip, problem):
    apart = []
    for weight in (0.0, 2.0, 200.0):
        progress, learner = run(clip, problem, Recipe(anchor=weight, learning_rate=0.05), epochs=60)
        with torch.no_grad():
            apart.append(float((learner() - problem.anchor).square().sum(dim=1).mean()))
        assert progress.last.distance == pytest.approx(apart[-1] if weight else 0.0, abs=0.05)
    assert apart[2] < apart[1] < apart[0]


def test_the_rate_warms_up_and_falls_to_nothing():
    rates = [Recipe().rate(step, 150, 1) for step in range(150)]
    assert rates[0] == pytest.approx(0.003 / 4, rel=1e-3)
    assert max(rates) == rates[3]
    assert all(a > b for a, b in itertools.pairwise(rates[3:]))
    assert rates[-1] < 1e-5
    assert Recipe().rate(0, 1, 1) == 0.003


@pytest.mark.parametrize(
    ("recipe", "rows", "epochs"),
    [
        (Recipe(), 112, 150),
        (Recipe(), 16_000, 75),
        (Recipe(batch_size=32), 112, math.ceil(150 / 4)),
        (Recipe(steps=10), 5, 10),
        (Recipe(epochs=3), 5, 3),
        (Recipe.coop(), 112, 200),
    ],
)
def test_steps_make_epochs(recipe, rows, epochs):
    assert recipe.epochs_for(rows, 16) == epochs


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("cosines", [1, 20, 100])
def test_losses_of_many_classes_go_back_block_by_block(
    clip, problem, undisturbed, recipe, cosines, monkeypatch
):
    """Blocks of 1, 6 and 33 rows, the last one smaller: the same gradients, so the same context up to rounding."""
    whole, _ = undisturbed[recipe]
    largest = []
    losses = loop._losses

    def watched(text, problem, recipe, rows):
        largest.append(len(problem.labels[rows]) * len(text))
        return losses(text, problem, recipe, rows)

    monkeypatch.setattr(loop, "_losses", watched)
    monkeypatch.setattr(loop, "_COSINES", cosines)
    blocks, _ = run(clip, problem, recipe)
    assert max(largest) <= max(cosines, 3)
    assert (blocks.context - whole.context).norm() < 1e-4 * whole.context.norm()
    assert blocks.last.loss(recipe) == pytest.approx(whole.last.loss(recipe), rel=1e-4)
    assert blocks.last.accuracy == pytest.approx(whole.last.accuracy)
    assert blocks.last.bound_share == pytest.approx(whole.last.bound_share)


def test_half_precision_scales_its_loss(clip, problem):
    """fp16 on the CPU: the loop runs through the scaler and comes near the full one."""
    full, exact = run(clip, problem, Recipe(), epochs=5)
    learner = clip.prompt_learner(NAMES, 4, None, torch.Generator().manual_seed(0), precision="bf16")
    fit_context(learner, problem, Recipe(), epochs=5, generator=torch.Generator().manual_seed(1))
    moved = (
        exact.context - clip.prompt_learner(NAMES, 4, None, torch.Generator().manual_seed(0)).context
    ).norm()
    assert (learner.context - exact.context).norm() < 0.5 * moved
    assert full.last.epoch == 5

"""The tuning loop: against a loop of its own making, bit by bit again, and loud where it diverges."""

from __future__ import annotations

import dataclasses
import math

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from towers import CAUSAL, coop_features, load, make_folder, plain

from deltaoe.clip.loading import weights_digest
from deltaoe.errors import ConfigError, ModelError
from deltaoe.tuning.loop import TrainingSet, fit_context
from deltaoe.tuning.recipe import Recipe, default_epochs

NAMES = ["cat", "polar bear", "twin-engined aeroplane"]
SCALE = 20.0


@pytest.fixture(scope="module")
def ref(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("m") / "m", CAUSAL["CLIP"])


@pytest.fixture(scope="module")
def clip(ref):
    return load(ref)


def learner_of(clip, seed=0):
    return clip.prompt_learner(NAMES, 4, None, torch.Generator().manual_seed(seed))


def problem(per_class=20, seed=0):
    """Images around one direction per class, drawn without looking at the prompts."""
    rng = torch.Generator().manual_seed(seed)
    centres = F.normalize(torch.randn(3, 24, generator=rng), dim=1)
    labels = torch.arange(3).repeat(per_class)
    noise = 0.15 * torch.randn(len(labels), 24, generator=rng)
    return F.normalize(centres[labels] + noise, dim=1), labels


def fit(learner, recipe, epochs, *, seed=1, data=None, **options):
    features, labels = data or problem()
    rng = torch.Generator().manual_seed(seed)
    anchor = options.pop("anchor", None)
    return fit_context(
        learner,
        TrainingSet(features, labels, SCALE, anchor),
        recipe,
        epochs=epochs,
        generator=rng,
        **options,
    )


# It learns


@pytest.mark.parametrize("ebm_weight", [0.0, 0.3])
def test_the_loss_falls(clip, ebm_weight):
    steps, learner = [], learner_of(clip)
    recipe = Recipe.coop(ebm_weight=ebm_weight, learning_rate=0.05, batch_size=20)
    last = fit(learner, recipe, 40, on_step=steps.append).last
    loss = [step.cross_entropy + ebm_weight * step.ebm for step in steps]
    assert sum(loss[-3:]) < 0.5 * sum(loss[:3])
    assert last.accuracy > max(0.9, steps[0].accuracy)
    assert [step.step for step in steps] == list(range(1, 121))
    assert {step.steps for step in steps} == {120}
    assert [step.epoch for step in steps[::3]] == list(range(1, 41))


def test_the_means_are_over_the_shots_of_the_last_epoch(clip):
    """Seven shots in batches of 3, 3 and 1: a batch counts by its shots."""
    features, labels = problem()
    rows, steps = torch.arange(7), []
    recipe = Recipe.coop(batch_size=3, learning_rate=0.05)
    last = fit(learner_of(clip), recipe, 5, data=(features[rows], labels[rows]), on_step=steps.append).last
    assert len(steps) == 15
    for name in ("cross_entropy", "ebm", "bound_share", "accuracy"):
        values = [getattr(step, name) for step in steps[-3:]]
        assert getattr(last, name) == pytest.approx(
            (3 * values[0] + 3 * values[1] + values[2]) / 7, rel=1e-12
        )
    assert (last.step, last.steps, last.epoch) == (15, 15, 5)
    assert last.accuracy * 7 == pytest.approx(round(last.accuracy * 7))


@pytest.mark.parametrize(
    ("shots", "batch_size", "steps"), [(5, None, 1), (60, None, 2), (60, 60, 1), (60, 1000, 1), (60, 7, 9)]
)
def test_steps_of_an_epoch(clip, shots, batch_size, steps):
    features, labels = problem()
    data = features[:shots], labels[:shots]
    assert fit(learner_of(clip), Recipe.coop(batch_size=batch_size), 1, data=data).last.steps == steps


def test_without_a_batch_size_an_epoch_has_four_steps_however_many_shots(clip):
    assert fit(learner_of(clip), Recipe.coop(), 1, data=problem(per_class=300)).last.steps == 4


def test_the_same_seed_gives_the_same_context_bit_by_bit(clip):
    def learned(start, shuffle):
        learner = learner_of(clip, start)
        fit(learner, Recipe.coop(learning_rate=0.05, batch_size=16), 6, seed=shuffle)
        return learner.context.detach()

    before = weights_digest(clip._model)
    first = learned(0, 1)
    assert torch.equal(first, learned(0, 1))
    assert not torch.equal(first, learned(0, 2))
    assert not torch.equal(first, learned(1, 1))
    assert weights_digest(clip._model) == before


# Against an independent loop


class CoopSchedule(LRScheduler):
    """Dassl's constant warm-up of one epoch around torch's cosine, as CoOp is run with it."""

    def __init__(self, optimiser, successor, rate):
        self.successor, self.rate = successor, rate
        super().__init__(optimiser)

    def get_lr(self):
        return self.successor.get_last_lr() if self.last_epoch >= 1 else [self.rate for _ in self.base_lrs]

    def step(self, epoch=None):
        if self.last_epoch >= 1:
            self.successor.step()
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step()


def coop_schedule(optimiser, epochs):
    return CoopSchedule(optimiser, CosineAnnealingLR(optimiser, float(epochs)), 1e-5)


@pytest.mark.parametrize("epochs", [2, 3, 50, 200])
def test_rates_are_those_of_coop(epochs):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.002)
    schedule, rates = coop_schedule(optimiser, epochs), []
    for _ in range(epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert [Recipe.coop().rate(epoch, epochs, 1) for epoch in range(epochs)] == pytest.approx(rates, rel=1e-9)
    assert rates[0] == 1e-5
    assert rates[1] == 0.002


def test_a_single_epoch_is_not_spent_on_warming_up():
    assert Recipe.coop().rate(0, 1, 1) == 0.002


def plain_energy(cosines, temperature):
    return -temperature * torch.log(torch.exp(cosines / temperature).sum(dim=1))


@pytest.mark.parametrize(("ebm_weight", "temperature"), [(0.0, 0.01), (0.1, 0.5), (0.7, 0.1)])
def test_the_whole_loop_equals_one_written_for_the_test(ref, clip, ebm_weight, temperature):
    """In double precision: prompts over all 77 tokens, torch's SGD and cosine, the loss spelt out."""
    epochs, batch, (features, labels) = 6, 16, problem()
    features = features.double()
    recipe = Recipe.coop(
        ebm_weight=ebm_weight, ebm_temperature=temperature, batch_size=batch, learning_rate=0.05
    )
    learner, model = learner_of(clip), plain(ref).double()
    tokenizer = open_clip.get_tokenizer(ref.name)
    context = learner.context.detach().double().requires_grad_()
    optimiser = torch.optim.SGD([context], lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule, rng = coop_schedule(optimiser, epochs), torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for rows in torch.randperm(len(features), generator=rng).split(batch):
            text = coop_features(model, tokenizer, NAMES, context)
            images = features[rows]
            loss = F.cross_entropy(SCALE * images @ text.T, labels[rows])
            if ebm_weight:
                top = text.detach()[(images @ text.detach().T).argmax(dim=1)]
                masked = torch.where(images * top > 0, images, torch.zeros_like(images))
                masked = masked / masked.norm(dim=1, keepdim=True)
                change = plain_energy(images @ text.T, temperature) - plain_energy(
                    masked @ text.T, temperature
                )
                loss = loss + ebm_weight * SCALE * change.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    clip._model.double()
    try:
        learner.double()
        learner._sos = learner._sos.double()
        start = learner.context.detach().clone()
        fit(learner, recipe, epochs, data=(features, labels))
    finally:
        clip._model.float()
    moved = (context - start).norm()
    assert moved > 0.05
    assert (learner.context - context).norm() < 1e-10 * moved


def test_lambda_weighs_logits(clip):
    """Both terms of the loss, and what is reported, are in logit units."""
    features, labels = problem()
    steps, learner = [], learner_of(clip)
    recipe = Recipe.coop(ebm_temperature=0.1, temperature=0.1, top_c=1)
    fit(learner_of(clip), recipe, 1, data=(features[:5], labels[:5]), on_step=steps.append)
    with torch.no_grad():
        text = learner().double()
        images = features[:5].double()
        top = text[(images @ text.T).argmax(dim=1)]
        masked = F.normalize(images * (images * top > 0), dim=1)
        e0, e2 = (plain_energy(rows @ text.T, 0.1) for rows in (images, masked))
        cosines = images @ text.T
        cropped = torch.where(cosines == cosines.max(dim=1, keepdim=True).values, 0.0, cosines)
        e1 = plain_energy(cropped, 0.1)
    assert steps[0].ebm == pytest.approx(SCALE * float((e0 - e2).mean()), rel=1e-4)
    assert steps[0].bound_share == pytest.approx(float((e2 <= e1).double().mean()))
    assert steps[0].accuracy == pytest.approx(float((cosines.argmax(dim=1) == labels[:5]).double().mean()))
    wanted = F.cross_entropy(SCALE * cosines, labels[:5])
    assert steps[0].cross_entropy == pytest.approx(float(wanted), rel=1e-4)


# Divergence and options


def test_a_rate_that_is_far_too_large_is_reported(clip):
    with pytest.raises(ModelError, match=r"diverged in step \d+: the loss is no longer a number") as caught:
        fit(learner_of(clip), Recipe.coop(learning_rate=1e38, warmup_rate=1e38), 5)
    assert "--learning-rate" in caught.value.hint


def test_features_that_are_no_numbers_are_reported_in_the_first_step(clip):
    features, labels = problem()
    features[7, 3] = math.nan
    steps = []
    with pytest.raises(ModelError, match="in step 1:"):
        fit(learner_of(clip), Recipe.coop(batch_size=60), 5, data=(features, labels), on_step=steps.append)
    assert steps == []


@pytest.mark.parametrize(("shots", "epochs"), [(1, 50), (2, 100), (4, 100), (5, 200), (8, 200), (16, 200)])
def test_default_epochs(shots, epochs):
    assert default_epochs(shots) == epochs


def test_the_default_recipe_is_usable():
    Recipe().check(2)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [0, -1.0, math.nan, math.inf]),
        ("ebm_temperature", [0, -1.0, math.nan, math.inf]),
        ("top_c", [0, 4, -1]),
        ("ebm_weight", [-0.1, math.nan, math.inf]),
        ("learning_rate", [-1, math.nan, math.inf]),
        ("warmup_rate", [-1, math.nan]),
        ("momentum", [-1, math.nan]),
        ("weight_decay", [-1, math.inf]),
        ("batch_size", [0, -3]),
        ("epochs", [0, -1]),
        ("steps", [0, -1]),
        ("blend", [-0.1, 1.1, math.nan]),
        ("anchor", [-1, math.inf]),
        ("optimiser", ["adam"]),
    ],
)
def test_recipes_that_make_no_sense(name, values):
    for value in values:
        with pytest.raises(ConfigError, match=str(value) if name == "top_c" else name.split("_")[0]):
            dataclasses.replace(Recipe(), **{name: value}).check(3)

"""Prompts with a shared prefix against the plain forward over all tokens, as CoOp does it."""

from __future__ import annotations

import itertools

import open_clip
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from towers import CAUSAL, KNOWS_EOS, OTHER, coop_features, load, make_folder, plain, text_of

from deltaoe.clip.prompt_learner import random_context
from deltaoe.clip.prompt_suffixes import Suffixes, common_prefix_length
from deltaoe.clip.text_tower import TextTower
from deltaoe.errors import ConfigError, ModelError

NAME_SETS = {
    "one class": ["dog"],
    "one group": ["cat", "dog", "cow", "hen"],
    "two groups, mixed": ["cat", "sperm whale", "dog", "polar bear", "ant"],
    "very different lengths": [
        "a",
        "Staffordshire bull terrier, or something much like it in size 12 and colour",
        "猫",
        "x-ray 3.14",
        "cat",
        "twin-engined propeller aeroplane",
        "cat",
        "crème brûlée & coffee!",
    ],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Our model, open_clip's, and its tokenizer, by configuration; made on first use."""
    made = {}

    def get(kind, config):
        if kind not in made:
            if "eos_id" in config["text_cfg"] and not KNOWS_EOS:
                pytest.skip("this open_clip pools at no eos token")
            ref = make_folder(tmp_path_factory.mktemp("tower") / "m", config)
            made[kind] = load(ref), plain(ref), open_clip.get_tokenizer(ref.name)
        return made[kind]

    return get


each_causal = pytest.mark.parametrize("kind", CAUSAL)


def learner_of(clip, names, length=5, seed=3):
    learner = clip.prompt_learner(names, length, None, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        learner.context.mul_(10)  # far from zero, so that a context out of place would show
    return learner


# Learnable prompts


@each_causal
@pytest.mark.parametrize("names", NAME_SETS.values(), ids=NAME_SETS.keys())
def test_features_and_gradients_equal_the_full_forward(models, kind, names, padding):
    clip, model, tokenizer = models(kind, CAUSAL[kind])
    learner = learner_of(clip, names)
    context = learner.context.detach().clone().requires_grad_()
    ours, theirs = learner(), coop_features(model, tokenizer, names, context)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 2e-6
    weights = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1))
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert context.grad.abs().max() > 1e-3
    assert (learner.context.grad - context.grad).norm() < 2e-5 * context.grad.norm()


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=60),
    padding=st.sampled_from([0.0, 0.1, 0.5, 2.0, 1000.0]),
)
def test_padding_keeps_what_it_promises_with_the_fewest_groups(lengths, padding):
    parts = Suffixes.of([[7] * length for length in lengths], torch.device("cpu"), padding=padding)
    assert sum(lengths) <= len(parts.tokens) <= (1 + padding) * sum(lengths)
    assert sum(count for count, _ in parts.groups) == len(lengths)
    assert (parts.eot_positions is None) == (len(parts.tokens) == sum(lengths))
    sizes = sorted(set(lengths))
    fewest = min(
        (
            len(tops)
            for n in range(1, min(len(sizes), 4) + 1)
            for tops in itertools.combinations(sizes, n)
            if tops[-1] == sizes[-1]
            and sum(next(top for top in tops if top >= one) for one in lengths)
            <= (1 + padding) * sum(lengths)
        ),
        default=None,
    )
    assert fewest is None or len(parts.groups) == fewest


@each_causal
def test_in_double_precision_both_agree_to_the_last_digits(models, kind):
    clip, model, tokenizer = models(kind, CAUSAL[kind])
    names = NAME_SETS["very different lengths"]
    learner = learner_of(clip, names, length=7)
    context = learner.context.detach().double().requires_grad_()
    try:
        clip._model.double()
        model.double()
        learner.double()
        learner._sos = learner._sos.double()
        ours, theirs = learner(), coop_features(model, tokenizer, names, context)
        assert ours.dtype == torch.float64
        assert (ours - theirs).abs().max() < 1e-14
        weights = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (ours * weights).sum().backward()
        (theirs * weights).sum().backward()
        assert (learner.context.grad - context.grad).norm() < 1e-13 * context.grad.norm()
    finally:
        clip._model.float()
        model.float()


@pytest.mark.parametrize("length", [1, 2, 16, 60])
def test_contexts_of_any_length(models, length):
    clip, model, tokenizer = models("CLIP", CAUSAL["CLIP"])
    names = NAME_SETS["two groups, mixed"]
    learner = learner_of(clip, names, length=length)
    assert learner.context.shape == (length, 32)
    wanted = coop_features(model, tokenizer, names, learner.context.detach())
    assert (learner() - wanted).abs().max() < 2e-6


def test_many_groups_in_any_order(models):
    """Every number of tokens from 3 on, shuffled: each class must get its own row."""
    clip, model, tokenizer = models("CLIP", CAUSAL["CLIP"])
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    names = ["dog " + "big " * n for n in order]
    learner = learner_of(clip, names)
    assert len(learner._suffixes[0].groups) == 40
    wanted = coop_features(model, tokenizer, names, learner.context.detach())
    assert (learner() - wanted).abs().max() < 2e-6
    assert torch.pdist(wanted).min() > 1e-4  # else rows could be exchanged unseen


def test_only_the_context_learns(models):
    clip, _, _ = models("CLIP", CAUSAL["CLIP"])
    learner = learner_of(clip, ["cat", "dog"])
    assert [name for name, _ in learner.named_parameters()] == ["context"]
    before = {name: value.clone() for name, value in clip._model.state_dict().items()}
    learner().sum().backward()
    assert all(parameter.grad is None for parameter in clip._model.parameters())
    assert all((before[name] == value).all() for name, value in clip._model.state_dict().items())


# The start of the context


def test_a_random_start_depends_on_the_generator_alone(models):
    clip, _, _ = models("CLIP", CAUSAL["CLIP"])

    def start(names, seed, length=None):
        return clip.prompt_learner(names, length, None, torch.Generator().manual_seed(seed)).context.detach()

    assert start(["a", "b"], 1).shape == (16, 32)
    assert torch.equal(start(["a", "b"], 1), start(["zebra", "long name", "c"], 1))
    assert not torch.equal(start(["a", "b"], 1), start(["a", "b"], 2))
    drawn = random_context(2000, 32, generator=torch.Generator().manual_seed(0))
    assert abs(float(drawn.std()) - 0.02) < 0.0005
    assert abs(float(drawn.mean())) < 0.0005


@pytest.mark.parametrize(
    ("length", "words"),
    [(None, "a photo of a"), (4, "a photo of a"), (6, "a photo of a a photo"), (2, "a photo"), (1, "a")],
)
def test_a_start_from_a_phrase(models, length, words):
    """With the phrase's own embeddings as context, a prompt is the sentence itself."""
    clip, model, tokenizer = models("CLIP", CAUSAL["CLIP"])
    names = ["polar bear", "cat"]
    learner = clip.prompt_learner(names, length, "a photo of a", torch.Generator())
    assert len(learner.context) == len(words.split())
    wanted = model.encode_text(tokenizer([f"{words} {name}." for name in names]), normalize=True)
    assert (learner() - wanted).abs().max() < 2e-6


def test_contexts_that_make_no_sense(models):
    clip, _, _ = models("CLIP", CAUSAL["CLIP"])
    for length in (0, -3):
        with pytest.raises(ConfigError, match="at least 1"):
            clip.prompt_learner(["a", "b"], length, None, torch.Generator())
    for phrase in ("", "   "):
        with pytest.raises(ConfigError, match="no words"):
            clip.prompt_learner(["a", "b"], None, phrase, torch.Generator())


def test_a_prompt_that_is_too_long_names_its_class(models):
    clip, _, _ = models("short context", CAUSAL["short context"])
    # [SOS] context "ox" "." [EOT]
    assert len(clip.prompt_learner(["cat", "ox"], 36, None, torch.Generator()).context) == 36
    with pytest.raises(ConfigError, match="'a lot of cats' has 43 tokens, the model reads 40") as caught:
        clip.prompt_learner(["cat", "a lot of cats", "ox"], 36, None, torch.Generator())
    assert "--context-length" in caught.value.hint
    learner = clip.prompt_learner(["cat", "dog " * 60], 1, None, torch.Generator())
    assert learner.tokens is not None and learner.tokens.lengths.tolist() == [0, 1 + 1 + 60 + 1 + 1]
    tower = clip.tower
    with pytest.raises(ConfigError, match="41 tokens"):
        tower.encode(torch.zeros(39, 32), Suffixes.of([[1, 2]], torch.device("cpu")))


# Plain prompts

PROMPTS = {
    "template": [f"a photo of a {name}." for name in ("cat", "polar bear", "zebra crossing", "猫", "x")],
    "no common start": ["cat", "the dog", "polar bears everywhere"],
    "identical": ["a cat.", "a cat.", "a dog.", "a cat."],
    "all identical": ["a cat."] * 3,
    "one prefix of the other": ["a photo", "a photo of", "a photo of a cat"],
    "single": ["a photo of a cat."],
    "empty strings": ["", "cat", ""],
    "only empty": [""],
    "too long": ["cat " * 200, "dog", "cat " * 200 + "dog"],
    "unicode": ["Ünïcødé", "🐈‍⬛", "שלום", "a\nb", "ﬁne & dandy &amp;"],
}


@each_causal
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_plain_prompts_equal_open_clip(models, kind, prompts):
    clip, model, tokenizer = models(kind, CAUSAL[kind])
    wanted = model.encode_text(tokenizer(prompts), normalize=True)
    ours = clip.encode_text(prompts)
    assert ours.dtype == torch.float32
    assert (ours - wanted).abs().max() < 2e-6


def test_prompts_over_several_batches(models):
    clip, model, tokenizer = models("CLIP", CAUSAL["CLIP"])
    prompts = [f"a photo of a {name} {i}." for i, name in enumerate(["cat", "polar bear", "ox"] * 200)]
    done = []
    ours = clip.encode_text(prompts, done.append)
    wanted = model.encode_text(tokenizer(prompts), normalize=True)
    assert (ours - wanted).abs().max() < 2e-6
    assert done == [512, 600]


@pytest.mark.parametrize("kind", OTHER)
def test_other_towers_encode_text_but_do_not_tune(models, kind):
    clip, model, tokenizer = models(kind, OTHER[kind])
    with pytest.raises(ModelError, match="not the causal transformer") as caught:
        clip.prompt_learner(["cat", "dog"], 4, None, torch.Generator())
    assert "--evidence images" in caught.value.hint
    prompts = PROMPTS["template"]
    wanted = model.encode_text(tokenizer(prompts), normalize=True)
    assert (clip.encode_text(prompts) - wanted).abs().max() < 2e-6


def test_a_tower_that_is_not_open_clips_own(models):
    class Foreign(torch.nn.Module):
        """As open_clip's HFTextEncoder: a transformer without blocks of ours."""

        def __init__(self):
            super().__init__()
            self.transformer = torch.nn.Linear(4, 24)

        def forward(self, tokens):
            return self.transformer(tokens[:, :4].float())

    clip, model, tokenizer = models("foreign", text_of(top={"custom_text": True}))
    clip._model.text = model.text = Foreign().requires_grad_(False)
    with pytest.raises(ModelError):
        clip.prompt_learner(["cat", "dog"], 4, None, torch.Generator())
    wanted = F.normalize(model.text(tokenizer(["cat", "dog"])), dim=-1)
    assert (clip.encode_text(["cat", "dog"]) - wanted).abs().max() < 1e-6


# Pieces


@pytest.mark.parametrize("kind", ["CLIP", "custom text, pooled at eos"])
def test_tokens_behind_eot_are_cut(models, kind):
    clip, model, tokenizer = models(kind, CAUSAL[kind])
    rows = TextTower(model).up_to_eot(tokenizer(["cat", "polar bear", "cat " * 200]))
    assert [row[-1] for row in rows] == [49407] * 3
    assert [len(row) for row in rows] == [3, 4, 77]
    assert clip.tower.context_length == 77


@pytest.mark.parametrize(
    ("rows", "shared"),
    [
        ([[1, 2, 3]], 2),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2, 3], [1, 2, 4, 3]], 2),
        ([[1, 2, 3], [1, 5, 3]], 1),
        ([[1, 3], [1, 2, 3]], 1),
        ([[1], [1, 2]], 0),
        ([[1, 2], [2, 2]], 0),
    ],
)
def test_common_prefix_leaves_every_row_its_end(rows, shared):
    assert common_prefix_length(rows) == shared

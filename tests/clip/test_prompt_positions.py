"""Names before, amid and behind the context, contexts per class, classes in parts, and half precision."""

from __future__ import annotations

import itertools

import open_clip
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from towers import CAUSAL, load, make_folder, plain

from deltaoe.clip.prompt_learner import POSITIONS
from deltaoe.clip.prompt_suffixes import Suffixes
from deltaoe.errors import ConfigError

NAMES = ["cat", "sperm whale", "a long-haired dachshund, asleep", "dog", "polar bear", "coffee!", "猫"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Our model, open_clip's, and its tokenizer, by configuration; made on first use."""
    made = {}

    def get(kind="CLIP"):
        if kind not in made:
            ref = make_folder(tmp_path_factory.mktemp("tower") / "m", CAUSAL[kind])
            made[kind] = load(ref), plain(ref), open_clip.get_tokenizer(ref.name)
        return made[kind]

    return get


def words_of(tokenizer, text):
    """Tokens of a text, neither SOS nor EOT."""
    row = tokenizer([text])[0].tolist()
    return row[1 : row.index(49407)]


def coop(model, tokenizer, names, context, position):
    """CoOp's prompts, one class after the other, over all 77 positions of open_clip's own transformer."""
    text = getattr(model, "text", model)

    def embed(tokens):
        return text.token_embedding(torch.tensor(tokens, dtype=torch.long))

    out = []
    for k, name in enumerate(names):
        vectors = context[k] if context.ndim == 3 else context
        half = len(vectors) // 2
        if position == "end":  # the name and its full stop are one text, as in CoOp
            pieces = [vectors, embed(words_of(tokenizer, f"{name}."))]
        else:
            word, stop = embed(words_of(tokenizer, name)), embed(words_of(tokenizer, "."))
            pieces = (
                [vectors[:half], word, vectors[half:], stop]
                if position == "middle"
                else [word, vectors, stop]
            )
        row = torch.cat([embed([49406]), *pieces, embed([49407])])
        end = len(row) - 1
        row = torch.cat([row, embed([0] * (text.context_length - len(row)))])
        states = text.transformer((row + text.positional_embedding)[None], attn_mask=text.attn_mask)
        out.append(text.ln_final(states)[0, end] @ text.text_projection)
    return F.normalize(torch.stack(out), dim=-1)


def learner_of(clip, names=NAMES, length=4, phrase=None, **options):
    learner = clip.prompt_learner(names, length, phrase, torch.Generator().manual_seed(3), **options)
    with torch.no_grad():
        learner.context.mul_(10)  # far from zero, so that a vector out of place would show
    return learner


def gradient(features, context):
    """Of a fixed linear loss."""
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad((features * weights).sum(), context)
    return found


def near(a, b, tolerance=2e-5):
    return bool((a - b).norm() <= tolerance * b.norm())


each_way = pytest.mark.parametrize(
    ("position", "specific"),
    list(itertools.product(POSITIONS, (False, True))),
    ids=lambda value: {True: "per class", False: "shared"}.get(value, value),
)


# Against open_clip


@each_way
@pytest.mark.parametrize("kind", ["CLIP", "QuickGELU", "one layer"])
@pytest.mark.parametrize("length", [1, 3, 16])
def test_features_and_gradients_equal_the_full_forward(models, kind, length, position, specific, padding):
    clip, model, tokenizer = models(kind)
    learner = learner_of(clip, length=length, position=position, class_specific=specific)
    assert [name for name, _ in learner.named_parameters()] == ["context"]
    assert learner.context.shape == ((len(NAMES), length, 32) if specific else (length, 32))
    context = learner.context.detach().clone().requires_grad_()
    wanted = coop(model, tokenizer, NAMES, context, position)
    ours = learner()
    assert (ours - wanted).abs().max() < 2e-6
    assert near(gradient(ours, learner.context), gradient(wanted, context))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text("ab -.!é", max_size=12), min_size=1, max_size=5),
    length=st.integers(1, 9),
    position=st.sampled_from(POSITIONS),
    specific=st.booleans(),
    chunk=st.none() | st.integers(1, 6),
)
def test_any_names(models, names, length, position, specific, chunk):
    clip, model, tokenizer = models()
    learner = learner_of(clip, names, length, position=position, class_specific=specific, chunk=chunk)
    context = learner.context.detach().clone().requires_grad_()
    ours, wanted = learner(), coop(model, tokenizer, names, context, position)
    assert (ours - wanted).abs().max() < 2e-6
    assert near(gradient(ours, learner.context), gradient(wanted, context), 1e-4)


def test_the_shared_part_is_as_long_as_it_can_be(models):
    clip, _, _ = models()
    tokens = {
        position: len(learner_of(clip, ["cat"], 5, position=position)._suffixes[0].tokens)
        for position in POSITIONS
    }
    assert tokens == {"end": 3, "middle": 3 + 3, "front": 3 + 5}
    assert len(learner_of(clip, ["cat"], 5, class_specific=True)._suffixes[0].tokens) == 8


# The start


@pytest.mark.parametrize("position", POSITIONS)
def test_every_class_starts_at_the_phrase(models, position):
    clip, _, _ = models()

    def features(specific):
        generator = torch.Generator()
        options = {"position": position, "class_specific": specific}
        return clip.prompt_learner(NAMES, None, "a photo of a", generator, **options)().detach()

    assert (features(True) - features(False)).abs().max() < 2e-6


def test_classes_draw_their_contexts_independently(models):
    clip, _, _ = models()
    context = learner_of(clip, class_specific=True).context.detach().flatten(1)
    assert (torch.corrcoef(context) - torch.eye(len(NAMES))).abs().max() < 0.5
    again = learner_of(clip, class_specific=True).context.detach().flatten(1)
    assert torch.equal(context, again)


# In parts


@each_way
@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_parts_change_nothing(models, chunk, position, specific):
    clip, _, _ = models()
    whole = learner_of(clip, position=position, class_specific=specific)
    parts = learner_of(clip, position=position, class_specific=specific, chunk=chunk)
    assert len(whole._suffixes) == 1
    assert [len(part.order) for part in parts._suffixes[:-1]] == [chunk] * ((len(NAMES) - 1) // chunk)
    wanted, ours = whole(), parts()
    assert (ours - wanted).abs().max() < 2e-6
    assert near(gradient(ours, parts.context), gradient(wanted, whole.context))
    with torch.no_grad():
        assert (parts() - wanted).abs().max() < 2e-6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_parts_compute_backward_in_the_precision_of_forward(models, precision):
    """Backward runs outside of autocast; what it computes anew must be what forward computed."""
    clip, _, _ = models()
    whole, parts = (learner_of(clip, precision=precision, chunk=chunk) for chunk in (None, 2))
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    assert near(parts(), whole(), tolerance)
    assert near(gradient(parts(), parts.context), gradient(whole(), whole.context), tolerance)


def kept(learner):
    """Bytes that a forward keeps for backward, the model's own tensors aside, each storage once."""
    seen = {
        p.untyped_storage().data_ptr()
        for p in (*vars(learner._tower).values(),)
        if isinstance(p, torch.Tensor)
    }
    seen |= {p.untyped_storage().data_ptr() for block in learner._tower.blocks for p in block.parameters()}
    held = []  # else a freed address could come again

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in seen:
            seen.add(tensor.untyped_storage().data_ptr())
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        learner()
    return sum(tensor.untyped_storage().nbytes() for tensor in held)


def test_what_is_kept_does_not_grow_with_the_classes(models):
    clip, _, _ = models()
    many = [f"cat {i}" for i in range(200)]
    few = kept(learner_of(clip, many[:40]))
    assert kept(learner_of(clip, many)) > 4 * few  # what the parts are for
    # Of every class its output remains, and of the prefix its keys and values.
    assert kept(learner_of(clip, many, chunk=20)) < few


@pytest.mark.parametrize("kind", ["CLIP", "QuickGELU"])
def test_tokens_at_once_is_counted_right(models, kind):
    """Two more sets of names, one twice the other, tell what a token takes; the bound is for the dearer activation."""
    clip, _, _ = models(kind)
    tower = clip.tower
    few, more = (learner_of(clip, [f"cat {i}" for i in range(n)], 16) for n in (20, 40))
    tokens = [len(learner._suffixes[0].tokens) for learner in (few, more)]
    each = (kept(more) - kept(few)) / (tokens[1] - tokens[0])
    bound = 2 * 2**30 / tower.tokens_at_once
    # This tower's heads are of 8 components, a real one's of 64: attention weights take eight times the share.
    assert 0.5 * bound < each < 1.6 * bound


def test_classes_are_cut_by_tokens_without_being_told(models, monkeypatch):
    clip, _, _ = models()
    wanted = learner_of(clip)()
    room = clip.tower.width * len(clip.tower.blocks) * 56 * 10
    monkeypatch.setattr("deltaoe.clip.text_tower.activation_memory", lambda device: room)
    assert clip.tower.tokens_at_once == 10
    learner = learner_of(clip)
    assert len(learner._suffixes) > 2
    assert all(len(part.tokens) <= 10 or len(part.order) == 1 for part in learner._suffixes)
    assert (learner() - wanted).abs().max() < 2e-6


def test_parts_are_sorted_by_length():
    rows = [[5] * n for n in (4, 2, 9, 2, 4, 3)]
    parts = Suffixes.batches(rows, torch.device("cpu"), max_classes=2, max_tokens=1)
    assert [part.groups for part in parts] == [((2, 2),), ((1, 3), (1, 4)), ((1, 4), (1, 9))]
    assert torch.cat([part.order for part in parts]).tolist() == [1, 3, 5, 0, 4, 2]
    # 24 tokens in at most 12 at once: 2, 2, 3, 4 | 4 | 9, since the last two are 13.
    parts = Suffixes.batches(rows, torch.device("cpu"), max_classes=None, max_tokens=12)
    assert [part.groups for part in parts] == [((2, 2), (1, 3), (1, 4)), ((1, 4),), ((1, 9),)]


# Half precision


@each_way
@pytest.mark.parametrize(("precision", "least", "most"), [("bf16", 1e-4, 0.1), ("fp16", 1e-5, 0.02)])
def test_half_precision_is_close_to_fp32(models, precision, least, most, position, specific):
    clip, _, _ = models()
    exact = learner_of(clip, position=position, class_specific=specific)
    half = learner_of(clip, position=position, class_specific=specific, precision=precision)
    wanted, ours = exact(), half()
    assert ours.dtype == half.context.dtype == torch.float32
    assert (ours.norm(dim=-1) - 1).abs().max() < 1e-6
    assert least < (ours - wanted).norm(dim=-1).max() < most
    found = gradient(ours, half.context)
    assert found.dtype == torch.float32
    assert near(found, gradient(wanted, exact.context), most)


def test_fp32_is_fp32_under_the_autocast_of_others(models):
    clip, _, _ = models()
    learner = learner_of(clip)
    with torch.autocast("cpu", torch.bfloat16):
        ours = learner()
    assert torch.equal(ours, learner())


# Other names


@each_way
def test_other_names_behind_the_same_context(models, position, specific):
    clip, model, tokenizer = models()
    learner = learner_of(clip, position=position, class_specific=specific)
    others = ["zebra", "ox", "a very long name of an animal"] * 200
    done = []
    ours = clip.encode_with_context(learner, others, done.append)
    assert done == [512, 600]
    assert ours.dtype == torch.float32 and not ours.requires_grad
    context = learner.context.detach()
    wanted = coop(model, tokenizer, others[:3], context.mean(dim=0) if specific else context, position)
    assert (ours - wanted.repeat(200, 1)).abs().max() < 2e-6
    assert clip.encode_with_context(learner, []).shape == (0, 24)


# What cannot be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position": "behind"}, "position 'behind'"),
        ({"precision": "int8"}, "precision 'int8'"),
        ({"chunk": 0}, "at least 1, not 0"),
    ],
)
def test_options_that_do_not_exist(models, options, message):
    clip, _, _ = models()
    with pytest.raises(ConfigError, match=message):
        learner_of(clip, **options)


@each_way
def test_a_prompt_that_is_too_long_names_its_class(models, position, specific):
    clip, _, _ = models("short context")
    # [SOS] context "ox" "." [EOT]
    options = {"position": position, "class_specific": specific}
    assert learner_of(clip, ["cat", "ox"], 36, **options)().isfinite().all()
    with pytest.raises(ConfigError, match="'a lot of cats' has 43 tokens, the model reads 40"):
        learner_of(clip, ["cat", "a lot of cats", "ox"], 36, **options)
    learner = learner_of(clip, ["cat"], 30, **options)
    with pytest.raises(ConfigError, match="'dog dog"):
        clip.encode_with_context(learner, ["ox", "dog " * 20])

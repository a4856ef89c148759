"""Which prompts a model reads as one and the same, and which it cuts, beside open_clip's own tokens."""

from __future__ import annotations

import unicodedata
from collections import defaultdict

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from towers import CAUSAL, load, make_folder

from deltaoe.clip.options import ModelOptions
from deltaoe.clip.prompt_tokens import PromptTokens, prompt_notes, prompt_of
from deltaoe.clip.source import ModelSource
from deltaoe.progress import silent
from deltaoe.store.workspace import Workspace

TOKENIZER = open_clip.SimpleTokenizer(context_length=20)
NAME = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["hot dog", "Hot  Dog", "hot\u00a0dog", "HOT\tDOG", "caf\u00e9", "cafe\u0301", "&amp;", "&", "!"]
    ),
    st.lists(st.sampled_from(["狗", "dog", "!", "a"]), min_size=5, max_size=40).map(" ".join),
)


def read(prompt: str) -> tuple[tuple[int, ...], int]:
    """The tokens that the tower reads, as open_clip cuts them, and how many there were."""
    whole = [TOKENIZER.sot_token_id, *TOKENIZER.encode(prompt), TOKENIZER.eot_token_id]
    return tuple([*whole[:19], whole[-1]] if len(whole) > 20 else whole), len(whole)


@settings(deadline=None)
@given(st.lists(NAME, min_size=1, max_size=20))
@example(["a " * 17 + "b", "a " * 18, "a " * 19])
def test_tokens_are_those_that_open_clip_reads(names):
    prompts = [prompt_of("{}", name) for name in names]
    tokens = PromptTokens.of(prompts, TOKENIZER)
    expected = defaultdict(list)
    for index, prompt in enumerate(prompts):
        expected[read(prompt)[0]].append(index)
    assert sorted(tokens.groups()) == sorted(group for group in expected.values() if len(group) > 1)
    assert [tokens.first[i] for group in expected.values() for i in group] == [
        group[0] for group in expected.values() for _ in group
    ]
    lengths = [read(prompt)[1] for prompt in prompts]
    assert tokens.limit == 20 and tokens.lengths.tolist() == [n if n > 20 else 0 for n in lengths]


def ended_and_padded_with_one_token(texts: list[str], context_length: int = 8) -> torch.Tensor:
    """As SigLIP's tokenizer: no start, and the token that ends a prompt also pads it."""
    rows = [[*map(ord, text)][: context_length - 1] for text in texts]
    return torch.tensor([row + [1] * (context_length - len(row)) for row in rows])


def test_a_tokenizer_that_pads_with_its_last_token():
    tokens = PromptTokens.of(["abcdefg", "abcdefgh", "abcdefgi", "abc"], ended_and_padded_with_one_token)
    assert tokens.groups() == [[0, 1, 2]]
    assert tokens.lengths.tolist() == [0, 9, 9, 0]  # the first one just fits


def test_many_prompts_are_read_in_parts():
    names = [f"class {i}" for i in range(1100)] + ["Class 3"]
    assert PromptTokens.of(names, TOKENIZER).groups() == [[3, 1100]]


def test_what_a_folder_of_other_bytes_is_called():
    name = "caf\udce9"
    prompt = prompt_of("a photo of a {}.", name)
    assert prompt == "a photo of a caf\ufffd."
    assert TOKENIZER([prompt]).equal(TOKENIZER([f"a photo of a {name}."]))
    assert PromptTokens.of([prompt_of("{}", name)], TOKENIZER).groups() == []


def test_sentences_name_and_count_classes():
    names = ["dog", "Dog", "caf\u00e9", "cafe\u0301", "狗" * 60, "cat"]
    same, cut = prompt_notes(names, PromptTokens.of(names, TOKENIZER), "Do this.")
    assert same == (
        "4 classes have the same prompt as another one, so that text cannot tell them apart: "
        r"dog and Dog; caf\xe9 and cafe\u0301. Do this."
    )
    assert cut.startswith("The prompt of 1 class is longer than the 20 tokens") and "狗" in cut
    assert str(read("狗" * 60)[1]) in cut
    assert prompt_notes(["dog", "cat"], PromptTokens.of(["dog", "cat"], TOKENIZER)) == []


@pytest.fixture(scope="module")
def ref(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("tokens") / "m", CAUSAL["CLIP"])


def test_tokens_are_kept_in_the_workspace(ref, tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / "ws")
    source = ModelSource(ModelOptions(model=str(ref)), workspace, on=silent)
    space = source.space()
    source.store()
    first = source.prompt_tokens(["a dog", "A dog"])
    assert first.groups() == [[0, 1]] and first.limit == 77
    (file,) = (workspace.folder / "features" / space.id / "text").glob("*.tokens.safetensors")
    monkeypatch.setattr(PromptTokens, "of", lambda *given: pytest.fail("read again"))
    again = source.prompt_tokens(["a dog", "A dog"])
    assert np.array_equal(again.first, first.first) and again.limit == 77
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:-9])
    assert source.prompt_tokens(["a dog", "A dog"]).groups() == [[0, 1]]  # damaged, and made again


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_a_learner_cuts_what_a_zero_shot_prompt_would_cut(ref, position):
    clip = load(ref)
    names = ["cat", "word " * 200, "word " * 200 + "again", unicodedata.normalize("NFD", "Cat")]
    learner = clip.prompt_learner(names, 16, None, torch.Generator().manual_seed(0), position=position)
    assert learner.tokens is not None
    assert learner.tokens.groups() == [[0, 3], [1, 2]]
    # SOS, context, words, full stop, EOT
    assert learner.tokens.lengths.tolist() == [0, 1 + 16 + 200 + 1 + 1, 1 + 16 + 201 + 1 + 1, 0]
    with torch.no_grad():
        rows = learner()
    assert rows.isfinite().all() and torch.allclose(rows[1], rows[2], atol=1e-5)

"""open_clip's copy computes what open_clip does, imports little, and gives way where it cannot be used."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from command import environment
from torch import nn
from towers import CAUSAL, OTHER, make_folder

from deltaoe.clip import quick_import
from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.loading import load_tokenizer
from deltaoe.clip.reference import ModelRef
from deltaoe.clip.unfilled import build
from deltaoe.errors import ConfigError, ModelError

CPU = torch.device("cpu")
PHOTO_CLIP = Path(__file__).resolve().parents[3] / "shared" / "models" / "photo-clip"
PROMPTS = ["a photo of a cat.", "Nuit étoilée, 1889"]
COPIES = f"{quick_import.__name__}.copies"
# Encodes a picture in a new process, and says what came along.
PROBE = """
import json, sys
import numpy as np, torch
from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import ModelRef
clip = FrozenClip.load(ModelRef.parse(sys.argv[1]), torch.device("cpu"))
pixels = np.arange(np.prod(clip.image_size) * 3).reshape(1, *clip.image_size, 3).astype(np.uint8)
features = [clip.encode_pixels(pixels).tolist(), clip.encode_text(["a cat"]).tolist()]
print(json.dumps([clip.space.id, *features, sorted(sys.modules)]))
"""


@pytest.fixture
def no_open_clip(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that has not imported open_clip."""
    for name in [name for name in sys.modules if name.partition(".")[0] in {"open_clip", "timm"}]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(quick_import, "_failed", False)
    yield
    # What the test imported must not stay beside what others have imported before.
    for name in [name for name in sys.modules if name.partition(".")[0] in {"open_clip", "timm"}]:
        del sys.modules[name]


def features(ref: ModelRef) -> tuple[str, torch.Tensor, torch.Tensor, str]:
    clip = FrozenClip.load(ref, CPU)
    shape = (3, *clip.image_size, 3)
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    tokenizer = load_tokenizer(ref)
    kinds = {type(clip._model).__module__, type(tokenizer).__module__}
    with torch.no_grad():
        texts = clip._model.encode_text(tokenizer(PROMPTS))
    return clip.space.id, clip.encode_pixels(pixels), texts, ",".join(sorted(kinds))


@pytest.mark.parametrize("name", [*CAUSAL, *OTHER])
def test_the_copy_computes_the_same(tmp_path, name, request):
    ref = make_folder(tmp_path / "model", (CAUSAL | OTHER)[name])
    whole = features(ref)
    request.getfixturevalue("no_open_clip")
    quick = features(ref)
    assert COPIES in quick[3] and COPIES not in whole[3]
    assert quick[0] == whole[0]
    assert torch.equal(quick[1], whole[1]) and torch.equal(quick[2], whole[2])
    assert "open_clip" not in sys.modules


@pytest.mark.skipif(not PHOTO_CLIP.is_dir(), reason="needs the model of photographs")
def test_a_tower_of_timm_computes_the_same_and_needs_no_compiler():
    """In a new process, as a user's: neither the package itself nor torchvision or PyTorch's compiler come along."""
    command = [sys.executable, "-c", PROBE, f"local-dir:{PHOTO_CLIP}"]
    done = subprocess.run(command, env=environment(None), capture_output=True, encoding="utf-8", check=True)
    space, images, texts, modules = json.loads(done.stdout)
    clip = FrozenClip.load(ModelRef.parse(f"local-dir:{PHOTO_CLIP}"), CPU)
    assert type(clip._model).__module__ == "open_clip.model"
    pixels = np.arange(np.prod(clip.image_size) * 3).reshape(1, *clip.image_size, 3).astype(np.uint8)
    assert space == clip.space.id
    assert images == clip.encode_pixels(pixels).tolist()
    assert texts == clip.encode_text(["a cat"]).tolist()
    assert f"{COPIES}.timm" in modules
    assert not {"open_clip", "timm", "torchvision", "torch._dynamo"} & set(modules)


# Where the copy gives way


def test_open_clip_itself_where_it_is_imported():
    assert quick_import.open_clip() is open_clip


def test_open_clip_itself_where_no_copy_can_be_made(no_open_clip, monkeypatch):
    def exec_module(self, module):
        raise SyntaxError("another Python")

    for name in [name for name in sys.modules if name.startswith(f"{COPIES}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(quick_import._Loader, "exec_module", exec_module)
    package = quick_import.open_clip()
    assert package.__name__ == "open_clip" and package is sys.modules["open_clip"]
    assert quick_import.open_clip() is package


def test_what_fails_with_the_copy_is_done_with_open_clip(no_open_clip):
    asked = []

    def work(package):
        asked.append(package.__name__)
        if package.__name__ != "open_clip":
            raise AttributeError("something that is not there")
        return package.list_models()

    assert "ViT-B-32" in quick_import.with_open_clip(work)
    assert asked == [f"{COPIES}.open_clip", "open_clip"]


def test_errors_are_those_of_open_clip(no_open_clip, tmp_path):
    ref = make_folder(tmp_path / "model", CAUSAL["CLIP"])
    path = tmp_path / "model" / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "no_such_model"
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="Unknown model"):
        FrozenClip.load(ref, CPU)
    assert "open_clip" in sys.modules
    with pytest.raises(ConfigError, match="knows no model"):
        FrozenClip.load(ModelRef.parse("ViT-B-61"), CPU)


def test_a_tokenizer_that_needs_transformers(no_open_clip):
    if importlib.util.find_spec("transformers") is not None:
        pytest.skip("transformers is installed")
    with pytest.raises(ModelError, match="transformers") as caught:
        load_tokenizer(ModelRef("ViT-B-16-SigLIP", "webli"))
    assert caught.value.hint.startswith('pip install "deltaoe[hf]"')


# Weights


def test_weights_of_a_file_are_not_drawn_first(monkeypatch):
    made = []

    def create() -> nn.Module:
        model = nn.Sequential(
            nn.Linear(4, 3), nn.Conv2d(2, 2, 3), nn.Embedding(5, 2), nn.MultiheadAttention(4, 2)
        )
        nn.init.trunc_normal_(model[0].weight)
        made.append([bool(tensor.isnan().any()) for tensor in model.state_dict().values()])
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.fill_(1.0)
        return model

    before = torch.random.get_rng_state()
    model = build(create)
    assert len(made) == 1 and sum(made[0]) >= 4
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all((tensor == 1).all() for tensor in model.state_dict().values())


def test_weights_that_no_file_fills_are_drawn():
    torch.manual_seed(3)
    expected = nn.Linear(4, 3).weight
    torch.manual_seed(3)
    assert torch.equal(build(lambda: nn.Linear(4, 3)).weight, expected)

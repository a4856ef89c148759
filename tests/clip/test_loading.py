"""Finding and loading models: the right activation, no network where none is needed, errors with a way out."""

from __future__ import annotations

import json
import logging
import socket
from types import SimpleNamespace

import open_clip
import pytest
import torch
from huggingface_hub import constants
from towers import CAUSAL, PREPROCESS, make_folder

from deltaoe.clip import loading, model_files
from deltaoe.clip.loading import load_model, load_tokenizer
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import ConfigError, ModelError
from deltaoe.progress import silent

CPU = torch.device("cpu")


def load(name: str, pretrained: str | None = None):
    return load_model(ModelRef.parse(name, pretrained), CPU, offline=False, on=silent)


class Loader:
    """A stand-in for the model hub and open_clip's loader; records what was asked of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self.brought = [], []
        monkeypatch.setattr(loading, "bring_model", lambda ref, **options: self.brought.append(str(ref)))
        monkeypatch.setattr(open_clip, "create_model", self.create)

    def create(self, name, **options):
        self.calls.append((name, options, constants.HF_HUB_OFFLINE))
        return torch.nn.Identity()


@pytest.fixture
def loader(monkeypatch):
    return Loader(monkeypatch)


# Activation


def test_weights_trained_with_quick_gelu_get_it(loader):
    _, config = load("ViT-B-16", "openai")
    assert config["quick_gelu"] is True
    assert loader.calls[0][1]["force_quick_gelu"] is True
    _, twin = load("ViT-B-16-quickgelu", "openai")
    assert twin == config  # one network under two names: one feature space
    _, plain = load("ViT-B-16", "laion2b_s34b_b88k")
    assert not plain.get("quick_gelu", False)
    assert loader.calls[2][1]["force_quick_gelu"] is False


def test_every_published_tag_gets_the_activation_it_was_trained_with(loader):
    for name, tag in open_clip.list_pretrained():
        trained = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
        assert loading._check_name(ModelRef(name, tag)) == trained, (name, tag)


def test_a_quick_gelu_model_with_other_weights_is_refused(loader, monkeypatch):
    """open_clip lists no such pair today; it would only warn, and compute with the wrong activation."""
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: {"hf_hub": "org/name/"})
    with pytest.raises(ConfigError, match="trained without QuickGELU") as caught:
        load("ViT-B-16-quickgelu", "datacomp_xl_s13b_b90k")
    assert caught.value.hint == "use --model ViT-B-16"
    assert loader.calls == []


# Names


@pytest.mark.parametrize(
    ("name", "tag", "says", "hint"),
    [
        ("ViT-B-61", None, "knows no model 'ViT-B-61'", "did you mean ViT-B-16"),
        ("resnet", None, "knows no model", "local-dir:DIR"),
        ("ViT-B-16", "openia", "no weights 'openia' for ViT-B-16", "did you mean openai?"),
        ("ViT-B-16", "/nowhere/weights.pt", "no weights", "openai"),
        ("local-dir:/nowhere", None, "there is no folder /nowhere", "open_clip_config.json"),
    ],
)
def test_names_that_do_not_exist(loader, name, tag, says, hint):
    with pytest.raises(ConfigError, match=says) as caught:
        load(name, tag)
    assert hint in caught.value.hint
    assert loader.calls == loader.brought == []


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ConfigError, match="is not a model folder"):
        load(f"local-dir:{tmp_path}")


# Local folders


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def connect(*arguments, **options):
        raise AssertionError("a local model needs no network")

    monkeypatch.setattr(socket, "create_connection", connect)
    return make_folder(tmp_path / "m", CAUSAL["CLIP"]).local_folder


def test_a_local_model_needs_no_network(folder):
    model, config = load(f"local-dir:{folder}")
    assert config == CAUSAL["CLIP"]
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_without_weights_a_folder_is_refused(folder):
    """open_clip would go on with random ones."""
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot load local-dir:") as caught:
        load(f"local-dir:{folder}")
    assert "weight file" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04\x95"])
def test_broken_weights(folder, content):
    (folder / "open_clip_model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="cannot load"):
        load(f"local-dir:{folder}")


def test_cut_weights(folder):
    file = folder / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot load"):
        load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"model_cfg": {}}', '{"model_cfg": {"embed_dim": 3}}', "\0"]
)
def test_broken_configuration(folder, content):
    (folder / "open_clip_config.json").write_text(content)
    with pytest.raises(ModelError, match="cannot load"):
        load(f"local-dir:{folder}")


def test_weights_of_another_architecture(folder):
    config = {"model_cfg": CAUSAL["layer scale"], "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="state_dict") as caught:
        load(f"local-dir:{folder}")
    assert "\n" not in str(caught.value)


def test_logging_is_as_it_was(folder, caplog):
    load(f"local-dir:{folder}")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError):
        load(f"local-dir:{folder}")
    assert logging.root.manager.disable == logging.NOTSET
    assert caplog.records == []  # open_clip's own are not for our users


def test_the_tokenizer_of_a_local_model(folder):
    assert load_tokenizer(ModelRef.parse(f"local-dir:{folder}"))(["a cat"]).shape == (1, 77)
    (folder / "open_clip_config.json").write_text("[]")
    with pytest.raises(ModelError, match="cannot load the tokenizer"):
        load_tokenizer(ModelRef.parse(f"local-dir:{folder}"))


def test_a_tokenizer_that_needs_a_package(monkeypatch):
    none = SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: None))
    monkeypatch.setattr(model_files, "importlib", none)
    with pytest.raises(ModelError, match=r"the tokenizer of .* needs transformers, which is not") as caught:
        load_tokenizer(ModelRef("ViT-B-16-SigLIP", "webli"))
    assert caught.value.hint == 'pip install "deltaoe[hf]"; images alone need none (--evidence images)'


def test_a_tokenizer_that_needs_another_package(monkeypatch):
    def get_tokenizer(name):
        raise ImportError("sentencepiece is needed to convert a slow tokenizer to a fast one")

    monkeypatch.setattr(open_clip, "get_tokenizer", get_tokenizer)
    with pytest.raises(ModelError, match="cannot load the tokenizer") as caught:
        load_tokenizer(ModelRef("ViT-B-16", "openai"))
    assert caught.value.hint == 'pip install "deltaoe[hf]"'


def test_weights_from_a_file(loader, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"weights")
    load("ViT-B-16", str(tmp_path / "w.pt"))
    name, options, _ = loader.calls[0]
    assert (name, options["pretrained"]) == ("ViT-B-16", str(tmp_path / "w.pt"))
    assert options["weights_only"] is True
    assert options["require_pretrained"] is True

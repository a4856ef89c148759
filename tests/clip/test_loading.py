"""Finding and loading models: the right activation, no network where none is needed, errors with a way out."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from huggingface_hub import constants
from towers import CAUSAL, PREPROCESS, make_folder

from deltaoe.clip import loading
from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.loading import load_model, load_tokenizer
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import ConfigError, ModelError

CPU = torch.device("cpu")


def load(name: str, pretrained: str | None = None, **options):
    notes = []
    options = {"offline": False, "notify": notes.append} | options
    return load_model(ModelRef.parse(name, pretrained), CPU, **options), notes


class Hub:
    """A stand-in for network, cache and open_clip's loader; records what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reachable, self.cached, self.proxies = True, False, {}
        self.calls, self.asked, self.connected = [], [], []
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", self.look_up)
        monkeypatch.setattr(socket, "create_connection", self.connect)
        monkeypatch.setattr("urllib.request.getproxies", lambda: self.proxies)
        monkeypatch.setattr(open_clip, "create_model", self.create)
        monkeypatch.setenv("HOME", "/nowhere")

    def look_up(self, repository, name):
        self.asked.append((repository, name))
        return "/cache/file" if self.cached else None

    def connect(self, address, timeout):
        self.connected.append(address)
        assert timeout <= 10
        if not self.reachable:
            raise OSError("no network")
        return socket.socket()

    def create(self, name, **options):
        self.calls.append((name, options, constants.HF_HUB_OFFLINE))
        return torch.nn.Identity()


@pytest.fixture
def hub(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # tests may run where one is set
        monkeypatch.delenv(name, raising=False)
    return Hub(monkeypatch)


# Activation


def test_weights_trained_with_quick_gelu_get_it(hub):
    (_, config), _ = load("ViT-B-16", "openai")
    assert config["quick_gelu"] is True
    assert hub.calls[0][1]["force_quick_gelu"] is True
    (_, twin), _ = load("ViT-B-16-quickgelu", "openai")
    assert twin == config  # one network under two names: one feature space
    (_, plain), _ = load("ViT-B-16", "laion2b_s34b_b88k")
    assert not plain.get("quick_gelu", False)
    assert hub.calls[2][1]["force_quick_gelu"] is False


def test_every_published_tag_gets_the_activation_it_was_trained_with(hub):
    for name, tag in open_clip.list_pretrained():
        trained = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
        assert loading._check_name(ModelRef(name, tag)) == trained, (name, tag)


def test_a_quick_gelu_model_with_other_weights_is_refused(hub, monkeypatch):
    """open_clip lists no such pair today; it would only warn, and compute with the wrong activation."""
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: {"hf_hub": "org/name/"})
    with pytest.raises(ConfigError, match="trained without QuickGELU") as caught:
        load("ViT-B-16-quickgelu", "datacomp_xl_s13b_b90k")
    assert caught.value.hint == "use --model ViT-B-16"
    assert hub.calls == []


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
def test_names_that_do_not_exist(hub, name, tag, says, hint):
    with pytest.raises(ConfigError, match=says) as caught:
        load(name, tag)
    assert hint in caught.value.hint
    assert hub.calls == []
    assert hub.connected == []


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
    (model, config), notes = load(f"local-dir:{folder}")
    assert config == CAUSAL["CLIP"]
    assert notes == []
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
    def get_tokenizer(name):
        raise ModuleNotFoundError("No module named 'transformers'")

    monkeypatch.setattr(open_clip, "get_tokenizer", get_tokenizer)
    with pytest.raises(ModelError) as caught:
        load_tokenizer(ModelRef("ViT-B-16-SigLIP", "webli"))
    assert caught.value.hint == "pip install transformers"


def test_weights_from_a_file(hub, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"weights")
    load("ViT-B-16", str(tmp_path / "w.pt"))
    name, options, _ = hub.calls[0]
    assert (name, options["pretrained"]) == ("ViT-B-16", str(tmp_path / "w.pt"))
    assert options["weights_only"] is True
    assert options["require_pretrained"] is True
    assert hub.connected == hub.asked == []


# The hub


def test_uncached_and_reachable_says_so_once(hub):
    _, notes = load("ViT-B-16", "openai")
    assert notes == ["Downloading the weights of ViT-B-16/openai, once"]
    assert hub.calls[0][2] is False
    assert hub.asked[0][0] == "timm/vit_base_patch16_clip_224.openai"
    assert hub.connected == [("huggingface.co", 443)]


def test_cached_and_reachable_says_nothing(hub):
    hub.cached = True
    _, notes = load("ViT-B-16", "openai")
    assert notes == []
    assert hub.calls[0][2] is False


@pytest.mark.parametrize("name", ["ViT-B-16/openai", "hf-hub:org/model", "hf-hub:org/model@v2"])
def test_cached_and_unreachable_goes_offline(hub, monkeypatch, name):
    hub.cached, hub.reachable = True, False
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: {"embed_dim": 1})
    _, notes = load(name)
    assert notes == []
    assert hub.calls[0][2] is True
    assert constants.HF_HUB_OFFLINE is True
    if name.startswith("hf-hub"):
        assert {repository for repository, _ in hub.asked} == {"org/model"}


@pytest.mark.parametrize("name", ["ViT-B-16/openai", "hf-hub:org/model"])
def test_uncached_and_unreachable_names_the_ways_out(hub, name):
    hub.reachable = False
    with pytest.raises(ModelError, match="not on this machine, and the model hub can't be reached") as caught:
        load(name)
    assert "local-dir:DIR" in caught.value.hint
    assert "--pretrained FILE" in caught.value.hint
    assert hub.calls == []


def test_offline_never_connects(hub):
    with pytest.raises(ModelError, match="--offline was asked for"):
        load("ViT-B-16", "openai", offline=True)
    hub.cached = True
    load("ViT-B-16", "openai", offline=True)
    assert hub.connected == []
    assert hub.calls[0][2] is True


def test_the_hub_s_own_variable_means_offline_too(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="not on this machine"):
        load("ViT-B-16", "openai")
    assert hub.connected == []


def test_behind_a_proxy_nothing_is_probed(hub):
    hub.reachable, hub.proxies = False, {"https": "http://proxy:3128"}
    _, notes = load("ViT-B-16", "openai")
    assert len(notes) == 1
    assert hub.connected == []


def test_a_download_that_fails_is_a_model_error(hub, monkeypatch):
    def create(name, **options):
        raise RuntimeError("Failed to download weights for tag 'openai'\nmore")

    monkeypatch.setattr(open_clip, "create_model", create)
    with pytest.raises(ModelError, match="cannot load ViT-B-16/openai: Failed to download") as caught:
        FrozenClip.load(ModelRef("ViT-B-16", "openai"), CPU)
    assert "\n" not in str(caught.value)
    assert "local-dir:DIR" in caught.value.hint


def test_weights_at_a_plain_address(hub, monkeypatch, tmp_path):
    """Tags without a repository on the hub are looked for where open_clip keeps its downloads."""
    monkeypatch.setattr(
        open_clip, "get_pretrained_cfg", lambda name, tag: {"url": "https://x.org:8443/a/w.pt"}
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    _, notes = load("ViT-B-16", "any")
    assert len(notes) == 1
    assert hub.connected == [("x.org", 8443)]
    cache = Path(tmp_path, ".cache", "clip")
    cache.mkdir(parents=True)
    (cache / "w.pt").touch()
    hub.reachable = False
    _, notes = load("ViT-B-16", "any")
    assert notes == []
    assert hub.asked == []

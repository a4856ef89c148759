"""Loading open_clip models and tokenizers, with or without a network; errors say what a user can do."""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deltaoe.clip.quick_import import open_clip, with_open_clip
from deltaoe.clip.reference import HF_HUB, ModelRef
from deltaoe.clip.unfilled import build
from deltaoe.errors import ConfigError, ModelError, first_line
from deltaoe.files import check_regular_file
from deltaoe.store.feature_space import canonical_json

WAYS_OUT = (
    "three ways on: use weights that are already on this machine (--pretrained FILE, or a folder in open_clip's "
    "format with --model local-dir:DIR); run once on a machine with a network and copy its cache; "
    "or check the network and try again"
)
_CONNECT_SECONDS = 4.0  # for a connection to the model hub
_WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def load_model(
    ref: ModelRef, device: torch.device, *, offline: bool, notify: Callable[[str], None]
) -> tuple[Any, dict[str, Any]]:
    """Load a model in float32, frozen and in evaluation mode; return it with its architecture's configuration.

    Args:
        ref: the model's name.
        device: the device that will hold the weights.
        offline: contact no network, from now on in this process.
        notify: called with a sentence before something is downloaded.

    Raises:
        ConfigError: there is no such model or tag.
        ModelError: weights cannot be reached, are broken, or do not fit the architecture.
    """
    # open_clip logs an error of its own before raising it; ours says it once.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    quick_gelu = _check_name(ref)
    _check_reach(ref, offline=offline, notify=notify)
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        model, config = with_open_clip(
            lambda package: (
                build(
                    lambda: package.create_model(
                        ref.name,
                        pretrained=ref.pretrained,
                        precision="fp32",
                        device=device,
                        force_quick_gelu=quick_gelu,
                        require_pretrained=True,
                        weights_only=True,
                    )
                ),
                package.get_model_config(ref.name),
            )
        )
    except Exception as cause:
        raise ModelError(f"cannot load {ref}: {first_line(cause)}", hint=_hint(ref)) from cause
    finally:
        logging.disable(previous)
    if not isinstance(config, dict):
        raise ModelError(f"cannot load {ref}: it has no configuration", hint=_hint(ref))
    if quick_gelu:
        config["quick_gelu"] = True
    return model.eval().requires_grad_(False), config


def load_tokenizer(ref: ModelRef, *, offline: bool | None = None) -> Callable[..., torch.Tensor]:
    """The model's tokenizer: from a list of K texts to token ids (K, L), padded after EOT.

    Args:
        ref: the model's name.
        offline: contact no network, from now on in this process; None where the model has been loaded.

    Raises:
        ConfigError: there is no such model.
        ModelError: it needs a package that is not installed, or files that cannot be reached.
    """
    if offline is not None:
        _check_name(ref)
        _check_reach(ref, offline=offline, notify=lambda sentence: None)
    try:
        tokenizer: Callable[..., torch.Tensor] = with_open_clip(
            lambda package: package.get_tokenizer(ref.name)
        )
    except Exception as cause:
        hint = "pip install transformers" if "transformers" in str(cause) else _hint(ref)
        raise ModelError(f"cannot load the tokenizer of {ref}: {first_line(cause)}", hint=hint) from cause
    return tokenizer


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256, in hex, over names, types, shapes and values of all parameters and buffers, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def config_digest(config: dict[str, Any]) -> str:
    """SHA-256, in hex, over the architecture's configuration as canonical JSON."""
    return hashlib.sha256(canonical_json(config).encode()).hexdigest()


def is_known_model(name: str) -> bool:
    """Whether a name is one that a model can be asked for by: ``local-dir:``, ``hf-hub:``, or one of open_clip's."""
    ref = ModelRef.parse(name)
    if ref.local_folder is not None or ref.name.startswith(HF_HUB):
        return True
    return ref.name in open_clip().list_models()


def _check_name(ref: ModelRef) -> bool:
    """Check model and tag against open_clip's lists; return whether the weights were trained with QuickGELU.

    open_clip only warns when a tag's activation is not the architecture's, and then computes with the wrong one:
    ViT-B-16/openai, for example, was trained with QuickGELU, and the architecture of that name has GELU.
    """
    local = ref.local_folder
    if local is not None:
        if not (local / "open_clip_config.json").is_file():
            raise ConfigError(
                f"{local} is not a model folder" if local.is_dir() else f"there is no folder {local}",
                hint="local-dir: takes a folder with open_clip_config.json and a weight file beside it",
            )
        for path in local.iterdir():
            if path.exists() and not path.is_dir():
                check_regular_file(path, error=ConfigError)
        return False
    if ref.name.startswith(HF_HUB):
        return False
    models: list[str] = open_clip().list_models()
    if ref.name not in models:
        close = difflib.get_close_matches(ref.name, models, n=3)
        listed = f"did you mean {' or '.join(close)}? " if close else ""
        raise ConfigError(
            f"open_clip knows no model {ref.name!r}",
            hint=f"{listed}local-dir:DIR loads a model from a folder",
        )
    tags: list[str] = open_clip().list_pretrained_tags_by_model(ref.name)
    settings = open_clip().get_pretrained_cfg(ref.name, ref.pretrained or "")
    if not settings:
        if ref.pretrained and Path(ref.pretrained).is_file():
            return False
        close = difflib.get_close_matches(ref.pretrained or "", tags, n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"open_clip has no weights {ref.pretrained!r} for {ref.name}",
            hint=f"{guess}it has: {', '.join(tags) or 'none'}",
        )
    quick = bool(settings.get("quick_gelu", False))
    plain = ref.name.removesuffix("-quickgelu")
    if not quick and plain != ref.name:
        raise ConfigError(
            f"the weights {ref.pretrained!r} were trained without QuickGELU, but {ref.name} computes with it",
            hint=f"use --model {plain}",
        )
    return quick


def _check_reach(ref: ModelRef, *, offline: bool, notify: Callable[[str], None]) -> None:
    """Raise ModelError within seconds if weights are neither cached nor reachable; open_clip would retry in silence."""
    import huggingface_hub
    from huggingface_hub import constants

    asked, variable = offline, _offline_variable()
    offline = offline or bool(constants.HF_HUB_OFFLINE)
    if offline:
        constants.HF_HUB_OFFLINE = True  # a local folder's configuration may name parts that live on the hub
    if ref.local_folder is not None or (ref.pretrained and Path(ref.pretrained).is_file()):
        return
    names: tuple[str, ...]
    if ref.name.startswith(HF_HUB):
        repository, names = ref.name.removeprefix(HF_HUB).partition("@")[0], _WEIGHT_FILES
        address = constants.ENDPOINT
    else:
        settings = open_clip().get_pretrained_cfg(ref.name, ref.pretrained)
        if settings.get("hf_hub"):
            repository, name = os.path.split(settings["hf_hub"])
            names = (name, str(Path(name).with_suffix(".safetensors"))) if name else _WEIGHT_FILES
            address = constants.ENDPOINT
        else:
            repository, names, address = "", (), settings.get("url", "")
    if repository:
        cached = any(
            isinstance(huggingface_hub.try_to_load_from_cache(repository, name), str) for name in names
        )
    else:
        cached = (
            Path("~/.cache/clip").expanduser() / Path(urllib.parse.urlparse(address).path).name
        ).is_file()
    reachable = not offline and _reachable(address)
    if not cached and not reachable:
        why = "the model hub can't be reached"
        if asked or variable:
            why = "--offline was asked for" if asked else f"{variable} is set"
        raise ModelError(f"the weights of {ref} are not on this machine, and {why}", hint=WAYS_OUT)
    if not reachable:
        # The files are cached, and asking a hub that does not answer for newer ones would cost most of a minute.
        constants.HF_HUB_OFFLINE = True
    elif not cached:
        notify(f"Downloading the weights of {ref}, once")


def _offline_variable() -> str:
    """The environment variable that keeps huggingface_hub from using a network; empty without one."""
    yes = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads it
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return next((name for name in names if os.environ.get(name, "").upper() in yes), "")


def _reachable(address: str) -> bool:
    """Whether the host of this address accepts a connection; behind a proxy, always true."""
    parts = urllib.parse.urlparse(address)
    if urllib.request.getproxies():
        return True  # only the proxy knows
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False


def _hint(ref: ModelRef) -> str:
    """What a user can do where this model cannot be loaded."""
    if ref.local_folder is not None:
        return "check that open_clip_config.json and the weight file in that folder belong together"
    return WAYS_OUT

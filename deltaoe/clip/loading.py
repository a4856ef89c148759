"""Loading open_clip models and tokenizers, with or without a network; errors say what a user can do."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from deltaoe.clip.hub_download import is_damaged
from deltaoe.clip.hub_errors import WAYS_OUT, hub_name
from deltaoe.clip.model_files import (
    HF_EXTRA,
    bring_model,
    bring_tokenizer,
    nothing_fetched,
    weight_file,
)
from deltaoe.clip.quick_import import open_clip, with_open_clip
from deltaoe.clip.reference import CONFIG_FILE, HF_HUB, ModelRef
from deltaoe.clip.unfilled import build
from deltaoe.errors import ConfigError, ModelError, first_line
from deltaoe.files import check_regular_file
from deltaoe.progress import OnEvent, silent
from deltaoe.store.feature_space import canonical_json


def load_model(
    ref: ModelRef, device: torch.device, *, offline: bool, on: OnEvent
) -> tuple[Any, dict[str, Any]]:
    """Load a model in float32, frozen and in evaluation mode; return it with its architecture's configuration.

    Args:
        ref: the model's name.
        device: the device that will hold the weights.
        offline: contact no network, from now on in this process.
        on: told what is downloaded, before and while it is.

    Raises:
        ConfigError: there is no such model or tag.
        ModelError: weights cannot be reached, are broken, or do not fit the architecture.
    """
    quick_gelu = _check_name(ref)
    bring_model(ref, offline=offline, on=on)
    try:
        with _in_silence(), nothing_fetched():
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
        raise _not_loaded(ref, cause) from cause
    if not isinstance(config, dict):
        raise ModelError(f"cannot load {ref}: it has no configuration", hint=_hint(ref))
    if quick_gelu:
        config["quick_gelu"] = True
    return model.eval().requires_grad_(False), config


def load_tokenizer(
    ref: ModelRef, *, offline: bool = False, on: OnEvent = silent
) -> Callable[..., torch.Tensor]:
    """The model's tokenizer: from a list of K texts to token ids (K, L), padded after EOT.

    Args:
        ref: the model's name.
        offline: contact no network, from now on in this process.
        on: told what is downloaded.

    Raises:
        ConfigError: there is no such model.
        ModelError: it needs a package that is not installed, or files that cannot be reached.
    """
    _check_name(ref)
    of_transformers = bring_tokenizer(ref, offline=offline, on=on)
    try:
        with _in_silence(), nothing_fetched():
            tokenizer: Callable[..., torch.Tensor] = with_open_clip(
                lambda package: (
                    package.get_tokenizer(ref.name)
                    if of_transformers is None
                    else _from_folder(package, *of_transformers)
                )
            )
    except Exception as cause:
        if isinstance(cause, ImportError):
            hint = HF_EXTRA
        elif ref.local_folder is not None:
            hint = (
                "a tokenizer of transformers must lie in that folder, beside the weights: tokenizer.json and "
                "tokenizer_config.json"
            )
        else:
            hint = _hint(ref)
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
        if not (local / CONFIG_FILE).is_file():
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


def _from_folder(package: Any, folder: Path, text: dict[str, Any]) -> Any:
    """open_clip's tokenizer of a model with this ``text_cfg``, from files in a folder.

    By the name of a repository transformers would ask the hub again for files that this one need not have.
    """
    options = dict(text.get("tokenizer_kwargs") or {})
    if text.get("tokenizer_mode"):
        options["tokenizer_mode"] = text["tokenizer_mode"]
    length = text.get("context_length", package.tokenizer.DEFAULT_CONTEXT_LENGTH)
    return package.tokenizer.HFTokenizer(str(folder), context_length=length, **options)


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """A context in which nobody logs: open_clip and others log errors before they raise them; ours says it once."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(previous)


def _not_loaded(ref: ModelRef, cause: Exception) -> ModelError:
    """The error where a model cannot be made of the files that are here."""
    weights = weight_file(ref)
    if weights is not None and is_damaged(weights):
        return ModelError(
            f"cannot load {ref}: {weights.resolve()} is damaged, its digest is not the one it was downloaded with",
            hint="delete that file and run the same command again: it is downloaded anew",
        )
    return ModelError(f"cannot load {ref}: {first_line(cause)}", hint=_hint(ref))


def _hint(ref: ModelRef) -> str:
    """What a user can do where this model cannot be loaded."""
    if ref.local_folder is not None:
        return "check that open_clip_config.json and the weight file in that folder belong together"
    if ref.name.startswith(HF_HUB):
        return f"see {hub_name()}/{ref.name.removeprefix(HF_HUB)}: is it a CLIP model in open_clip's format?"
    return WAYS_OUT

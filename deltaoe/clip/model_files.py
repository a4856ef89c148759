"""The files that a model is loaded from: which they are, whether they are here, and bringing them here, said aloud."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import socket
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from deltaoe.clip.hub_download import HubFile, cached, describe, fetch, file_names
from deltaoe.clip.hub_errors import WAYS_OUT, NoFileError, hub_name
from deltaoe.clip.quick_import import open_clip
from deltaoe.clip.reference import CONFIG_FILE, HF_HUB, ModelRef
from deltaoe.errors import ModelError
from deltaoe.progress import Event, OnEvent

STAGE = "Downloading"
HF_EXTRA = 'pip install "deltaoe[hf]"'
_WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)  # open_clip tries them in this order
_CONNECT_SECONDS = 4.0  # for a connection to the model hub
_MB = 10**6
# Of a repository with a tokenizer; the last one stands for all of them, and so is fetched last.
_TOKENIZER_FILES = (
    "config.json",
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "tokenizer_config.json",
)


def bring_model(ref: ModelRef, *, offline: bool, on: OnEvent) -> None:
    """See to it that everything a model is built and filled from is on this machine.

    What is here is taken as it is; a hub is asked only for what is not.

    Args:
        ref: a model that open_clip has, of a folder, or of the hub.
        offline: contact no network, from now on in this process.
        on: told what is downloaded, from where, how large it is, and how far that has come.

    Raises:
        ConfigError: the name is none of a repository.
        ModelError: a file is not here and cannot be had.
    """
    _quieten(offline)
    repository, names = _weights(ref)
    if repository and not any(cached(repository, name) for name in names):
        reach(f"the weights of {ref}", offline=offline)
        missing = [] if _has_own_config(ref, repository) else [_config_file(repository)]
        _bring(str(ref), [*missing, _first(repository, names)], on)
    elif not _has_own_config(ref, repository):
        reach(f"the configuration of {ref}", offline=offline)
        _bring(str(ref), [_config_file(repository)], on)
    text = _text_settings(ref)
    name = text.get("hf_model_name")
    if isinstance(name, str) and name and not os.path.isdir(name):
        need_transformers(f"the text tower of {ref}")
        if cached(name, "config.json") is None:
            reach(f"the configuration of the text tower of {ref} ({name})", offline=offline)
            _bring(f"the text tower of {ref}", [describe(name, "config.json")], on)


def bring_tokenizer(ref: ModelRef, *, offline: bool, on: OnEvent) -> tuple[Path, dict[str, Any]] | None:
    """See to it that the model's tokenizer is on this machine; the arguments are those of :func:`bring_model`.

    Returns:
        The folder of a tokenizer of transformers in the cache, and ``text_cfg`` of the model that it belongs to; None
        where open_clip finds the tokenizer itself: its own, or one in a folder.

    Raises:
        ConfigError, ModelError: as :func:`bring_model`; or transformers is needed and not installed.
    """
    _quieten(offline)
    repository, _ = _weights(ref)
    if not _has_own_config(ref, repository):
        reach(f"the configuration of {ref}", offline=offline)
        _bring(str(ref), [_config_file(repository)], on)
    text = _text_settings(ref)
    name = text.get("hf_tokenizer_name")
    if not isinstance(name, str) or not name:
        return None
    need_transformers(f"the tokenizer of {ref}")
    if ref.local_folder is not None:
        if not any((ref.local_folder / one).is_file() for one in _TOKENIZER_FILES[1:]):
            raise ModelError(
                f"{ref.local_folder} has no tokenizer, and its model reads text with one of transformers",
                hint=f"`hf download {name} --include 'tokenizer*' --local-dir {ref.local_folder}` puts it beside the "
                "weights",
            )
        return None
    if os.path.isdir(name):
        return None
    if cached(name, _TOKENIZER_FILES[-1]) is None:
        reach(f"the tokenizer of {ref} ({name})", offline=offline)
        there = set(file_names(name))
        wanted = [one for one in _TOKENIZER_FILES if one in there and cached(name, one) is None]
        if wanted:
            _bring(f"the tokenizer of {ref}", [describe(name, one) for one in wanted], on)
    places = filter(None, (cached(name, one) for one in reversed(_TOKENIZER_FILES)))
    place = next(places, None)
    if place is None:
        raise ModelError(
            f"{name}, which should have the tokenizer of {ref}, has none", hint=f"see {hub_name()}/{name}"
        )
    return place.parent, text


def weight_file(ref: ModelRef) -> Path | None:
    """The file in the hub's cache that the model is filled from; None if there is none."""
    repository, names = _weights(ref)
    return next(filter(None, (cached(repository, name) for name in names)), None) if repository else None


@contextlib.contextmanager
def nothing_fetched() -> Iterator[None]:
    """A context in which huggingface_hub contacts no network: what is needed has been brought, or is optional."""
    from huggingface_hub import constants

    before = bool(constants.HF_HUB_OFFLINE)
    _go_offline(True)
    try:
        yield
    finally:
        _go_offline(before)


def need_transformers(what: str) -> None:
    """Raise ModelError where transformers is not installed."""
    if importlib.util.find_spec("transformers") is None:
        images = "" if "tower" in what else "; images alone need none (--evidence images)"
        raise ModelError(f"{what} needs transformers, which is not installed", hint=f"{HF_EXTRA}{images}")


def reach(what: str, *, offline: bool) -> None:
    """Raise ModelError, within seconds, where the hub must not or cannot be asked for something that is not here."""
    from huggingface_hub import constants

    variable = _offline_variable()
    if offline or variable or constants.HF_HUB_OFFLINE:
        why = "--offline was asked for" if offline or not variable else f"{variable} is set"
    elif _is_reachable(hub_name()):
        return
    else:
        why = f"the model hub can't be reached ({hub_name()})"
    verb = "are" if what.startswith("the weights") else "is"
    raise ModelError(f"{what} {verb} not on this machine, and {why}", hint=WAYS_OUT)


def _quieten(offline: bool) -> None:
    """Keep huggingface_hub's own messages to itself, and from now on the network where that is asked for."""
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    if offline:
        _go_offline(True)


def _go_offline(offline: bool) -> None:
    from huggingface_hub import constants

    changes = bool(constants.HF_HUB_OFFLINE) != offline
    constants.HF_HUB_OFFLINE = offline
    # Before 1.0, a session does not notice what has changed since it was made.
    http = sys.modules.get("huggingface_hub.utils._http")
    if changes and http is not None and hasattr(http, "reset_sessions"):
        http.reset_sessions()


def _weights(ref: ModelRef) -> tuple[str, tuple[str, ...]]:
    """The repository of a model's weights and their names in it, the preferred one first; empty for local files."""
    if ref.local_folder is not None or (ref.pretrained and Path(ref.pretrained).is_file()):
        return "", ()
    if ref.name.startswith(HF_HUB):
        return ref.name.removeprefix(HF_HUB), _WEIGHT_FILES
    repository, name = os.path.split(open_clip().get_pretrained_cfg(ref.name, ref.pretrained)["hf_hub"])
    path = PurePosixPath(name)
    if not name or name == _WEIGHT_FILES[1]:
        return repository, _WEIGHT_FILES
    if path.suffix in (".bin", ".pth"):
        return repository, (str(path.with_suffix(".safetensors")), name)
    return repository, (name,)


def _has_own_config(ref: ModelRef, repository: str) -> bool:
    """Whether the model's configuration is here: in a folder, in open_clip or in the cache."""
    return not ref.name.startswith(HF_HUB) or cached(repository, CONFIG_FILE) is not None


def _config_file(repository: str) -> HubFile:
    try:
        return describe(repository, CONFIG_FILE)
    except NoFileError as cause:
        raise ModelError(
            f"{repository} is not in open_clip's format: it has no {CONFIG_FILE}",
            hint="hf-hub: takes models in that format, such as those of laion, apple and timm; of OpenAI's and others, "
            "open_clip has copies under names of its own: --model ViT-B-16 --pretrained openai",
        ) from cause


def _first(repository: str, names: Sequence[str]) -> HubFile:
    """The first of these files that the repository has."""
    for name in names:
        with contextlib.suppress(NoFileError):
            return describe(repository, name)
    raise ModelError(
        f"{repository} has no weights that open_clip reads: no {' and no '.join(names)}",
        hint=f"see {hub_name()}/{repository}; hf-hub: takes models in open_clip's format",
    )


def _text_settings(ref: ModelRef) -> dict[str, Any]:
    """``text_cfg`` of a model whose configuration is here; empty where that says nothing usable."""
    local = ref.local_folder
    if local is None and not ref.name.startswith(HF_HUB):
        config = open_clip().get_model_config(ref.name)
    else:
        path = (
            local / CONFIG_FILE if local is not None else cached(ref.name.removeprefix(HF_HUB), CONFIG_FILE)
        )
        try:
            config = json.loads(path.read_text(encoding="utf-8")) if path is not None else None
        except (OSError, ValueError):
            return {}  # open_clip says what is wrong with it
        if isinstance(config, dict):
            config = config.get("model_cfg", config)
    text = config.get("text_cfg") if isinstance(config, dict) else None
    return text if isinstance(text, dict) else {}


def _bring(what: str, files: Sequence[HubFile], on: OnEvent) -> None:
    """Download files, after a sentence that says so."""
    from huggingface_hub import constants

    size = sum(file.size or 0 for file in files)
    names = ", ".join(file.name for file in files)
    on(
        Event(
            STAGE,
            message=f"Downloading {what}, once: {names} ({_amount(size)}) from {hub_name()}/{files[0].repository} "
            f"to {constants.HF_HUB_CACHE}",
        )
    )
    meter = _Meter(size, on)
    for file in files:
        fetch(file, meter)
        meter.add(file.size or 0)


class _Meter:
    """Events of a download of several files, in MB.

    Args:
        size: bytes of all files.
        on: told about every MB; files that have less are not worth a word.
    """

    def __init__(self, size: int, on: OnEvent) -> None:
        self._total, self._on = round(size / _MB), on
        self._finished = 0  # bytes of the files before
        self._begun: tuple[float, int] | None = None
        self._said = -1

    def __call__(self, there: int) -> None:
        """So many bytes of the file at hand are there."""
        now, there = time.monotonic(), self._finished + there
        done = round(there / _MB)
        if self._begun is None:
            self._begun = now, there
        if done != self._said and self._total:
            seconds, new = now - self._begun[0], there - self._begun[1]
            self._on(
                Event(STAGE, done, self._total, {"MB/s": new / _MB / seconds} if new and seconds else {})
            )
            self._said = done

    def add(self, size: int) -> None:
        """The file at hand, of so many bytes, is finished."""
        self._finished += size


def _amount(size: int) -> str:
    return f"{size / _MB:,.0f} MB" if size >= _MB else f"{max(1, round(size / 1000))} kB"


def _offline_variable() -> str:
    """The environment variable that keeps huggingface_hub from using a network; empty without one."""
    yes = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads it
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return next((name for name in names if os.environ.get(name, "").upper() in yes), "")


def _is_reachable(address: str) -> bool:
    """Whether the host of this address accepts a connection; behind a proxy, always true."""
    parts = urllib.parse.urlparse(address)
    host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    if urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return True  # only the proxy knows
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False

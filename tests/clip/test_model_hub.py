"""Files from a model hub: announced, resumed, checked, found again without it, and every way in which that can fail."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
from hub import LARGE, Fault, Hub, digest, serving, use_here

from deltaoe.clip import hub_download, model_files
from deltaoe.clip.hub_download import describe
from deltaoe.clip.model_files import bring_model
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import ConfigError, DeltaoeError, ModelError
from deltaoe.progress import Event

REF = ModelRef("hf-hub:org/model")
WEIGHTS = "open_clip_model.safetensors"
BIG = np.random.default_rng(0).bytes(2_600_000)
FILES = {"open_clip_config.json": b'{"model_cfg": {"text_cfg": {}}}', WEIGHTS: BIG}
BLOB = f"models--org--model/blobs/{digest(BIG)}"


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which are not made."""
    made: list[float] = []
    monkeypatch.setattr(hub_download, "time", SimpleNamespace(sleep=made.append))
    return made


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, naps: list[float]) -> Iterator[Hub]:
    """A hub with one model, for this process, whose cache is empty."""
    with serving() as hub:
        hub.add("org/model", dict(FILES))
        use_here(hub, tmp_path / "home", monkeypatch)
        yield hub


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "home" / "hub"


def bring(*, offline: bool = False, ref: ModelRef = REF) -> list[Event]:
    events: list[Event] = []
    bring_model(ref, offline=offline, on=events.append)
    return events


def refused(kind: type[DeltaoeError] = ModelError, ref: ModelRef = REF, *, offline: bool = False) -> str:
    """The message and the hint, in one text."""
    with pytest.raises(kind) as caught:
        bring(ref=ref, offline=offline)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return f"{caught.value} | {caught.value.hint}"


def content(name: str) -> bytes:
    path = hub_download.cached("org/model", name)
    assert path is not None
    return path.read_bytes()


# The download


def test_a_download_is_announced_and_shown(hub: Hub, cache: Path) -> None:
    events = bring()
    assert [event.message for event in events if event.message] == [
        f"Downloading {REF}, once: open_clip_config.json, {WEIGHTS} (3 MB) from {hub.url}/org/model to {cache}"
    ]
    assert events[0].message
    steps = [(event.done, event.total) for event in events[1:]]
    assert steps[0] == (0, 3) and steps[-1] == (3, 3) and steps == sorted(steps)
    assert {name: content(name) for name in FILES} == FILES


def test_what_is_here_is_taken_as_it_is(hub: Hub) -> None:
    bring()
    hub.log.clear()
    hub.repositories["org/model"].files[WEIGHTS] = BIG[::-1]  # a newer version
    assert bring() == [] and bring(offline=True) == []
    assert hub.log == []
    assert content(WEIGHTS) == BIG


def test_what_huggingface_hub_has_downloaded_is_here(hub: Hub) -> None:
    from huggingface_hub import hf_hub_download

    for name in FILES:
        hf_hub_download("org/model", name)
    hub.log.clear()
    assert bring() == [] and hub.log == []


def test_what_we_have_downloaded_is_huggingface_hub_s(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, hf_hub_download

    bring()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Path(hf_hub_download("org/model", WEIGHTS)).read_bytes() == BIG


def test_the_token_goes_to_the_hub_and_to_nobody_else(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_opens")
    hub.repositories["org/model"].refusal = 401, "GatedRepo"
    bring()
    sent = {one.path.startswith("/cdn/"): one.headers.get("authorization") for one in hub.log}
    assert sent == {False: "Bearer hf_opens", True: None}


def test_the_second_kind_of_weights_if_the_first_is_not_there(hub: Hub) -> None:
    files = hub.repositories["org/model"].files
    files["open_clip_pytorch_model.bin"] = files.pop(WEIGHTS)
    bring()
    assert content("open_clip_pytorch_model.bin") == BIG


def test_a_weight_file_of_this_machine_needs_no_hub(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"weights")
    assert bring(ref=ModelRef("ViT-B-16", str(tmp_path / "w.pt"))) == []
    assert hub.log == []


def test_two_at_once_download_once(hub: Hub) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: bring(), range(2)))
    assert len(ranges(hub)) == 1
    assert content(WEIGHTS) == BIG


def test_every_published_tag_is_looked_for_where_open_clip_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def look(repo_id: str, filename: str, **more: object) -> str:
        asked.append((repo_id, filename))
        raise FileNotFoundError

    monkeypatch.setattr(open_clip.pretrained, "hf_hub_download", look)
    pairs = open_clip.list_pretrained()
    assert len(pairs) > 100
    for name, tag in pairs:
        asked.clear()
        with pytest.raises(FileNotFoundError):
            open_clip.pretrained.download_pretrained(open_clip.get_pretrained_cfg(name, tag))
        repository, names = model_files._weights(ModelRef(name, tag))
        assert [(repository, one) for one in names] == asked, (name, tag)


# Cut and resumed


def ranges(hub: Hub) -> list[str]:
    return [one.headers.get("range", "") for one in hub.log if one.path.startswith("/cdn/")]


def test_a_connection_that_breaks_is_taken_up_again(hub: Hub) -> None:
    hub.faults[WEIGHTS] = Fault(cut=1_000_000, times=2)
    bring()
    assert content(WEIGHTS) == BIG
    first, *later = ranges(hub)
    begun = [int(one.removeprefix("bytes=").removesuffix("-")) for one in later]
    assert first == "" and len(begun) == 2 and 0 < begun[0] <= 1_000_000 < begun[1] <= 2_000_000


def test_the_next_run_goes_on_where_a_download_was_given_up(hub: Hub, cache: Path) -> None:
    hub.faults[WEIGHTS] = Fault(cut=1_500_000, times=1)

    def stop(event: Event) -> None:
        if event.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_model(REF, offline=False, on=stop)
    assert hub_download.cached("org/model", WEIGHTS) is None
    there = (cache / f"{BLOB}.part").stat().st_size
    assert there > 0
    hub.faults.clear()
    hub.log.clear()
    steps = [event.done for event in bring() if event.total]
    assert ranges(hub) == [f"bytes={there}-"]
    assert steps[0] == round(there / 1e6) and steps[-1] == 3
    assert content(WEIGHTS) == BIG
    assert not (cache / f"{BLOB}.part").exists()


@pytest.mark.parametrize("length", [700_000, len(BIG) + 5], ids=["shorter", "longer"])
def test_a_server_without_ranges_starts_anew(hub: Hub, cache: Path, length: int) -> None:
    part = cache / f"{BLOB}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * length)
    hub.knows_ranges = False
    bring()
    assert content(WEIGHTS) == BIG


def test_what_was_complete_is_only_checked(hub: Hub, cache: Path) -> None:
    part = cache / f"{BLOB}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BIG)  # as of a process that was killed before it gave the file its name
    bring()
    assert ranges(hub) == [] and content(WEIGHTS) == BIG


def test_more_than_was_announced(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    said = describe("org/model", WEIGHTS)
    short = dataclasses.replace(said, size=500_000)
    monkeypatch.setattr(
        model_files, "describe", lambda name, file: short if file == WEIGHTS else describe(name, file)
    )
    assert "broke off after 0 of 500,000 bytes: more arrived than the hub had announced" in refused()


def test_a_server_that_brings_nothing_is_given_up(hub: Hub, naps: list[float]) -> None:
    hub.faults[WEIGHTS] = Fault(cut=0, times=None)
    said = refused()
    assert "broke off after 0 of 2,600,000 bytes: " in said and "goes on from there" in said
    assert len(ranges(hub)) == 4 and len(naps) == 3


def test_a_server_that_hangs_is_given_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_download, "_TRIES", 2)
    hub.faults[WEIGHTS] = Fault(cut=0, hang=1.5, times=None)
    assert "broke off after 0 of 2,600,000 bytes: nothing came any more" in refused()


def test_a_hub_that_hangs_at_once(hub: Hub) -> None:
    hub.faults[WEIGHTS] = Fault("HEAD", hang=1.5, times=None)
    assert f"cannot ask {hub.url} for {WEIGHTS} of org/model: it does not answer in time" in refused()


# Checked


@pytest.mark.parametrize("name", list(FILES), ids=["by git's name", "by SHA-256"])
def test_what_arrives_changed_is_thrown_away(hub: Hub, cache: Path, name: str) -> None:
    assert (len(FILES[name]) > LARGE) == (name == WEIGHTS)
    hub.spoilt.add(name)
    said = refused()
    assert f"{name} of org/model arrived damaged: its digest is not the one" in said
    assert hub_download.cached("org/model", name) is None
    blobs = cache / "models--org--model" / "blobs"
    kept = {path.read_bytes() for path in blobs.iterdir()}
    assert kept <= {FILES["open_clip_config.json"]}
    hub.spoilt.clear()
    bring()
    assert content(name) == FILES[name]


def test_damage_in_the_cache_can_be_told(hub: Hub) -> None:
    bring()
    path = hub_download.cached("org/model", WEIGHTS)
    assert path is not None and not hub_download.is_damaged(path)
    with path.open("r+b") as file:
        file.write(b"x")
    assert hub_download.is_damaged(path)
    path.resolve().unlink()  # as the message advises
    bring()
    assert content(WEIGHTS) == BIG


# Refused


def test_a_gated_model(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["org/model"].refusal = 401, "GatedRepo"
    said = refused()
    assert "org/model is gated: only those who accepted its terms" in said
    assert (
        f"accept the terms at {hub.url}/org/model, then log in with `hf auth login`, or set HF_TOKEN" in said
    )
    hub.repositories["org/model"].refusal = 403, "GatedRepo"
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    said = refused()
    assert "your account has no access to it yet" in said and "hf auth whoami" in said


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ((401, "RepoNotFound"), ("has no model org/model, or it is private", "HF_TOKEN")),
        ((404, "RepoNotFound"), ("has no model org/model, or it is private", "check the name")),
        ((403, ""), ("refuses the token of this machine (403)", "unset HF_TOKEN")),
        (
            (401, "Invalid credentials in Authorization header"),
            ("refuses the token of this machine (401)", "hf auth login"),
        ),
    ],
)
def test_no_access(hub: Hub, refusal: tuple[int, str], says: tuple[str, ...]) -> None:
    hub.repositories["org/model"].refusal = refusal
    said = refused()
    assert all(words in said for words in says), said
    assert len(hub.asked("HEAD")) == 1  # asking again would not help


def test_a_repository_without_the_files_of_open_clip(hub: Hub) -> None:
    hub.add("org/other", {"config.json": b"{}", "model.safetensors": BIG})
    said = refused(ref=ModelRef("hf-hub:org/other"))
    assert "org/other is not in open_clip's format: it has no open_clip_config.json" in said
    assert "--model ViT-B-16 --pretrained openai" in said
    del hub.repositories["org/model"].files[WEIGHTS]
    assert f"org/model has no weights that open_clip reads: no {WEIGHTS} and no open_clip_pyt" in refused()


@pytest.mark.parametrize("name", ["org/model@v2", "org/a/b", "org/mo del"])
def test_names_of_no_repository(hub: Hub, name: str) -> None:
    said = refused(ConfigError, ModelRef(f"hf-hub:{name}"))
    assert "is no name of a repository" in said
    assert ("--revision REV" in said) == ("@" in name)
    assert hub.log == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(hub: Hub, naps: list[float], status: int) -> None:
    hub.faults[WEIGHTS] = Fault("HEAD", status=status, times=2, headers={"Retry-After": "2"})
    bring()
    assert content(WEIGHTS) == BIG
    assert naps == [2, 3]


@pytest.mark.parametrize(
    ("status", "says"),
    [(429, "has had too many requests from here (429)"), (502, "has trouble of its own (502)")],
)
def test_a_server_that_stays_busy(hub: Hub, naps: list[float], status: int, says: str) -> None:
    hub.faults[WEIGHTS] = Fault("HEAD", status=status, times=None, headers={"Retry-After": "100000"})
    assert says in refused()
    assert max(naps) < 60
    hub.faults[WEIGHTS] = Fault(status=status, times=None)
    assert f"broke off after 0 of 2,600,000 bytes: the server answered with {status}" in refused()


def test_something_that_is_no_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.COMMIT", "")
    said = refused()
    assert f"{hub.url} does not answer as a model hub does" in said and "HF_ENDPOINT" in said


# Without the hub


def test_nothing_is_asked_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(offline=True)
    assert f"the weights of {REF} are not on this machine, and --offline was asked for" in said
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "and HF_HUB_OFFLINE is set" in refused()
    assert hub.log == []


def test_without_a_network_what_is_here_is_used(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [False]
    monkeypatch.setattr(model_files, "_is_reachable", lambda address: there[0])
    assert f"not on this machine, and the model hub can't be reached ({hub.url})" in refused()
    assert hub.log == []
    there[0] = True
    bring()
    there[0] = False
    hub.log.clear()
    assert bring() == [] and hub.log == []


def test_an_address_behind_a_proxy_is_not_probed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = "http://127.0.0.1:9"
    assert model_files._is_reachable(hub.url) and not model_files._is_reachable(nobody)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert not model_files._is_reachable(nobody)  # NO_PROXY names it
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert model_files._is_reachable(nobody)


# The cache


def test_a_cache_that_cannot_be_written(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    place = os.path.join(os.devnull, "hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", place)
    said = refused()
    assert f"cannot write to the cache of models in {place}: not a directory" in said
    assert "set HF_HOME to a folder that you can write to" in said


def test_a_disk_without_room(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    few = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=1_000_000))
    monkeypatch.setattr(hub_download, "shutil", few)
    said = refused()
    assert f"no room for {WEIGHTS}: it has 3 MB, and the disk of" in said and "has 1 MB left" in said
    assert ranges(hub) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_disk_that_fills_up_on_the_way(hub: Hub, cache: Path) -> None:
    part = cache / f"{BLOB}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    said = refused()
    assert f"the disk of {cache} is full: no room for {WEIGHTS}" in said, os.strerror(errno.ENOSPC)

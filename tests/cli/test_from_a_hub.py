"""The installed command and a model hub: the first download, everything after it without the hub, and refusals."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Fails, Run
from hub import Hub, serving
from published import make_siglip
from tiny import make_noise, make_pictures

SIGLIP = "hf-hub:org/siglip"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A folder with images of two classes, and others."""
    for number, name in enumerate(("red_stripes", "blue_waves")):
        make_pictures(tmp_path / "images" / name, 24, seed=number)
    make_noise(tmp_path / "unknown", 3)
    return tmp_path


def test_the_first_download_and_nothing_asked_afterwards(
    hub: Hub, scene: Path, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hub.add("org/siglip", make_siglip(tmp_path_factory.mktemp("siglip") / "m"))
    home = scene / "home"
    env = hub.environment(home)
    first = run("extract", "images", "--model", SIGLIP, cwd=scene, model=None, env=env)
    said = [line for line in first.stderr.splitlines() if line.startswith("Downloading")]
    announced = [line for line in said if "once" in line]
    assert announced == [
        f"Downloading {SIGLIP}, once: open_clip_config.json, open_clip_model.safetensors (2 MB) from "
        f"{hub.url}/org/siglip to {home / 'hub'}",
        f"Downloading the tokenizer of {SIGLIP}, once: tokenizer.json, tokenizer_config.json (5 kB) from "
        f"{hub.url}/org/siglip to {home / 'hub'}",
    ]
    assert any(line.startswith("Downloading 2/2  MB/s ") for line in said)
    assert first.stdout.count("Downloading") == 0
    hub.log.clear()
    scored = run("score", "unknown", "--offline", "--evidence", "both", cwd=scene, model=None, env=env)
    assert "zero-shot prompts" in scored.stdout
    assert hub.log == []


def test_a_gated_model_is_one_message(hub: Hub, scene: Path, fails: Fails) -> None:
    hub.add("org/gated", {"open_clip_config.json": b"{}"}, refusal=(401, "GatedRepo"))
    says = (
        f"accept the terms at {hub.url}/org/gated, then log in with `hf auth login`",
        "org/gated is gated",
    )
    fails(
        "extract",
        "images",
        "--model",
        "hf-hub:org/gated",
        cwd=scene,
        model=None,
        env=hub.environment(scene / "home"),
        says=says,
        writes=True,
    )


def vit_b_16() -> bytes:
    """Random weights of ViT-B/16 in half precision, as a file."""
    import open_clip
    import torch
    from safetensors.torch import save

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-16-quickgelu", precision="fp16")
    buffer = io.BytesIO(save({name: tensor.half() for name, tensor in model.state_dict().items()}))
    return buffer.getvalue()


@pytest.mark.slow
def test_the_default_model_from_the_first_command_on(hub: Hub, scene: Path, run: Run) -> None:
    """ViT-B-16 by OpenAI, as anybody meets it: not named, downloaded, tuned and scored with."""
    repository = "timm/vit_base_patch16_clip_224.openai"
    hub.add(repository, {"open_clip_model.safetensors": vit_b_16()})
    env = hub.environment(scene / "home")
    first = run("extract", "images", cwd=scene, model=None, env=env)
    assert "Downloading ViT-B-16/openai, once: open_clip_model.safetensors (299 MB)" in first.stderr
    hub.log.clear()
    env |= {"HF_HUB_OFFLINE": "1"}
    run("tune", "--shots", "2", "--epochs", "1", cwd=scene, model=None, env=env)
    scored = run("score", "unknown", cwd=scene, model=None, env=env)
    assert "tuned detector 2-shots-" in scored.stdout
    assert hub.log == []


@pytest.mark.slow
def test_a_tower_that_cannot_be_tuned(
    hub: Hub, scene: Path, run: Run, fails: Fails, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hub.add("org/siglip", make_siglip(tmp_path_factory.mktemp("siglip") / "m"))
    more = {"cwd": scene, "model": None, "env": hub.environment(scene / "home")}
    run("extract", "images", "--model", SIGLIP, **more)
    says = ("prompts cannot be tuned", "deltaoe tune --evidence images")
    fails("tune", "--shots", "2", says=says, writes=True, **more)
    run("tune", "--shots", "2", "--evidence", "images", **more)
    assert "tuned detector 2-shots-" in run("score", "unknown", **more).stdout

"""Models that are not there, or not what they seem: one message that names the ways out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Fails
from tiny import make_pictures

FITS = "check that open_clip_config.json and the weight file in that folder belong together"


def without_weights(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()


def with_garbage_for_weights(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").write_bytes(b"no weights")


def with_broken_json(folder: Path) -> None:
    (folder / "open_clip_config.json").write_text("{")


def with_weights_that_do_not_fit(folder: Path) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 48
    (folder / "open_clip_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pictures to extract."""
    folder = tmp_path_factory.mktemp("scene")
    make_pictures(folder / "images" / "red_stripes", 2, seed=0)
    return folder


@pytest.mark.parametrize(
    "damage",
    [
        without_weights,
        with_garbage_for_weights,
        with_broken_json,
        with_weights_that_do_not_fit,
    ],
)
def test_local_folder(damage: Callable[[Path], None], scene: Path, tiny_model: Path, fails: Fails) -> None:
    folder = scene / damage.__name__
    shutil.copytree(tiny_model, folder)
    damage(folder)
    says = (f"cannot load local-dir:{folder}: ", FITS)
    fails("extract", "images", cwd=scene, model=folder, says=says)


@pytest.mark.parametrize(
    ("options", "rc", "says"),
    [
        ("--model local-dir:nope", 2, ("there is no folder", "nope", "open_clip_config.json")),
        ("--model local-dir:", 2, ("names nothing", "local-dir: followed by a name")),
        ("--model ViT-B-61", 2, ("open_clip knows no model 'ViT-B-61'", "did you mean ViT-B-16")),
        (
            "--model ViT-B-16/opeanai",
            2,
            ("no weights 'opeanai' for ViT-B-16", "did you mean openai?", "dfn2b"),
        ),
        (
            "--model local-dir:images --pretrained openai",
            2,
            ("has its own weights", "leave --pretrained out"),
        ),
        ("--offline", 1, ("the weights of ViT-B-16/openai are not on this machine", "--model local-dir:DIR")),
    ],
)
def test_named(options: str, rc: int, says: tuple[str, ...], scene: Path, fails: Fails) -> None:
    fails("extract", "images", *options.split(), cwd=scene, rc=rc, model=None, says=says)


def test_hub_out_of_reach(scene: Path, fails: Fails) -> None:
    nobody_listens = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    no_proxy = {f"{kind}_proxy": "" for kind in ("http", "https", "all")}
    says = (
        "the weights of ViT-B-16/openai are not on this machine, and the model hub can't be reached",
        "--model local-dir:DIR",
        "--pretrained FILE",
        "copy its cache",
    )
    env = nobody_listens | no_proxy | {name.upper(): "" for name in no_proxy}
    fails("extract", "images", cwd=scene, model=None, says=says, env=env, timeout=120)

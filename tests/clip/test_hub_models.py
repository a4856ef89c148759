"""Models of every kind from a hub, each from the download to the scores: what cannot be tuned says why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hub import Hub, serving, use_here
from PIL import Image
from published import make_roberta, make_siglip
from tiny import make_noise, make_pictures
from towers import CAUSAL, OTHER, PREPROCESS, make_folder

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.loading import load_model, load_tokenizer
from deltaoe.clip.options import ModelOptions
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import ModelError
from deltaoe.extraction.extract import extract
from deltaoe.extraction.options import ExtractOptions, IngestOptions
from deltaoe.progress import Event, silent
from deltaoe.scoring.options import ScoreOptions
from deltaoe.scoring.score import score
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.options import TuneOptions, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.tune import tune_workspace

CPU = torch.device("cpu")
QUIET = IngestOptions(workers=0)
PROMPTS = ["a photo of a red cat.", "A Photo of several dogs, 12", "zebra"]
TUNES = ("ViT-T-16-of-a-test/openai", "hf-hub:org/clip")
REFUSES = ("hf-hub:org/siglip", "hf-hub:org/clip-roberta", "hf-hub:org/coca", "local-dir:siglip")
QUICK = CAUSAL["QuickGELU"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of all kinds, and pictures."""
    root = tmp_path_factory.mktemp("hub")
    make_siglip(root / "siglip")
    make_roberta(root / "clip-roberta", root / "roberta")
    make_folder(root / "clip", CAUSAL["CLIP"])
    make_folder(root / "coca", OTHER["CoCa"])
    listed = open_clip.get_pretrained_cfg("ViT-B-16", "openai")
    make_folder(
        root / "tagged",
        QUICK,
        preprocess=PREPROCESS | {name: listed[name] for name in ("mean", "std", "interpolation")},
    )
    for number, name in enumerate(("red_stripes", "blue_waves")):
        make_pictures(root / "images" / name, 24, seed=number)
    make_noise(root / "unknown", 3)
    return root


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[Hub]:
    """A hub with these models; their cache is filled from test to test."""
    with serving() as hub, pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("siglip", "clip-roberta", "roberta", "clip", "coca"):
            hub.add(f"org/{name}", folder / name)
        hub.add("org/vit_tiny.openai", {"open_clip_model.safetensors": weights(folder / "tagged")})
        use_here(hub, folder / "home", monkeypatch)
        register(folder, monkeypatch)
        yield hub


def weights(folder: Path) -> bytes:
    return (folder / "open_clip_model.safetensors").read_bytes()


def register(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add an architecture to open_clip's list, with a tag as it has it for ViT-B-16: trained with QuickGELU."""
    name = TUNES[0].partition("/")[0]
    listed = open_clip.get_pretrained_cfg("ViT-B-16", "openai")
    assert listed["hf_hub"].endswith("/") and listed["quick_gelu"]
    monkeypatch.setitem(
        open_clip.factory._MODEL_CONFIGS, name, {k: v for k, v in QUICK.items() if k != "quick_gelu"}
    )
    tag = listed | {"hf_hub": "org/vit_tiny.openai/"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"openai": tag})


def named(name: str, folder: Path) -> str:
    return name.replace("local-dir:", f"local-dir:{folder}/")


def reference(name: str, folder: Path) -> torch.nn.Module:
    """Plain open_clip's model, from the folder that was published."""
    own = {TUNES[0]: "tagged"}.get(name) or name.rpartition("/")[2].rpartition(":")[2]
    with pytest.MonkeyPatch.context() as monkeypatch:
        if own == "clip-roberta":
            monkeypatch.setattr(open_clip.hf_model, "AutoConfig", RobertaConfig(folder / "roberta"))
        return open_clip.create_model(f"local-dir:{folder / own}").eval().requires_grad_(False)


class RobertaConfig:
    """transformers' AutoConfig, for which the hub's repository is a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def from_pretrained(self, name: str) -> object:
        from transformers import AutoConfig

        assert name == "org/roberta"
        return AutoConfig.from_pretrained(self._folder)


def plain_images(model: torch.nn.Module, paths: Sequence[str | Path]) -> torch.Tensor:
    """Features of images by open_clip's own transform and tower."""
    settings = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    transform = open_clip.transform.image_transform_v2(settings, is_train=False)
    return model.encode_image(torch.stack([transform(Image.open(path)) for path in paths]), normalize=True)


@pytest.mark.parametrize("name", [*TUNES, *REFUSES])
def test_features_are_those_of_open_clip(hub: Hub, folder: Path, name: str) -> None:
    clip = FrozenClip.load(ModelRef.parse(named(name, folder)), CPU)
    model = reference(name, folder)
    paths = [folder / "images" / "red_stripes" / f"0{i}.png" for i in range(3)]
    batch = torch.stack([clip.preprocess(Image.open(path).convert("RGB")) for path in paths])
    assert (clip.encode_images(batch) - plain_images(model, paths)).abs().max() < 1e-5
    tokenizer = {
        "hf-hub:org/clip-roberta": lambda: open_clip.tokenizer.HFTokenizer(str(folder / "roberta"), 77),
        "hf-hub:org/siglip": lambda: open_clip.get_tokenizer(f"local-dir:{folder / 'siglip'}"),
        "local-dir:siglip": lambda: open_clip.get_tokenizer(f"local-dir:{folder / 'siglip'}"),
        "hf-hub:org/coca": lambda: open_clip.SimpleTokenizer(context_length=76),
    }.get(name, open_clip.SimpleTokenizer)()
    tokens = tokenizer(PROMPTS)
    assert torch.equal(clip.tokenizer(PROMPTS), tokens)
    assert len({tuple(row) for row in tokens.tolist()}) == 3
    wanted = model.encode_text(tokens, normalize=True)
    assert (clip.encode_text(PROMPTS) - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("name", [*TUNES, *REFUSES])
def test_extract_tune_score(hub: Hub, folder: Path, tmp_path: Path, name: str) -> None:
    place, ref = Workspace(tmp_path / ".deltaoe"), named(name, folder)
    model = ModelOptions(model=ref, device="cpu", precision="fp32")
    events: list[Event] = []
    extract(folder / "images", place, ExtractOptions(model=model, ingest=QUIET), events.append)
    hub.log.clear()  # from here on all of the model is here

    tuning = TuningOptions(shots=2, recipe=Recipe(epochs=1))
    if name in TUNES:
        tuned = tune_workspace(place, TuneOptions(tuning=tuning, model=ModelOptions(device="cpu")))
        assert tuned.detector.logit_scale > 0  # prompts were learned
    else:
        with pytest.raises(ModelError, match="prompts cannot be tuned: this model's text tower is") as caught:
            tune_workspace(place, TuneOptions(tuning=tuning, model=ModelOptions(device="cpu")))
        assert "deltaoe tune --evidence images" in caught.value.hint
        assert caught.value.exit_code == 1
    by_images = TuningOptions(shots=4, evidence="images")
    tuned = tune_workspace(
        place, TuneOptions(tuning=by_images, name="by-images", model=ModelOptions(device="cpu"))
    )
    assert tuned.path.stem == "by-images"

    for options in (
        ScoreOptions(detector="by-images", ingest=QUIET),
        ScoreOptions(zero_shot=True, evidence="text", ingest=QUIET),
        ScoreOptions(zero_shot=True, evidence="both", ingest=QUIET),
    ):
        result = score(folder / "unknown", place, options)
        assert np.isfinite(result.table.scores).all() and len(result.table.scores) == 3
        assert result.table.p_values is not None and (result.table.p_values > 0).all()
    assert hub.log == []


def test_siglip_s_own_probabilities_rank_the_classes_as_we_do(hub: Hub, folder: Path, tmp_path: Path) -> None:
    """Its bias is the same for all classes, and its scale is positive: neither changes which prompt fits best."""
    model = reference("hf-hub:org/siglip", folder)
    assert float(model.logit_bias) < -5 and float(model.logit_scale.exp()) > 50
    place = Workspace(tmp_path / ".deltaoe")
    chosen = ModelOptions(model="hf-hub:org/siglip", device="cpu", precision="fp32")
    extract(folder / "images", place, ExtractOptions(model=chosen, ingest=QUIET))
    labels = tmp_path / "labels.txt"
    labels.write_text("red dog\nblue cat\ngreen tree\nyellow plane\n", encoding="utf-8")
    table = score(
        folder / "images", place, ScoreOptions(labels=labels, evidence="text", model=chosen, ingest=QUIET)
    ).table
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder / 'siglip'}")
    prompts = [f"a photo of a {name}." for name in labels.read_text().splitlines()]
    images = plain_images(model, table.paths)
    texts = model.encode_text(tokenizer(prompts), normalize=True)
    cosines = images.double().numpy() @ texts.double().numpy().T
    logits = float(model.logit_scale.exp()) * cosines + float(model.logit_bias)
    probabilities = 1 / (1 + np.exp(-logits))
    margin = np.diff(np.sort(cosines, axis=1)[:, -2:], axis=1)[:, 0]
    sure = margin > 2e-3  # features are stored as half floats
    assert sure.sum() > 20
    assert (table.labels[sure, 0] == probabilities.argmax(axis=1)[sure]).all()
    assert np.abs(table.cosines[:, 0] - cosines[np.arange(len(cosines)), table.labels[:, 0]]).max() < 2e-3


def test_a_tag_of_the_list_gets_its_repository_and_activation(hub: Hub, folder: Path) -> None:
    ref = ModelRef.parse(TUNES[0])
    _, config = load_model(ref, CPU, offline=False, on=silent)
    assert config["quick_gelu"] is True
    asked = [path for path in hub.asked() if "vit_tiny" in path]
    assert all(path.endswith("/open_clip_model.safetensors") for path in asked)


def test_the_tokenizer_of_a_siglip_in_open_clip_s_list(hub: Hub, folder: Path) -> None:
    files = {
        name: (folder / "siglip" / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")
    }
    hub.add("timm/ViT-B-16-SigLIP", files)
    hub.log.clear()
    tokenizer = load_tokenizer(ModelRef("ViT-B-16-SigLIP", "webli"))
    assert {path.split("/resolve/")[0] for path in hub.asked()} <= {
        "/api/models/timm/ViT-B-16-SigLIP",
        "/timm/ViT-B-16-SigLIP",
        "/api/agent-harnesses",  # asked by huggingface_hub about itself, once a day
    }
    assert tokenizer.context_length == 64
    wanted = open_clip.get_tokenizer(f"local-dir:{folder / 'siglip'}")(PROMPTS)
    assert torch.equal(tokenizer(PROMPTS), wanted)


def test_damaged_weights_in_the_cache(hub: Hub, folder: Path) -> None:
    from deltaoe.clip.model_files import weight_file

    ref = ModelRef.parse("hf-hub:org/coca")
    FrozenClip.load(ref, CPU)
    path = weight_file(ref)
    assert path is not None
    whole = path.read_bytes()
    path.resolve().write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(ModelError, match="is damaged, its digest is not the one it was") as caught:
            FrozenClip.load(ref, CPU)
        assert str(path.resolve()) in str(caught.value) and "delete that file" in caught.value.hint
    finally:
        path.resolve().write_bytes(whole)


def test_a_tokenizer_that_is_not_here(hub: Hub, folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    ref = ModelRef.parse("hf-hub:org/siglip")
    load_model(ref, CPU, offline=False, on=silent)
    hub.log.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match=r"the tokenizer of hf-hub:org/siglip \(org/siglip\) is not on this"):
        load_tokenizer(ref, offline=True)
    assert hub.log == []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    files = hub.repositories["org/siglip"].files
    monkeypatch.setattr(
        hub.repositories["org/siglip"], "files", {k: v for k, v in files.items() if "tokenizer" not in k}
    )
    with pytest.raises(ModelError, match="which should have the tokenizer of hf-hub:org/siglip, has none"):
        load_tokenizer(ref)


def test_a_folder_without_its_tokenizer(folder: Path, tmp_path: Path) -> None:
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (tmp_path / name).write_bytes((folder / "siglip" / name).read_bytes())
    with pytest.raises(ModelError, match=f"{tmp_path} has no tokenizer") as caught:
        load_tokenizer(ModelRef.parse(f"local-dir:{tmp_path}"))
    assert "hf download org/siglip" in caught.value.hint
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot load the tokenizer of local-dir:") as caught:
        load_tokenizer(ModelRef.parse(f"local-dir:{tmp_path}"))
    assert "tokenizer.json and tokenizer_config.json" in caught.value.hint

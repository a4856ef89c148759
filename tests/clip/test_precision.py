"""Image towers in half precision: every kind of tower, beside itself in double precision."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file
from towers import CAUSAL, COCA, PREPROCESS, make_folder, plain, text_of

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import ConfigError, ModelError
from deltaoe.runtime import PRECISIONS, free_memory, native_precision

CPU = torch.device("cpu")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# How far features are from the exact ones: some rounding errors, which add up over a tower's layers.
ERRORS = {"fp32": (0.0, 3e-6), "bf16": (1e-3, 0.04), "fp16": (1e-4, 0.005)}


def timm(name: str, size: int, pool: str, *, custom: bool = False, proj: str = "linear") -> dict[str, object]:
    vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": size}
    return text_of(top={"embed_dim": 64, "vision_cfg": vision, "custom_text": custom})


TOWERS = {
    "ViT": CAUSAL["CLIP"],
    "ViT, QuickGELU": CAUSAL["QuickGELU"],
    "ViT beside a custom text tower": CAUSAL["custom text"],
    "ViT, attentional pooling": text_of(
        top={"vision_cfg": COCA["vision_cfg"] | {"output_tokens": False}, "custom_text": True}
    ),
    "CoCa": text_of(top=COCA, embed_cls=True, context_length=76, output_tokens=True),
    "ModifiedResNet": text_of(
        top={"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}}
    ),
    "timm ViT, attention pooling (SigLIP)": timm("test_vit3", 160, "map", custom=True, proj="none"),
    "timm ViT": timm("test_vit", 160, "token"),
    "timm EfficientNet": timm("test_efficientnet", 160, "avg"),
    "timm ConvNeXt": timm("test_convnext", 160, "avg", custom=True),
    "timm MaxViT": timm("test_maxvit", 160, "avg"),
}


def load(ref: ModelRef, precision: str) -> FrozenClip:
    return FrozenClip.load(ref, CPU, precision=precision, offline=True)


def make_tower(folder: Path, kind: str) -> ModelRef:
    """A model folder. timm's towers start as timm starts them: wilder weights leave half precision's range."""
    config = TOWERS[kind]
    ref = make_folder(folder, config)
    file = folder / "open_clip_config.json"
    preprocess = PREPROCESS | {"size": config["vision_cfg"]["image_size"]}
    file.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    if kind.startswith("timm"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = open_clip.create_model(ref.name, load_weights=False)
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return ref


@pytest.fixture(scope="module")
def ref(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("m") / "m", CAUSAL["CLIP"])


def pictures(size: int) -> list[Image.Image]:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    return [Image.fromarray(values).resize((size, size)) for values in small]


# Every kind of tower


@pytest.mark.parametrize("kind", TOWERS)
def test_every_kind_of_tower(tmp_path, kind):
    size = TOWERS[kind]["vision_cfg"]["image_size"]
    ref = make_tower(tmp_path / "m", kind)
    transform = image_transform_v2(PreprocessCfg(**PREPROCESS | {"size": size}), is_train=False)
    batch = torch.stack([transform(picture) for picture in pictures(size)])
    exact = torch.nn.functional.normalize(plain(ref).double().encode_image(batch.double()), dim=-1)
    spaces, texts = [], []
    for precision in PRECISIONS:
        clip = load(ref, precision)
        features = clip.encode_pixels(
            np.stack([clip.geometry.centred(picture) for picture in pictures(size)])
        )
        assert features.dtype == torch.float32
        assert (features.double().norm(dim=-1) - 1).abs().max() < 1e-6
        errors = (features.double() - exact).norm(dim=-1)
        least, most = ERRORS[precision]
        assert least < errors.min() and errors.max() < most, (precision, errors)
        assert (clip.encode_images(batch).double() - exact).norm(dim=-1).max() < most
        spaces.append(clip.space)
        texts.append(clip.encode_text(["a cat", "a photo of a dog"]))
    for space, text, precision in zip(spaces, texts, PRECISIONS, strict=True):
        assert space == dataclasses.replace(spaces[0], precision=precision)
        assert torch.equal(text, texts[0])
    assert len({space.id for space in spaces}) == 3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_image_tower_alone_is_converted(ref, precision):
    model = load(ref, precision)._model
    image = {id(parameter) for parameter in model.visual.parameters()}
    assert {parameter.dtype for parameter in model.visual.parameters()} == {DTYPES[precision]}
    others = [parameter for parameter in model.parameters() if id(parameter) not in image]
    assert {parameter.dtype for parameter in others} == {torch.float32}


def test_a_prompt_is_learned_in_full_precision(ref):
    learner = load(ref, "bf16").prompt_learner(["cat", "dog"], 2, None, torch.Generator().manual_seed(0))
    features = learner()
    features.sum().backward()
    assert features.dtype == learner.context.grad.dtype == torch.float32


def test_fp32_is_the_default(ref):
    assert FrozenClip.load(ref, CPU, offline=True).space.precision == "fp32"


# What cannot be


@pytest.mark.parametrize("precision", ["auto", "", "FP16", "int8"])
def test_a_precision_that_does_not_exist(precision):
    with pytest.raises(ConfigError, match="unknown precision") as caught:
        load(ModelRef.parse("local-dir:nowhere"), precision)
    assert all(name in caught.value.hint for name in PRECISIONS)


def test_a_tower_that_knows_only_full_precision(ref, monkeypatch):
    whole = open_clip.transformer.VisionTransformer.forward

    def forward(self, x):
        if x.dtype != torch.float32:
            raise RuntimeError('"fancy_kernel" not implemented for this type')
        return whole(self, x)

    monkeypatch.setattr(open_clip.transformer.VisionTransformer, "forward", forward)
    with pytest.raises(ModelError, match=r"in bf16: .fancy_kernel. not implemented") as caught:
        load(ref, "bf16")
    assert "--precision fp32" in caught.value.hint
    load(ref, "fp32")


def changed(ref: ModelRef, folder, **factors: float) -> ModelRef:
    """The same model with some weights multiplied."""
    folder.mkdir()
    for file in ref.local_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "open_clip_model.safetensors")
    for name, factor in factors.items():
        weights[name.replace("__", ".")] *= factor
    save_file(weights, folder / "open_clip_model.safetensors")
    return ModelRef.parse(f"local-dir:{folder}")


def test_activations_beyond_half_precision(ref, tmp_path):
    """Each weight fits; their sums do not. bfloat16 reaches as far as full precision."""
    large = changed(ref, tmp_path / "m", visual__proj=3e4)
    assert load_file(tmp_path / "m" / "open_clip_model.safetensors")["visual.proj"].abs().max() < 65504
    with pytest.raises(ModelError, match="1 of 1 images are not finite numbers in fp16") as caught:
        load(large, "fp16")
    assert "--precision fp32" in caught.value.hint and "bf16" in caught.value.hint
    for precision in ("fp32", "bf16"):
        assert load(large, precision).space.precision == precision


def test_weights_beyond_half_precision(ref, tmp_path):
    large = changed(ref, tmp_path / "m", visual__conv1__weight=1e8)
    with pytest.raises(ModelError, match=r"conv1\.weight .* out of this precision's range") as caught:
        load(large, "fp16")
    assert "--precision fp32" in caught.value.hint


def test_a_variance_beyond_half_precision_is_not_silence(tmp_path):
    """Divided by the root of an infinite variance, a channel is zero, and all features are finite."""
    ref = make_folder(tmp_path / "m", TOWERS["ModifiedResNet"])
    large = changed(ref, tmp_path / "large", visual__bn1__running_var=1e6)
    with pytest.raises(ModelError, match=r"bn1\.running_var"):
        load(large, "fp16")
    load(large, "fp32")


def test_damaged_weights_in_full_precision(ref, tmp_path):
    with pytest.raises(ModelError, match="not finite numbers in fp32") as caught:
        load(changed(ref, tmp_path / "m", visual__proj=float("nan")), "fp32")
    assert "damaged" in caught.value.hint


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_bad_image_is_counted(ref, precision):
    batch = torch.zeros(3, 3, 32, 32)
    batch[1, 0, 5, 5] = float("inf")
    with pytest.raises(ModelError, match=f"1 of 3 images are not finite numbers in {precision}"):
        load(ref, precision).encode_images(batch)


def test_no_memory_for_the_model(ref, monkeypatch):
    def forward(self, x):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(open_clip.transformer.VisionTransformer, "forward", forward)
    with pytest.raises(ModelError, match="out of memory") as caught:
        load(ref, "bf16")
    assert "smaller model" in caught.value.hint


# What a device computes best


@pytest.mark.parametrize(
    ("capabilities", "wanted"),
    [
        ({"avx2": True, "avx512_f": False, "avx512_bf16": False, "amx_bf16": False}, "fp32"),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, "fp32"),
        ({"avx512_f": True, "avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"neon": True, "bf16": False}, "fp32"),
        ({"neon": True, "bf16": True}, "bf16"),
        ({}, "fp32"),
    ],
)
def test_a_cpus_precision(monkeypatch, capabilities, wanted):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert native_precision(CPU) == wanted
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert native_precision(CPU) == "fp32"


def test_a_cpu_that_cannot_be_asked(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert native_precision(CPU) == "fp32"


def test_this_cpu():
    """As Linux says it, where it does."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            words = set(file.read().split())
    except OSError:
        pytest.skip("no /proc/cpuinfo")
    native = bool(words & {"avx512_bf16", "amx_bf16", "bf16"}) and torch.backends.mkldnn.is_available()
    if native and not hasattr(torch.cpu, "get_capabilities"):
        pytest.skip("this PyTorch cannot be asked")
    assert native_precision(CPU) == ("bf16" if native else "fp32")


@pytest.mark.parametrize(
    ("version", "hip", "wanted"),
    [((9, 0), None, "fp16"), ((7, 0), None, "fp16"), ((6, 1), None, "fp32"), ((9, 4), "6.2", "fp32")],
)
def test_a_gpus_precision(monkeypatch, version, hip, wanted):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: version)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert native_precision(torch.device("cuda", 1)) == wanted


def test_other_devices_precision():
    assert native_precision(torch.device("mps")) == "fp32"


@pytest.mark.parametrize(("device", "wanted"), [("cpu", []), ("cuda:0", ["cuda"]), ("mps", ["mps"])])
def test_the_right_cache_is_freed(monkeypatch, device, wanted):
    freed: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: freed.append("mps"))
    free_memory(torch.device(device))
    assert freed == wanted

"""Image features against plain open_clip, and the identity of the space they live in."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from towers import CAUSAL, OTHER, PREPROCESS, VISION, load, make_folder, plain

from deltaoe.clip.loading import config_digest, weights_digest
from deltaoe.clip.preprocessing import Scaling
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import ConfigError, ModelError
from deltaoe.images.decode import decode
from deltaoe.images.decode_policy import PLAIN_DECODE_POLICY

SHARED = Path(__file__).resolve().parents[3] / "shared"
PHOTO_CLIP = SHARED / "models" / "photo-clip"
PHOTOS = SHARED / "data" / "photos"
needs_photos = pytest.mark.skipif(
    not (PHOTO_CLIP.is_dir() and PHOTOS.is_dir()), reason=f"needs a model and photographs in {SHARED}"
)


@pytest.fixture(scope="module")
def photo_clip():
    return load(ModelRef.parse(f"local-dir:{PHOTO_CLIP}"))


@pytest.fixture(scope="module")
def reference():
    """open_clip's own model and transform."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{PHOTO_CLIP}")
    return model.eval(), transform


def photos(count: int) -> list[Path]:
    return random.Random(5).sample(sorted(PHOTOS.rglob("*.jpg")), count)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def assert_like_open_clip(clip, reference, files: list[bytes]) -> None:
    model, transform = reference
    ours = clip.encode_images(torch.stack([clip.preprocess(decode(data)) for data in files]))
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
    with torch.no_grad():
        theirs = model.encode_image(torch.stack([transform(picture) for picture in pictures])).double()
    theirs /= theirs.norm(dim=-1, keepdim=True)
    assert ours.dtype == torch.float32
    assert (ours.norm(dim=-1) - 1).abs().max() < 1e-6
    assert (ours.double() * theirs).sum(dim=-1).min() >= 0.99999


# Against open_clip


@needs_photos
def test_photographs(photo_clip, reference):
    files = photos(24)
    assert len({opened(path).size for path in files}) > 4
    assert_like_open_clip(photo_clip, reference, [path.read_bytes() for path in files])


@needs_photos
@pytest.mark.parametrize(
    "size",
    [(1, 1), (3, 2), (224, 224), (225, 223), (224, 225), (31, 400), (640, 40), (1000, 999), (2400, 150)],
)
def test_sizes(photo_clip, reference, size):
    files = [encoded(opened(path).resize(size), "PNG") for path in photos(2)]
    assert_like_open_clip(photo_clip, reference, files)


@needs_photos
def test_kinds_of_files_and_modes(photo_clip, reference):
    files = []
    for path in photos(2):
        image = opened(path)
        files += [encoded(image.convert("L"), "PNG"), encoded(image.convert("L"), "JPEG")]
        files += [encoded(image.convert("CMYK"), "JPEG"), encoded(image.convert("CMYK"), "TIFF")]
        files += [encoded(image.quantize(64), kind) for kind in ("PNG", "GIF", "BMP")]
        files += [encoded(image, "WEBP", lossless=True), encoded(image, "WEBP"), encoded(image, "PPM")]
        files += [encoded(image.convert("1"), "PNG"), encoded(image, "JPEG", progressive=True)]
    assert_like_open_clip(photo_clip, reference, files)


@needs_photos
def test_a_strip_is_cut_to_its_middle_before_it_is_enlarged(photo_clip, reference):
    """Resizing 1 × 20000 to a width of 224 would take gigabytes; the centre crop keeps the middle anyhow."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 20_000, 3), dtype=np.uint8)
    model, transform = reference
    for turned in (noise, noise.swapaxes(0, 1)):
        image = Image.fromarray(np.ascontiguousarray(turned))
        ours = photo_clip.preprocess(image)
        assert ours.shape == (3, 224, 224)
        middle = slice(10_000 - 24, 10_000 + 24)  # 16 times the short side
        kept = turned[:, middle] if turned.shape[0] == 3 else turned[middle]
        assert (ours - transform(Image.fromarray(np.ascontiguousarray(kept)))).abs().max() < 1e-6
    assert model is not None


@needs_photos
def test_an_aspect_of_16_is_not_cut(photo_clip, reference):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (10, 160, 3), dtype=np.uint8))
    assert torch.equal(photo_clip.preprocess(image), reference[1](image))


@needs_photos
def test_the_batch_does_not_matter(photo_clip):
    batch = torch.stack([photo_clip.preprocess(decode(path.read_bytes())) for path in photos(9)])
    whole = photo_clip.encode_images(batch)
    for size in (1, 2, 4):
        parts = torch.cat([photo_clip.encode_images(part) for part in batch.split(size)])
        assert (whole - parts).abs().max() < 1e-5
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert (photo_clip.encode_images(batch[order]) - whole[order]).abs().max() < 1e-5


@needs_photos
def test_what_photo_clip_is(photo_clip):
    assert photo_clip.space.dim == 512
    assert photo_clip.image_size == (224, 224)
    assert photo_clip.logit_scale > 1
    assert photo_clip.space.model == f"local-dir:{PHOTO_CLIP}"


@needs_photos
def test_pixels_give_the_features_of_the_preprocessed_to_the_bit(photo_clip, reference):
    pictures = [decode(path.read_bytes()) for path in photos(5)]
    pixels = np.stack([photo_clip.geometry.centred(picture) for picture in pictures])
    transformed = torch.stack([reference[1](picture) for picture in pictures])
    assert torch.equal(photo_clip.encode_pixels(pixels), photo_clip.encode_images(transformed))


# On small models

IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ref(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("m") / "m", CAUSAL["CLIP"])


@pytest.mark.parametrize("config", [CAUSAL["QuickGELU"], CAUSAL["custom text"], OTHER["CoCa"]])
def test_small_models(tmp_path, config):
    ref = make_folder(tmp_path / "m", config)
    clip, model = load(ref), plain(ref)
    wanted = model.encode_image(IMAGES, normalize=True)
    assert (clip.encode_images(IMAGES) - wanted).abs().max() < 1e-5
    assert clip.space.dim == 24
    assert clip.logit_scale == pytest.approx(float(np.exp(4.0)), rel=1e-6)


def test_everything_is_frozen_and_in_evaluation_mode(ref):
    clip = load(ref)
    assert not any(parameter.requires_grad for parameter in clip._model.parameters())
    assert not any(module.training for module in clip._model.modules())
    assert not clip.encode_images(IMAGES).requires_grad
    assert not clip.encode_text(["cat"]).requires_grad


def test_pixels_that_are_not_contiguous(ref):
    clip = load(ref)
    wanted = clip.encode_images(IMAGES)
    turned = IMAGES.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert (clip.encode_images(turned) - wanted).abs().max() < 1e-6


# From pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clip(ref):
    return load(ref)


def test_pixels_are_plain_open_clips_to_the_bit(ref, clip):
    model, _, transform = open_clip.create_model_and_transforms(ref.name)
    model.eval().visual.to(memory_format=torch.channels_last)
    batch = torch.stack([transform(Image.fromarray(picture)) for picture in PIXELS])
    with torch.no_grad():
        wanted = model.encode_image(batch.contiguous(memory_format=torch.channels_last), normalize=True)
    assert torch.equal(clip.encode_pixels(PIXELS), wanted)


@pytest.mark.parametrize(
    "given",
    [
        lambda: torch.from_numpy(PIXELS),
        lambda: np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape),  # read-only
        lambda: PIXELS[::-1, :, ::-1].copy()[::-1, :, ::-1],  # not contiguous
        lambda: torch.from_numpy(PIXELS).permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
    ],
)
def test_pixels_in_any_kind_of_memory(clip, given):
    before = PIXELS.copy()
    assert torch.equal(clip.encode_pixels(given()), clip.encode_pixels(PIXELS))
    assert np.array_equal(PIXELS, before)


@pytest.mark.parametrize(
    "wrong",
    [
        PIXELS.astype(np.float32),
        PIXELS.astype(object),
        PIXELS[0],
        PIXELS.transpose(0, 3, 1, 2),
        PIXELS[:, :16],
        PIXELS[..., :1],
        torch.rand(2, 32, 32, 3),
    ],
)
def test_what_are_no_pixels(clip, wrong):
    with pytest.raises(ConfigError, match=r"uint8 of shape \(B, 32, 32, 3\)") as caught:
        clip.encode_pixels(wrong)
    assert "geometry" in caught.value.hint


def test_no_pixels_at_all(clip):
    assert clip.encode_pixels(PIXELS[:0]).shape == (0, 24)


def test_an_oblong_model(tmp_path):
    ref = make_folder(tmp_path / "m", CAUSAL["CLIP"] | {"vision_cfg": VISION | {"image_size": [32, 64]}})
    file = tmp_path / "m" / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["preprocess_cfg"] |= {"size": [32, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    file.write_text(json.dumps(config))
    clip = load(ref)
    assert clip.image_size == (32, 64)
    _, _, transform = open_clip.create_model_and_transforms(ref.name)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 120, 3), dtype=np.uint8))
    assert torch.equal(clip.preprocess(image), transform(image))
    pixels = clip.geometry.centred(image)
    assert torch.equal(clip.encode_pixels(pixels[None]), clip.encode_images(transform(image)[None]))


@pytest.mark.parametrize(
    ("mean", "std"), [(OPENAI_DATASET_MEAN, OPENAI_DATASET_STD), ((0.5,) * 3, (0.5,) * 3), (0.3, 0.7)]
)
def test_every_byte_is_scaled_as_torchvision_does(mean, std):
    bytes_ = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    cfg = PreprocessCfg(size=16, mean=mean, std=std)
    wanted = image_transform_v2(cfg, is_train=False)(Image.fromarray(bytes_))
    found = Scaling.of(dataclasses.asdict(cfg))(torch.from_numpy(bytes_)[None])
    assert torch.equal(found[0], wanted)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_resize_modes(tmp_path, mode):
    ref = make_folder(tmp_path / "m", CAUSAL["CLIP"])
    file = tmp_path / "m" / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["preprocess_cfg"]["resize_mode"] = mode
    file.write_text(json.dumps(config))
    _, _, transform = open_clip.create_model_and_transforms(ref.name)
    for size in ((50, 40), (10, 160), (900, 20)):
        image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8))
        ours = load(ref).preprocess(image)
        if mode == "shortest" and max(size) > 16 * min(size):
            assert ours.shape == (3, 32, 32)
        else:
            assert torch.equal(ours, transform(image))


# Identity


def test_the_space_tells_models_apart_and_not_their_folders(ref, tmp_path):
    space = load(ref).space
    shutil.copytree(ref.local_folder, tmp_path / "moved")
    moved = load(ModelRef.parse(f"local-dir:{tmp_path / 'moved'}")).space
    assert moved.model != space.model
    assert moved.id == space.id
    assert dataclasses.replace(moved, model=space.model) == space
    assert space.decode_policy == PLAIN_DECODE_POLICY
    others = [
        load(make_folder(tmp_path / "weights", CAUSAL["CLIP"], seed=1)).space,
        load(make_folder(tmp_path / "gelu", CAUSAL["QuickGELU"])).space,
    ]
    file = tmp_path / "moved" / "open_clip_config.json"
    changed = {"model_cfg": CAUSAL["CLIP"], "preprocess_cfg": PREPROCESS | {"mean": [0.4, 0.5, 0.5]}}
    file.write_text(json.dumps(changed))
    others.append(load(ModelRef.parse(f"local-dir:{tmp_path / 'moved'}")).space)
    assert len({space.id, *(other.id for other in others)}) == 4
    assert [space.differences(other)[0].split()[0] for other in others] == ["weights", "config", "preprocess"]


def test_equal_weights_under_another_activation_are_another_space(ref, tmp_path):
    shutil.copytree(ref.local_folder, tmp_path / "m")
    file = tmp_path / "m" / "open_clip_config.json"
    file.write_text(json.dumps({"model_cfg": CAUSAL["QuickGELU"], "preprocess_cfg": PREPROCESS}))
    one, other = load(ref), load(ModelRef.parse(f"local-dir:{tmp_path / 'm'}"))
    assert one.space.weights == other.space.weights
    assert one.space.config != other.space.config
    assert (one.encode_images(IMAGES) - other.encode_images(IMAGES)).abs().max() > 1e-4


def test_one_weight_changes_the_digest(ref):
    model = plain(ref)
    before = weights_digest(model)
    assert weights_digest(plain(ref)) == before
    for name, parameter in (
        ("last", model.logit_scale),
        ("text", model.token_embedding.weight),
        ("image", model.visual.conv1.weight),
    ):
        flat = parameter.data.view(-1)
        kept = flat[-1].clone()
        flat[-1] = torch.nextafter(kept, kept + 1)
        assert weights_digest(model) != before, name
        flat[-1] = kept
        assert weights_digest(model) == before


def test_buffers_types_names_and_shapes_enter_the_digest():
    def digest(dtype=torch.float32, shape=(4,), name="weight", buffer=0.0):
        model = torch.nn.Module()
        model.register_parameter(
            name, torch.nn.Parameter(torch.zeros(shape, dtype=dtype), requires_grad=False)
        )
        model.register_buffer("mean", torch.tensor(buffer))
        return weights_digest(model)

    variants = [{}, {"dtype": torch.float64}, {"shape": (2, 2)}, {"name": "weight2"}, {"buffer": 1.0}]
    variants += [{"dtype": torch.bfloat16}, {"dtype": torch.float16}, {"shape": ()}]
    assert len({digest(**variant) for variant in variants}) == len(variants)


def test_the_config_digest_ignores_order_and_sees_every_value():
    config = {"embed_dim": 24, "text_cfg": {"width": 32, "heads": 4}}
    turned = {"text_cfg": {"heads": 4, "width": 32}, "embed_dim": 24}
    assert config_digest(config) == config_digest(turned)
    assert config_digest(config | {"quick_gelu": True}) != config_digest(config)
    assert config_digest(config | {"quick_gelu": True}) != config_digest(config | {"quick_gelu": False})


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "XYZ"},
        {"interpolation": "cubist"},
        {"resize_mode": "x"},
        {"std": [0.5, 0.0, 0.5]},
        {"std": [0.5, 0.5]},
        {"mean": ["a", "b", "c"]},
        {"mean": [0.5, float("nan"), 0.5]},
    ],
)
def test_preprocessing_that_does_not_exist(tmp_path, wrong):
    ref = make_folder(tmp_path / "m", CAUSAL["CLIP"])
    file = tmp_path / "m" / "open_clip_config.json"
    file.write_text(json.dumps({"model_cfg": CAUSAL["CLIP"], "preprocess_cfg": PREPROCESS | wrong}))
    with pytest.raises(ModelError, match="cannot use local-dir:") as caught:
        load(ref)
    assert "open_clip_config.json" in caught.value.hint

"""What a model sees of a picture: against open_clip's and torchvision's own transforms."""

from __future__ import annotations

import functools
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from encoded import file_of, noise
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from scipy.stats import binomtest, kstest
from scipy.stats import ks_2samp as same_distribution
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as TF

from deltaoe.errors import ConfigError, ModelError
from deltaoe.images.decode import ImageError, decode
from deltaoe.images.geometry import Geometry
from deltaoe.images.views import random_part

DIGEST = bytes(range(32))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(noise(height, width, seed))


def open_clip_pixels(config: dict[str, Any], image: Image.Image) -> np.ndarray:
    """What open_clip's transform holds before it subtracts the mean, as bytes (H, W, 3)."""
    *steps, normalise = image_transform_v2(PreprocessCfg(**config), is_train=False).transforms
    assert type(normalise).__name__ == "Normalize"
    values: Any = image
    for step in steps:
        values = step(values)
    bytes_again = values.double().permute(1, 2, 0).numpy() * 255
    assert np.abs(bytes_again - bytes_again.round()).max() < 1e-4
    return bytes_again.round().astype(np.uint8)


def assert_as_open_clip(config: dict[str, Any], image: Image.Image) -> None:
    found, wanted = Geometry.of(config).centred(image), open_clip_pixels(config, image)
    assert (found.dtype, found.shape) == (np.uint8, wanted.shape)
    assert found.flags.c_contiguous
    assert found.flags.writeable  # torch.from_numpy() warns otherwise
    assert np.array_equal(found, wanted)


# View 0 against open_clip

SIDE = st.integers(1, 70)
CONFIG = st.fixed_dictionaries(
    {"size": st.one_of(SIDE, st.tuples(SIDE, SIDE), st.lists(SIDE, min_size=2, max_size=2))},
    optional={
        "interpolation": st.sampled_from(["bicubic", "bilinear", "random"]),
        "resize_mode": st.sampled_from(["shortest", "longest", "squash"]),
        "fill_color": st.one_of(st.integers(0, 255), st.lists(st.integers(0, 255), min_size=3, max_size=3)),
    },
)


@settings(max_examples=400, deadline=None)
@given(config=CONFIG, width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 9))
def test_the_centred_view_is_open_clips(config, width, height, seed):
    short, long = sorted((width, height))
    if config.get("resize_mode", "shortest") == "shortest":
        assume(long <= 16 * short)
    if config.get("resize_mode") == "longest":
        size = config["size"] if not isinstance(config["size"], int) else [config["size"]] * 2
        ratio = max(height / size[0], width / size[1])
        assume(min(round(width / ratio), round(height / ratio)) > 0)  # open_clip fails there
    assert_as_open_clip(config, picture(width, height, seed))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [224, 336, 378, (224, 280), (257, 131)])
def test_sizes_of_real_models_and_photographs(mode, interpolation, size):
    config = {"size": size, "interpolation": interpolation, "resize_mode": mode, "fill_color": 127}
    for shape in ((500, 375), (375, 500), (1024, 683), (224, 224), (1, 1), (225, 223), (3, 40), (640, 47)):
        assert_as_open_clip(config, picture(*shape))


@pytest.mark.parametrize("shape", [(4032, 3024), (2999, 4501), (7, 2000)])
def test_large_pictures(shape):
    for mode in ("shortest", "longest", "squash"):
        if mode != "shortest" or max(shape) <= 16 * min(shape):
            assert_as_open_clip({"size": 224, "resize_mode": mode}, picture(*shape))


def test_every_model_that_open_clip_knows_can_be_followed():
    configs = {
        tuple(sorted((key, str(value)) for key, value in config.items())): config
        for name, tag in open_clip.list_pretrained()
        for config in [
            {
                key: value
                for key, value in open_clip.get_pretrained_cfg(name, tag).items()
                if key in ("interpolation", "resize_mode", "mean", "std")
            }
        ]
    }
    assert len(configs) > 3
    for config in configs.values():
        assert_as_open_clip({"size": 32, **config}, picture(50, 41))


@pytest.mark.parametrize(
    "config",
    [
        {"interpolation": "nearest"},
        {"interpolation": ["bicubic"]},
        {"resize_mode": "cover"},
        {"mode": "L"},
        {"blur": 2},
        {"size": "224"},
        {"size": [224, 224, 3]},
        {"size": [0, 5], "resize_mode": "squash"},
        {"fill_color": [1, 2], "resize_mode": "longest"},
    ],
)
def test_what_open_clip_refuses_is_an_error_with_advice(config):
    with pytest.raises((AssertionError, TypeError, ValueError, ZeroDivisionError)):
        open_clip_pixels(config, picture(9, 7))
    with pytest.raises(ModelError, match=next(iter(config))) as caught:
        Geometry.of(config)
    assert "open_clip_config.json" in caught.value.hint


@pytest.mark.parametrize("size", [0, -3, 224.0, True, None, [224], [2, 2.5], {}])
def test_a_size_that_is_none(size):
    with pytest.raises(ModelError, match="size"):
        Geometry.of({"size": size})


@pytest.mark.parametrize("fill", [256, -1, 0.5, [0, 0, 300], "white"])
def test_a_fill_colour_that_is_none(fill):
    with pytest.raises(ModelError, match="fill_color"):
        Geometry.of({"size": 32, "fill_color": fill})


def test_settings_left_out_or_empty_have_open_clips_defaults():
    assert Geometry.of({}) == Geometry(224, 224, "bicubic", "shortest", 0)
    assert Geometry.of({"interpolation": None, "resize_mode": None, "fill_color": None}) == Geometry.of({})
    assert Geometry.of({"fill_color": [7]}).fill_color == (7, 7, 7)
    assert_as_open_clip({"size": (9, 20), "resize_mode": "longest", "fill_color": [7]}, picture(5, 5))


# Strips


@pytest.mark.parametrize("upright", [False, True])
def test_a_strip_is_cut_to_its_middle_before_it_is_enlarged(upright):
    strip = noise(3, 20_000)
    middle = np.ascontiguousarray(strip[:, 10_000 - 24 : 10_000 + 24])  # 16 times the short side
    if upright:
        strip, middle = strip.swapaxes(0, 1), np.ascontiguousarray(middle.swapaxes(0, 1))
    found = Geometry.of({}).centred(Image.fromarray(np.ascontiguousarray(strip)))
    assert np.array_equal(found, open_clip_pixels({}, Image.fromarray(middle)))


def test_an_aspect_of_16_is_not_cut():
    for shape in ((160, 10), (10, 160)):
        assert_as_open_clip({"size": 224}, picture(*shape))


def test_a_little_more_than_16_is_cut():
    image = picture(161, 10)
    found = Geometry.of({}).centred(image)
    assert np.array_equal(found, open_clip_pixels({}, image.crop((0, 0, 160, 10))))
    assert not np.array_equal(found, open_clip_pixels({}, image))


@pytest.mark.parametrize("shape", [(5000, 1), (1, 5000)])
def test_a_strip_that_is_to_fit_keeps_a_pixel(shape):
    config = {"size": 32, "resize_mode": "longest", "fill_color": 9}
    with pytest.raises(ValueError, match="must be > 0"):
        open_clip_pixels(config, Image.new("RGB", shape, "red"))
    found = Geometry.of(config).centred(Image.new("RGB", shape, "red"))
    line = found[15] if shape[0] > 1 else found[:, 15]
    assert (line == (255, 0, 0)).all()
    assert (found == 9).all(axis=-1).sum() == 32 * 31


def test_a_strip_stays_small_in_memory():
    """Enlarged without a cut it would be 224 × 224,000,000."""
    image = Image.new("RGB", (1_000_000, 1), "red")
    for mode in ("shortest", "longest", "squash"):
        geometry = Geometry(224, 224, resize_mode=mode)
        assert (geometry.views(image, DIGEST, (0, 1, 2))[1:] == (255, 0, 0)).all()


# Augmented views against torchvision

DRAWS = 4000


@functools.cache
def parts(width: int, height: int) -> np.ndarray:
    """(draws, 5): left, top, width, height, mirrored; over pictures and views."""
    return np.array(
        [
            random_part((width, height), i.to_bytes(32, "big"), view)
            for i in range(DRAWS // 8)
            for view in range(1, 9)
        ]
    )


@functools.cache
def torchvision_parts(width: int, height: int) -> np.ndarray:
    blank = torch.empty(3, height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        drawn = [RandomResizedCrop.get_params(blank, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(DRAWS)]
    return np.array([(left, top, w, h) for top, left, h, w in drawn])


@pytest.mark.parametrize("shape", [(400, 300), (224, 224), (50, 81), (300, 128), (9, 9), (1000, 130)])
@pytest.mark.parametrize(
    "measure",
    [
        lambda p, w, h: p[:, 2] * p[:, 3] / (w * h),
        lambda p, w, h: np.log(p[:, 2] / p[:, 3]),
        lambda p, w, h: p[:, 0] + p[:, 2] / 2,
        lambda p, w, h: p[:, 1] + p[:, 3] / 2,
        lambda p, w, h: p[:, 0] / np.maximum(w - p[:, 2], 1),
        lambda p, w, h: p[:, 1] / np.maximum(h - p[:, 3], 1),
    ],
    ids=["area", "log ratio", "centre x", "centre y", "left", "top"],
)
def test_parts_are_distributed_as_torchvisions(shape, measure):
    ours, theirs = (draws(*shape) for draws in (parts, torchvision_parts))
    assert same_distribution(measure(ours, *shape), measure(theirs, *shape)).pvalue > 1e-3


def test_area_and_ratio_are_what_coop_says():
    """On large pictures, where rounding is nothing and nearly all draws fit; torchvision is not asked."""
    drawn = parts(10_000, 10_000).astype(float)
    share, ratio = drawn[:, 2] * drawn[:, 3] / 1e8, np.log(drawn[:, 2] / drawn[:, 3])
    small = share < 0.7  # all of which fit
    assert share.min() > 0.08 - 1e-3
    assert kstest(share[small], "uniform", args=(0.08, 0.62)).pvalue > 1e-3
    reach = math.log(4 / 3)
    assert kstest(ratio[small], "uniform", args=(-reach, 2 * reach)).pvalue > 1e-3


def test_half_of_the_views_are_mirrored_whatever_they_show():
    drawn = parts(400, 300)
    assert binomtest(int(drawn[:, 4].sum()), len(drawn), 0.5).pvalue > 1e-3
    together = np.corrcoef(drawn.T)
    assert np.abs(together[4, :4]).max() < 4 / math.sqrt(len(drawn))


def test_views_of_one_picture_do_not_depend_on_each_other():
    drawn = parts(400, 300).reshape(-1, 8, 5).astype(float)
    for column in (2, 3, 4):
        between = np.corrcoef(drawn[:, :, column].T)
        assert np.abs(between - np.eye(8)).max() < 4.5 / math.sqrt(len(drawn))
    assert len(np.unique(drawn.reshape(-1, 5), axis=0)) > 0.999 * len(drawn) * 8


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 40), (20_000, 1), (7, 300), (90, 5)])
def test_parts_of_odd_pictures_lie_inside(shape):
    width, height = shape
    for view in range(1, 300):
        left, top, w, h, _ = random_part(shape, DIGEST, view)
        assert 0 <= left < left + w <= width
        assert 0 <= top < top + h <= height


@pytest.mark.parametrize("shape", [(2000, 10), (10, 2000), (40, 1), (1, 40)])
def test_pictures_without_such_a_part_show_their_middle(shape):
    top, left, h, w = RandomResizedCrop.get_params(torch.empty(3, *shape[::-1]), (1.0, 1.0), (3 / 4, 4 / 3))
    middles = [random_part(shape, DIGEST, view)[:4] for view in range(1, 200)]
    assert (left, top, w, h) in middles


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(400, 300), (30, 50), (1, 1), (300, 4)])
def test_pixels_of_an_augmented_view_are_torchvisions(interpolation, shape):
    image, geometry = picture(*shape), Geometry(48, 64, interpolation)
    mirrored = set()
    for view in range(1, 9):
        left, top, w, h, flip = random_part(shape, DIGEST, view)
        wanted = TF.resized_crop(image, top, left, h, w, [48, 64], InterpolationMode(interpolation))
        wanted = TF.hflip(wanted) if flip else wanted
        found = geometry.augmented(image, DIGEST, view)
        assert np.array_equal(found, np.asarray(wanted))
        assert found.flags.c_contiguous and found.flags.writeable
        mirrored.add(flip)
    assert mirrored == {False, True}


# The same view for ever

# These parts also came out of a Philox4x64-10 and the drawing rules written anew in plain integers and fractions.
FROZEN_PARTS = [(413, 195, 159, 211, True), (162, 43, 359, 333, False)]
FROZEN_PARTS += [(196, 39, 407, 431, True), (245, 46, 306, 337, False)]
FROZEN_EMPTY = (91, 35, 476, 437, True)
FROZEN_PIXELS = [[82, 47, 132], [126, 47, 128], [170, 47, 124], [82, 102, 127], [126, 102, 127]]
FROZEN_PIXELS += [[170, 102, 126], [82, 157, 126], [126, 157, 125], [170, 157, 125]]


def test_what_was_drawn_once_is_drawn_for_ever():
    """Written down with VIEW_POLICY 1. If this fails, remembered views are wrong: raise the number."""
    assert [random_part((640, 480), DIGEST, view) for view in (1, 2, 3, 1000)] == FROZEN_PARTS
    assert random_part((640, 480), b"", 1) == FROZEN_EMPTY


def test_pixels_of_one_view_for_ever():
    """Pillow may round otherwise one day; more than that must not change."""
    y, x = np.mgrid[:60, :80]
    image = Image.fromarray(np.stack([x * 3, y * 4, (x * y) % 256], axis=-1).astype(np.uint8))
    found = Geometry(3, 3).augmented(image, DIGEST, 2).astype(int)
    assert np.abs(found.reshape(-1, 3) - FROZEN_PIXELS).max() <= 1


def test_a_view_depends_on_digest_and_number_alone():
    image, geometry = picture(90, 60), Geometry(16, 20)
    together = geometry.views(image, DIGEST, (5, 0, 2, 5))
    assert together.shape == (4, 16, 20, 3)
    assert np.array_equal(together[1], geometry.centred(image))
    assert np.array_equal(together[2], geometry.augmented(image, DIGEST, 2))
    assert np.array_equal(together[0], together[3])
    assert not np.array_equal(together[0], together[2])
    assert not np.array_equal(together[0], geometry.augmented(image, bytes(32), 5))
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 - nobody's seed must be touched
    geometry.views(image, DIGEST, range(4))
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_view_numbers_that_do_not_exist():
    for view in (0, -1):
        with pytest.raises(ConfigError, match="numbered from 1"):
            Geometry(8, 8).augmented(picture(9, 9), DIGEST, view)
    with pytest.raises(ConfigError, match="numbered from 1"):
        Geometry(8, 8).views(picture(9, 9), DIGEST, (0, -1))


# Work for another process


def test_views_of_a_file():
    image = picture(40, 30)
    work = functools.partial(Geometry.of({"size": 24}).decode, indices=(0, 1))
    found = pickle.loads(pickle.dumps(work))(file_of(image, "PNG"), DIGEST)  # noqa: S301
    assert np.array_equal(found, Geometry(24, 24).views(image, DIGEST, (0, 1)))
    assert work(file_of(image, "PNG"), DIGEST, indices=()).shape == (0, 24, 24, 3)


def test_a_broken_file_is_a_reason_that_travels():
    with pytest.raises(ImageError, match="not an image") as caught:
        Geometry(8, 8).decode(b"nothing", DIGEST, (0,))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_too_little_memory_for_resizing_is_a_reason(monkeypatch):
    def resize(self, *arguments, **options):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", resize)
    with pytest.raises(ImageError, match="too large for this machine's memory"):
        Geometry(8, 8).decode(file_of(picture(9, 9), "PNG"), DIGEST, (0,))


def test_a_worker_needs_no_more_than_pillow_and_numpy():
    code = "import sys, deltaoe.images.geometry; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"PIL", "numpy"} <= loaded
    assert not loaded & {"torch", "torchvision", "open_clip", "h5py", "scipy", "sklearn", "faiss", "filelock"}


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "photos"


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs photographs in {SHARED}")
def test_photographs():
    files = sorted(SHARED.rglob("*.jpg"))[::60][:15]
    assert len(files) > 10
    for path in files:
        image = decode(path.read_bytes())
        for mode in ("shortest", "longest", "squash"):
            assert_as_open_clip({"size": 224, "resize_mode": mode}, image)

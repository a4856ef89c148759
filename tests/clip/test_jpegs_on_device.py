"""JPEGs decoded and resized on a device: here the CPU, by torchvision's decoder, against Pillow's whole way."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from encoded import file_of, noise, with_jpeg_segment
from fakes import FakeSource, listed
from PIL import Image

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.jpegs_on_device import JpegsOnDevice
from deltaoe.clip.reference import ModelRef
from deltaoe.errors import ConfigError
from deltaoe.extraction.ingest import ingest
from deltaoe.extraction.options import IngestOptions
from deltaoe.images.geometry import Geometry
from deltaoe.images.jpeg_head import jpeg_head
from deltaoe.runtime import check_jpeg_decoder, decode_jpegs
from deltaoe.store.workspace import Workspace

CPU = torch.device("cpu")
GEOMETRY = Geometry(64, 64)


class File(NamedTuple):
    data: bytes
    digest: bytes
    views: tuple[int, ...]


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    coarse = Image.fromarray(noise(-(-height // 8), -(-width // 8), seed))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def jpeg(width: int = 300, height: int = 200, seed: int = 0, mode: str = "RGB", **options: Any) -> bytes:
    return file_of(scene(width, height, seed).convert(mode), "JPEG", **{"quality": 90} | options)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[274] = orientation
    return found


def files(*data: bytes, views: tuple[int, ...] = (0,)) -> list[File]:
    return [File(one, hashlib.sha256(one).digest(), views) for one in data]


def shown(device: JpegsOnDevice, jobs: list[File]) -> list[Any]:
    heads = [device.head(job.data) for job in jobs]
    assert None not in heads, device.left_out
    return device(jobs, heads)


def assert_as_exact(geometry: Geometry, jobs: list[File], found: list[Any]) -> None:
    """The same pixels but for rounding, which the two resizings do twice each."""
    for job, one in zip(jobs, found, strict=True):
        wanted = geometry.decode_noted(job.data, job.digest, job.views)
        assert (one.pixels.dtype, one.notes) == (torch.uint8, wanted.notes)
        assert np.abs(one.pixels.numpy().astype(int) - wanted.pixels).mean() < 0.1


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_those_of_the_cpu(resize_mode, interpolation):
    geometry = Geometry(64, 80, interpolation, resize_mode, (9, 99, 199))
    kinds = [{"exif": exif(turn)} for turn in range(1, 9)]
    kinds += [
        {"mode": "L"},
        {"progressive": True},
        {"subsampling": 0},
        {"width": 40},
        {"width": 4000, "height": 60},
    ]
    jobs = files(*(jpeg(seed=i % 3, **kind) for i, kind in enumerate(kinds)), views=(0, 1, 2))
    assert_as_exact(geometry, jobs, shown(JpegsOnDevice(geometry, CPU), jobs))


def test_a_picture_of_one_colour_is_noted():
    jobs = files(file_of(Image.new("RGB", (99, 99), "navy"), "JPEG"), jpeg())
    assert [one.notes for one in shown(JpegsOnDevice(GEOMETRY, CPU), jobs)] == [("one single colour",), ()]


def test_what_is_left_to_the_cpu_and_why():
    whole = jpeg()
    odd = exif(1)
    odd[274] = 9
    cases = {
        "not JPEG": file_of(scene(50, 50), "PNG"),
        "CMYK": jpeg(mode="CMYK"),
        "JPEG stored as RGB": jpeg(keep_rgb=True),
        "broken JPEG": whole[:-100],
        "unclear orientation": jpeg(exif=odd),
        "JPEG of a rare coding": whole.replace(b"\xff\xc0\x00\x11", b"\xff\xc9\x00\x11", 1),
        "JPEG of more than 8 bits": whole.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c", 1),
        "JPEG of a rare sampling": whole.replace(b"\x01\x22\x00\x02\x11\x01", b"\x01\x42\x00\x02\x11\x01", 1),
        "JPEG of an unusual size": whole.replace(
            b"\xff\xc0\x00\x11\x08\x00\xc8", b"\xff\xc0\x00\x11\x08\0\0", 1
        ),
    }
    device = JpegsOnDevice(GEOMETRY, CPU)
    assert {reason: jpeg_head(data).unusual for reason, data in cases.items()} == {one: one for one in cases}
    assert [device.head(data) for data in cases.values()] == [None] * len(cases)
    assert device.left_out == dict.fromkeys(cases, 1)
    by_xmp = with_jpeg_segment(whole, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>")
    assert jpeg_head(by_xmp).unusual == "unclear orientation"
    assert all(jpeg_head(whole[:n]).unusual for n in range(len(whole) - 1))


def test_an_embedded_preview_does_not_end_the_picture():
    preview = with_jpeg_segment(jpeg(), 0xE2, jpeg(40, 30))
    assert jpeg_head(preview).unusual == ""
    assert jpeg_head(preview[:-100]).unusual == "broken JPEG"


@pytest.mark.parametrize("fits", [0, 1, 2, 3])
def test_batches_shrink_where_memory_runs_out(fits):
    asked = []

    def decode(data, device, *, grey):
        asked.append(len(data))
        if len(data) > fits:
            raise RuntimeError("the device is out of memory")
        return decode_jpegs(data, device, grey=grey)

    device = JpegsOnDevice(GEOMETRY, CPU, decode)
    jobs = files(*(jpeg(seed=i) for i in range(7)))
    found = shown(device, jobs)
    assert asked[0] == 7 and asked[-1] <= max(1, fits)
    if fits:
        assert_as_exact(GEOMETRY, jobs, found)
    else:
        assert found == [None] * 7
    assert sum(device.left_out.values()) == (0 if fits else 7)


def test_a_file_that_the_decoder_refuses_costs_no_other():
    bad = jpeg(seed=1)

    def decode(data, device, *, grey):
        if bad in data:
            raise RuntimeError("nvJPEG says no")
        return decode_jpegs(data, device, grey=grey)

    jobs = files(jpeg(seed=0), bad, jpeg(seed=2), jpeg(mode="L"))
    found = shown(device := JpegsOnDevice(GEOMETRY, CPU, decode), jobs)
    assert found[1] is None and dict(device.left_out) == {"JPEG that the device does not decode": 1}
    assert_as_exact(GEOMETRY, [jobs[i] for i in (0, 2, 3)], [found[i] for i in (0, 2, 3)])


def test_without_such_a_device_it_is_refused():
    with pytest.raises(ConfigError, match="this run computes on cpu") as refused:
        check_jpeg_decoder(CPU)
    assert "--decode exact or fast" in refused.value.hint


def test_photographs_from_files_to_features(shared, tmp_path):
    """The whole way: most files on the device, others by the CPU, copies once, and features like exact ones."""
    (tmp_path / "images").mkdir()
    photographs = sorted((shared / "data" / "photos").rglob("*.jpg"))[::160]
    for i, path in enumerate(photographs):
        (tmp_path / "images" / f"{i:02d}.jpg").write_bytes(path.read_bytes())
    scene(300, 250).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "copy.jpg").write_bytes(photographs[0].read_bytes())
    (tmp_path / "images" / "cut.jpg").write_bytes(photographs[1].read_bytes()[:3000])
    ref = ModelRef.parse(f"local-dir:{shared / 'models' / 'photo-clip'}")
    features, said = {}, []
    for decode in ("exact", "gpu"):
        clip = FrozenClip.load(ref, CPU, decode=decode, offline=True)
        workspace = Workspace(tmp_path / decode)
        result = ingest(
            listed(tmp_path / "images"),
            workspace,
            FakeSource(workspace, clip, clip.space),
            lambda event: said.append(event.message),
            IngestOptions(workers=1, batch_size=5),
        )
        assert (result.encoded, len(result.failed)) == (len(photographs) + 1, 1)
        features[decode] = result.store.features(result.digests).astype(np.float64)
    cosines = (features["exact"] * features["gpu"]).sum(axis=1)
    assert cosines.min() > 0.999 and cosines.max() < 1.01
    (sentence,) = [one for one in said if "decoded on the CPU" in one]
    total = len(photographs) + 3
    assert sentence == f"2 of {total} files were decoded on the CPU, exactly: not JPEG 1, broken JPEG 1"

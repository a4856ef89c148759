"""Pictures of more than eight bits and mended ones, through the installed command."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from command import Fails, Run
from PIL import Image


def deepen(folder: Path, factor: int, dtype: type = np.uint16) -> int:
    """Replace the first six pictures of a class by grey TIFFs of their values times a factor; return their number."""
    files = sorted((folder / "red_stripes").iterdir())[:6]
    for file in files:
        grey = np.asarray(Image.open(file).convert("L")).astype(dtype)
        Image.fromarray(grey * dtype(factor)).save(file.with_suffix(".tif"))
        file.unlink()
    return len(files)


def shards(folder: Path) -> list[Path]:
    return sorted((folder / ".deltaoe").rglob("shard-*.h5"))


def test_what_is_said_of_twelve_bits(fresh: Path, run: Run) -> None:
    count = deepen(fresh / "images", 16)
    (fresh / "images" / "blue.png").unlink(missing_ok=True)
    Image.new("RGB", (32, 32), "blue").save(fresh / "images" / "red_stripes" / "blue.png")
    first = run("extract", "images", "--json", cwd=fresh)
    twelve = [note for note in first.json["notes"] if "12-bit samples in a file of 16" in note]
    assert len(twelve) == 1 and twelve[0].startswith(f"{count} images: ") and "--sample-range" in twelve[0]
    assert "1 image: one single colour (red_stripes/blue.png)" in first.json["notes"]

    # Said again from the store, and after a compaction; no model is loaded for it.
    again = run("extract", "images", "--json", cwd=fresh)
    assert (again.json["encoded"], "Loading model" in again.stderr) == (0, False)
    assert twelve[0] in again.json["notes"]
    run("store", "compact", cwd=fresh)
    assert twelve[0] in run("extract", "images", "--json", cwd=fresh).json["notes"]


def test_a_range_is_a_feature_space(fresh: Path, run: Run, fails: Fails) -> None:
    deepen(fresh / "images", 64)  # 14 bits, which look like a dark photograph
    found = run("extract", "images", "--json", cwd=fresh).json
    assert any("a small part of the 16-bit range is used" in note for note in found["notes"])
    fixed = run("extract", "images", "--sample-range", "bits:14", "--json", cwd=fresh).json
    assert fixed["feature_space"] != found["feature_space"] and fixed["encoded"] == fixed["images"]
    assert not any("range" in note for note in fixed["notes"] if "images:" in note)
    # Remembered, said as LOW..HIGH or not at all; and there is a way back, for which nothing is encoded.
    for options in ((), ("--sample-range", "0..16383")):
        same = run("extract", "images", *options, "--json", cwd=fresh).json
        assert (same["feature_space"], same["encoded"]) == (fixed["feature_space"], 0)
    back = run("extract", "images", "--sample-range", "auto", "--json", cwd=fresh).json
    assert (back["feature_space"], back["encoded"]) == (found["feature_space"], 0)
    fails("extract", "images", "--sample-range", "12", cwd=fresh, rc=2, says=("is not a range", "bits:12"))


def test_only_what_a_new_rule_shows_otherwise_is_encoded_anew(fresh: Path, run: Run) -> None:
    count = deepen(fresh / "images", 16)
    whole = run("extract", "images", "--json", cwd=fresh).json
    features = features_of(fresh)
    for shard in shards(fresh):  # as the version before wrote them
        with h5py.File(shard, "r+") as file:
            del file.attrs["decode_policy"]
    told = run("extract", "images", "--json", cwd=fresh)
    assert f"reads them again: {count} of more than 8 bits per sample" in told.stderr
    assert (told.json["encoded"], told.json["unchanged"]) == (count, whole["images"] - count)
    assert told.json["feature_space"] == whole["feature_space"]
    now = features_of(fresh)
    assert all(np.allclose(now[digest], feature, atol=2e-3) for digest, feature in features.items())
    # Once: what was looked at is recorded.
    again = run("extract", "images", "--json", cwd=fresh)
    assert again.json["unchanged"] == whole["images"] and "reads them again" not in again.stderr


def features_of(folder: Path) -> dict[bytes, np.ndarray]:
    found = {}
    for shard in shards(folder):
        with h5py.File(shard) as file:
            rows = zip(file["features/digest"][()], file["features/vector"][()], strict=True)
            found |= {bytes(np.asarray(digest)): vector for digest, vector in rows}
    return found


def test_a_mended_picture_is_used_and_named(fresh: Path, run: Run) -> None:
    first = sorted((fresh / "images" / "red_stripes").iterdir())[0]
    data = first.read_bytes()
    first.write_bytes(data[:-18])  # without IEND, and without the checksum of the pixels
    told = run("extract", "images", "--json", cwd=fresh).json
    assert told["failed"] == []


def test_archives_are_no_images(project: Path, run: Run, fails: Fails) -> None:
    (project / "photos.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (project / "features.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for command in ("extract", "score"):
        fails(
            command, "photos.zip", cwd=project, writes=True, says=("photos.zip is a ZIP archive", "unpack it")
        )
        fails(command, "features.h5", cwd=project, writes=True, says=("an HDF5 file", "deltaoe store import"))


def test_a_file_of_many_gigabytes_is_not_read(fresh: Path, run: Run) -> None:
    for name, start in (("zeros.png", b""), ("much.jpg", b"\xff\xd8\xff")):
        with (fresh / "images" / "red_stripes" / name).open("wb") as file:
            file.write(start)
            file.truncate(20 * 2**30)  # takes no room on the disk
    told = run("extract", "images", "--json", cwd=fresh).json
    assert {one["error"] for one in told["failed"]} == {
        "20.0 GiB, over the limit of 2 GiB for one image file"
    }

"""Members of tars as Python's own reader finds them; and archives that are cut, damaged, or made to do harm."""

from __future__ import annotations

import io
import os
import random
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import make_tar

from deltaoe.images.decode import ImageError
from deltaoe.images.location_text import inside
from deltaoe.images.locations import expected_bytes, observe, read_location
from deltaoe.images.tars import ContainerError, list_members, read_member

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
TYPES = (
    tarfile.REGTYPE,
    tarfile.AREGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
)

parts = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=70)
names = st.lists(parts.filter(lambda part: part not in (".", "..")), min_size=1, max_size=4).map("/".join)
members = st.lists(st.tuples(names, st.sampled_from(TYPES), st.binary(max_size=1500)), max_size=12)


def write(path: Path, content: list[tuple[str, bytes, bytes]], format_: int) -> None:
    with tarfile.open(path, "w", format=format_, encoding="utf-8") as tar:
        for name, kind, data in content:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.size = len(data) if kind in (tarfile.REGTYPE, tarfile.AREGTYPE) else 0
            info.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            try:
                tar.addfile(info, io.BytesIO(data))
            except ValueError:  # the old format has no place for so long a name
                continue


def by_tarfile(path: Path) -> dict[str, tuple[int, int]]:
    """Offset and size of the last regular member of each name, without a leading slash."""
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as tar:
        return {m.name.lstrip("/"): (m.offset_data, m.size) for m in tar if m.isreg()}


def ours(path: Path) -> dict[str, tuple[int, int]]:
    found, _ = list_members(str(path))
    return dict(zip(found.names, zip(found.offset, found.size, strict=True), strict=True))


@settings(max_examples=60, deadline=None)
@given(members, st.sampled_from(FORMATS))
def test_members_are_those_that_python_finds(content, format_):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        write(path, content, format_)
        if not by_tarfile(path) and not content:
            assert ours(path) == {}
            return
        assert ours(path) == by_tarfile(path)


@settings(max_examples=60, deadline=None)
@given(members.filter(len), st.sampled_from(FORMATS), st.floats(0, 1))
def test_a_cut_tar_has_its_whole_members_before_the_cut(content, format_, where):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        write(path, content, format_)
        whole, data = ours(path), path.read_bytes()
        cut = int(where * len(data))
        path.write_bytes(data[:cut])
        try:
            found, _ = list_members(str(path))
        except ContainerError:
            assert cut < 512
            return
        kept = dict(zip(found.names, zip(found.offset, found.size, strict=True), strict=True))
        end = {name: place + size for name, (place, size) in whole.items()}
        # Of a name that comes again behind the cut, an earlier member is the last.
        assert {name for name, stop in end.items() if stop <= cut} <= kept.keys()
        assert all(place + size <= cut for place, size in kept.values())
        assert found.problem or data[cut:].strip(b"\0") == b""


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_damage_costs_members_and_nothing_else(seed, changes):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        make_tar(path, {f"{i}.jpg": bytes([i]) * i * 100 for i in range(12)})
        data = bytearray(path.read_bytes())
        for _ in range(changes):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            found, _ = list_members(str(path))
        except ContainerError:
            return
        for place, size in zip(found.offset, found.size, strict=True):
            assert 512 <= place <= place + size <= len(data)


def test_names_are_only_names(tmp_path):
    """None leads out of the archive, and none is a path of this machine."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    path = tmp_path / "a.tar"
    make_tar(path, {"../secret.jpg": b"1", "x/../../secret.jpg": b"2", str(secret): b"3", "./x//y.jpg": b"4"})
    found, _ = list_members(str(path))
    assert found.names == [str(secret).lstrip("/"), "x/y.jpg"]
    assert found.passed_over == {"name with ..": 2}
    assert read_location(f"{path}/x/y.jpg") == b"4"
    assert read_location(f"{path}/{str(secret).lstrip('/')}") == b"3"
    for name in ("../secret.jpg", "x/../../secret.jpg", "x/z.jpg"):
        with pytest.raises(ImageError, match="no such member"):
            read_location(f"{path}/{name}")


def test_the_last_of_one_name_is_the_one(tmp_path):
    """As unpacking leaves it: tar appends what has changed."""
    path = tmp_path / "a.tar"
    write(path, [("a.jpg", tarfile.REGTYPE, b"old"), ("a.jpg", tarfile.REGTYPE, b"new")], tarfile.GNU_FORMAT)
    found, _ = list_members(str(path))
    assert found.names == ["a.jpg"] and found.passed_over == {"repeated name": 1}
    assert read_location(f"{path}/a.jpg") == b"new"


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
def test_bytes_of_names_that_are_no_utf8(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        info = tarfile.TarInfo("caf\xe9.jpg")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"1"))
    assert list_members(str(path))[0].names == ["caf\udce9.jpg"]
    assert read_location(f"{path}/caf\udce9.jpg") == b"1"


def test_large_sizes_sparse_members_and_signed_sums(tmp_path):
    """Written by GNU tar: sizes in binary, a sparse file; and sums of signed bytes as some old programs have them."""
    path = tmp_path / "a.tar"
    make_tar(path, {"caf\xe9.jpg": b"1" * 600, "b.jpg": b"2"}, tarfile.GNU_FORMAT)
    data = bytearray(path.read_bytes())
    head = data[:512]
    head[124:136] = b"\x80" + (600).to_bytes(11, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % (sum(head) - 256 * sum(byte > 127 for byte in head))
    path.write_bytes(bytes(head) + data[512:])
    found, _ = list_members(str(path))
    assert list(found.size) == [600, 1] and not found.problem

    info = tarfile.TarInfo("hole.jpg")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1  # its map goes on in one more block
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(bytes(block) + bytes(512) + b"x" * 512 + data)
    found, _ = list_members(str(path))
    assert found.names == ["caf\xe9.jpg", "b.jpg"] and found.passed_over == {"sparse member": 1}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"x" * 100, "not a tar file"),
        (b"x" * 2000, "not a tar file"),
        (b"\x1f\x8b" + b"x" * 2000, "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 2000, "compressed with zstd"),
    ],
)
def test_what_is_no_tar(tmp_path, data, said):
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(ContainerError, match=f"^{said}$"):
        list_members(str(path))
    with pytest.raises(ImageError, match=r"a\.tar is"):
        read_location(f"{path}/a.jpg")


def test_a_member_is_observed_by_its_tar_and_its_place(tmp_path):
    path = tmp_path / "a.tar"
    make_tar(path, {"a.jpg": b"1234", "b.jpg": b"5678"})
    os.utime(path, ns=(10**18, 10**18))
    info = path.stat()
    one, other = observe(f"{path}/a.jpg"), observe(f"{path}/b.jpg")
    assert one[:3] == other[:3] == (4, 10**18, info.st_ctime_ns)
    assert one[3] != other[3] and 0 not in (one[3], other[3])
    assert read_member(str(path), "a.jpg") == (b"1234", one)
    assert expected_bytes(f"{path}/a.jpg") == 4
    make_tar(path, {"b.jpg": b"9", "a.jpg": b"changed"})  # what is known of the file is not believed any more
    assert read_location(f"{path}/a.jpg") == b"changed"


def test_where_a_location_enters_a_container(tmp_path):
    make_tar(tmp_path / "x.tar" / "y.TAR", {"z.tar/a.jpg": b"1"})
    path = f"{tmp_path}/x.tar/y.TAR"
    assert inside(f"{path}/z.tar/a.jpg") == (
        path,
        "z.tar/a.jpg",
    )  # x.tar is a folder, and nothing lies in z.tar
    assert inside(path) is None and inside(f"{path}/") is None
    assert inside(f"{tmp_path}/no.tar/a.jpg") is None
    assert inside("https://host/a.tar/b.jpg") is None

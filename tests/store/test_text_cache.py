"""Text features kept on disk: found again, or made again, never garbage."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save
from samples import unit_rows

from deltaoe.store.text_cache import load_texts, prompts_key, save_texts


def test_round_trip(tmp_path):
    features = unit_rows(5, 8)
    save_texts(tmp_path / "text" / "t.safetensors", features)
    found = load_texts(tmp_path / "text" / "t.safetensors", (5, 8))
    assert found.dtype == np.float32
    assert (found == features).all()


def test_another_shape_is_not_these_prompts(tmp_path):
    save_texts(tmp_path / "t.safetensors", unit_rows(5, 8))
    assert load_texts(tmp_path / "t.safetensors", (8, 5)) is None
    assert load_texts(tmp_path / "nowhere.safetensors", (5, 8)) is None


def test_every_cut_and_every_broken_header_is_made_again(tmp_path):
    path = tmp_path / "t.safetensors"
    save_texts(path, unit_rows(3, 4))
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert load_texts(path, (3, 4)) is None
    for kind in (b"BF16", b"F8_E4M3", b"BOOL", b"I32", b"XYZ"):
        body = whole[8:].replace(b'"F32"', b'"' + kind + b'"')
        length = struct.unpack("<Q", whole[:8])[0] + len(kind) - 3
        path.write_bytes(struct.pack("<Q", length) + body)
        assert load_texts(path, (3, 4)) is None


def test_keys_depend_on_prompts_and_order():
    prompts = ["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], ["a\n", "b"], ["ä"], []
    assert len({prompts_key(p) for p in prompts}) == len(prompts)
    assert prompts_key(["a", "b"]) == prompts_key(("a", "b"))
    assert prompts_key([os.fsdecode(b"\xff")])


@pytest.mark.skipif(os.name == "nt", reason="no such limits there")
def test_a_full_disk_is_a_store_error(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; import numpy as np\n"
        "from deltaoe.store.text_cache import save_texts\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "save_texts(Path(sys.argv[1]), np.ones((100, 100), np.float32))\n"
    )
    path = tmp_path / "t.safetensors"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "StoreError: cannot write" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_changed_bit_is_made_again(tmp_path):
    path, features = tmp_path / "t.safetensors", unit_rows(3, 4)
    save_texts(path, features)
    whole = path.read_bytes()
    for place in range(8, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        found = load_texts(path, (3, 4))
        assert found is None or (found == features).all()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert load_texts(path, (3, 4)) is None
    # As earlier versions wrote it: without a digest, it is read as before.
    path.write_bytes(save({"text_features": features}))
    assert (load_texts(path, (3, 4)) == features).all()

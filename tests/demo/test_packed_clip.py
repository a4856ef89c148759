"""The packed model: what is left out comes back the same everywhere, and plain open_clip reads the result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.numpy import load_file, save_file

from deltaoe.demo import packed_clip
from deltaoe.demo.packed_clip import CONFIG_FILE, TABLE, WEIGHTS_FILE, pack, unpack
from deltaoe.errors import ModelError

WIDTH, VOCABULARY = 8, 49408
CONFIG = {
    "model_cfg": {
        "embed_dim": 6,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 16, "patch_size": 16},
        "text_cfg": {
            "context_length": 12,
            "vocab_size": VOCABULARY,
            "width": WIDTH,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"size": 32, "mode": "RGB", "mean": [0.5] * 3, "std": [0.5] * 3},
}
TOKENS = np.array([5, 320, 1125, 49406, 49407], dtype=np.int32)


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    """A whole model's weights, with its whole token table."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = open_clip.CLIP(
            embed_dim=6,
            vision_cfg=CONFIG["model_cfg"]["vision_cfg"],
            text_cfg=CONFIG["model_cfg"]["text_cfg"],
        )
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.fixture
def packed(weights: dict[str, np.ndarray], tmp_path: Path) -> Path:
    path = tmp_path / "packed.safetensors"
    path.write_bytes(pack(CONFIG, weights | {TABLE: weights[TABLE][TOKENS]}, TOKENS))
    return path


def test_open_clip_reads_what_comes_out(packed: Path, weights: dict[str, np.ndarray], tmp_path: Path) -> None:
    unpack(packed, tmp_path / "model")
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'model'}")
    state = model.state_dict()
    assert state.keys() == weights.keys() - {"attn_mask"}
    for name, tensor in state.items():
        if name != TABLE:
            np.testing.assert_allclose(tensor.numpy(), weights[name], rtol=2**-10, atol=1e-7)
    np.testing.assert_allclose(state[TABLE].numpy()[TOKENS], weights[TABLE][TOKENS], rtol=2**-10, atol=1e-7)
    # The untrained tokens: as large as the trained ones, all different, and the same on every machine.
    others = np.delete(state[TABLE].numpy(), TOKENS, axis=0)
    assert others.std() == pytest.approx(weights[TABLE][TOKENS].std(), rel=0.01)
    assert abs(others.mean()) < 0.01 * others.std()
    assert len(np.unique(others[:2000], axis=0)) == 2000
    assert np.abs(np.corrcoef(others[:200]) - np.eye(200)).mean() < 0.45  # 8 numbers a row: chance gives 0.3


def test_noise_is_numpys_promised_stream(packed: Path, tmp_path: Path) -> None:
    unpack(packed, tmp_path / "model")
    table = load_file(tmp_path / "model" / WEIGHTS_FILE)[TABLE].astype(np.float64)
    raw = np.random.Philox(key=0).random_raw(3 * WIDTH)
    expected = np.array([int(word) / 2**63 - 1 for word in raw]).reshape(3, WIDTH)
    scale = table[:3] / expected
    assert scale == pytest.approx(float(scale[0, 0]), rel=2e-3)


def test_a_small_file_and_no_needless_writing(packed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    unpack(packed, folder)
    assert packed.stat().st_size < 0.1 * (folder / WEIGHTS_FILE).stat().st_size
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(before) == {CONFIG_FILE, WEIGHTS_FILE}
    unpack(packed, folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    (folder / WEIGHTS_FILE).write_bytes(b"half a fi")
    unpack(packed, folder)
    assert json.loads((folder / CONFIG_FILE).read_text()) == CONFIG
    open_clip.create_model(f"local-dir:{folder}")


def test_damaged_files_are_refused(packed: Path, tmp_path: Path) -> None:
    content = packed.read_bytes()
    broken = {
        "missing": None,
        "empty": b"",
        "cut": content[: len(content) // 2],
        "text": b"not a model",
    }
    for name, data in broken.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(ModelError, match="cannot read the packed model") as caught:
            unpack(path, tmp_path / "out")
        assert caught.value.hint
    save_file({TABLE: np.zeros((2, 2), dtype=np.float16)}, tmp_path / "other")
    with pytest.raises(ModelError):
        unpack(tmp_path / "other", tmp_path / "out")
    tensors = {
        TABLE: np.zeros((1, 2), dtype=np.float16),
        packed_clip._TOKENS: np.array([10**6], dtype=np.int32),
    }
    save_file(tensors, tmp_path / "outside", metadata={"open_clip_config": json.dumps(CONFIG)})
    with pytest.raises(ModelError):
        unpack(tmp_path / "outside", tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""Names of models: read, written, read again."""

from __future__ import annotations

import os
from pathlib import Path

import open_clip
import pytest

from deltaoe.clip.reference import DEFAULT_MODEL, DEFAULT_PRETRAINED, ModelRef
from deltaoe.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "pretrained", "wanted"),
    [
        ("ViT-B-16", None, ModelRef("ViT-B-16", "openai")),
        ("ViT-B-16/openai", None, ModelRef("ViT-B-16", "openai")),
        ("ViT-B-16/laion2b_s34b_b88k", None, ModelRef("ViT-B-16", "laion2b_s34b_b88k")),
        ("ViT-B-16", "laion2b_s34b_b88k", ModelRef("ViT-B-16", "laion2b_s34b_b88k")),
        ("ViT-B-16/openai", "datacomp", ModelRef("ViT-B-16", "datacomp")),
        ("ViT-B/16", None, ModelRef("ViT-B-16", "openai")),
        ("ViT-L/14@336px", None, ModelRef("ViT-L-14@336px", "openai")),
        ("ViT-B-16//data/w.pt", None, ModelRef("ViT-B-16", "/data/w.pt")),
        ("hf-hub:org/model", None, ModelRef("hf-hub:org/model")),
        ("local-dir:/a/../m", None, ModelRef("local-dir:/m")),
    ],
)
def test_parse(text, pretrained, wanted):
    found = ModelRef.parse(text, pretrained)
    assert found == wanted
    assert ModelRef.parse(str(found)) == found


def test_the_default():
    assert str(ModelRef.parse(DEFAULT_MODEL)) == f"{DEFAULT_MODEL}/{DEFAULT_PRETRAINED}"


def test_every_published_name_survives():
    for name, tag in open_clip.list_pretrained():
        assert ModelRef.parse(f"{name}/{tag}") == ModelRef.parse(name, tag) == ModelRef(name, tag)


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ModelRef.parse("local-dir:models/m").name == f"local-dir:{tmp_path}/models/m"
    assert ModelRef.parse("local-dir:models/m").local_folder == tmp_path / "models" / "m"
    assert ModelRef.parse("ViT-B-16").local_folder is None


@pytest.mark.parametrize("name", ["w.pt", "2024.pt", "models/w.pt"])
def test_a_relative_weight_file_becomes_absolute(tmp_path, monkeypatch, name):
    """The name is stored, and read again from another folder."""
    (tmp_path / "models").mkdir()
    (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    found = ModelRef.parse("ViT-B-16", name)
    monkeypatch.chdir(tmp_path / "models")
    assert found.pretrained == str(tmp_path / name)
    assert ModelRef.parse(str(found)) == found


def test_a_file_that_is_called_like_a_tag_is_not_meant(tmp_path, monkeypatch):
    (tmp_path / "openai").touch()
    monkeypatch.chdir(tmp_path)
    assert ModelRef.parse("ViT-B-16", "openai") == ModelRef("ViT-B-16", "openai")


@pytest.mark.parametrize(
    ("text", "pretrained"),
    [("", None), ("local-dir:", None), ("hf-hub:", None), ("local-dir:/m", "openai"), ("hf-hub:o/m", "w.pt")],
)
def test_names_that_make_no_sense(text, pretrained):
    with pytest.raises(ConfigError) as caught:
        ModelRef.parse(text, pretrained)
    assert caught.value.hint


# Fingerprints


def touched(path: Path, mtime: int) -> None:
    os.utime(path, ns=(mtime, mtime))


@pytest.fixture
def folder(tmp_path):
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (tmp_path / name).write_bytes(b"abc")
        touched(tmp_path / name, 1000)
    return tmp_path


def test_a_folder_s_fingerprint_changes_with_its_files(folder):
    ref = ModelRef.parse(f"local-dir:{folder}")
    seen = [ref.fingerprint()]
    assert ref.fingerprint() == seen[0]
    touched(folder / "open_clip_model.safetensors", 2000)
    seen.append(ref.fingerprint())
    (folder / "open_clip_config.json").write_bytes(b"abcd")
    touched(folder / "open_clip_config.json", 1000)
    seen.append(ref.fingerprint())
    (folder / "more.bin").touch()
    seen.append(ref.fingerprint())
    assert len(set(seen)) == len(seen)


def test_a_weight_file_s_fingerprint_changes_with_it(folder):
    ref = ModelRef.parse("ViT-B-16", str(folder / "open_clip_model.safetensors"))
    before = ref.fingerprint()
    touched(folder / "open_clip_model.safetensors", 3000)
    assert ref.fingerprint() != before


def test_published_tags_are_told_apart_by_name_alone(tmp_path):
    assert ModelRef("ViT-B-16", "openai").fingerprint() == ModelRef("ViT-B-16", "openai").fingerprint()
    names = [ModelRef("ViT-B-16", "openai"), ModelRef("ViT-B-16", "x"), ModelRef("ViT-B-32", "openai")]
    names += [ModelRef("hf-hub:o/m"), ModelRef(f"local-dir:{tmp_path}/gone")]
    assert len({ref.fingerprint() for ref in names}) == len(names)

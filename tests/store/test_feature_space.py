"""The identity of a feature space."""

from __future__ import annotations

import dataclasses
import json

import pytest
from samples import make_space

from deltaoe.errors import StoreError
from deltaoe.store.feature_space import FeatureSpace

FIELDS = [field.name for field in dataclasses.fields(FeatureSpace)]


def changed(space: FeatureSpace, name: str) -> FeatureSpace:
    value = getattr(space, name)
    return dataclasses.replace(space, **{name: value + 1 if isinstance(value, int) else value + "x"})


@pytest.mark.parametrize("name", FIELDS)
def test_the_id_depends_on_all_but_the_name(name):
    space = make_space()
    assert (changed(space, name).id == space.id) == (name == "model")


def test_ids_are_pairwise_different_and_fit_a_folder_name():
    space = make_space()
    ids = {changed(space, name).id for name in FIELDS} | {space.id}
    assert len(ids) == len(FIELDS)
    for identity in ids:
        assert len(identity) == 16
        assert set(identity) <= set("0123456789abcdef")


def test_the_id_of_a_space_with_another_normalisation():
    """It says so, where an l2 space has the id that it had before there was a word for it."""
    assert make_space(normalisation="none").id not in {make_space().id, make_space(normalisation="l1").id}


def test_the_id_of_a_known_space_never_changes():
    """Caches on users' disks lie under it."""
    assert make_space().id == "913c0b3c0604099a"
    assert make_space(dtype="float32").id == "9b6c42cdc6b56263"
    assert FeatureSpace.imported("ViT-B-16/openai", 512, "float16").id == "efe8e5dc3872331f"


def test_plain_values_and_back():
    space = make_space()
    assert FeatureSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [None, 1.5, True, [], {}])
def test_a_field_of_a_wrong_type(name, value):
    with pytest.raises(StoreError, match="feature space"):
        FeatureSpace.from_dict(make_space().to_dict() | {name: value})


def test_a_way_to_decode_is_a_space_of_its_own():
    exact, fast = make_space(), make_space(decode="fast")
    assert make_space(decode="exact").id == exact.id != fast.id
    assert "decode" not in exact.to_dict() and FeatureSpace.from_dict(fast.to_dict()) == fast
    assert fast.differences(exact) == ["decode fast / exact"]
    assert fast.other_pixels(exact) == {"--decode": ("fast", "exact")}
    both = make_space(decode="gpu", sample_range="0..4095")
    assert both.other_pixels(fast) == {"--sample-range": ("0..4095", "auto"), "--decode": ("gpu", "fast")}
    assert fast.other_pixels(make_space(precision="fp16")) == fast.other_pixels(fast) == {}
    with pytest.raises(StoreError):
        FeatureSpace.from_dict({**exact.to_dict(), "decode": "quick"})


def test_a_range_of_samples_is_a_space_of_its_own():
    auto, fixed = make_space(), make_space(sample_range="0..4095")
    assert make_space(sample_range="auto").id == auto.id != fixed.id
    assert FeatureSpace.from_dict(fixed.to_dict()) == fixed
    assert fixed.differences(auto) == ["sample_range 0..4095 / auto"]
    for text in ("bits:12", "4095..0", "any"):
        with pytest.raises(StoreError):
            FeatureSpace.from_dict({**auto.to_dict(), "sample_range": text})


def test_version_1_did_not_speak_of_normalisation():
    values = make_space().to_dict()
    assert values.pop("normalisation") == "l2"
    assert FeatureSpace.from_dict(values) == make_space()


@pytest.mark.parametrize("name", FIELDS)
def test_fields_missing_or_unknown(name):
    space = make_space()
    values = space.to_dict() | {"sample_range": space.sample_range, "decode": space.decode}
    if name not in {"normalisation", "sample_range", "decode"}:  # newer than the oldest stores
        with pytest.raises(StoreError):
            FeatureSpace.from_dict({k: v for k, v in values.items() if k != name})
    with pytest.raises(StoreError):
        FeatureSpace.from_dict(values | {f"{name}2": values[name]})


def test_differences_are_named_without_the_name_and_with_short_digests():
    space = make_space()
    other = dataclasses.replace(space, model="other", weights="v" * 64, dim=32)
    assert space.differences(other) == [f"weights {'w' * 12} / {'v' * 12}", "dim 16 / 32"]
    assert space.differences(dataclasses.replace(space, model="other")) == []


def test_features_made_elsewhere_have_a_space_of_their_own():
    space = FeatureSpace.imported("ViT-B-16/openai", 512, "float32")
    assert space.is_imported
    assert not make_space().is_imported
    assert FeatureSpace.from_dict(space.to_dict()) == space
    others = [
        FeatureSpace.imported("ViT-B-32/openai", 512, "float32"),
        FeatureSpace.imported("ViT-B-16/openai", 256, "float32"),
        FeatureSpace.imported("ViT-B-16/openai", 512, "float16"),
    ]
    assert len({space.id, *(other.id for other in others)}) == 4

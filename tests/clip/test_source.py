"""A model that is loaded only if it must be, and never taken for another."""

from __future__ import annotations

import os

import pytest
from tiny import make_model

from deltaoe.clip.choice import trusted_model
from deltaoe.clip.options import ModelOptions
from deltaoe.clip.reference import ModelRef
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DeltaoeError, MismatchError
from deltaoe.runtime import native_precision, resolve_device
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.workspace import Workspace


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [make_model(root / f"m{seed}", seed=seed) for seed in (0, 1)]


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / ".deltaoe")


def source(workspace, folder, events=None, **options):
    on = (lambda event: None) if events is None else events.append
    kept = {name: value for name, value in options.items() if name != "precision"}
    precision = options.get("precision", "auto")
    model = ModelOptions(model=f"local-dir:{folder}", device="cpu", offline=True, precision=precision)
    return ModelSource(model, workspace, on=on, **kept)


def known(workspace, folder, **options):
    """Load a model once, so that the workspace knows its space."""
    first = source(workspace, folder, **options)
    with first.store().writer():
        pass
    first.remember(default=True)
    return first.space()


def test_nothing_is_known_at_first_and_the_model_is_loaded_once(workspace, folders):
    events = []
    first = source(workspace, folders[0], events)
    assert first.known_space() is None
    assert events == []
    assert first.store().space == first.space() == first.known_space()
    assert first.space() == first.clip().space  # of half floats, unless told otherwise
    assert first.clip() is first.clip()
    assert [event.stage for event in events] == ["Loading model"]
    native = native_precision(resolve_device("cpu"))
    assert events[0].info == {"model": f"local-dir:{folders[0]}", "device": "cpu", "precision": native}
    assert first.space().precision == native


def test_a_known_model_is_not_loaded(workspace, folders):
    space, events = known(workspace, folders[0]), []
    again = source(workspace, folders[0], events)
    assert again.known_space() == again.store().space == space
    again.remember(default=True)
    assert events == []


def test_two_models_are_remembered_side_by_side(workspace, folders):
    spaces = [known(workspace, folder) for folder in folders]
    assert [source(workspace, folder).known_space() for folder in folders] == spaces
    assert spaces[0].id != spaces[1].id


def test_changed_files_are_loaded_again(workspace, folders, tmp_path):
    folder = make_model(tmp_path / "changing", seed=0)
    space = known(workspace, folder)
    os.utime(folder / "open_clip_model.safetensors", ns=(1, 1))
    again = source(workspace, folder)
    assert again.known_space() is None
    assert again.store().space == space  # the same weights, as it turns out
    for file in folders[1].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert source(workspace, folder).store().space.id != space.id


def test_a_remembered_space_that_is_gone_or_odd_is_not_known(workspace, folders):
    known(workspace, folders[0])
    ref = ModelRef.parse(f"local-dir:{folders[0]}")
    for odd in (None, 5, "0" * 16, ["x"]):
        workspace.remember(spaces={ref.fingerprint(): odd})
        assert source(workspace, folders[0]).known_space() is None


# Precision and type

OTHERS = [("fp32", "float32"), ("bf16", "float16"), ("bf16", "float32"), ("fp32", "float16")]


@pytest.mark.parametrize(("precision", "dtype"), OTHERS)
def test_auto_keeps_what_the_cache_has(workspace, folders, precision, dtype):
    space = known(workspace, folders[0], precision=precision, dtype=dtype)
    assert (space.precision, space.dtype) == (precision, dtype)
    again = source(workspace, folders[0])
    assert again.known_space() == again.store().space == space
    again.clip()  # loaded after all, for new images
    assert again.space() == again.store().space == space


def test_what_is_asked_for_starts_another_space_and_finds_it_again(workspace, folders):
    spaces, events = {}, []
    for precision, dtype in OTHERS:
        new = source(workspace, folders[0], precision=precision, dtype=dtype)
        assert new.known_space() is None
        spaces[precision, dtype] = known(workspace, folders[0], precision=precision, dtype=dtype)
    assert len({space.id for space in spaces.values()}) == 4
    for (precision, dtype), space in spaces.items():
        again = source(workspace, folders[0], events, precision=precision, dtype=dtype)
        assert again.known_space() == space
    assert source(workspace, folders[0], events).known_space() == spaces[OTHERS[-1]]  # the last one used
    assert source(workspace, folders[0], events, dtype="float32").known_space().dtype == "float32"
    assert source(workspace, folders[0], events, precision="bf16").known_space().precision == "bf16"
    assert events == []


def test_half_of_what_is_asked_for_leaves_the_other_half_to_the_cache(workspace, folders):
    known(workspace, folders[0], precision="bf16", dtype="float32")
    other = source(workspace, folders[0], dtype="float16")
    assert other.known_space() is None
    assert (other.space().dtype, other.space().precision) == (
        "float16",
        native_precision(resolve_device("cpu")),
    )


def test_a_note_of_version_1_is_understood(workspace, folders):
    """It named a model's space by the model alone."""
    space = known(workspace, folders[0], precision="fp32")
    workspace.remember(spaces={ModelRef.parse(f"local-dir:{folders[0]}").fingerprint(): space.id})
    assert source(workspace, folders[0]).known_space() == space
    assert source(workspace, folders[0], precision="fp32").known_space() == space
    assert source(workspace, folders[0], precision="bf16").known_space() is None


@pytest.mark.parametrize(("precision", "dtype"), OTHERS[:2])
def test_a_detectors_space_decides(workspace, folders, precision, dtype):
    space = known(workspace, folders[0], precision=precision, dtype=dtype)
    other = "bf16" if precision == "fp32" else "fp32"
    known(workspace, folders[0], precision=other, dtype="float16")  # used later, and so the default
    again = source(workspace, folders[0], expected=space)
    assert again.known_space() == space
    assert again.clip().space.precision == precision
    assert again.space() == again.store().space == space
    elsewhere = source(Workspace(workspace.folder.parent / "other"), folders[0], expected=space)
    elsewhere.clip()
    assert elsewhere.space() == space
    wrong = source(workspace, folders[0], expected=space, precision=other)
    with pytest.raises(MismatchError, match=f"made with --precision {precision}, not {other}"):
        wrong.clip()


# Features that were made elsewhere


def test_of_an_imported_space_name_and_dimension_are_compared(workspace, folders):
    name = f"local-dir:{folders[0]}"
    expected = FeatureSpace.imported(name, 16, "float32")
    for place in (workspace, Workspace(workspace.folder.parent / "other")):
        taken = source(place, folders[0], expected=expected)
        assert taken.known_space() is None
        assert taken.clip().space.dim == 16
        assert taken.known_space() == taken.space() != expected  # its own images live in a space of their own
    space = known(workspace, folders[0])
    assert source(workspace, folders[0], expected=expected).known_space() == space


@pytest.mark.parametrize("wrong", ["name", "dimension"])
@pytest.mark.parametrize("cached", [False, True], ids=["loaded", "cached"])
def test_another_model_than_the_imported_one_is_refused(workspace, folders, wrong, cached):
    name, dim = f"local-dir:{folders[0]}", 16
    expected = FeatureSpace.imported(
        "ViT-B-32/openai" if wrong == "name" else name, dim + (wrong != "name"), "float32"
    )
    if cached:
        known(workspace, folders[0])
    other = source(workspace, folders[0], expected=expected, owner="the detector x")
    with pytest.raises(MismatchError, match="the detector x was made with features imported as") as caught:
        if cached:  # then nothing need be loaded
            other.store()
        else:
            other.clip()
    assert f"--model {expected.model}" in caught.value.hint


# An expected space


def test_the_expected_model_is_taken_at_its_word_until_it_is_loaded(workspace, folders):
    space = known(Workspace(workspace.folder.parent / "other"), folders[0])
    matching = source(workspace, folders[0], expected=space)
    assert matching.known_space() == space
    assert matching.clip().space == matching.space() == space


def test_another_model_than_expected_is_refused(workspace, folders):
    space = known(workspace, folders[0])
    wrong = source(workspace, folders[1], expected=space, owner="the detector x")
    assert wrong.known_space() is None
    with pytest.raises(
        MismatchError, match=r"the detector x was made with .*m0, not with .*m1: weights "
    ) as caught:
        wrong.clip()
    assert f"--model local-dir:{folders[0]}" in caught.value.hint
    known(workspace, folders[1])
    with pytest.raises(MismatchError):  # and without loading it, once it is known
        source(workspace, folders[1], expected=space).known_space()


def test_the_expected_model_whose_files_have_changed(workspace, folders, tmp_path):
    folder = make_model(tmp_path / "changing", seed=0)
    space = known(workspace, folder)
    for file in folders[1].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(MismatchError) as caught:
        source(workspace, folder, expected=space).clip()
    assert "files of that model have changed" in caught.value.hint


def test_a_model_that_moved_names_the_old_place_and_the_way(workspace, folders, tmp_path):
    folder = make_model(tmp_path / "here", seed=0)
    space = known(workspace, folder)
    folder.rename(tmp_path / "there")
    with pytest.raises(ConfigError, match="no folder") as caught:
        source(workspace, folder, expected=space).clip()
    assert f"was made with local-dir:{folder}" in caught.value.hint
    assert "--model local-dir:DIR" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        source(workspace, tmp_path / "nowhere", expected=space).clip()
    assert "leave --model out" in caught.value.hint
    assert source(workspace, tmp_path / "there", expected=space).clip().space.id == space.id


REMOTE = [
    "hf-hub:somebody/model",
    "ViT-B-32/laion2b_s34b_b79k",
    "ViT-B-16/openai_other",
    "local-dir://host/share",
]


def of_file(workspace, named, **options):
    """The model that a detector names, with the user's own options."""
    expected = FeatureSpace.imported(named, 16, "float16")
    given = ModelOptions(device="cpu", offline=True, **options)
    return ModelSource(
        given, workspace, named, on=lambda event: None, expected=expected, owner="x.safetensors"
    )


@pytest.mark.parametrize("model", REMOTE)
def test_a_remote_model_that_only_a_file_names_is_not_asked_for(workspace, model, monkeypatch):
    for name in ("DELTAOE_MODEL", "DELTAOE_PRETRAINED"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        ConfigError, match=r"x\.safetensors names the model .* you have not named it"
    ) as caught:
        of_file(workspace, model).clip()
    assert caught.value.hint.endswith(f"--model {model}")
    # Named by the user, or in this workspace before, it is looked for; which fails here, offline.
    with pytest.raises(DeltaoeError) as caught:
        of_file(workspace, model, model=model).clip()
    assert "you have not named it" not in str(caught.value)
    workspace.note_named_model(model)
    with pytest.raises(DeltaoeError) as caught:
        of_file(workspace, model).clip()
    assert "you have not named it" not in str(caught.value)


def test_models_of_this_machine_and_the_default_need_not_be_named(workspace, folders, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"")
    for name in (f"local-dir:{folders[0]}", f"ViT-B-32/{tmp_path / 'w.pt'}", "ViT-B-16/openai"):
        trusted_model(ModelRef.parse(name), workspace, "x")
    # Earlier versions kept no table of names, but the spaces of models that they had loaded.
    ref = ModelRef("hf-hub:somebody/model")
    with pytest.raises(ConfigError):
        trusted_model(ref, workspace, "x")
    workspace.remember_in("spaces", {ref.fingerprint(): "0" * 16})
    trusted_model(ref, workspace, "x")

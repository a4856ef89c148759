"""A model that is loaded only if it must be, and never taken for another."""

from __future__ import annotations

import os

import pytest
from tiny import make_model

from deltaoe.data.workspace import Workspace
from deltaoe.errors import ConfigError, MismatchError
from deltaoe.models.reference import ModelRef
from deltaoe.workflows.source import ModelSource


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [make_model(root / f"m{seed}", seed=seed) for seed in (0, 1)]


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / ".deltaoe")


def source(workspace, folder, events=None, **options):
    on = (lambda event: None) if events is None else events.append
    ref = ModelRef.parse(f"local-dir:{folder}")
    return ModelSource(ref, workspace, device="cpu", offline=True, on=on, **options)


def known(workspace, folder):
    """Load a model once, so that the workspace knows its space."""
    first = source(workspace, folder)
    with first.store().writer():
        pass
    first.remember()
    return first.clip().space


def test_nothing_is_known_at_first_and_the_model_is_loaded_once(workspace, folders):
    events = []
    first = source(workspace, folders[0], events)
    assert first.known_space() is None
    assert events == []
    assert first.store().space == first.clip().space == first.known_space()
    assert first.clip() is first.clip()
    assert [event.stage for event in events] == ["Loading model"]
    assert events[0].info == {"model": f"local-dir:{folders[0]}", "device": "cpu"}


def test_a_known_model_is_not_loaded(workspace, folders):
    space, events = known(workspace, folders[0]), []
    again = source(workspace, folders[0], events)
    assert again.known_space() == again.store().space == space
    again.remember()
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


# An expected space


def test_the_expected_model_is_taken_at_its_word_until_it_is_loaded(workspace, folders):
    space = known(Workspace(workspace.folder.parent / "other"), folders[0])
    matching = source(workspace, folders[0], expected=space)
    assert matching.known_space() == space
    assert matching.clip().space == space


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

"""The model is chosen once: whose features are in the workspace encodes further images, unless another is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command import Fails, Run
from tiny import make_pictures

from deltaoe.clip.choice import model_here
from deltaoe.clip.options import ModelOptions
from deltaoe.clip.reference import DEFAULT_MODEL
from deltaoe.clip.source import ModelSource
from deltaoe.progress import silent
from deltaoe.store.workspace import Workspace

ANEW = "encodes all images anew"


def add_two(project: Path) -> None:
    """Two further pictures for one of the classes."""
    make_pictures(project / "new" / "red_stripes", 2, seed=50)
    for i in range(2):
        source, target = project / "new" / "red_stripes", project / "images" / "red_stripes"
        shutil.copy(source / f"{i:02}.png", target / f"new-{i}.png")


def test_the_model_of_the_features_is_used_without_being_told(
    project: Path, tiny_model: Path, run: Run
) -> None:
    add_two(project)
    done = run("extract", "images", "--json", cwd=project, model=None)
    assert (done.json["model"], done.json["encoded"]) == (f"local-dir:{tiny_model}", 2)
    assert ANEW not in done.stderr and "last data set" not in done.stderr
    make_pictures(project / "more" / "red_stripes", 2, seed=70)
    (project / "names.txt").write_text("red\nblue\n")
    for words in (("--labels", "names.txt"), ("--zero-shot",), ()):
        done = run("score", "more", *words, "--json", cwd=project, model=None)
        assert done.json["model"] == f"local-dir:{tiny_model}"
        assert ANEW not in done.stderr
    run("background", "--background", "names.txt", cwd=project, model=None)
    ood, out = "noise=unknown/noise", project / "evaluation"
    run("evaluate", "--id", "images", "--ood", ood, "--bootstrap", "0", cwd=project, model=None)
    manifest = json.loads((out / "evaluation.json").read_text())["manifest"]
    assert manifest["feature_space"]["model"] == f"local-dir:{tiny_model}"


def test_another_model_is_taken_only_when_named_and_says_what_it_costs(
    project: Path, tiny_model: Path, other_model: Path, run: Run
) -> None:
    mine, other = f"local-dir:{tiny_model}", f"local-dir:{other_model}"
    done = run("extract", "images", "--json", "--model", other, cwd=project, model=None)
    assert (done.json["model"], done.json["encoded"]) == (other, 96)
    assert f"the features here are of {mine}; {other} {ANEW}" in done.stderr
    done = run("extract", "images", "--json", "--model", other, cwd=project, model=None)
    assert ANEW not in done.stderr and "last data set" not in done.stderr
    # Now there are two: the last data set decides, and that is said.
    add_two(project)
    done = run("extract", "images", "--json", cwd=project, model=None)
    assert (done.json["model"], done.json["encoded"]) == (other, 2)
    said = f"using {other}, the model of the last data set; there are also features of {mine} (--model)"
    assert done.stderr.splitlines()[0] == said
    run("extract", "images", "--quiet", cwd=project, model=tiny_model)  # by a variable
    assert run("extract", "images", "--json", cwd=project, model=None).json["model"] == mine
    (project / "deltaoe.toml").write_text(f'model = "{other}"')
    assert run("extract", "images", "--json", cwd=project, model=None).json["model"] == other


def test_where_no_data_set_decides_between_two_models_one_must_be_named(
    project: Path, other_model: Path, run: Run, fails: Fails
) -> None:
    run("extract", "images", "--quiet", cwd=project, model=other_model)
    (project / ".deltaoe" / "workspace.json").unlink()
    says = ("has features of several models: ", str(other_model), "name one of them with --model")
    fails("extract", "images", cwd=project, model=None, rc=2, says=says)
    run("extract", "images", "--quiet", cwd=project, model=other_model)


def test_the_same_weights_in_another_folder_are_the_same_model(
    project: Path, tiny_model: Path, tmp_path: Path, run: Run
) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    done = run("extract", "images", "--json", "--model", f"local-dir:{copy}", cwd=project, model=None)
    assert (done.json["encoded"], done.json["model"]) == (0, f"local-dir:{copy}")
    done = run("extract", "images", "--json", cwd=project, model=None)
    assert (done.json["encoded"], done.json["model"]) == (0, f"local-dir:{copy}")
    assert ANEW not in done.stderr and "also features" not in done.stderr


def test_a_model_that_moved_is_named_once(fresh: Path, tiny_model: Path, tmp_path: Path, run: Run) -> None:
    old = shutil.copytree(tiny_model, tmp_path / "old")
    run("extract", "images", "--quiet", cwd=fresh, model=old)
    run("tune", "--shots", "4", "--epochs", "2", "--quiet", cwd=fresh, model=None)
    new = old.rename(tmp_path / "new")
    run("extract", "images", "--quiet", cwd=fresh, model=new)
    make_pictures(fresh / "more" / "red_stripes", 2, seed=70)
    done = run("score", "more", "--json", cwd=fresh, model=None)  # with a detector that knows the old place
    assert f"local-dir:{old} has moved: using local-dir:{new}" in done.stderr
    assert done.json["counts"]["failed"] == 0


def test_changed_weights_in_the_same_folder_say_what_they_cost(
    fresh: Path, tiny_model: Path, other_model: Path, run: Run
) -> None:
    shutil.copytree(tiny_model, fresh / "clip")
    run("extract", "images", "--quiet", "--model", "local-dir:clip", cwd=fresh, model=None)
    shutil.copytree(other_model, fresh / "clip", dirs_exist_ok=True)
    done = run("extract", "images", "--json", cwd=fresh, model=None)
    assert done.json["encoded"] == 96
    assert f"local-dir:{fresh / 'clip'} {ANEW}: weights " in done.stderr


def test_a_model_beside_the_workspace_moves_with_it(fresh: Path, tiny_model: Path, run: Run) -> None:
    shutil.copytree(tiny_model, fresh / "models" / "clip")
    model = ("--model", "local-dir:models/clip")
    run("extract", "images", "--quiet", *model, cwd=fresh, model=None)
    run("tune", "--shots", "4", "--epochs", "2", "--quiet", cwd=fresh, model=None)
    moved = fresh.rename(fresh.parent / "moved")
    old, new = (f"local-dir:{folder / 'models' / 'clip'}" for folder in (fresh, moved))
    make_pictures(moved / "more" / "red_stripes", 2, seed=70)
    below = moved / "images"
    done = run("score", "../more", "--json", cwd=below, model=None)  # with the detector
    assert done.json["counts"]["failed"] == 0
    assert f"{old} has moved: using {new}" in done.stderr
    assert run("score", "../more", "--json", cwd=below, model=None).stderr.count("Loading model") == 0
    done = run("extract", ".", "--json", cwd=below, model=None)
    assert (done.json["model"], done.json["encoded"]) == (new, 0)
    assert ANEW not in done.stderr
    done = run("extract", ".", "--json", cwd=below, model=None)
    assert "Loading model" not in done.stderr and "has moved" not in done.stderr
    assert run("tune", "--shots", "4", "--epochs", "2", "--json", cwd=below, model=None).json["shots"] == 16


def test_imported_features_are_no_model_to_encode_images_with(
    project: Path, tiny_model: Path, run: Run, fails: Fails
) -> None:
    run("store", "export", "some.npz", "-q", cwd=project)
    shutil.copytree(project / "images", project / "away" / "images")
    shutil.move(project / "some.npz", project / "away")
    away = project / "away"
    run("store", "import", "some.npz", "--name", "some", "--workspace", "ws", "-q", cwd=away, model=None)
    says = (f"the weights of {DEFAULT_MODEL}/openai are not on this machine, and HF_HUB_OFFLINE is set",)
    fails("extract", "images", "--workspace", "ws", cwd=away, model=None, says=says, writes=True)
    says = ("are not on this machine, and --offline was asked for",)
    fails("extract", "images", "--offline", "--workspace", "ws", cwd=away, model=None, says=says, writes=True)
    run("extract", "images", "--workspace", "ws", "-q", cwd=away, model=tiny_model)
    run("store", "import", "some.npz", "--name", "other", "--workspace", "ws", "-q", cwd=away, model=None)
    done = run("extract", "images", "--workspace", "ws", "--json", cwd=away, model=None)
    assert done.json["model"] == f"local-dir:{tiny_model}"


def test_python_honours_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Workspace(tmp_path / ".deltaoe")
    for name in ("DELTAOE_MODEL", "DELTAOE_PRETRAINED"):
        monkeypatch.delenv(name, raising=False)
    assert model_here(place, silent) == DEFAULT_MODEL
    assert str(ModelSource(ModelOptions(), place, on=silent).ref) == "ViT-B-16/openai"
    monkeypatch.setenv("DELTAOE_PRETRAINED", "laion2b_s34b_b88k")
    assert str(ModelOptions().reference()) == "ViT-B-16/laion2b_s34b_b88k"
    monkeypatch.setenv("DELTAOE_MODEL", "ViT-L-14")
    for default in (None, "ViT-B-32"):
        assert str(ModelSource(ModelOptions(), place, default, on=silent).ref) == "ViT-L-14/laion2b_s34b_b88k"
    assert str(ModelOptions(pretrained="openai").reference()) == "ViT-L-14/openai"
    # A model that is named has weights of its own.
    assert str(ModelOptions(model="ViT-B-32").reference()) == "ViT-B-32/openai"
    assert str(ModelOptions(model=f"local-dir:{tmp_path}").reference()) == f"local-dir:{tmp_path}"
    monkeypatch.setenv("DELTAOE_MODEL", "")
    assert ModelOptions().asked is None

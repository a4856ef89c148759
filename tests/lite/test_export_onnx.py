"""``export-onnx``: the folder gets its name when all is written and checked, and nothing is replaced unasked."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest
from packaging.requirements import Requirement
from towers import COCA, TEXT, load, make_folder, text_of

import deltaoe
import deltaoe.lite
from deltaoe.deployment import onnx_export
from deltaoe.deployment.check import Expected, smallest_cosine, trial_pictures
from deltaoe.deployment.export import export_onnx
from deltaoe.errors import ConfigError, MismatchError, ModelError, StoreError
from deltaoe.lite.bundle import FILES, MANIFEST, MODEL
from deltaoe.lite.onnx_tower import OnnxTower
from deltaoe.store.atomic import temporary_name
from deltaoe.store.workspace import Workspace


@pytest.fixture
def traced(export, monkeypatch) -> None:
    """The model is not traced again: what would be written is there already."""
    monkeypatch.setattr(
        onnx_export, "write_onnx", lambda tower, path, size: shutil.copyfile(export / MODEL, path)
    )


def exported(project: Path, folder: Path, options: deltaoe.ScoreOptions, **more: object):
    return export_onnx(folder, Workspace(project / ".deltaoe"), options, **more)


def test_what_lies_in_the_folder(export, project):
    manifest = json.loads((export / MANIFEST).read_text())
    assert {path.name for path in export.iterdir()} == {*manifest["files"], MANIFEST} <= FILES
    assert manifest["classes"] == sorted(
        path.name.replace("_", " ") for path in (project / "images").iterdir()
    )
    assert manifest["rule"] == {"alpha": 0.2, "per_class": False} and manifest["vocabulary"] == 3
    assert manifest["made_with"]["onnxruntime"] == version("onnxruntime")
    model = onnx.load(str(export / MODEL))
    onnx.checker.check_model(model)
    assert [one.version for one in model.opset_import if not one.domain] == [manifest["onnx"]["opset"]]
    assert {one.domain for one in model.opset_import} == {""}  # no operations but those of the standard
    assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [0, 64, 64, 3]


def test_a_model_tells_nothing_of_the_machine_that_wrote_it(export):
    content = (export / MODEL).read_bytes()
    for place in (b"site-packages", b"/deltaoe/", str(Path.home()).encode(), b"stack_trace"):
        assert place not in content


def test_requirements_are_those_of_this_package(export):
    """With the lower bounds of pyproject.toml, which ``nox -s minimums`` installs."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    bounds = [*project["dependencies"], *project["optional-dependencies"]["lite"]]
    lines = (export / "requirements.txt").read_text().splitlines()
    assert lines[0].endswith(f"pip install --no-deps deltaoe=={version('deltaoe')}")
    assert [Requirement(line).name for line in lines[1:]] == ["numpy", "onnxruntime", "pillow"]
    assert set(lines[1:]) <= set(bounds)


def test_nothing_is_replaced_unasked(project, score_options, export, traced, tmp_path):
    folder = tmp_path / "gate"
    folder.mkdir()
    exported(project, folder, score_options)  # an empty one is a new one
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StoreError, match="is not empty"):
        exported(project, folder, score_options)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds notes\.txt, which no export has"):
        exported(project, folder, score_options, force=True)
    (folder / "notes.txt").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    other = deltaoe.ScoreOptions(vocabulary="none", model=deltaoe.ModelOptions(device="cpu"))
    exported(project, folder, other, force=True)
    assert deltaoe.lite.load(folder).alpha == 0.05 and not (folder / "vocabulary.safetensors").exists()
    assert list(tmp_path.iterdir()) == [folder]
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(folder)
    for name in ("file", "link"):
        with pytest.raises(StoreError, match="it is no folder"):
            exported(project, tmp_path / name, other, force=True)


def test_the_current_folder_is_not_replaced_under_its_user(project, score_options, tmp_path, monkeypatch):
    """A shell that stands in a folder would stand in a deleted one, in which no command runs any more."""
    monkeypatch.chdir(tmp_path)
    for name in (".", os.fspath(tmp_path), "../" + tmp_path.name):
        with pytest.raises(StoreError, match="it is the current folder"):
            exported(project, Path(name), score_options)
    assert os.path.samefile(tmp_path, ".") and list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="there it cannot be told whether a process runs")
def test_a_killed_export_leaves_no_folder_for_ever(project, score_options, traced, tmp_path):
    """The next one beside it removes what it left, and nothing that a running process writes."""
    name = "from deltaoe.store.atomic import temporary_name; print(temporary_name())"
    dead = subprocess.run([sys.executable, "-c", name], capture_output=True, text=True).stdout.strip()
    running = temporary_name()
    for one in (dead, running):
        (tmp_path / one).mkdir()
        (tmp_path / one / "model.onnx").write_bytes(b"half")
    exported(project, tmp_path / "gate", score_options)
    assert {path.name for path in tmp_path.iterdir()} == {running, "gate"}


def test_a_full_disk_is_no_fault_of_the_model(project, score_options, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("torch.onnx.export", full)
    with pytest.raises(StoreError, match="no space left on device"):
        exported(project, tmp_path / "gate", score_options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_a_failed_check_leaves_nothing_and_changes_nothing(
    project, score_options, export, traced, tmp_path, monkeypatch, there
):
    folder = tmp_path / "gate"
    if there:
        shutil.copytree(export, folder)

    def other(self, pixels):
        return np.roll(self._tower(pixels), 1, axis=1)

    monkeypatch.setattr("deltaoe.lite.detector.LiteDetector.encode", other)
    with pytest.raises(ModelError, match="computes other features than PyTorch"):
        exported(project, folder, score_options, force=True)
    assert list(tmp_path.iterdir()) == ([folder] if there else [])
    assert not there or {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in export.iterdir()
    }


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError], ids=str)
def test_an_interrupted_export_leaves_nothing(project, score_options, tmp_path, monkeypatch, kind):
    def stop(tower, path, size):
        path.write_bytes(b"half")
        raise kind("no space left on device")

    monkeypatch.setattr(onnx_export, "write_onnx", stop)
    with pytest.raises(KeyboardInterrupt if kind is KeyboardInterrupt else StoreError):
        exported(project, tmp_path / "gate", score_options)
    assert list(tmp_path.iterdir()) == []


def test_what_needs_all_images_at_once_is_refused(project, tmp_path):
    for options, flag in (
        (deltaoe.ScoreOptions(rule=deltaoe.Rule(fdr=0.1)), "--fdr"),
        (deltaoe.ScoreOptions(neighbours=8), "--neighbours"),
        (deltaoe.ScoreOptions(index="hnsw"), "--index"),
    ):
        with pytest.raises(ConfigError, match=f"{flag} .* an exported detector answers each at once"):
            exported(project, tmp_path / "gate", options)


def test_missing_packages_are_named(project, score_options, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "NEEDED", ("onnx", "no_such_package"))
    with pytest.raises(ConfigError, match="export-onnx needs no_such_package") as caught:
        exported(project, tmp_path / "gate", score_options)
    assert "deltaoe[onnx]" in caught.value.hint


@pytest.mark.slow
def test_half_precision_is_said(pictures, small_clip, tmp_path):
    """Its features are near enough to those in single precision, by the same rounded weights."""
    place = Workspace(tmp_path / ".deltaoe")
    model = deltaoe.ModelOptions(model=f"local-dir:{small_clip}", device="cpu", precision="bf16")
    deltaoe.extract(pictures, place, deltaoe.ExtractOptions(model=model))
    options = deltaoe.ScoreOptions(
        evidence="images", vocabulary="none", model=deltaoe.ModelOptions(device="cpu")
    )
    done = export_onnx(tmp_path / "gate", place, options)
    assert any("--precision bf16" in note for note in done.notes)
    cosines = dict(done.cosines)
    assert cosines["8 test pictures in fp32"] > 0.9999
    assert 0.999 < cosines["8 test pictures in bf16"] < cosines["8 test pictures in fp32"]


def test_the_check_compares_every_picture():
    features = np.eye(3, dtype=np.float32)
    expected = Expected(np.zeros((3, 1, 1, 3), dtype=np.uint8), features, 0.9999, "3 pictures")
    assert smallest_cosine(features, expected) == 1
    for wrong in (np.roll(features, 1, axis=0), features * 0.99, features * np.nan):
        with pytest.raises(ModelError, match="the smallest cosine on 3 pictures"):
            smallest_cosine(np.where(np.arange(3)[:, None] == 1, wrong, features), expected)


def test_the_command_says_what_it_did(run, project, small_clip, tmp_path):
    """Once as a user runs it, with zero-shot prompts and weights beside the model."""
    done = run(
        "export-onnx", str(tmp_path / "gate"), "--evidence", "text", "--vocabulary", "none", "--alpha", "0.1", "--json",
        cwd=project, model=small_clip,
    )  # fmt: skip
    said = done.json
    assert said["manifest"]["rule"]["alpha"] == 0.1 and said["detector"].startswith("zero-shot prompts")
    verdict = deltaoe.lite.load(tmp_path / "gate").score(project / "images" / "red_stripes" / "00.png")
    assert verdict.p_value is not None and verdict.unknown_by is None
    again = run("export-onnx", str(tmp_path / "gate"), cwd=project, model=small_clip, rc=1)
    assert "is not empty" in again.stderr and "--force" in again.stderr


RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "head_width": 16, "patch_size": None}
TOWERS = {
    "ViT": text_of(),
    "QuickGELU": text_of(top={"quick_gelu": True}),
    "ResNet": {"embed_dim": 24, "vision_cfg": RESNET, "text_cfg": TEXT},
    "CoCa": text_of(top=COCA, embed_cls=True, context_length=76, output_tokens=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("apart", [False, True], ids=["one file", "weights apart"])
def test_towers_of_every_kind(tmp_path, monkeypatch, name, apart):
    clip = load(make_folder(tmp_path / "model", TOWERS[name]))
    pixels = trial_pictures(clip.image_size, 5)
    expected = clip.encode_pixels(pixels).numpy()
    if apart:
        monkeypatch.setattr(onnx_export, "_MOST_IN_ONE_FILE", 0)
    path = tmp_path / MODEL
    onnx_export.write_onnx(clip.image_tower(), path, clip.image_size)
    assert (tmp_path / "model.onnx.data").exists() == apart
    tower = OnnxTower(path, clip.image_size, clip.space.dim, 1, ["CPUExecutionProvider"])
    for count in (1, 2, 5):
        found = tower(pixels[:count])
        assert (found.astype(float) * expected[:count]).sum(axis=1).min() > 0.99999


def test_features_imported_without_a_model_cannot_be_exported(tmp_path):
    place = Workspace(tmp_path / ".deltaoe")
    np.savez(
        tmp_path / "f.npz",
        image_features=np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32),
        labels=np.repeat(["a", "b", "c"], 20),
    )
    from deltaoe.interchange.import_export import import_features

    import_features(tmp_path / "f.npz", place)
    with pytest.raises((MismatchError, ConfigError, ModelError)):
        export_onnx(tmp_path / "gate", place, deltaoe.ScoreOptions(evidence="images"))
    assert not (tmp_path / "gate").exists()


@pytest.mark.slow
def test_real_photographs_get_the_same_verdicts(shared, tmp_path):
    """By a trained MobileNet of timm's, on photographs of known classes and of others."""
    model = f"local-dir:{shared / 'models' / 'photo-clip'}"
    chosen = deltaoe.ModelOptions(model=model, device="cpu", precision="fp32")
    photos = shared / "data" / "photos"
    known = sorted((photos / "pacs-mini" / "photo").rglob("*.jpg"))
    listed = tmp_path / "known.csv"
    listed.write_text("path,class\n" + "".join(f"{path},{path.parent.name}\n" for path in known[::2]))
    place = Workspace(tmp_path / ".deltaoe")
    deltaoe.extract(listed, place, deltaoe.ExtractOptions(model=chosen))
    options = deltaoe.ScoreOptions(vocabulary="none", model=deltaoe.ModelOptions(device="cpu"))
    export_onnx(tmp_path / "gate", place, options)
    others = sorted((photos / "ood-mini").rglob("*.jpg"))
    paths = [str(path) for path in [*known[1::12], *others[:: max(1, len(others) // 25)]]]
    with deltaoe.ScoreStream(place, options) as stream:
        wanted = stream.score_many(paths)
    found = [verdict.to_dict() for verdict in deltaoe.lite.load(tmp_path / "gate").score_many(paths)]
    for name in ("verdict", "class", "error"):
        assert [one[name] for one in found] == [one[name] for one in wanted], name
    same = [one["p_value"] == other["p_value"] for one, other in zip(found, wanted, strict=True)]
    assert np.mean(same) > 0.95 and {one["verdict"] for one in found} == {"known", "unknown"}

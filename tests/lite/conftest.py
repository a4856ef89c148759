"""One export for all tests of this folder: tracing a model takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny import make_unknown

import deltaoe
from deltaoe.deployment.export import export_onnx
from deltaoe.store.workspace import Workspace


@pytest.fixture(scope="session")
def project(tmp_path_factory, pictures, small_clip) -> Path:
    """A workspace of the demo's model, in single precision, with images of known classes and others in ``new``."""
    folder = tmp_path_factory.mktemp("lite") / "project"
    shutil.copytree(pictures, folder / "images")
    make_unknown(folder / "new")
    model = deltaoe.ModelOptions(model=f"local-dir:{small_clip}", device="cpu", precision="fp32")
    options = deltaoe.ExtractOptions(model=model)
    deltaoe.extract(folder / "images", Workspace(folder / ".deltaoe"), options)
    return folder


@pytest.fixture(scope="session")
def score_options(project) -> deltaoe.ScoreOptions:
    """Both sides, a vocabulary of a few names, and an α that calls many images unknown."""
    names = project / "names.txt"
    names.write_text("zebra\nlightning\nsofa\n")
    return deltaoe.ScoreOptions(
        rule=deltaoe.Rule(alpha=0.2), vocabulary=str(names), model=deltaoe.ModelOptions(device="cpu")
    )


@pytest.fixture(scope="session")
def export(project, score_options) -> Path:
    """The exported detector; not to be changed."""
    folder = project / "export"
    done = export_onnx(folder, Workspace(project / ".deltaoe"), score_options)
    assert all(cosine >= 0.9999 for _, cosine in done.cosines)
    assert any("images of" in what for what, _ in done.cosines)
    return folder

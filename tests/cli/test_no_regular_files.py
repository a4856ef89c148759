"""Pipes, devices, folders and empty files in place of files: a message at once, never a wait, never a traceback."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Run

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")

# Of each command, the options that read a file; {} is the file, whose ending decides how it would be read.
READ = {
    "labels": (".txt", "score", "unknown", "--labels", "{}"),
    "text features": (".npz", "score", "unknown", "--text-features", "{}"),
    "background": (".txt", "score", "unknown", "--zero-shot", "--background", "{}"),
    "background features": (".npz", "score", "unknown", "--zero-shot", "--background", "{}"),
    "vocabulary": (".txt", "score", "unknown", "--vocabulary", "{}"),
    "detector": (".safetensors", "score", "unknown", "--detector", "{}"),
    "weights": (".safetensors", "score", "unknown", "--model", "local-dir:model"),
    "list": (".csv", "extract", "{}"),
    "classes": (".csv", "extract", "images", "--classes", "{}"),
    "from": (".csv", "discover", "--from", "{}", "--as-classes", "new"),
    "import": (".npz", "store", "import", "{}"),
    "import of an archive": (".h5", "store", "import", "{}"),
    "import of a table": (".parquet", "store", "import", "{}"),
    "labels of an import": (".txt", "store", "import", "rows.npy", "--labels", "{}"),
    "paths of an import": (".npy", "store", "import", "rows.npy", "--paths", "{}"),
    "undo": (".jsonl", "undo", "{}"),
    "protocol": (".toml", "evaluate", "--protocol", "{}", "--id", "images"),
    "detector of evaluate": (
        ".safetensors",
        "evaluate",
        "--id",
        "images",
        "--ood",
        "a=unknown",
        "--detector",
        "{}",
    ),
    "compare": (".safetensors", "detectors", "compare", "{}", "{}"),
    "background of tune": (".txt", "tune", "--shots", "2", "--background", "{}"),
}


@pytest.fixture(scope="module")
def place(template: Path, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = Path(shutil.copytree(template, tmp_path_factory.mktemp("place") / "project"))
    np.save(folder / "rows.npy", np.eye(8, 16, dtype=np.float32))
    shutil.copytree(tiny_model, folder / "model")
    return folder


USAGE = {"labels", "background", "vocabulary", "classes", "protocol", "background of tune", "weights"}
# A pipe for every option, for it is what a reader waits for; the others for each kind of reader.
CASES = [(name, "pipe") for name in READ]
CASES += [
    (name, kind)
    for name in ("labels", "text features", "detector", "list", "import of an archive", "undo", "protocol")
    for kind in ("device", "folder", "empty")
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_message_at_once(place: Path, run: Run, name: str, kind: str) -> None:
    suffix, *command = READ[name]
    path = place / ("model/open_clip_model.safetensors" if name == "weights" else f"thing{suffix}")
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
    try:
        words = [word.replace("{}", f"./{path.name}") for word in command]
        done = None
        for rc in (2, 1) if name in USAGE else (1, 2):  # the likelier first
            try:
                done = run(*words, "--quiet", cwd=place, rc=rc, timeout=120)
                break
            except AssertionError:
                continue
        assert done is not None, "neither refused nor ended in time"
        assert "Traceback" not in done.stderr and "rror" in done.stderr
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink()

"""The page on formats has the numbers that the code writes, and names the old files that the tests read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import pytest

from deltaoe.evaluation import tuned_runs
from deltaoe.extraction import same_run
from deltaoe.filing import undo_list
from deltaoe.images.decode_policy import DECODE_POLICY
from deltaoe.images.views import VIEW_POLICY
from deltaoe.lite import bundle
from deltaoe.scoring import detector_file, zero_shot_images
from deltaoe.store import hdf5, index_file, state_file
from deltaoe.tuning import checkpoint

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "formats.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells[1]
    for line in PAGE.splitlines()
    if line.startswith("| ") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) > 2
}
NUMBERS = {
    "shards": [hdf5.FORMAT_VERSION],
    "data sets": [hdf5.FORMAT_VERSION],
    "exports": [hdf5.FORMAT_VERSION],
    "detectors": [detector_file._FORMAT],
    "`workspace.json`": [state_file._FORMAT],
    "undo lists": [undo_list._FORMAT],
    "folders of `export-onnx`": [bundle.FORMAT],
    "index files": [int(index_file._MAGIC.split()[1])],
    "checkpoints": [checkpoint._FORMAT, checkpoint._RESULT_FORMAT],
    "runs of a protocol": [tuned_runs._RUN_FORMAT],
    "the result of the last extraction": [same_run._RULE],
    "zero-shot detectors": [zero_shot_images._VERSION],
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_format_has_its_number(kind: str) -> None:
    (numbers,) = (numbers for title, numbers in ROWS.items() if title.startswith(kind))
    assert [int(number) for number in re.findall(r"\d+", numbers)] == NUMBERS[kind]


def test_no_numbered_format_is_left_out() -> None:
    named = re.compile(r"^((?:_?[A-Z_]*FORMAT(?:_VERSION)?|_VERSION|_RULE)) = \d+", re.MULTILINE)
    found = {
        f"{file.stem}.{name}"
        for file in (ROOT / "deltaoe").rglob("*.py")
        for name in named.findall(file.read_text(encoding="utf-8"))
    }
    assert found == {
        "hdf5.FORMAT_VERSION",
        "detector_file._FORMAT",
        "state_file._FORMAT",
        "undo_list._FORMAT",
        "bundle.FORMAT",
        "checkpoint._FORMAT",
        "checkpoint._RESULT_FORMAT",
        "tuned_runs._RUN_FORMAT",
        "same_run._RULE",
        "zero_shot_images._VERSION",
    }


def test_the_rules_have_their_numbers() -> None:
    assert f"(`decode_policy`, {DECODE_POLICY})" in PAGE
    assert f"(`view_policy`, {VIEW_POLICY})" in PAGE


def test_files_of_every_version_are_kept() -> None:
    """What the page says lies beside the tests does, with the numbers that it says."""
    stores, detectors = ROOT / "tests" / "store" / "archived", ROOT / "tests" / "scoring" / "archived"
    shards = {}
    for version in range(1, hdf5.FORMAT_VERSION + 1):
        for path in (stores / f"version-{version}").rglob("shard-*.h5"):
            with h5py.File(path) as file:
                shards[version] = int(file.attrs["version"])
    assert shards == {version: version for version in range(1, hdf5.FORMAT_VERSION + 1)}
    for path in (*(stores / "workspace-0.1.0" / "datasets").iterdir(), stores / "export-0.1.0.h5"):
        with h5py.File(path) as file:
            assert file.attrs["version"] == 2
    written = {_format_of(path) for path in detectors.glob("*.safetensors")}
    assert written == {1, 2}


def _format_of(detector: Path) -> int:
    content = detector.read_bytes()
    length = int.from_bytes(content[:8], "little")
    found: int = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["deltaoe"])["format"]
    return found

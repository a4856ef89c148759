"""The examples of the API reference run, and each public name has one."""

from __future__ import annotations

import doctest
import re
import runpy
import shutil
from pathlib import Path

import pytest
from tiny import make_noise

import deltaoe

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "reference" / "api.md"


def test_examples_run(
    tmp_path: Path, tiny_model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(pictures, tmp_path / "images")
    make_noise(tmp_path / "unknown", 3)
    monkeypatch.chdir(tmp_path)
    # The one thing changed: which model, since the default one's weights are not here.
    monkeypatch.setenv("DELTAOE_MODEL", f"local-dir:{tiny_model}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert done.attempted > 40 and not done.failed


def test_every_public_name_is_in_an_example() -> None:
    examples = " ".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    missing = [name for name in deltaoe.__all__ if f"deltaoe.{name}" not in examples]
    assert not missing


def test_signatures_show_types_without_descriptions() -> None:
    signatures = runpy.run_path(str(DOCS / "signatures.py"))
    assert signatures["plain"]("Annotated[int, Option('Images.', at_least=1)] | None") == "int | None"
    shown, returned = signatures["signature"](None, "class", "", deltaoe.TuningOptions, None, "()", None)
    assert shown.startswith("(shots: int = 16, seed: int = 1, context: ContextOptions = ContextOptions()")
    assert returned is None
    assert signatures["signature"](None, "function", "", deltaoe.energy, None, "()", None)[1] == "Array"

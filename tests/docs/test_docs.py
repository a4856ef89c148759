"""The documentation says what the code does: help texts, options named in prose, and examples that run."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Run

import deltaoe

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]


def command_lines() -> list[tuple[str, str]]:
    """(page, command line) of every ``deltaoe …`` in a console block or in code within a sentence."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = re.findall(r"^\$ (deltaoe .*?)(?:\s+#.*)?$", text, re.MULTILINE)
        lines += re.findall(r"`(deltaoe [^`]+)`", text)
        found += [(str(page.relative_to(ROOT)), line) for line in lines]
    return found


@pytest.fixture(scope="module")
def reference(run: Run) -> str:
    """The command reference, made anew."""
    page = runpy.run_path(str(ROOT / "docs" / "update_cli.py"))
    made: str = page["reference"](lambda *words: run(*words, cwd=ROOT, env=page["ENVIRONMENT"]).stdout)
    return made


def test_command_reference_is_what_help_prints(reference: str) -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == reference, "run: python docs/update_cli.py"


def test_commands_named_in_the_documentation_exist(reference: str) -> None:
    sections = dict(
        re.findall(r"^## deltaoe ?([a-z -]*)\n(.*?)(?=^## |\Z)", reference, re.MULTILINE | re.DOTALL)
    )
    lines = command_lines()
    assert len(lines) > 10
    for page, line in lines:
        words = line.split()
        command = words[1] if not words[1].startswith("-") else ""
        if command in ("store", "detectors") and len(words) > 2:
            command += f" {words[2]}"
        assert command in sections, f"{page}: {line}"
        for option in re.findall(r"--[a-z][a-z-]*", line):
            assert option in sections[command], f"{page}: {line}"


def test_every_command_is_documented(reference: str) -> None:
    prose = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "cli.md")
    for option in set(re.findall(r"│ \*?\s*(--[a-z-]+)", reference)):
        assert option in reference
    commands = ("extract", "tune", "score", "evaluate", "background", "demo", "status", "detectors")
    for command in (*commands, "store verify", "store export", "store import"):
        assert f"deltaoe {command}" in prose


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    entries = re.findall(r"^\.\. auto[a-z]+:: (deltaoe\.[a-z_.]+\.\w+)$", page, re.MULTILINE)
    assert set(deltaoe.__all__) <= {entry.rpartition(".")[2] for entry in entries}
    assert len(set(entries)) == len(entries)


def test_relative_links_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text) + re.findall(r'src="([^"]+)"', text):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_python_examples_run(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    shutil.copytree(pictures, tmp_path / "images")
    (tmp_path / "unknown").mkdir()
    for i, picture in enumerate(sorted(pictures.rglob("*.png"))[:3]):
        shutil.copy(picture, tmp_path / "unknown" / f"{i}.png")
    page = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    has_pandas = importlib.util.find_spec("pandas") is not None
    script = "\n".join(block for block in blocks if has_pandas or "to_pandas" not in block)
    # The one thing changed: which model, since the default one's weights are not here.
    options = f'deltaoe.ModelOptions("local-dir:{tiny_model}")'
    script = script.replace(
        'extract(Path("images"), workspace)',
        f'extract(Path("images"), workspace, deltaoe.ExtractOptions(model={options}))',
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    # Text and images are fused: a weighted sum of log p-values.
    assert -20 < float(re.search(r"threshold: (\S+)", done.stdout)[1]) < 0
    assert done.stdout.count("unknown/") == 2 * 3  # by score and by a stream
    if not has_pandas:
        pytest.skip("pandas is not installed: all examples ran but those of data frames")

"""The documentation says what the code does: help texts, and options that are named in prose."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from command import Run

import deltaoe
import deltaoe.lite

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
    listed = re.findall(r"^│ ([a-z][a-z-]+) +[A-Z]", sections[""], re.MULTILINE)
    assert len(listed) > 10 and set(listed) <= set(sections), "docs/update_cli.py: COMMANDS"
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
    sections = dict(
        re.findall(r"^## deltaoe ?([a-z -]*)\n(.*?)(?=^## |\Z)", reference, re.MULTILINE | re.DOTALL)
    )
    prose = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "cli.md")
    found = []
    for name, text in sections.items():
        listed = re.search(r"^╭─ Commands ─.*?^╰", text, re.MULTILINE | re.DOTALL)
        words = re.findall(r"^│ ([a-z][a-z-]*) ", listed[0], re.MULTILINE) if listed else []
        found += [f"{name} {word}".strip() for word in words]
    assert len(found) > 15
    assert set(found) == set(sections) - {""}
    for command in found:
        assert f"deltaoe {command}" in prose, command


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    entries = re.findall(r"^\.\. auto[a-z]+:: (deltaoe\.[a-z_.]+\.\w+)$", page, re.MULTILINE)
    assert set(deltaoe.__all__) <= {entry.rsplit(".", 1)[1] for entry in entries}
    assert {f"deltaoe.lite.detector.{name}" for name in deltaoe.lite.__all__} <= set(entries)
    assert len(set(entries)) == len(entries)

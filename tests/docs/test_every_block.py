"""Every command on every page is run, or the page says above it why not.

What a block of each language needs:

- console, bash, sh: its commands are typed by a reader (``reader.py``) in the page's folder (``page_folders.py``), in
  order, together with the page's Python blocks;
- python: run in one session per page;
- toml, json, yaml: parsed;
- text and the like: holds no command.

``documented.py`` says what can be written above a block.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import page_folders
import pytest
import yaml
from command import NO_FOLDER, Run
from documented import DIRECTIVES, ROOT, SHELLS, SHOWN, Block, Command, blocks_of, hidden_blocks, pages
from reader import SHORT, Reader

# Pages that a test of their own runs, because it looks at more than what every page must keep.
OWN_TEST = {
    "docs/day.md": "tests/cli/test_demo.py::test_the_day_of_the_documentation",
    "docs/how-to/deploy.md": "tests/cli/test_example_service.py::test_the_commands_of_the_page",
    "docs/tutorial.md": "tests/docs/test_tutorial.py::test_the_tutorial_on_photographs",
    "docs/reference/api.md": "tests/docs/test_api_examples.py::test_examples_run",
    "docs/reference/detector-format.md": "tests/docs/test_detector_format.py::test_example_runs",
}
PAGES = {page.relative_to(ROOT).as_posix(): page for page in pages()}
BLOCKS = {name: blocks_of(page) for name, page in PAGES.items()}
EVERY = [block for found in BLOCKS.values() for block in found]
RUN = sorted(
    name
    for name, found in BLOCKS.items()
    if name not in OWN_TEST
    and any(block.language in (*SHELLS, "python") and not block.not_run for block in found)
)


def test_kinds_of_blocks() -> None:
    known = (*SHELLS, *SHOWN, "python", "toml", "json", "yaml")
    for block in EVERY:
        assert block.language in (*known, *DIRECTIVES), (
            f"{block.place}: a block of {block.language or 'no language'}: one of {', '.join(known)}"
        )
        if block.language in SHOWN:
            assert not block.looks_like_commands, f"{block.place}: commands belong into ```console"


def test_no_block_is_hidden() -> None:
    for name, page in PAGES.items():
        assert not hidden_blocks(page), (
            f"{name}: a block in a quotation, behind a mark of a list or without a fence"
        )


def test_reasons_hold() -> None:
    """A test that is said to run a block is there; lines that are said to be from a file are in it."""
    reasons = [(block, block.not_run) for block in EVERY if block.not_run]
    for block, reason in reasons:
        assert len(reason.split()) > 1, f"{block.place}: {reason!r} is no reason"
        assert "tests/" in reason or not re.search(r"\b(?:run|tested|checked) by\b", reason), (
            f"{block.place}: {reason!r} does not name the test"
        )
        for file, test in re.findall(r"(tests/[\w/.]+\.py)(?:::(\w+))?", reason):
            assert (ROOT / file).is_file(), f"{block.place}: {file} is not there"
            text = (ROOT / file).read_text(encoding="utf-8")
            wanted = f"def {test}(" if test else "def test_"
            assert wanted in text, f"{block.place}: {file} has no test {test}"
        if lines := re.match(r"from (\S+)$", reason):
            text = (ROOT / lines[1]).read_text(encoding="utf-8")
            for line in block.text.splitlines():
                assert line.strip() in text, f"{block.place}: not in {lines[1]}: {line}"
    for page, where in OWN_TEST.items():
        file, test = where.split("::")
        assert page in PAGES and f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")


def test_documents_parse() -> None:
    parsers = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}
    for block in EVERY:
        if block.language in parsers:
            try:
                parsers[block.language](block.text)
            except ValueError as problem:
                raise AssertionError(f"{block.place}: {problem}") from problem


# What is installed or measured, and the developers' sessions: never run here, and checked as far as it can be.
INSTALLS = re.compile(r"\b(?:pip install|uvx?|pipx)\b")
DEVELOPED = re.compile(r"\bpython (?:-m )?(?:benchmarks|docs)[/.]|\bnox\b")


def runs_here(command: Command) -> bool:
    return not INSTALLS.search(command.text) and not DEVELOPED.search(command.text)


def developers_lines() -> Iterator[tuple[str, str]]:
    """(place, line) of what installers and developers type: in blocks of a shell, and in code within sentences."""
    for name, page in PAGES.items():
        if name == "CHANGELOG.md":  # what was so then
            continue
        text = page.read_text(encoding="utf-8")
        for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text):
            yield name, " ".join(span.split())
        for block in blocks_of(page):
            if block.language in SHELLS:
                yield from ((f"{name}:{command.line}", command.text) for command in block.commands())


def test_sessions_benchmarks_and_extras_exist() -> None:
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(project["project"]["optional-dependencies"])
    seen = 0
    for place, line in developers_lines():
        for script, rest in re.findall(r"\bpython ((?:benchmarks|docs)/\w+\.py)([^;&|]*)", line):
            assert (ROOT / script).is_file(), f"{place}: {script} is not there"
            code = (ROOT / script).read_text(encoding="utf-8")
            for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
                assert f'"{option}"' in code, f"{place}: {script} has no {option}"
            seen += 1
        for session in re.findall(r"\bnox -s (\w+)", line):
            assert session in sessions, f"{place}: no session {session}"
            seen += 1
        for named in re.findall(r"\bdeltaoe\[([\w,]+)\]", line):
            assert set(named.split(",")) <= extras, f"{place}: extras are {', '.join(sorted(extras))}"
            seen += 1
    assert seen > 30


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, run: Run, pictures: Path) -> dict[bool, Path]:
    """The folder that a page finds without (True) and with a workspace (False), to be copied."""
    fresh = tmp_path_factory.mktemp("pages") / "fresh"
    fresh.mkdir()
    page_folders.make_folder(fresh, pictures)
    worked = shutil.copytree(fresh, fresh.parent / "worked")
    run("extract", "./images", cwd=worked)
    run("tune", "--shots", "16", "--name", "shop-v1", cwd=worked, env=SHORT)
    return {True: fresh, False: worked}


@pytest.mark.parametrize("name", RUN)
def test_blocks_run(
    name: str,
    prepared: dict[bool, Path],
    run: Run,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(prepared[name in page_folders.FRESH], tmp_path / "project")
    if name in page_folders.PREPARED:
        page_folders.PREPARED[name](folder, tiny_model)
    reader = Reader(folder, run, tiny_model, page_folders.VARIABLES.get(name))
    session: dict[str, object] = {"__name__": "__main__"}
    for block in BLOCKS[name]:
        if block.file:
            (folder / block.file).write_text(block.text + "\n", encoding="utf-8")
        if block.not_run:
            continue
        if block.language in SHELLS:
            outside = reader.folder
            reader.folder = folder / block.folder if block.folder else outside
            for command in filter(runs_here, block.commands()):
                reader.type(block, command)
            reader.folder = outside if block.folder else reader.folder
        elif block.language == "python":
            monkeypatch.chdir(reader.folder)
            for variable, value in {
                "DELTAOE_MODEL": f"local-dir:{tiny_model}",
                "HF_HUB_OFFLINE": "1",
                "HF_HOME": NO_FOLDER,
            }.items():
                monkeypatch.setenv(variable, value)
            run_python(block, session)
    if name == "docs/how-to/python.md":
        printed = capsys.readouterr().out
        # Text and images are fused: a weighted sum of log p-values.
        assert -20 < float(re.search(r"threshold: (\S+)", printed)[1]) < 0
        assert printed.count("unknown/") == 2 * len(
            [*(folder / "unknown").iterdir()]
        )  # by score, by a stream


def run_python(block: Block, session: dict[str, object]) -> None:
    """Run a block in the page's session; a traceback names the lines of the page."""
    code = "\n" * (block.line - 1) + block.text
    try:
        exec(compile(code, os.fspath(block.page), "exec"), session)  # noqa: S102
    except Exception as problem:
        raise AssertionError(f"{block.place}: {problem!r}") from problem

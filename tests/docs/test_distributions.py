"""What is published: what is in the two archives, what their metadata says, and when a release is refused."""

from __future__ import annotations

import email
import email.message
import functools
import itertools
import os
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from deltaoe_cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = runpy.run_path(str(ROOT / ".ci" / "distributions.py"))
CHECKLIST = runpy.run_path(str(ROOT / ".ci" / "checklist.py"))
SIZE = runpy.run_path(str(ROOT / "benchmarks" / "installed_size.py"))
SETUP = functools.cache(lambda: runpy.run_path(str(ROOT / "setup.py")))
in_a_checkout = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs what git tracks")


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    names: list[str] = BUILD["tracked_files"](ROOT)
    return names


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tracked: list[str]) -> Any:
    """The archives, made of what git tracks with the setuptools that is here."""
    folder = tmp_path_factory.mktemp("built")
    BUILD["copy_files"](ROOT, tracked, folder / "checkout")
    return BUILD["build"](folder / "checkout", folder / "dist", 1_700_000_000, "--no-isolation")


@pytest.fixture(scope="module")
def metadata(built: Any) -> email.message.Message:
    held = BUILD["contents"](built.wheel)
    (name,) = (name for name in held if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(held[name])


@in_a_checkout
def test_they_hold_what_git_tracks_and_nothing_else(built: Any, tracked: list[str]) -> None:
    assert BUILD["wrong_in_sdist"](BUILD["contents"](built.sdist), tracked) == []
    assert BUILD["wrong_in_wheel"](BUILD["contents"](built.wheel), tracked) == []


@in_a_checkout
def test_their_bytes_depend_on_the_files_alone(built: Any) -> None:
    with tarfile.open(built.sdist) as sdist:
        entries = sdist.getmembers()
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname) for entry in entries} == {
        (1_700_000_000, 0, 0, "")
    }
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {entry.mode for entry in entries} == {0o644, 0o755}
    assert int.from_bytes(built.sdist.read_bytes()[4:8], "little") == 1_700_000_000  # of the gzip header
    with zipfile.ZipFile(built.wheel) as wheel:
        assert {entry.date_time for entry in wheel.infolist()} == {(2023, 11, 14, 22, 13, 20)}


def test_what_is_missing_or_too_much_is_named() -> None:
    files = ["deltaoe/__init__.py", "cli/main.py", "tests/x.py"]
    assert BUILD["wrong_in_sdist"](["deltaoe/__init__.py", "PKG-INFO", "b.pyc"], files[:2]) == [
        "the source distribution lacks cli/main.py",
        "the source distribution has b.pyc, which does not belong into it",
    ]
    wrong = BUILD["wrong_in_wheel"](["deltaoe/__init__.py", "tests/x.py", "d-1.dist-info/METADATA"], files)
    assert "the wheel lacks deltaoe_cli/main.py" in wrong
    assert "the wheel lacks deltaoe/demo/small-clip.safetensors" in wrong
    assert "the wheel lacks deltaoe/report/templates/" in wrong
    assert "the wheel has tests/x.py, which does not belong into it" in wrong
    assert "the wheel's .dist-info lacks licenses/LICENSE" in wrong


def test_a_classifier_that_no_index_knows_is_named() -> None:
    metadata = "Name: x\nClassifier: Typing :: Typed\nClassifier: Typing :: Loose\n\nText"
    assert BUILD["unknown_classifiers"](metadata, {"Typing :: Typed"}) == [
        "there is no classifier Typing :: Loose"
    ]


def test_two_builds_that_differ_say_where(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2")):
        (tmp_path / name).mkdir()
        with zipfile.ZipFile(tmp_path / name / "x.whl", "w") as wheel:
            wheel.writestr("same.py", b"")
            wheel.writestr("code.py", content)
    a, b = tmp_path / "a" / "x.whl", tmp_path / "b" / "x.whl"
    assert BUILD["differences"](a, b) == ["x.whl is not the same in a second build: code.py"]
    assert BUILD["differences"](a, a) == []


@in_a_checkout
def test_the_metadata(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "deltaoe"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "MIT"
    holder = re.search(r"Copyright \(c\) \d+ (.*)", (ROOT / "LICENSE").read_text(encoding="utf-8"))
    assert holder is not None
    assert metadata["Author"] == holder[1]
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert metadata["Description-Content-Type"] == "text/markdown"


@in_a_checkout
def test_the_description_works_on_another_site(metadata: email.message.Message) -> None:
    """Rendered, it has no link into the repository and no picture in it; and it has text and links at all."""
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(payload.decode("utf-8"))
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert [target for target in targets if not re.match(r"https?:|#", target)] == []
    assert any(target.startswith("https://") for target in targets)
    assert "docs/" not in re.sub(r"<(?:code|pre).*?</(?:code|pre)>", "", page, flags=re.DOTALL)
    assert "$ deltaoe extract" in page


@pytest.mark.parametrize(
    ("readme", "index"),
    [
        ("[a](docs/a.md#b) [`x[y]`](docs/x.md)", "a `x[y]`"),
        ("[two\nlines](docs/a.md)", "two\nlines"),
        ("[far](https://a.example/b) [here](#more)", "[far](https://a.example/b) [here](#more)"),
        ('a <img src="docs/a.png" width="640" alt="A b."> c', "a  c"),
        ('<img src="https://a.example/b.png">', '<img src="https://a.example/b.png">'),
        ("![alt](docs/a.svg)b", "b"),
        ("<!-- a\nb -->\nc", "c"),
        ("a\n<!-- here alone -->\n![b](docs/b.svg)\nb\n<!-- end of here alone -->\n\nc", "a\n\nc"),
        ("[![alt](docs/a.svg)](docs/a.md)b", "b"),
        ('<picture>\n<source srcset="docs/a.svg"><img src="docs/b.svg"></picture>b', "b"),
    ],
)
def test_links_into_the_repository_become_text(readme: str, index: str) -> None:
    made = SETUP()["index_description"](readme)
    assert made.removesuffix(SETUP()["_ELSEWHERE"]) == index


def test_the_version_stands_in_one_place() -> None:
    """Where it stands otherwise, it is read from the package's metadata, or checked before a release."""
    version = re.escape(PROJECT["version"])
    files = [*(ROOT / "deltaoe").rglob("*.py"), *(ROOT / "cli").rglob("*.py"), ROOT / "docs" / "conf.py"]
    assert [
        file for file in files if re.search(rf"[\"']{version}[\"']", file.read_text(encoding="utf-8"))
    ] == []


def test_extras_that_are_named_exist() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    code = [*(ROOT / "deltaoe").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
    named: set[str] = set()
    for file in pages + code:
        for names in re.findall(r"(?:deltaoe|\.)\\?\[([a-z,]+)\\?\]", file.read_text(encoding="utf-8")):
            named |= set(names.split(","))
    assert named
    assert named - {"tool"} <= set(PROJECT["optional-dependencies"])
    install = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", install, re.MULTILINE)) >= set(PROJECT["optional-dependencies"])


def test_every_dependency_has_a_lower_bound() -> None:
    """So that ``nox -s minimums`` installs it."""
    at_lower_bound = runpy.run_path(str(ROOT / "noxfile.py"))["at_lower_bound"]
    declared = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]
    for requirement in declared:
        pinned = at_lower_bound(requirement)
        assert re.fullmatch(r"[\w.-]+(\[\w+\])?==[\d.]+(;.*)?", pinned), requirement
        assert pinned == requirement.replace(">=", "==", 1)


def test_versions_are_said_without_importing_anything(tmp_path: Path) -> None:
    """``--version --verbose`` has every package that is required, and loads none of them."""
    code = (
        "import sys; from deltaoe_cli.main import _versions; print(_versions(True)); "
        "assert not {'torch', 'numpy', 'open_clip', 'h5py'} & set(sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    ).stdout
    assert said.startswith("deltaoe ")
    for name in ("python", "torch", "open_clip_torch", "numpy"):
        assert re.search(rf"^{name} \d+\.", said, re.MULTILINE), said


@pytest.mark.parametrize("words", [["--verbose"], ["--verbose", "status"]])
def test_verbose_alone_is_refused(words: list[str]) -> None:
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "--verbose stands behind the command" in refused.stderr


CHANGED = "# Changelog\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n## [0.1.0] - 2026-11-26\n"
CITED = 'cff-version: 1.2.0\nversion: "0.2.0"\ndate-released: 2026-12-01\n'
VERSION = '[project]\nversion = "0.2.0"\n'


@pytest.mark.parametrize(
    ("version", "changelog", "citation", "wrong"),
    [
        (VERSION, CHANGED, CITED, []),
        (
            VERSION,
            CHANGED.replace("0.2.0", "0.3.0"),
            CITED,
            ["CHANGELOG.md begins with 0.3.0, but the version"],
        ),
        (VERSION, CHANGED, CITED.replace("0.2.0", "0.1.0"), ["CITATION.cff has version 0.1.0, but"]),
        (
            VERSION,
            CHANGED,
            CITED.replace("12-01", "12-02"),
            ["CITATION.cff has date-released 2026-12-02, but"],
        ),
        (
            VERSION,
            CHANGED.replace(" - 2026-12-01", ""),
            CITED,
            ["CHANGELOG.md has no date", "CITATION.cff has date"],
        ),
        (
            VERSION,
            CHANGED.replace("[0.2.0] - 2026-12-01", "[Unreleased]"),
            CITED,
            ["CHANGELOG.md begins", "CITATION"],
        ),
    ],
)
def test_a_release_whose_files_disagree_is_refused(
    version: str, changelog: str, citation: str, wrong: list[str]
) -> None:
    said = CHECKLIST["disagreements"](version, changelog, citation)
    assert len(said) == len(wrong)
    assert all(sentence.startswith(start) for sentence, start in zip(said, wrong, strict=True))


def test_a_checkout_that_is_no_release_is_refused() -> None:
    unready = CHECKLIST["unready"]
    assert unready("0.2.0", "", "v0.1.0\n") == []
    (said,) = unready("0.2.0.dev0", "", "")
    assert said.startswith("0.2.0.dev0 is no version to release")
    assert len(unready("0.2.0", " M README.md\n", "v0.1.0\nv0.2.0\n")) == 2


def test_the_files_here_agree() -> None:
    files = [
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("pyproject.toml", "CHANGELOG.md", "CITATION.cff")
    ]
    assert CHECKLIST["disagreements"](*files) == []


def test_the_citation_is_whole() -> None:
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license", "type"} <= set(cited)
    assert cited["license"] == PROJECT["license"]
    assert [author["name"] for author in PROJECT["authors"]] == [
        author["name"] for author in cited["authors"]
    ]
    (paper,) = cited["references"]
    assert paper["url"] == "https://arxiv.org/abs/2510.11296"
    assert len(paper["authors"]) == 5


def test_what_an_environment_weighs(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, size in (("small", 2_000_000), ("large", 5_000_000)):
        (site / name / "inner").mkdir(parents=True)
        (site / name / "inner" / "file").write_bytes(bytes(size))
    os.symlink(site / "large", site / "small" / "link")
    assert SIZE["heaviest"](tmp_path)[:2] == [("large", 5_000_000), ("small", 2_000_000)]
    assert SIZE["main"](tmp_path).startswith("7 MB in ")

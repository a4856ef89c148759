"""Every link leads somewhere, and nothing is mentioned that a reader of the repository does not have. No network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from documented import ROOT, pages
from markdown_links import Link, anchors_of, links_of, slug

PAGES = pages()
# Whom readers are sent to, and why: a link to anybody else is added here, after a look.
HOSTS = {
    "arxiv.org": "papers",
    "commons.wikimedia.org": "the photographs in this repository, with their authors and licences",
    "distill.pub": "a paper",
    "docs.ray.io": "Ray's own documentation",
    "docs.voxel51.com": "FiftyOne's own documentation",
    "download.pytorch.org": "PyTorch's own package index",
    "github.com": "code, and the places of this project",
    "huggingface.co": "the model hub, and safetensors' documentation",
    "keepachangelog.com": "the form of the list of changes",
    "pre-commit.com": "the tool whose configuration an example is",
    "pypi.org": "packages that the comparison names",
    "pytorch-ood.readthedocs.io": "pytorch-ood's own documentation",
    "pytorch.org": "PyTorch's own page on installing it",
    "semver.org": "what version numbers promise",
}
# Written by commands, or the names of a format's own files.
WRITTEN = {"evaluation.md", "theory.md"}
SOURCES = ("deltaoe", "cli", "benchmarks", "docs", ".github", ".ci")


def test_slugs_are_those_of_github() -> None:
    """As its pages show them."""
    assert slug("`score` — what's new?") == "score--whats-new"
    assert slug("In-distribution (ID)") == "in-distribution-id"
    assert slug("ΔEnergy") == "δenergy"
    assert slug("scores.csv, scores_2.json") == "scorescsv-scores_2json"


def every_link() -> Iterator[tuple[Path, Link, str]]:
    """(page, link, its place) of all links."""
    for page in PAGES:
        for link in links_of(page):
            yield page, link, f"{page.relative_to(ROOT)}:{link.line}: {link.target}"


def test_relative_links_lead_somewhere() -> None:
    anchors = {page.resolve(): anchors_of(page) for page in PAGES}
    problems, checked = [], 0
    for page, link, place in every_link():
        if urlsplit(link.target).scheme:
            continue
        checked += 1
        path, _, anchor = unquote(link.target).partition("#")
        target = (page.parent / path).resolve() if path else page.resolve()
        if path.startswith("/") or not target.is_relative_to(ROOT.resolve()):
            problems.append(f"{place}: outside of the repository")
        elif not target.exists():
            problems.append(f"{place}: is not there")
        elif target.name not in os.listdir(target.parent):  # where capitals do not count
            problems.append(f"{place}: is written otherwise on the disk")
        elif anchor and target.suffix == ".md" and anchor not in anchors[target]:
            problems.append(f"{place}: no such heading")
    assert not problems, "\n".join(problems)
    assert checked > 300


def test_addresses_are_known_and_safe() -> None:
    problems = []
    for _, link, place in every_link():
        parts = urlsplit(link.target)
        if parts.scheme and parts.scheme != "https":
            problems.append(f"{place}: https")
        elif parts.scheme and parts.hostname not in HOSTS:
            problems.append(f"{place}: add the host to HOSTS, with the reason")
        elif parts.scheme and not re.fullmatch(r"[\w./~%#?=&+@:,()-]+", link.target):
            problems.append(f"{place}: a sign that no address has")
    assert not problems, "\n".join(problems)


def test_pictures_say_what_they_show() -> None:
    pictures = [(link.text, place) for _, link, place in every_link() if link.picture]
    assert pictures
    problems = [place for text, place in pictures if len(text.split()) < 3]
    assert not problems, "\n".join(problems)


def texts() -> Iterator[tuple[str, str, str]]:
    """(file, its place, line) of all pages and of all code but the tests, whose data is made up."""
    code = [file for name in SOURCES for file in sorted((ROOT / name).rglob("*")) if file.is_file()]
    kinds = {".py", ".md", ".toml", ".yml", ".yaml", ".html", ".css", ".js", ".cff", ".txt", ""}
    for file in sorted({*PAGES, *code, ROOT / "noxfile.py", ROOT / "pyproject.toml"}):
        name = file.relative_to(ROOT)
        if file.suffix in kinds and "_build" not in name.parts and "__pycache__" not in name.parts:
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                yield name.as_posix(), f"{name}:{number}", line


def test_no_document_is_mentioned_that_is_not_here() -> None:
    here = {page.name for page in PAGES} | WRITTEN
    document = re.compile(r"(?<![\w*.{}-])\w[\w./-]*\.(?:md|rst|docx?|pdf)\b(?!\w)")
    named = [(place, name) for _, place, line in texts() for name in document.findall(line)]
    assert len(named) > 100
    problems = [f"{place}: {name}" for place, name in named if Path(name).name not in here]
    assert not problems, "\n".join(problems)


def test_nothing_beside_the_repository_is_mentioned_but_as_data() -> None:
    """No place of the developers' machines, and no number of an issue that a reader cannot open."""
    places = re.compile(r"(?<![\w./])(?:\.\./)?shared/|(?<![\w.])/(?:work|root|tmp/(?:wt|keep|env))/")
    issues = re.compile(r"\bissues? #?\d+|(?<![\w&#/])#\d{1,4}(?![\w-])", re.IGNORECASE)
    problems = []
    for file, place, line in texts():
        # Benchmarks say where their data may lie: beside the repository.
        if places.search(line) and not file.startswith("benchmarks/"):
            problems.append(f"{place}: {line.strip()}")
        if issues.search(line) and not file.endswith((".css", ".html", ".js")):
            problems.append(f"{place}: {line.strip()}")
    assert not problems, "\n".join(problems)

"""Sessions: ``nox -s tests`` is the one to start with; ``nox -l`` lists them."""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.reuse_venv = "yes"
nox.needs_version = ">=2025.2.9"

PROJECT = nox.project.load_toml("pyproject.toml")
# torch with its CUDA libraries takes 7 GB: all sessions that need nothing but the project share one environment.
SHARED = Path(".nox", "project").absolute()
BIN = SHARED / ("Scripts" if os.name == "nt" else "bin")
# Where no byte code may be kept, every process spends 0.4 s on compiling the package anew.
SETTINGS = {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": ""}


def group(*names: str) -> list[str]:
    """Requirements of dependency groups in pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, *names))


def prepare(session: nox.Session) -> None:
    """Install the project, editable, and what its sessions need into the shared environment, unless all is there."""
    # What was installed: the project's requirements, its commands and its packages.
    installed, wanted = SHARED / "pyproject.toml", Path("pyproject.toml").read_text(encoding="utf-8")
    if installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return
    if not BIN.exists():
        session.run_install(sys.executable, "-m", "venv", str(SHARED))
    needed = group("test", "docs", "types")
    session.run_install(str(BIN / "python"), "-m", "pip", "install", "-q", "-e", ".", *needed)
    installed.write_text(wanted, encoding="utf-8")


def run(session: nox.Session, command: str, *arguments: str) -> None:
    """Run a command of the shared environment."""
    session.run(str(BIN / command), *arguments, env=SETTINGS)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The whole fast suite, offline; ``tests/conftest.py`` says what is fast, and why commands run warm."""
    prepare(session)
    # Two processes that each start a thread per core wait for each other: with one thread each they are faster.
    arguments = session.posargs or ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    run(session, "pytest", "-m", "not slow", *arguments)


@nox.session(venv_backend="none")
def slow(session: nox.Session) -> None:
    """Tests that take minutes."""
    prepare(session)
    run(session, "pytest", "-m", "slow", *session.posargs)


def at_lower_bound(requirement: str) -> str:
    """``h5py>=3.12`` → ``h5py==3.12``."""
    return re.sub(r"^([\w.-]+(?:\[\w+\])?)>=([\d.]+)", r"\1==\2", requirement)


@nox.session
def minimums(session: nox.Session) -> None:
    """The fast suite with every dependency, those of the extras, too, at its lower bound from pyproject.toml."""
    project = PROJECT["project"]
    declared = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    session.install("-e", ".", *map(at_lower_bound, declared), *group("test"))
    # The documented --help is that of the newest typer.
    arguments = [
        "-m",
        "not slow",
        "--ignore=tests/docs",
        *(session.posargs or ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]),
    ]
    session.run("pytest", *arguments, env=SETTINGS)


@nox.session
def lint(session: nox.Session) -> None:
    """Style."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """mypy, strict."""
    prepare(session)
    run(session, "mypy")


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the documentation with warnings as errors, look at its pages, and run the docstrings' examples.

    ``tests`` runs the examples of the pages.
    """
    prepare(session)
    run(session, "sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    run(session, "pytest", "tests/docs/built_site.py", "tests/docs/built_links.py")
    run(session, "pytest", "--doctest-modules", "deltaoe")


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """All benchmarks, or the ones named: ``nox -s bench -- features photos``."""
    prepare(session)
    for name in session.posargs or [
        "features",
        "defaults",
        "labels",
        "prompt_encoding",
        "extract",
        "precision",
        "store",
        "scale",
        "startup",
        "warm",
        "stream",
        "deploy",
        "cached_score",
        "scores_csv",
        "looks_like",
        "discover",
        "report_page",
        "tuning",
        "imagenet_size",
        "pseudo_unknown",
        "demo",
    ]:
        run(session, "python", f"benchmarks/{name}.py")


@nox.session(venv_backend="none")
def pretrain(session: nox.Session) -> None:
    """Train the demo's CLIP again, within an hour on two cores, and compare it with the one that is shipped."""
    prepare(session)
    again = Path("bench-out", "small-clip.safetensors")
    again.parent.mkdir(exist_ok=True)
    run(session, "python", "-m", "deltaoe_cli.workshop", "pretrain", str(again), *session.posargs)
    run(session, "python", "-m", "deltaoe_cli.workshop", "compare", str(again))


@nox.session(venv_backend="none")
def picture(session: nox.Session) -> None:
    """Make README's picture anew, the report of docs/photographs; needs chromium, and the shared photographs."""
    prepare(session)
    run(session, "python", "docs/update_report.py")
    run(session, "python", "docs/update_readme.py")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build wheel and source distribution into ``dist``, check them, and run the demo from the wheel alone."""
    session.install(*group("release"))
    dist = Path("dist").absolute()
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", ".ci/distributions.py", str(dist))
    files = sorted(map(str, dist.iterdir()))
    session.run("twine", "check", "--strict", *files)
    fresh = Path(session.create_tmp(), "fresh").absolute()
    session.run("python", "-m", "venv", "--clear", str(fresh))
    session.chdir(fresh)  # so that the checkout cannot be what is imported
    commands = fresh / BIN.name
    run_fresh = functools.partial(session.run, external=True, env=SETTINGS)
    run_fresh(
        str(commands / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        *(file for file in files if file.endswith(".whl")),
    )
    run_fresh(str(commands / "python"), "-m", "pip", "check")
    run_fresh(str(commands / "deltaoe"), "--version", "--verbose")
    run_fresh(str(commands / "deltaoe"), "demo")
    session.run("python", str(Path(__file__).parent / "benchmarks" / "installed_size.py"), str(fresh))
    shutil.rmtree(fresh)  # with torch's CUDA libraries it takes 6 GB


@nox.session
def release(session: nox.Session) -> None:
    """Refuse what is not ready to be released, then run all that can be run, and say what a person must do."""
    session.install(*group("release"))
    session.run("cffconvert", "--validate", "-i", "CITATION.cff")
    session.run("python", ".ci/checklist.py")
    for name in ("lint", "types", "docs", "tests", "slow", "minimums", "wheel"):
        session.notify(name)

"""Sessions: ``nox -s tests`` is the one to start with; ``nox -l`` lists them."""

from __future__ import annotations

import re

import nox

nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.reuse_venv = "yes"
nox.needs_version = ">=2025.2.9"

# torch with its CUDA libraries takes 7 GB: the sessions that need the project share one environment.
SHARED = ".nox/shared"
PROJECT = nox.project.load_toml("pyproject.toml")


def group(*names: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, *names))


@nox.session(venv_location=SHARED)
def tests(session: nox.Session) -> None:
    """The whole fast suite, offline."""
    session.install("-e", ".", *group("test"))
    session.run("pytest", "-m", "not slow", *(session.posargs or ["-n", "2"]), env={"HF_HUB_OFFLINE": "1"})


@nox.session(venv_location=SHARED)
def slow(session: nox.Session) -> None:
    """Tests that take minutes."""
    session.install("-e", ".", *group("test"))
    session.run("pytest", "-m", "slow", *session.posargs, env={"HF_HUB_OFFLINE": "1"})


@nox.session
def minimums(session: nox.Session) -> None:
    """The fast suite with every dependency at its lower bound from pyproject.toml."""
    bounds = [
        re.sub(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", r"\1==\2", requirement)
        for requirement in PROJECT["project"]["dependencies"]
    ]
    session.install("-e", ".", *bounds, *group("test"))
    session.run("pytest", "-m", "not slow", *(session.posargs or ["-n", "2"]), env={"HF_HUB_OFFLINE": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(venv_location=SHARED)
def types(session: nox.Session) -> None:
    """mypy, strict."""
    session.install("-e", ".", *group("types"), "nox")
    session.run("mypy")


@nox.session(venv_location=SHARED)
def docs(session: nox.Session) -> None:
    """Build the documentation with warnings as errors, then run its examples."""
    session.install("-e", ".", *group("docs", "test"))
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    session.run("pytest", "tests/docs", env={"HF_HUB_OFFLINE": "1"})


@nox.session(venv_location=SHARED)
def bench(session: nox.Session) -> None:
    """All benchmarks, or the ones named: ``nox -s bench -- features photos``."""
    session.install("-e", ".", *group("test"))
    for name in session.posargs or ["features", "prompt_encoding", "photos"]:
        session.run("python", f"benchmarks/{name}.py", env={"HF_HUB_OFFLINE": "1"})


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel and run the command from it in an environment that has nothing else."""
    session.install("build")
    out = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", out, ".")
    session.install("--force-reinstall", f"--find-links={out}", "deltaoe")
    session.run("deltaoe", "--version")
    session.chdir(out)  # so that the checkout cannot be what is imported
    session.run("python", "-c", "import deltaoe_cli.main, deltaoe.report.render, deltaoe.workflows.score")

"""Whether the version, the changelog, the citation and the checkout agree: ``python .ci/checklist.py``.

A part of ``nox -s release``, which goes on to run what can be run. This part also lists what only a person can do.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BY_HAND = """
When all sessions have passed, what is left is for a person:

 1. Read CHANGELOG.md as a user would, and install and upgrade as docs/how-to/install.md says.
 2. Where there is a GPU: nox -s bench -- extract prompt_encoding tuning. Nothing may be slower than the pages say.
 3. git tag -s v{version}, and push it.
 4. twine upload dist/* (the bytes that nox -s wheel has checked). The first time: reserve the name, and then change
    what docs/how-to/install.md and README.md say about the package index.
 5. In a fresh environment on another machine: pip install deltaoe, deltaoe demo.
 6. Begin the next version: X.Y.0.dev0 in pyproject.toml and CITATION.cff (there without date-released), and an empty
    section Unreleased in CHANGELOG.md.

Still open until the repository has a public address: project.urls in pyproject.toml, repository-code in CITATION.cff,
absolute links in setup.py, and the address for reports in SECURITY.md.
"""


def version_of(pyproject: str) -> str:
    """The project's version, from the text of pyproject.toml."""
    version: str = tomllib.loads(pyproject)["project"]["version"]
    return version


def entry_of(citation: str, key: str) -> str | None:
    """The value of a top-level entry of a CITATION.cff, without quotation marks; None if there is none."""
    found = re.search(rf"^{key}: *[\"']?([^\"'\s]+)", citation, re.MULTILINE)
    return found and found[1]


def latest_of(changelog: str) -> tuple[str, str | None]:
    """Title and date of the first section of a changelog: ``("Unreleased", None)`` or ``("0.2.0", "2026-12-01")``.

    Raises:
        ValueError: there is none in the usual form.
    """
    found = re.search(r"^## \[([^\]\n]+)\](?: - (\d{4}-\d\d-\d\d))?$", changelog, re.MULTILINE)
    if found is None:
        raise ValueError("CHANGELOG.md has no section such as: ## [0.2.0] - 2026-12-01")
    return found[1], found[2]


def disagreements(pyproject: str, changelog: str, citation: str) -> list[str]:
    """What version, changelog and citation say differently, a sentence each.

    Between releases the version ends with ``.dev0``, the changelog begins with Unreleased, the citation has no date.
    """
    version, (title, date) = version_of(pyproject), latest_of(changelog)
    cited, cited_date = entry_of(citation, "version"), entry_of(citation, "date-released")
    expected = "Unreleased" if version.endswith(".dev0") else version
    wrong = []
    if title != expected:
        wrong.append(f"CHANGELOG.md begins with {title}, but the version in pyproject.toml is {version}")
    if title != "Unreleased" and date is None:
        wrong.append(f"CHANGELOG.md has no date for {title}")
    if cited != version:
        wrong.append(f"CITATION.cff has version {cited}, but pyproject.toml has {version}")
    if cited_date != date:
        wrong.append(f"CITATION.cff has date-released {cited_date}, but CHANGELOG.md has {date}")
    return wrong


def unready(version: str, status: str, tags: str) -> list[str]:
    """Why a checkout is not that of a release, a sentence each.

    Args:
        version: the project's.
        status: what ``git status --porcelain`` prints.
        tags: what ``git tag`` prints.
    """
    wrong = []
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        wrong.append(f"{version} is no version to release: take .dev0 off in pyproject.toml and CITATION.cff")
    if status.strip():
        wrong.append("there are changes that are not committed:\n" + status.rstrip())
    if f"v{version}" in tags.split():
        wrong.append(f"the tag v{version} is there already")
    return wrong


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout


def main() -> list[str]:
    """What stands in the way of a release, a sentence each."""
    files = [
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("pyproject.toml", "CHANGELOG.md", "CITATION.cff")
    ]
    return disagreements(*files) + unready(version_of(files[0]), _git("status", "--porcelain"), _git("tag"))


if __name__ == "__main__":
    wrong = main()
    print(
        "not ready:\n- " + "\n- ".join(wrong)
        if wrong
        else BY_HAND.format(version=version_of((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    )
    sys.exit(bool(wrong))

"""An environment that has deltaoe.lite's packages, and no PyTorch, made of those that the tests run with.

The packages are linked, not installed, so that nothing is downloaded. ``pip`` finds them as if they were installed:
with ``PIP_NO_INDEX`` it does what a fresh machine's would do, and fails where a requirement is not met.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def needed(names: Iterable[str]) -> dict[str, Distribution]:
    """The distributions of these names and all that they need, without extras."""
    found: dict[str, Distribution] = {}
    left = [*names]
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        found[name] = distribution(name)
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
    return found


def environment_without_torch(folder: Path, names: Iterable[str]) -> Path:
    """Make a virtual environment with these distributions, what they need, and pip; returns its ``bin``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    (site,) = (folder / "lib").glob("python*/site-packages")
    for one in needed([*names, "pip"]).values():
        for top in {path.parts[0] for path in one.files or () if path.parts[0] not in ("..", "__pycache__")}:
            target = Path(str(one.locate_file(top))).resolve()
            if not (site / top).exists():
                (site / top).symlink_to(target)
    return folder / "bin"


def clean_variables(programs: Path, home: Path) -> Mapping[str, str]:
    """What a process of that environment sees: its programs first, no settings of the caller, no package index."""
    return {
        "PATH": os.pathsep.join([str(programs), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "OMP_NUM_THREADS": "1",
    }


def wheel_of_checkout(folder: Path, scratch: Path) -> Path:
    """Build deltaoe's wheel into a folder, from a copy of the checkout, with the setuptools that is here."""
    for name in ("deltaoe", "cli"):
        shutil.copytree(ROOT / name, scratch / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, scratch)
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, scratch], check=True, timeout=300)
    (wheel,) = folder.glob("deltaoe-*.whl")
    return wheel

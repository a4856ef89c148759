"""Build the source distribution and the wheel twice, compare them, and look into them.

``python .ci/distributions.py FOLDER`` leaves one of each in FOLDER, and says what is wrong with them. It is a part
of ``nox -s wheel``. What is built are the files that git tracks, as they lie there now.
"""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Folders of the repository that are packages, and what these are called when they are installed.
PACKAGES = {"deltaoe": "deltaoe", "cli": "deltaoe_cli"}
# What commands read at run time, beside code; a wheel without one of them would install and fail later.
NEEDED = (
    "deltaoe/py.typed",
    "deltaoe_cli/py.typed",
    "deltaoe/demo/small-clip.safetensors",
    "deltaoe/protocols/imagenet-10.toml",
    "deltaoe/report/templates/",
)
_ADDED_TO_SDIST = ("PKG-INFO", "setup.cfg", "deltaoe.egg-info/")
_ADDED_TO_WHEEL = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")


class Built(NamedTuple):
    """A source distribution and the wheel that was built from it."""

    sdist: Path
    wheel: Path


def tracked_files(root: Path) -> list[str]:
    """Paths, relative to the root of a checkout, of the files that git tracks and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True)
    return [name for name in os.fsdecode(listed.stdout).split("\0") if name and (root / name).is_file()]


def copy_files(root: Path, names: Iterable[str], target: Path) -> None:
    """Copy files into a folder, readable by all, executable if they were: what a checkout's umask does not change."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target / name)
        (target / name).chmod(0o755 if os.access(root / name, os.X_OK) else 0o644)


def commit_time(root: Path) -> int:
    """Time of the last commit, seconds since 1970: that of every file in the distributions."""
    asked = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(asked, cwd=root, check=True, capture_output=True).stdout)


def build(source: Path, out: Path, epoch: int, *options: str) -> Built:
    """Build the source distribution of a folder, and the wheel from what is in that, with ``python -m build``.

    Args:
        source: the folder.
        out: an empty or new folder.
        epoch: time of every file, seconds since 1970.
        options: of ``python -m build``.

    Raises:
        CalledProcessError: it failed; what it said is on standard error.
    """
    _build(source, out, epoch, *options)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Built(sdist, wheel)


def _build(source: Path, out: Path, epoch: int, *options: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", *options, "--outdir", str(out), str(source)],
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        umask=0o022,
        stdout=subprocess.DEVNULL,
    )


def contents(archive: Path) -> dict[str, bytes]:
    """The files in a wheel, or in a source distribution below its one folder: path → content."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}
    held = {}
    with tarfile.open(archive) as sdist:
        for entry in sdist:
            if (content := sdist.extractfile(entry) if entry.isfile() else None) is not None:
                held[str(PurePosixPath(*PurePosixPath(entry.name).parts[1:]))] = content.read()
    return held


def differences(first: Path, second: Path) -> list[str]:
    """What is not the same in two builds of one archive, a sentence each; empty if all bytes are equal."""
    if first.read_bytes() == second.read_bytes():
        return []
    one, other = contents(first), contents(second)
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    what = ", ".join(names[:5]) or "times, permissions or the order of the files"
    return [f"{first.name} is not the same in a second build: {what}"]


def wrong_in_sdist(held: Iterable[str], tracked: Iterable[str]) -> list[str]:
    """What a source distribution lacks of the tracked files, or has beside them, a sentence each."""
    own = {name for name in held if not name.startswith(_ADDED_TO_SDIST)}
    return _compared("the source distribution", own, set(tracked))


def wrong_in_wheel(held: Iterable[str], tracked: Iterable[str]) -> list[str]:
    """What a wheel lacks of the packages' tracked files, or has beside them, a sentence each."""
    wanted = set(NEEDED[:-1])
    for name in tracked:
        folder, _, rest = name.partition("/")
        if folder in PACKAGES and rest:
            wanted.add(f"{PACKAGES[folder]}/{rest}")
    held = set(held)
    own = {name for name in held if ".dist-info/" not in name}
    added = {name.split(".dist-info/")[1] for name in held if ".dist-info/" in name}
    wrong = _compared("the wheel", own, wanted) + _compared(
        "the wheel's .dist-info", added, set(_ADDED_TO_WHEEL)
    )
    if not any(name.startswith(NEEDED[-1]) for name in own):
        wrong.append(f"the wheel lacks {NEEDED[-1]}")
    return wrong


def unknown_classifiers(metadata: str, known: Collection[str]) -> list[str]:
    """The classifiers in a wheel's METADATA that a package index does not know, a sentence each."""
    declared = email.message_from_string(metadata).get_all("Classifier", [])
    return [f"there is no classifier {name}" for name in declared if name not in known]


def _compared(what: str, held: set[str], wanted: set[str]) -> list[str]:
    return [f"{what} lacks {name}" for name in sorted(wanted - held)] + [
        f"{what} has {name}, which does not belong into it" for name in sorted(held - wanted)
    ]


def main(out: Path) -> list[str]:
    """Build from two copies of the checkout, the wheel also straight from one, and leave the first in a folder.

    Args:
        out: an empty or new folder.

    Returns:
        What is wrong, a sentence each.
    """
    from trove_classifiers import classifiers

    tracked, epoch = tracked_files(ROOT), commit_time(ROOT)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copies = [folder / "one", folder / "another"]
        for copy in copies:
            copy_files(ROOT, tracked, copy)
        first = build(copies[0], out, epoch)
        second = build(copies[1], folder / "again", epoch)
        _build(copies[1], folder / "straight", epoch, "--wheel")
        (straight,) = (folder / "straight").glob("*.whl")
        held = contents(first.wheel)
        (metadata,) = (held[name].decode() for name in held if name.endswith(".dist-info/METADATA"))
        return [
            *differences(first.sdist, second.sdist),
            *differences(first.wheel, second.wheel),
            *differences(first.wheel, straight),
            *wrong_in_sdist(contents(first.sdist), tracked),
            *wrong_in_wheel(held, tracked),
            *unknown_classifiers(metadata, classifiers),
        ]


if __name__ == "__main__":
    wrong = main(Path(sys.argv[1]))
    print("\n".join(wrong) or f"equal in two builds, and complete: {sys.argv[1]}")
    sys.exit(bool(wrong))

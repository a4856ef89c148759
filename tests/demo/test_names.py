"""The demo's vocabulary: what its world can draw, in a file that is never anybody else's."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from deltaoe.demo.names import DEFAULTS_FILE, NAMES, write_vocabulary
from deltaoe.demo.world import KNOWN, pictures
from deltaoe.errors import DataError


def test_names_are_those_of_unknown_pictures(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    names = (tmp_path / NAMES).read_text(encoding="utf-8").splitlines()
    assert set(names) == {picture.kind for picture in pictures()} - set(KNOWN) and len(names) == len(
        set(names)
    )
    assert tomllib.loads((tmp_path / DEFAULTS_FILE).read_text(encoding="utf-8")) == {"vocabulary": NAMES}


@pytest.mark.parametrize("name", [NAMES, DEFAULTS_FILE])
def test_a_file_of_somebody_is_not_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("shots = 3\n")
    with pytest.raises(DataError, match="is not the demo's"):
        write_vocabulary(tmp_path)
    assert (tmp_path / name).read_text() == "shots = 3\n"
    (tmp_path / name).unlink()
    write_vocabulary(tmp_path)
    write_vocabulary(tmp_path)

"""Files for the tests of decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from decoded import Files

from deltaoe.extraction.kept_process import kept_process


@pytest.fixture(autouse=True)
def no_process_of_another_test() -> None:
    """A test that replaces what processes run, or counts them, starts its own."""
    process = kept_process()
    if process is not None:
        process.end()


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., Files]:
    """Files of given words."""
    return lambda *words: Files(tmp_path, words)

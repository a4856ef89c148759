"""Files for the tests of decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from decoded import Files

from deltaoe.extraction import decoding


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Files]:
    """Files of given words; however few there are, processes decode them where there may be some."""
    monkeypatch.setattr(decoding, "_FEW_FILES", 1)
    return lambda *words: Files(tmp_path, words)

"""A place for the tests of the feature store."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a feature store may be."""
    return tmp_path / "features" / "0123"

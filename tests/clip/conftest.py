from __future__ import annotations

import pytest

from deltaoe.clip import text_tower


@pytest.fixture(params=[0.0, text_tower._PADDING, 1000.0], ids=["no padding", "some padding", "one group"])
def padding(request, monkeypatch):
    """As on a CPU, as on a GPU, and as much as it takes to have one group."""
    monkeypatch.setattr(text_tower, "_padding", lambda device: request.param)
    return request.param

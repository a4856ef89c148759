from __future__ import annotations

import pytest

from deltaoe.models import prompts


@pytest.fixture(params=[0.0, prompts._PADDING, 1000.0], ids=["no padding", "some padding", "one group"])
def padding(request, monkeypatch):
    """As on a CPU, as on a GPU, and as much as it takes to have one group."""
    monkeypatch.setattr(prompts, "_padding", lambda device: request.param)
    return request.param

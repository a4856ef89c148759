from __future__ import annotations

import pytest

from deltaoe.clip import prompt_suffixes


@pytest.fixture(
    params=[0.0, prompt_suffixes._GPU_PADDING, 1000.0], ids=["no padding", "some padding", "one group"]
)
def padding(request, monkeypatch):
    """As on a CPU, as on a GPU, and as much as it takes to have one group."""
    monkeypatch.setattr(prompt_suffixes, "_default_padding", lambda device: request.param)
    return request.param

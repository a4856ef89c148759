from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from deltaoe.models import prompts


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small models gain nothing from a second thread, and on a busy machine they wait for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[0.0, prompts._PADDING, 1000.0], ids=["no padding", "some padding", "one group"])
def padding(request, monkeypatch):
    """As on a CPU, as on a GPU, and as much as it takes to have one group."""
    monkeypatch.setattr(prompts, "_padding", lambda device: request.param)
    return request.param

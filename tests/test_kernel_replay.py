"""What ``replayed`` does on a machine without a GPU, with a stand-in for the capture."""

from __future__ import annotations

import types
import warnings

import pytest
import torch

from deltaoe.runtime import replayed

MISMATCH = "The AccumulateGrad node's stream does not match the stream of the node that produced the gradient. "


def on_gpu(tensor: torch.Tensor):
    """A tensor that says it is on a GPU."""
    copy = types.SimpleNamespace(clone=lambda: tensor.clone())
    return types.SimpleNamespace(device=types.SimpleNamespace(type="cuda"), detach=lambda: copy)


def capturing(message: str):
    """PyTorch's capture, which warns and hands the function back."""

    def capture(function, sample, num_warmup_iters):
        warnings.warn(message, UserWarning, stacklevel=2)
        return lambda given: function(given)

    return capture


def test_the_warning_about_pytorchs_own_warm_up_is_not_heard(monkeypatch):
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capturing(MISMATCH + "Some more."))
    encode = replayed(torch.sin, on_gpu(torch.ones(2)))
    assert encode is not torch.sin and torch.equal(encode(torch.ones(2)), torch.sin(torch.ones(2)))


def test_other_warnings_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capturing("this GPU is on fire"))
    with pytest.warns(UserWarning, match="on fire"):
        replayed(torch.sin, on_gpu(torch.ones(2)))


def test_a_cpu_needs_no_capture(monkeypatch):
    monkeypatch.delattr(torch.cuda, "make_graphed_callables")
    assert replayed(torch.sin, torch.ones(2)) is torch.sin

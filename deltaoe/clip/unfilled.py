"""Models built without drawing random weights that a file replaces at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# They fill their first argument, and return it.
_OF_INIT = ("kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_", "xavier_uniform_")
_DRAWN = frozenset({Tensor.normal_, Tensor.uniform_, *(getattr(nn.init, name) for name in _OF_INIT)})


def build(create: Callable[[], nn.Module]) -> nn.Module:
    """The model that ``create`` builds and fills from a file, every weight as that file has it.

    A ViT-B/32 draws 150 million random numbers, twice as long as its file takes to read. Here they are NaN. If one is
    left, because a part is not in the file, the model is built again with random numbers.
    """
    with _NothingDrawn():
        model = create()
    return create() if any(_has_nan(tensor) for tensor in model.state_dict().values()) else model


def _has_nan(tensor: Tensor) -> bool:
    # A sum is NaN if a summand is; unlike isnan() it writes nothing. Of infinities it may be NaN, too.
    return tensor.is_floating_point() and bool(tensor.sum(dtype=torch.float32).isnan())


class _NothingDrawn(TorchFunctionMode):
    """A context in which what draws random weights fills them with NaN instead, in this thread."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        weights = args[0] if args else named.get("tensor")
        if func in _DRAWN and isinstance(weights, Tensor):
            with torch.no_grad():
                return weights.fill_(torch.nan)
        return func(*args, **named)

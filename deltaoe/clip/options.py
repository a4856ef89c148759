"""Which model makes and reads features, as a user says it; apart from what loads it, which takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from deltaoe.clip.reference import DEFAULT_MODEL, ModelRef
from deltaoe.options import EXPERT, MODEL, Option, Options

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class ModelOptions(Options):
    """The model, and where and how it computes.

    Attributes:
        model: what to load; None for the model of the data or of the detector at hand.
        pretrained: open_clip's tag of the weights, or a weight file.
        precision: arithmetic of the image tower; ``auto`` for that of the cache or detector at hand, else the device's
            fastest.
        device: where to compute.
        offline: never contact a network.
    """

    model: Annotated[
        str | None,
        Option(
            "open_clip model (ViT-B-16, ViT-L-14, …), hf-hub:ORG/REPO, or local-dir:DIR.",
            panel=MODEL,
            unset=f"that of the data or detector at hand, else {DEFAULT_MODEL}",
        ),
    ] = None
    pretrained: Annotated[
        str | None,
        Option(
            "open_clip's tag of the weights, or a weight file.",
            panel=MODEL,
            path=True,
            unset="openai",
        ),
    ] = None
    device: Annotated[str, Option("auto, cpu, cuda, cuda:1, mps.", panel=MODEL)] = "auto"
    offline: Annotated[bool, Option("Never contact a network; use weights that are here.", panel=MODEL)] = (
        False
    )
    precision: Annotated[
        Precision,
        Option(
            "Arithmetic of the image tower. auto: that of the cache or detector at hand, else the device's fastest.",
            panel=EXPERT,
        ),
    ] = "auto"

    def reference(self, default: str = DEFAULT_MODEL) -> ModelRef:
        """The model asked for, else ``default``. Raises ConfigError for a name that cannot be one."""
        return ModelRef.parse(self.model or default, self.pretrained)

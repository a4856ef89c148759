"""Which model makes and reads features, as a user says it; apart from what loads it, which takes seconds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Literal

from deltaoe.clip.reference import DEFAULT_MODEL, ModelRef
from deltaoe.images.decode_policy import DecodeMode
from deltaoe.options import EXPERT, MODEL, Option, Options

TEMPLATE = "a photo of a {}."  # of zero-shot prompts, unless another is asked for
MODEL_VARIABLE, PRETRAINED_VARIABLE = "DELTAOE_MODEL", "DELTAOE_PRETRAINED"

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class ModelOptions(Options):
    """The model, and where and how it computes.

    Attributes:
        model: what to load; None for $DELTAOE_MODEL, else the model of the detector or of the features at hand.
        pretrained: open_clip's tag of the weights, or a weight file; if both are None, $DELTAOE_PRETRAINED.
        precision: arithmetic of the image tower; ``auto`` for that of the cache or detector at hand, else the device's
            fastest.
        device: where to compute.
        offline: never contact a network.
        sample_range: which samples of more than eight bits are black and white; None for that of the cache or detector
            at hand, else ``auto``.
        decode: how JPEGs become pixels; None for that of the cache or detector at hand, else ``exact``.
    """

    model: Annotated[
        str | None,
        Option(
            "open_clip model (ViT-B-16, ViT-L-14, …), hf-hub:ORG/REPO, or local-dir:DIR.",
            panel=MODEL,
            unset=f"that of the detector or features at hand, else {DEFAULT_MODEL}",
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

    sample_range: Annotated[
        str | None,
        Option(
            "Black and white of 16-bit and floating-point images: auto (found per file), LOW..HIGH, or bits:12.",
            panel=EXPERT,
            unset="that of the cache or detector at hand, else auto",
        ),
    ] = None
    decode: Annotated[
        DecodeMode | None,
        Option(
            "How JPEGs are decoded: exact; fast, reduced by the decoder on the way; gpu, on a CUDA device.",
            panel=EXPERT,
            unset="that of the cache or detector at hand, else exact",
        ),
    ] = None

    @property
    def asked(self) -> str | None:
        """The model asked for, by :attr:`model` or else by the environment; None if none is."""
        return self.model or os.environ.get(MODEL_VARIABLE) or None

    def reference(self, default: str = DEFAULT_MODEL) -> ModelRef:
        """The model asked for, else ``default``. Raises ConfigError for a name that cannot be one."""
        pretrained = self.pretrained
        if pretrained is None and self.model is None:  # a model that was named has weights of its own
            pretrained = os.environ.get(PRETRAINED_VARIABLE) or None
        return ModelRef.parse(self.asked or default, pretrained)

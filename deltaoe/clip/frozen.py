"""A frozen CLIP model: images and prompts to unit features, and the identity of their feature space."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deltaoe.clip.image_tower import ImageTower
from deltaoe.clip.loading import config_digest, load_model, load_tokenizer, weights_digest
from deltaoe.clip.precision import DTYPES, NOT_FINITE_HINTS, convert_image_tower
from deltaoe.clip.preprocessing import Scaling
from deltaoe.clip.prompt_learner import (
    CONTEXT_LENGTH,
    Position,
    Precision,
    PromptLearner,
    phrase_context,
    random_context,
)
from deltaoe.clip.prompt_suffixes import Suffixes, common_prefix_length
from deltaoe.clip.reference import ModelRef
from deltaoe.clip.text_tower import TextTower
from deltaoe.errors import ConfigError, DeltaoeError, ModelError, first_line
from deltaoe.images.decode_policy import EXACT, PLAIN_DECODE_POLICY
from deltaoe.images.geometry import Geometry
from deltaoe.images.range_names import AUTO
from deltaoe.progress import OnEvent, silent
from deltaoe.runtime import PRECISIONS, copy_to, exact_convolutions, is_out_of_memory
from deltaoe.store.feature_space import FeatureSpace, canonical_json

_TEXT_BATCH = 512  # prompts per call of the text tower


class FrozenClip:
    """An open_clip model with both towers frozen (Radford et al., ICML 2021). Made by :meth:`load`.

    Attributes:
        space: identity of the image feature space; ``space.dim`` is D.
        device: the device of weights and computation.
        geometry: how pictures are resized and cut for :meth:`encode_pixels`.
        image_size: (H, W) of the model's input, in pixels.
        logit_scale: the model's own factor on cosines (100 for OpenAI's models).
    """

    def __init__(
        self,
        model: Any,
        config: dict[str, Any],
        ref: ModelRef,
        device: torch.device,
        precision: str = "fp32",
        sample_range: str = AUTO,
        decode: str = EXACT,
    ) -> None:
        settings = model.visual.preprocess_cfg
        self.geometry = dataclasses.replace(
            Geometry.of(settings), sample_range=sample_range, decode_mode=decode
        )
        self.image_size = (self.geometry.height, self.geometry.width)
        self._scaling = Scaling.of(settings)
        self._device_scaling = self._scaling.to(device)
        self._model = model
        self._ref = ref
        self._precision = precision
        self._on: OnEvent = silent
        self.device = device
        self.logit_scale = float(model.logit_scale.exp().mean())
        # The digest is of the weights as loaded; the space names the precision they are rounded to separately.
        weights = weights_digest(model)
        convert_image_tower(model.visual, DTYPES[precision])
        # Encoding any picture shows the features' dimension, and whether the tower can compute in this precision.
        rows, columns = np.indices(self.image_size)
        picture = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)
        dim = self.encode_pixels(picture[None]).shape[1]
        self.space = FeatureSpace(
            model=str(ref),
            weights=weights,
            config=config_digest(config),
            preprocess=canonical_json(settings),
            precision=precision,
            decode_policy=PLAIN_DECODE_POLICY,
            dim=dim,
            sample_range=sample_range,
            decode=decode,
        )

    @classmethod
    def load(
        cls,
        ref: ModelRef,
        device: torch.device,
        *,
        precision: str = "fp32",
        sample_range: str = AUTO,
        decode: str = EXACT,
        offline: bool = False,
        on: OnEvent = silent,
    ) -> FrozenClip:
        """Load a model by open_clip's name and tag, ``hf-hub:`` or ``local-dir:``.

        Args:
            ref: the model's name.
            device: the device that will hold the weights.
            precision: ``fp32``, ``bf16`` or ``fp16``: arithmetic of the image tower. The text tower, through which
                prompts are learned, computes in ``fp32``.
            sample_range: of samples of more than eight bits, as
                :func:`~deltaoe.images.range_names.canonical_range` writes it.
            decode: how JPEGs become pixels: ``exact``, ``fast`` or ``gpu``.
            offline: contact no network, from now on in this process.
            on: told what is downloaded, before and while it is.

        Raises:
            ConfigError: there is no such model, tag, folder or precision.
            ModelError: weights cannot be reached or are broken, or the image tower cannot compute in this precision.
        """
        if precision not in PRECISIONS:
            raise ConfigError(f"unknown precision {precision!r}", hint=f"use {', '.join(PRECISIONS)}")
        model, config = load_model(ref, device, offline=offline, on=on)
        try:
            clip = cls(model, config, ref, device, precision, sample_range, decode)
        except Exception as cause:  # open_clip asserts, or computes with what its configuration says
            if isinstance(cause, DeltaoeError):
                hint = cause.hint
            elif is_out_of_memory(cause):
                hint = "use a smaller model, or --device cpu"
            elif precision != "fp32":
                hint = "use --precision fp32"
            else:
                hint = "check the model's open_clip_config.json"
            how = "" if precision == "fp32" else f" in {precision}"
            raise ModelError(f"cannot use {ref}{how}: {first_line(cause)}", hint=hint) from cause
        clip._on = on
        return clip

    def preprocess(self, image: Image.Image) -> Tensor:
        """The model's input (3, H, W) float32 from an RGB picture: open_clip's own transform. Thread-safe."""
        return self._scaling(torch.from_numpy(self.geometry.centred(image))[None])[0].contiguous()

    @torch.inference_mode()
    def encode_pixels(self, pixels: NDArray[np.uint8] | Tensor) -> Tensor:
        """Image features (B, D) of pictures cut by :attr:`geometry`: unit rows, float32, on the CPU.

        Args:
            pixels: (B, H, W, 3) uint8, on the CPU or the model's device, where scaling and normalisation happen.

        Raises:
            ConfigError: pixels of another shape or type.
            ModelError: a feature is not finite.
        """
        kind, shape = str(pixels.dtype).removeprefix("torch."), tuple(pixels.shape)
        if kind != "uint8" or len(shape) != 4 or shape[1:] != (*self.image_size, 3):
            height, width = self.image_size
            raise ConfigError(
                f"pixels must be uint8 of shape (B, {height}, {width}, 3), not {kind} of {shape}",
                hint="FrozenClip.geometry cuts pictures to that",
            )
        if not len(pixels):
            return torch.empty(0, self.space.dim)
        if isinstance(pixels, np.ndarray):
            # What other processes send may be read-only, of which torch warns though nobody writes.
            pixels = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        return self._encode(self._device_scaling(copy_to(pixels.contiguous(), self.device)))

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        """Image features (B, D) of preprocessed images (B, 3, H, W): unit rows, float32, on the CPU.

        Raises:
            ModelError: a feature is not finite.
        """
        return self._encode(batch.to(self.device, non_blocking=True, memory_format=torch.channels_last))

    def _encode(self, batch: Tensor) -> Tensor:
        with exact_convolutions():
            raw = self._model.encode_image(batch.to(DTYPES[self._precision])).float()
        features = F.normalize(raw, dim=-1).cpu()
        broken = int((~features.isfinite()).any(dim=-1).sum())
        if broken:
            raise ModelError(
                f"the features of {broken} of {len(features)} images are not finite numbers in {self._precision}",
                hint=NOT_FINITE_HINTS[self._precision],
            )
        return features

    def image_tower(self) -> ImageTower:
        """The image side as one module in float32 on the CPU, to be exported; nothing else can be encoded afterwards.

        Weights that were rounded to half precision stay rounded, while the arithmetic is float32's.
        """
        return ImageTower(self._model, self._scaling)

    @functools.cached_property
    def tokenizer(self) -> Callable[..., Tensor]:
        """open_clip's tokenizer of the model: from K texts to token ids (K, L), what is longer cut off.

        Raises:
            ModelError: it cannot be loaded.
        """
        return load_tokenizer(self._ref, on=self._on)

    @functools.cached_property
    def tower(self) -> TextTower:
        """The text tower, through which prompts are learned.

        Raises:
            ModelError: the model's text tower is of an unsupported kind.
        """
        return TextTower(self._model)

    @torch.no_grad()
    def encode_text(
        self, prompts: Sequence[str], progress: Callable[[int], None] = lambda done: None
    ) -> Tensor:
        """Text features (K, D) of K prompts: unit rows, float32, on the CPU.

        Args:
            prompts: K texts; what exceeds the model's context length is cut off.
            progress: called with the number of prompts done.

        Raises:
            ModelError: the tokenizer cannot be loaded.
        """
        try:
            tower: TextTower | None = self.tower
        except ModelError:
            tower = None
        out = []
        for start in range(0, len(prompts), _TEXT_BATCH):
            tokens = self.tokenizer(list(prompts[start : start + _TEXT_BATCH]))
            if tower is None:
                features = self._model.encode_text(tokens.to(self.device), normalize=True)
            else:
                rows = tower.up_to_eot(tokens)
                shared = common_prefix_length(rows)
                suffixes = Suffixes.of([row[shared:] for row in rows], self.device)
                features = tower.encode(tower.embed(rows[0][:shared]), suffixes)
            out.append(features.float().cpu())
            progress(start + len(tokens))
        return torch.cat(out)

    def prompt_learner(
        self,
        class_names: Sequence[str],
        length: int | None,
        phrase: str | None,
        generator: torch.Generator,
        *,
        position: Position = "end",
        class_specific: bool = False,
        chunk: int | None = None,
        precision: Precision = "fp32",
    ) -> PromptLearner:
        """A prompt learner with n context vectors, for the given classes.

        Args:
            class_names: K names.
            length: n; None means 16, or the phrase's own number of tokens.
            phrase: initial context: these words' embeddings, repeated to fill ``length``; None draws it at random.
            generator: of the random context; contexts of different classes are drawn independently.
            position: where the name stands: after the vectors (``end``), between their halves (``middle``) or
                before them (``front``).
            class_specific: learn one context per class instead of one for all.
            chunk: number of classes to encode at a time; None: as many as about 2 GiB of activations allow.
            precision: arithmetic of the text tower; ``fp16`` needs a scaled loss.

        Raises:
            ConfigError: the context is empty, a prompt is too long for the model, or an option is unknown.
            ModelError: the text tower is of an unsupported kind.
        """
        tower = self.tower
        if length is not None and length < 1:
            raise ConfigError(f"the context length must be at least 1, not {length}")
        if phrase is None:
            each = (len(class_names),) if class_specific else ()
            context = random_context(*each, length or CONTEXT_LENGTH, tower.width, generator=generator)
        else:
            context = phrase_context(tower, self.tokenizer, phrase, length)
            if class_specific:
                context = context.expand(len(class_names), -1, -1)
        return PromptLearner.for_names(
            tower,
            self.tokenizer,
            class_names,
            context.to(self.device),
            position=position,
            chunk=chunk,
            precision=precision,
        )

    def encode_with_context(
        self,
        learner: PromptLearner,
        names: Sequence[str],
        progress: Callable[[int], None] = lambda done: None,
    ) -> Tensor:
        """Text features (M, D) of other names in a learned context: unit rows, float32, on the CPU.

        Where each class has its own context, the mean over the classes is taken **[reading]**.

        Args:
            learner: a prompt learner of this model; its context, position and precision are used.
            names: M names, such as background labels.
            progress: called with the number of names done.

        Raises:
            ConfigError: a prompt is too long for the model.
        """
        out = [torch.empty(0, self.space.dim)]
        with torch.no_grad():
            context = learner.class_independent_context().to(self.device)
            for start in range(0, len(names), _TEXT_BATCH):
                batch = names[start : start + _TEXT_BATCH]
                other = PromptLearner.for_names(
                    self.tower,
                    self.tokenizer,
                    batch,
                    context,
                    position=learner.position,
                    chunk=None,
                    precision=learner.precision,
                )
                out.append(other().cpu())
                progress(start + len(batch))
        return torch.cat(out)

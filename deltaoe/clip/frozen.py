"""A frozen CLIP: images and prompts to unit features, and the identity of the space they live in."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deltaoe.clip.loading import config_digest, load_model, load_tokenizer, weights_digest
from deltaoe.clip.preprocessing import Scaling
from deltaoe.clip.prompt_learner import Position, Precision, PromptLearner, random_context
from deltaoe.clip.reference import ModelRef
from deltaoe.clip.text_tower import Suffixes, TextTower, common_prefix
from deltaoe.errors import ConfigError, DeltaoeError, ModelError, first_line
from deltaoe.images.decode import DECODE_POLICY
from deltaoe.images.geometry import Geometry
from deltaoe.runtime import PRECISIONS, copy_to, exact_convolutions, is_out_of_memory
from deltaoe.store.feature_space import FeatureSpace, canonical_json

_TEXT_BATCH = 512
# What to do where numbers leave a precision's range.
_FINITE = {
    "fp32": "the weights are damaged, or not made for this architecture",
    "bf16": "use --precision fp32",
    "fp16": "use --precision fp32, or bf16, whose range is as wide",
}
_DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16), strict=True))


class FrozenClip:
    """An open_clip model with both towers frozen. Make one with :meth:`load`.

    Attributes:
        space: identity of its image feature space.
        device: where it computes.
        geometry: how its pictures are cut, for :meth:`encode_pixels`.
        image_size: H and W of its pictures.
        logit_scale: CLIP's own factor on cosines (100 for OpenAI's models).
    """

    def __init__(
        self, model: Any, config: dict[str, Any], ref: ModelRef, device: torch.device, precision: str = "fp32"
    ) -> None:
        settings = model.visual.preprocess_cfg
        self.geometry = Geometry.of(settings)
        self.image_size = (self.geometry.height, self.geometry.width)
        self._scaling = Scaling.of(settings)
        self._scaling_there = self._scaling.to(device)
        self._model = model
        self._ref = ref
        self._precision = precision
        self.device = device
        self.logit_scale = float(model.logit_scale.exp().mean())
        # Of what was loaded; the space says beside it what that is rounded to.
        weights = weights_digest(model)
        _convert(model.visual, _DTYPES[precision])
        # Any picture tells the number of components, and whether this tower can compute in this precision.
        rows, columns = np.indices(self.image_size)
        picture = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)
        dim = self.encode_pixels(picture[None]).shape[1]
        self.space = FeatureSpace(
            model=str(ref),
            weights=weights,
            config=config_digest(config),
            preprocess=canonical_json(settings),
            precision=precision,
            decode_policy=DECODE_POLICY,
            dim=dim,
        )

    @classmethod
    def load(
        cls,
        ref: ModelRef,
        device: torch.device,
        *,
        precision: str = "fp32",
        offline: bool = False,
        notify: Callable[[str], None] = lambda message: None,
    ) -> FrozenClip:
        """Load a model by open_clip's name and tag, ``hf-hub:`` or ``local-dir:``.

        Args:
            ref: what to load.
            device: where to.
            precision: ``fp32``, ``bf16`` or ``fp16``, in which the image tower computes. The text tower, through
                which prompts are learned, computes in ``fp32``.
            offline: never contact a network, from now on in this process.
            notify: called with a sentence before something is downloaded.

        Raises:
            ConfigError: no such model, tag, folder or precision.
            ModelError: weights are out of reach or broken, or the image tower cannot compute in this precision.
        """
        if precision not in PRECISIONS:
            raise ConfigError(f"unknown precision {precision!r}", hint=f"use {', '.join(PRECISIONS)}")
        model, config = load_model(ref, device, offline=offline, notify=notify)
        try:
            return cls(model, config, ref, device, precision)
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

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB picture to the model's input, (3, H, W) float32: open_clip's own transform. Safe in threads."""
        return self._scaling(torch.from_numpy(self.geometry.centred(image))[None])[0].contiguous()

    @torch.inference_mode()
    def encode_pixels(self, pixels: NDArray[np.uint8] | Tensor) -> Tensor:
        """Pictures cut by :attr:`geometry` to features (B, D), unit rows, float32, on the CPU.

        Args:
            pixels: (B, H, W, 3) uint8, on the CPU. The rest of the preprocessing happens on the device.

        Raises:
            ConfigError: they are of another shape or type.
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
        return self._encode(self._scaling_there(copy_to(pixels.contiguous(), self.device)))

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) to features (B, D), unit rows, float32, on the CPU.

        Raises ModelError where a feature is not finite.
        """
        return self._encode(batch.to(self.device, non_blocking=True, memory_format=torch.channels_last))

    def _encode(self, batch: Tensor) -> Tensor:
        with exact_convolutions():
            raw = self._model.encode_image(batch.to(_DTYPES[self._precision])).float()
        features = F.normalize(raw, dim=-1).cpu()
        broken = int((~features.isfinite()).any(dim=-1).sum())
        if broken:
            raise ModelError(
                f"the features of {broken} of {len(features)} images are not finite numbers in {self._precision}",
                hint=_FINITE[self._precision],
            )
        return features

    @functools.cached_property
    def _tokenizer(self) -> Callable[[list[str]], Tensor]:
        return load_tokenizer(self._ref)

    @functools.cached_property
    def tower(self) -> TextTower:
        """The text tower, for prompts with learnable parts. Raises ModelError if it is of an unsupported kind."""
        return TextTower(self._model)

    @torch.no_grad()
    def encode_text(
        self, prompts: Sequence[str], progress: Callable[[int], None] = lambda done: None
    ) -> Tensor:
        """Text prompts to features (K, D), unit rows, float32, on the CPU.

        ``progress`` is called with the number of prompts done. Raises ModelError without a usable tokenizer.
        """
        try:
            tower: TextTower | None = self.tower
        except ModelError:
            tower = None
        out = []
        for start in range(0, len(prompts), _TEXT_BATCH):
            tokens = self._tokenizer(list(prompts[start : start + _TEXT_BATCH]))
            if tower is None:
                features = self._model.encode_text(tokens.to(self.device), normalize=True)
            else:
                rows = tower.up_to_eot(tokens)
                shared = common_prefix(rows)
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
        """A learner with ``length`` context vectors around the classes' names.

        Args:
            class_names: K names.
            length: n; None means 16, or the phrase's own number of tokens.
            phrase: start from these words' embeddings, repeated to fill ``length``; None starts at random.
            generator: for a random start; contexts of different classes are drawn independently.
            position: where the name stands: behind the vectors (``end``), between their halves (``middle``) or
                before them (``front``).
            class_specific: learn a context for each class instead of one for all.
            chunk: number of classes to encode at a time; None: as many as about 2 GiB of activations allow.
            precision: in which the text tower computes; ``fp16`` needs a loss that is scaled.

        Raises:
            ConfigError: the context is empty, a prompt is too long for the model, or an option is unknown.
            ModelError: the text tower is of an unsupported kind.
        """
        tower = self.tower
        if length is not None and length < 1:
            raise ConfigError(f"the context length must be at least 1, not {length}")
        if phrase is None:
            each = (len(class_names),) if class_specific else ()
            context = random_context(*each, length or 16, tower.width, generator=generator)
        else:
            words = tower.up_to_eot(self._tokenizer([phrase]))[0][1:-1]
            if not words:
                raise ConfigError("the context phrase holds no words", hint='for example "a photo of a"')
            wanted = length or len(words)
            repeated = [words[i % len(words)] for i in range(wanted)]
            context = tower.embed(repeated).detach()
            if class_specific:
                context = context.expand(len(class_names), -1, -1)
        return self._learner(class_names, context, position, chunk, precision)

    def encode_behind(
        self,
        learner: PromptLearner,
        names: Sequence[str],
        progress: Callable[[int], None] = lambda done: None,
    ) -> Tensor:
        """Features (M, D) of other names with a learned context, unit rows, float32, on the CPU.

        Where each class has its own context, the mean over the classes is taken.

        Args:
            learner: whose context, position and precision; one of this model's.
            names: M names.
            progress: called with the number of names done.

        Raises:
            ConfigError: a prompt is too long for the model.
        """
        out = [torch.empty(0, self.space.dim)]
        with torch.no_grad():
            for start in range(0, len(names), _TEXT_BATCH):
                part = names[start : start + _TEXT_BATCH]
                other = self._learner(part, learner.for_all(), learner.position, None, learner.precision)
                out.append(other().cpu())
                progress(start + len(part))
        return torch.cat(out)

    def _learner(
        self,
        class_names: Sequence[str],
        context: Tensor,
        position: Position,
        chunk: int | None,
        precision: Precision,
    ) -> PromptLearner:
        tower = self.tower
        if position == "end":
            # With the full stop, as one text: "!" and "." are one token.
            rows = tower.up_to_eot(self._tokenizer([f"{name}." for name in class_names]))
            stop: list[int] = []
        else:
            rows = tower.up_to_eot(self._tokenizer(list(class_names)))
            stop = tower.up_to_eot(self._tokenizer(["."]))[0][1:-1]
        longest = max(range(len(rows)), key=lambda i: len(rows[i]))
        tokens = context.shape[-2] + len(rows[longest]) + len(stop)
        if tokens > tower.context_length:
            raise ConfigError(
                f"the prompt for class {class_names[longest]!r} has {tokens} tokens, "
                f"the model reads {tower.context_length}",
                hint="shorten --context-length, or rename the class with deltaoe extract --classes FILE",
            )
        return PromptLearner(
            tower,
            rows[0][0],
            [row[1:-1] for row in rows],
            [*stop, rows[0][-1]],
            context.to(self.device),
            position=position,
            chunk=chunk,
            precision=precision,
        )


def _convert(tower: torch.nn.Module, dtype: torch.dtype) -> None:
    """Bring an image tower, in place, into the layout and the precision that it computes in."""
    # Convolutions run up to twice as fast on this layout; the numbers stay the same up to rounding.
    tower.to(memory_format=torch.channels_last)
    if dtype == torch.float32:
        return
    tensors = dict(itertools.chain(tower.named_parameters(), tower.named_buffers()))
    before = {name for name, tensor in tensors.items() if tensor.isfinite().all()}
    tower.to(dtype)
    # An infinite variance would not show in the features: its channel would only fall silent.
    tensors = dict(itertools.chain(tower.named_parameters(), tower.named_buffers()))
    for name in before:
        if not tensors[name].isfinite().all():
            raise ModelError(f"the weights {name} are out of this precision's range", hint=_FINITE["fp16"])

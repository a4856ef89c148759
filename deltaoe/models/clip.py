"""A frozen CLIP: images and prompts to unit features, and the identity of the space they live in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from PIL import Image
from torch import Tensor

from deltaoe.data.images import DECODE_POLICY
from deltaoe.data.space import FeatureSpace, canonical_json
from deltaoe.errors import ConfigError, ModelError, first_line
from deltaoe.models.loading import config_digest, load_model, load_tokenizer, weights_digest
from deltaoe.models.prompts import PromptLearner, Suffixes, TextTower, common_prefix, random_context
from deltaoe.models.reference import ModelRef

# Pictures more extreme than this are cut to it around their centre before they are resized: the centre crop that
# follows keeps 1:1 of it, and resizing the shorter side of a 1×20000 strip to 224 would take gigabytes.
_MOST_EXTREME_ASPECT = 16
_TEXT_BATCH = 512


class FrozenClip:
    """An open_clip model with both towers frozen. Make one with :meth:`load`.

    Attributes:
        space: identity of its image feature space.
        device: where it computes.
        logit_scale: CLIP's own factor on cosines (100 for OpenAI's models).
    """

    def __init__(self, model: Any, config: dict[str, Any], ref: ModelRef, device: torch.device) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        # Convolutions run up to twice as fast on this layout; the numbers stay the same up to rounding.
        model.visual.to(memory_format=torch.channels_last)
        self._model = model
        self._ref = ref
        self.device = device
        self.logit_scale = float(model.logit_scale.exp().mean())
        settings = model.visual.preprocess_cfg
        self._transform = image_transform_v2(PreprocessCfg(**settings), is_train=False)
        self._shortest = settings.get("resize_mode", "shortest") == "shortest"
        size = settings["size"]
        self.image_size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        with torch.inference_mode():
            probe = torch.zeros(1, 3, *self.image_size, device=device)
            dim = int(model.encode_image(probe).shape[-1])
        self.space = FeatureSpace(
            model=str(ref),
            weights=weights_digest(model),
            config=config_digest(config),
            preprocess=canonical_json(settings),
            precision="fp32",
            decode_policy=DECODE_POLICY,
            dim=dim,
        )

    @classmethod
    def load(
        cls,
        ref: ModelRef,
        device: torch.device,
        *,
        offline: bool = False,
        notify: Callable[[str], None] = lambda message: None,
    ) -> FrozenClip:
        """Load a model by open_clip's name and tag, ``hf-hub:`` or ``local-dir:``.

        Raises:
            ConfigError: no such model, tag or folder.
            ModelError: weights are out of reach or broken.
        """
        model, config = load_model(ref, device, offline=offline, notify=notify)
        try:
            return cls(model, config, ref, device)
        except Exception as cause:  # open_clip asserts, or computes with what its configuration says
            raise ModelError(
                f"cannot use {ref}: {first_line(cause)}", hint="check the model's open_clip_config.json"
            ) from cause

    def preprocess(self, image: Image.Image) -> Tensor:
        """An RGB picture to the model's input, (3, H, W) float32: open_clip's own transform. Safe in threads."""
        short, long = sorted(image.size)
        if self._shortest and long > _MOST_EXTREME_ASPECT * short:
            keep = [min(side, _MOST_EXTREME_ASPECT * short) for side in image.size]
            left, top = ((side - kept) // 2 for side, kept in zip(image.size, keep, strict=True))
            image = image.crop((left, top, left + keep[0], top + keep[1]))
        result: Tensor = self._transform(image)
        return result

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) to features (B, D), unit rows, float32, on the CPU."""
        pixels = batch.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        features = self._model.encode_image(pixels)
        return F.normalize(features.float(), dim=-1).cpu()

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
        self, class_names: Sequence[str], length: int | None, phrase: str | None, generator: torch.Generator
    ) -> PromptLearner:
        """A learner with ``length`` context vectors shared by all classes.

        Args:
            class_names: K names; each prompt is [SOS][context][name][.][EOT].
            length: n; None means 16, or the phrase's own number of tokens.
            phrase: start from these words' embeddings, repeated to fill ``length``; None starts at random.
            generator: for a random start.

        Raises:
            ConfigError: the context is empty, or a prompt is too long for the model.
            ModelError: the text tower is of an unsupported kind.
        """
        tower = self.tower
        rows = tower.up_to_eot(self._tokenizer([f"{name}." for name in class_names]))
        start = rows[0][0]
        if length is not None and length < 1:
            raise ConfigError(f"the context length must be at least 1, not {length}")
        if phrase is None:
            context = random_context(length or 16, tower.width, generator)
        else:
            words = tower.up_to_eot(self._tokenizer([phrase]))[0][1:-1]
            if not words:
                raise ConfigError("the context phrase holds no words", hint='for example "a photo of a"')
            wanted = length or len(words)
            repeated = [words[i % len(words)] for i in range(wanted)]
            context = tower.embed(repeated).detach()
        longest = max(range(len(rows)), key=lambda i: len(rows[i]))
        if len(context) + len(rows[longest]) > tower.context_length:
            raise ConfigError(
                f"the prompt for class {class_names[longest]!r} has {len(context) + len(rows[longest])} tokens, "
                f"the model reads {tower.context_length}",
                hint="shorten --context-length, or rename the class with deltaoe extract --classes FILE",
            )
        suffixes = Suffixes.of([row[1:] for row in rows], self.device)
        return PromptLearner(tower, start, suffixes, context.to(self.device))

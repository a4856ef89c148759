"""A model that is loaded only if something must be encoded."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from deltaoe.clip.choice import model_here, moved, remember_place, trusted_model
from deltaoe.clip.options import ModelOptions
from deltaoe.clip.prompt_tokens import PromptTokens
from deltaoe.errors import ConfigError, MismatchError, ModelError, StoreError
from deltaoe.images.decode_policy import EXACT, GPU
from deltaoe.images.range_names import AUTO, canonical_range
from deltaoe.progress import Event, OnEvent
from deltaoe.runtime import (
    PRECISIONS,
    check_jpeg_decoder,
    keep_freed_memory,
    native_precision,
    resolve_device,
)
from deltaoe.store.feature_space import UNNAMED, FeatureSpace
from deltaoe.store.text_cache import load_tokens, prompts_key, save_tokens
from deltaoe.store.workspace import Workspace

if TYPE_CHECKING:
    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.store.feature_store import FeatureStore


_DTYPES = ("float16", "float32")


class ModelSource:
    """A model by its name and its feature space; it is loaded on demand, and once.

    Args:
        options: the model asked for, and where and how it computes. ``auto`` precision is the expected space's, else
            that of the workspace's cache of this model, so that nothing is computed twice, else the device's fastest.
        workspace: remembers which space a model had, so that a run that finds everything cached loads nothing.
        default: the model where the options name none; None for that of the features in the workspace.
        on: told when a model is loaded or downloaded.
        dtype: how features are kept; None for the expected space's type, else that of the cache, else ``float16``.
        expected: the space that results must live in (a detector's); any other is refused. If it was imported, only
            the model's name and the dimension can be compared.
        owner: what ``expected`` belongs to, for the error message.
        preferred: the space, such as that of a data set, whose precision, type, range and way to decode are taken where
            the options ask for none, if this model has made features in it here; None for that of the last extraction.

    Attributes:
        ref: the model's name.

    Raises:
        ConfigError: the model's name cannot be one, or none is named and there are features of several.
    """

    def __init__(
        self,
        options: ModelOptions,
        workspace: Workspace,
        default: str | None = None,
        *,
        on: OnEvent,
        dtype: str | None = None,
        expected: FeatureSpace | None = None,
        owner: str = "the detector",
        preferred: FeatureSpace | None = None,
    ) -> None:
        self._named = options.reference(default or ("" if options.asked else model_here(workspace, on)))
        self.ref = self._named if options.asked else moved(self._named, workspace)
        self._options = options
        self._workspace = workspace
        self._asked = options.asked is not None
        self._device = options.device
        self._offline = options.offline
        self._on = on
        self._expected = expected
        self._owner = owner
        self._preferred = preferred
        self._precision = None if options.precision == "auto" else options.precision
        self._dtype = dtype
        self._sample_range = None if options.sample_range is None else canonical_range(options.sample_range)
        self._decode = options.decode
        self._clip: FrozenClip | None = None

    @property
    def portable(self) -> ModelOptions:
        """Options that name this model in any process, whatever its environment and current folder."""
        return dataclasses.replace(self._options, model=str(self.ref), pretrained=None)

    def known_space(self) -> FeatureSpace | None:
        """The model's feature space, if that is known without loading it.

        Raises:
            MismatchError: it is known, and it is not the expected one.
        """
        if self._clip is not None:
            return self.space()
        space = self._remembered()
        if self._expected is None:
            return space
        if space is None:
            if self._expected.is_imported:
                return None
            # No such features were ever made here, but what is asked for may be known to make others.
            asked = dataclasses.replace(
                self._expected,
                precision=self._wanted("precision") or self._expected.precision,
                sample_range=self._wanted("sample_range") or AUTO,
                decode=self._wanted("decode") or EXACT,
            )
            self._compare(asked)
            # The expected space's own model is taken at its word until it is loaded; another one must prove itself.
            return self._expected if str(self._named) == self._expected.model else None
        self._compare(space)
        return space

    def _remembered(self) -> FeatureSpace | None:
        """The space that this model last had here, in the precision and type asked for."""
        spaces = self._workspace.state().get("spaces", {})
        place = self.ref.fingerprint()
        pixels = self._wanted("sample_range") or AUTO, self._wanted("decode") or EXACT
        ways = [_way(p, t, *pixels) for p in PRECISIONS for t in _DTYPES]
        preferred = [] if self._preferred is None else [f"{place} {_way_of(self._preferred)}"]
        keys = [*preferred, place] + [f"{place} {way}" for way in ways]
        for key in keys:
            remembered = spaces.get(key)
            space = self._workspace.known_space(remembered) if isinstance(remembered, str) else None
            if space is not None and all(
                wanted in (None, had)
                for wanted, had in (
                    (self._wanted("precision"), space.precision),
                    (self._wanted("dtype"), space.dtype),
                    (self._wanted("sample_range"), space.sample_range),
                    (self._wanted("decode"), space.decode),
                )
            ):
                return space
        return None

    def _wanted(self, what: Literal["precision", "dtype", "sample_range", "decode"]) -> str | None:
        asked = {
            "precision": self._precision,
            "dtype": self._dtype,
            "sample_range": self._sample_range,
            "decode": self._decode,
        }[what]
        if asked is None and self._expected is not None and not self._expected.is_imported:
            return str(getattr(self._expected, what))
        return asked

    def space(self) -> FeatureSpace:
        """The feature space of the loaded model."""
        cached = self._remembered()
        dtype = self._wanted("dtype") or (cached.dtype if cached else "float16")
        return dataclasses.replace(self.clip().space, dtype=dtype)

    def store(self) -> FeatureStore:
        """The feature store of this model's space; loads the model only if its space is not known."""
        return self._workspace.store(self.known_space() or self.space())

    def clip(self) -> FrozenClip:
        """The loaded model.

        Raises:
            ConfigError, ModelError: it cannot be found or loaded, or only a file names it (see
                :func:`~deltaoe.clip.choice.trusted_model`).
            MismatchError: its feature space is not the expected one.
        """
        if self._clip is None:
            if self._expected is not None and self._expected.is_imported:
                self._check_named(self._expected.model)
            if not self._asked:
                trusted_model(
                    self.ref, self._workspace, "a data set here" if self._expected is None else self._owner
                )
            from deltaoe.clip.frozen import FrozenClip

            device = resolve_device(self._device)
            if device.type == "cpu":
                keep_freed_memory()
            cached = self._remembered()
            precision = (
                self._wanted("precision")
                or (cached.precision if cached else None)
                or native_precision(device)
            )
            sample_range = self._wanted("sample_range") or (cached.sample_range if cached else AUTO)
            decode = self._wanted("decode") or (cached.decode if cached else EXACT)
            if decode == GPU:
                check_jpeg_decoder(device)
            self._on(
                Event(
                    "Loading model",
                    info={"model": str(self.ref), "device": str(device), "precision": precision},
                )
            )
            if self.ref != self._named:
                self._on(Event("Loading model", message=f"{self._named} has moved: using {self.ref}"))
            try:
                clip = FrozenClip.load(
                    self.ref,
                    device,
                    precision=precision,
                    sample_range=sample_range,
                    decode=decode,
                    offline=self._offline,
                    on=self._on,
                )
            except (ConfigError, ModelError) as cause:
                if self._expected is not None:
                    cause.hint = self._way_back(self._expected.model, cause.hint)
                raise
            self._clip = clip
            if self._expected is not None:
                try:
                    self._compare(self.space())
                except MismatchError:
                    self._clip = None
                    raise
        return self._clip

    def prompt_tokens(self, prompts: Sequence[str]) -> PromptTokens:
        """What the model reads of K prompts, from the workspace if it was asked before; the model is not loaded.

        Raises:
            ConfigError, ModelError: the model's tokenizer cannot be found or loaded.
            MismatchError: the model's feature space is not the expected one.
        """
        space, key = self.known_space(), prompts_key(prompts)
        path = None if space is None else self._workspace.text_file(space, f"{key}.tokens")
        stored = None if path is None else load_tokens(path, len(prompts))
        if stored is not None:
            return PromptTokens(*stored)
        if self._clip is not None:
            tokenizer = self._clip.tokenizer
        else:
            # Imported here: it loads torch.
            from deltaoe.clip.loading import load_tokenizer

            tokenizer = load_tokenizer(self.ref, offline=self._offline, on=self._on)
        tokens = PromptTokens.of(prompts, tokenizer)
        if path is not None:
            with contextlib.suppress(StoreError):  # only a cache
                save_tokens(path, tokens.first, tokens.lengths, tokens.limit)
        return tokens

    def has_tokens(self, prompts: Sequence[str]) -> bool:
        """Whether :meth:`prompt_tokens` would find these in the workspace."""
        space = self.known_space()
        return (
            space is not None and self._workspace.text_file(space, f"{prompts_key(prompts)}.tokens").is_file()
        )

    def remember(self, *, default: bool = False) -> None:
        """Note the model's folder in the workspace, and its space, for runs that need not load it.

        Args:
            default: runs that ask for no precision, type, range or way to decode take this space from now on. Without
                it that is so only where there is none yet.
        """
        space, place = self.known_space(), self.ref.fingerprint()
        if space is not None and not space.is_imported:
            noted = {f"{place} {_way_of(space)}": space.id}
            id_before = self._workspace.state().get("spaces", {}).get(place)
            before = self._workspace.known_space(id_before) if isinstance(id_before, str) else None
            if default or before is None or not before.is_same_model(space):
                noted[place] = space.id
            self._workspace.remember_in("spaces", noted)
        if self._clip is not None and self.ref.is_remote:  # and was named, or it would not be loaded
            self._workspace.note_named_model(str(self.ref))
        remember_place(self.ref, self.known_space(), self._workspace)

    def _check_named(self, model: str) -> None:
        if model == UNNAMED:  # no model can be right then, whatever --model says
            raise MismatchError(
                f"{self._owner} was imported without the name of the model that made it",
                hint="import it again with --model NAME; prompts are tuned with that model's text tower",
            )

    def _way_back(self, model: str, hint: str) -> str:
        made = f"{self._owner} was made with {model}"
        if str(self._named) != model:
            return f"{made}: leave --model out to use it"
        moved = "; if that folder moved, say where: --model local-dir:DIR"
        return made + moved if self.ref.local_folder is not None else hint

    def _compare(self, found: FeatureSpace) -> None:
        assert self._expected is not None  # noqa: S101 - for the type checker; callers have looked
        if self._expected.is_imported:
            self._compare_imported(found, self._expected)
        elif found.id != self._expected.id:
            same = str(self._named) == self._expected.model
            if options := self._expected.other_pixels(found):
                made = " and ".join(
                    f"{option} {mine}, not {other}" for option, (mine, other) in options.items()
                )
                raise MismatchError(
                    f"{self._owner} was made with {made}",
                    hint=f"leave {' and '.join(options)} out to use it, or extract and tune again",
                )
            if dataclasses.replace(found, precision=self._expected.precision).id == self._expected.id:
                raise MismatchError(
                    f"{self._owner} was made with --precision {self._expected.precision}, not {found.precision}",
                    hint="leave --precision out to use it, or extract and tune again",
                )
            raise MismatchError(
                f"{self._owner} was made with {self._expected.model}, not with {self.ref}: "
                + "; ".join(found.differences(self._expected)),
                hint="the files of that model have changed: extract and tune again"
                if same
                else f"use --model {self._expected.model}, or extract and tune again with {self.ref}",
            )

    def _compare_imported(self, found: FeatureSpace, expected: FeatureSpace) -> None:
        if str(self._named) != expected.model or found.dim != expected.dim:
            raise MismatchError(
                f"{self._owner} was made with features imported as {expected.model}, {expected.dim} numbers each; "
                f"{self.ref} makes {found.dim}",
                hint=f"use --model {expected.model}, or import the features with --model {self.ref} if that made them",
            )


def _way_of(space: FeatureSpace) -> str:
    return _way(space.precision, space.dtype, space.sample_range, space.decode)


def _way(precision: str, dtype: str, sample_range: str, decode: str) -> str:
    """How the same weights make different features; without what older versions did not know."""
    chosen = (sample_range, AUTO), (decode, EXACT)
    return " ".join([precision, dtype, *(value for value, usual in chosen if value != usual)])

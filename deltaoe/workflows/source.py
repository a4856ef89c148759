"""A model that is loaded only if something must be encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deltaoe.data.features import FeatureStore
from deltaoe.data.space import FeatureSpace
from deltaoe.data.workspace import Workspace
from deltaoe.errors import ConfigError, MismatchError, ModelError
from deltaoe.models.reference import ModelRef
from deltaoe.workflows.progress import Event, OnEvent

if TYPE_CHECKING:
    from deltaoe.models.clip import FrozenClip


class ModelSource:
    """Names a model and knows its feature space; loads it on demand, and once.

    Args:
        ref: what to load.
        workspace: remembers which space a model had, so that a run that finds everything cached loads nothing.
        device: ``auto``, ``cpu``, ``cuda:1`` …
        offline: never contact a network.
        on: told when a model is loaded or downloaded.
        expected: the space that results must live in (a detector's); any other is refused.
        owner: what ``expected`` belongs to, for the error message.
    """

    def __init__(
        self,
        ref: ModelRef,
        workspace: Workspace,
        *,
        device: str,
        offline: bool,
        on: OnEvent,
        expected: FeatureSpace | None = None,
        owner: str = "the detector",
    ) -> None:
        self.ref = ref
        self._workspace = workspace
        self._device = device
        self._offline = offline
        self._on = on
        self._expected = expected
        self._owner = owner
        self._clip: FrozenClip | None = None

    def known_space(self) -> FeatureSpace | None:
        """The model's feature space, if that is known without loading it.

        Raises:
            MismatchError: it is known, and it is not the expected one.
        """
        if self._clip is not None:
            return self._clip.space
        remembered = self._workspace.state().get("spaces", {}).get(self.ref.fingerprint())
        space = self._workspace.known_space(remembered) if isinstance(remembered, str) else None
        if self._expected is None:
            return space
        if space is None:
            # The expected space's own model is taken at its word until it is loaded; another one must prove itself.
            return self._expected if str(self.ref) == self._expected.model else None
        self._compare(space)
        return space

    def store(self) -> FeatureStore:
        """The feature store of this model's space; loads the model only if its space is not known."""
        return self._workspace.store(self.known_space() or self.clip().space)

    def clip(self) -> FrozenClip:
        """The loaded model.

        Raises:
            ConfigError, ModelError: it cannot be found or loaded.
            MismatchError: its feature space is not the expected one.
        """
        if self._clip is None:
            from deltaoe.models.clip import FrozenClip
            from deltaoe.runtime import keep_freed_memory, resolve_device

            device = resolve_device(self._device)
            if device.type == "cpu":
                keep_freed_memory()
            self._on(Event("Loading model", info={"model": str(self.ref), "device": str(device)}))
            try:
                clip = FrozenClip.load(
                    self.ref,
                    device,
                    offline=self._offline,
                    notify=lambda sentence: self._on(Event("Loading model", message=sentence)),
                )
            except (ConfigError, ModelError) as cause:
                if self._expected is not None:
                    cause.hint = self._way_back(self._expected.model, cause.hint)
                raise
            if self._expected is not None:
                self._compare(clip.space)
            self._clip = clip
        return self._clip

    def remember(self) -> None:
        """Note the loaded model's space in the workspace, for runs that need not load it."""
        if self._clip is not None:
            spaces = dict(self._workspace.state().get("spaces", {}))
            if spaces.get(self.ref.fingerprint()) != self._clip.space.id:
                spaces[self.ref.fingerprint()] = self._clip.space.id
                self._workspace.remember(spaces=spaces)

    def _way_back(self, model: str, hint: str) -> str:
        made = f"{self._owner} was made with {model}"
        if str(self.ref) != model:
            return f"{made}: leave --model out to use it"
        moved = "; if that folder moved, say where: --model local-dir:DIR"
        return made + moved if self.ref.local_folder is not None else hint

    def _compare(self, found: FeatureSpace) -> None:
        assert self._expected is not None  # noqa: S101 - for the type checker; callers have looked
        if found.id != self._expected.id:
            same = str(self.ref) == self._expected.model
            raise MismatchError(
                f"{self._owner} was made with {self._expected.model}, not with {self.ref}: "
                + "; ".join(found.differences(self._expected)),
                hint="the files of that model have changed: extract and tune again"
                if same
                else f"use --model {self._expected.model}, or extract and tune again with {self.ref}",
            )

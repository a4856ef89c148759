"""Which model is meant where none is named: the one whose features are in the workspace."""

from __future__ import annotations

from collections.abc import Iterable

from deltaoe.clip.reference import CONFIG_FILE, DEFAULT_MODEL, DEFAULT_PRETRAINED, LOCAL_DIR, ModelRef
from deltaoe.errors import ConfigError
from deltaoe.progress import Event, OnEvent
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.workspace import Workspace

_STAGE = "Choosing a model"
_PLACES = "models"  # in the workspace's state: name → folder, relative if it lies beside the workspace


def model_here(workspace: Workspace, on: OnEvent) -> str:
    """The name of the model that made the features in a workspace, to encode further images with.

    That is the model of the last data set, if images were encoded for it, else the only model that encoded any; where
    nothing was encoded yet, :data:`~deltaoe.clip.reference.DEFAULT_MODEL`. Imported features do not count: nothing can
    be added to them.

    Args:
        workspace: has the features.
        on: told which model is taken if there are features of several.

    Raises:
        ConfigError: there are features of several models, and none is that of the last data set.
        StoreError: the workspace cannot be read.
    """
    made = _distinct(workspace.spaces())
    data = workspace.dataset()
    space = workspace.known_space(data.space_id) if data is not None else None
    if data is None or space is None or space.is_imported:
        if len(made) > 1:
            raise ConfigError(
                f"{workspace.folder} has features of several models: {_listed(made, workspace)}",
                hint="name one of them with --model",
            )
        return made[0].model if made else DEFAULT_MODEL
    others = [one for one in made if not space.is_same_model(one)]
    if others:
        on(
            Event(
                _STAGE,
                message=f"using {data.model}, the model of the last data set; there are also features of "
                f"{_listed(others, workspace)} (--model)",
            )
        )
    return data.model


def encodes_anew(workspace: Workspace, space: FeatureSpace) -> str:
    """A sentence that says so where a workspace has features, and none in this space; else empty."""
    others = [one for one in workspace.spaces() if not one.is_imported]
    if not others or any(one.id == space.id for one in others):
        return ""
    same = next((one for one in others if one.model == space.model), None)
    if same is None:
        mine = _listed(_distinct(others), workspace)
        return f"the features here are of {mine}; {space.model} encodes all images anew"
    return f"{space.model} encodes all images anew: {', '.join(space.differences(same))}"


def moved(ref: ModelRef, workspace: Workspace) -> ModelRef:
    """A local model that is no longer in its folder: where it was last used, or moved to together with the workspace.

    Any other model as it is.
    """
    folder = ref.local_folder
    if folder is None or (folder / CONFIG_FILE).is_file():
        return ref
    place = workspace.state().get(_PLACES, {}).get(str(ref))
    if not isinstance(place, str):
        return ref
    there = workspace.folder.parent / place
    return ModelRef(f"{LOCAL_DIR}{there}") if (there / CONFIG_FILE).is_file() else ref


def remember_place(ref: ModelRef, space: FeatureSpace | None, workspace: Workspace) -> None:
    """Note where a local model lies, for :func:`moved`.

    Args:
        ref: the model.
        space: its feature space; the other names that it had here are then noted, too.
        workspace: remembers the place.
    """
    if ref.local_folder is None or not (ref.local_folder / CONFIG_FILE).is_file():
        return
    same = [] if space is None else [one.model for one in workspace.spaces() if one.is_same_model(space)]
    names = {str(ref), *(name for name in same if name.startswith(LOCAL_DIR))}
    place = workspace.file_key(ref.local_folder)
    workspace.remember_in(_PLACES, dict.fromkeys(sorted(names), place))


def trusted_model(ref: ModelRef, workspace: Workspace, owner: str) -> None:
    """Refuse to ask a model hub for a model that only a file names, such as a detector or archive of somebody else.

    Whoever wrote that file would decide which repository is asked, and what is loaded from it. Trusted are models of
    this machine, the default model, and those that the user has named in this workspace before. A model that the
    user names in this run is not to be checked.

    Args:
        ref: the model that the file names.
        workspace: remembers the models that were named in it.
        owner: what names the model, for the message.

    Raises:
        ConfigError: the model is of another machine, and the user has not named it.
    """
    if not ref.is_remote or ref == ModelRef(DEFAULT_MODEL, DEFAULT_PRETRAINED):
        return
    # Versions without a table of names have noted the spaces of models that they loaded, by the models' fingerprints.
    loaded = workspace.state().get("spaces", {})
    if str(ref) in workspace.named_models() or ref.fingerprint() in loaded:
        return
    raise ConfigError(
        f"{owner} names the model {ref}, which may have to be downloaded, and you have not named it in "
        f"{workspace.folder}",
        hint=f"if you trust that model, say so: --model {ref}",
    )


def _distinct(spaces: Iterable[FeatureSpace]) -> list[FeatureSpace]:
    """One feature space of each model that encoded images."""
    found: list[FeatureSpace] = []
    for space in spaces:
        if not space.is_imported and not any(space.is_same_model(one) for one in found):
            found.append(space)
    return found


def _listed(spaces: Iterable[FeatureSpace], workspace: Workspace) -> str:
    """The names of models, as ``--model`` takes them."""
    return ", ".join(sorted({str(moved(ModelRef.parse(space.model), workspace)) for space in spaces}))

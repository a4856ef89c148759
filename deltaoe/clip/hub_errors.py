"""What goes wrong with a model hub, in words that say what to do."""

from __future__ import annotations

import errno
from pathlib import Path

from deltaoe.errors import ConfigError, DeltaoeError, ModelError, first_line, os_reason

WAYS_OUT = (
    "three ways on: use weights that are already on this machine (--pretrained FILE, or a folder in open_clip's "
    "format with --model local-dir:DIR); run once on a machine with a network and copy its cache; "
    "or check the network and try again"
)
_ELSEWHERE = "set HF_HOME to a folder {} (the cache of all models is below it)"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class NoFileError(ModelError):
    """A repository has no such file."""


def hub_name() -> str:
    """The address of the model hub that is asked."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def is_timeout(cause: BaseException) -> bool:
    """Whether an exception of httpx, requests or the standard library says that nothing came in time."""
    return "timeout" in type(cause).__name__.lower() or "timed out" in str(cause)


def explained(cause: Exception, repository: str, name: str) -> DeltaoeError:
    """The error of ours for one of huggingface_hub's, or of the packages below it.

    Args:
        cause: what was raised when the hub was asked.
        repository: ``ORG/REPO``.
        name: the file that was asked for; empty for the repository itself.
    """
    from huggingface_hub import errors

    what = f"{name} of {repository}" if name else repository
    if isinstance(cause, errors.HFValidationError):
        revision = "@" in repository
        return ConfigError(
            f"{repository!r} is no name of a repository",
            hint="a revision cannot be named: `hf download ORG/REPO --revision REV --local-dir DIR` fetches it for "
            "--model local-dir:DIR"
            if revision
            else "write hf-hub:ORG/REPO",
        )
    if isinstance(cause, errors.GatedRepoError):
        return _gated(cause, repository)
    if isinstance(cause, errors.RepositoryNotFoundError):
        return ModelError(
            f"{hub_name()} has no model {repository}, or it is private",
            hint="check the name; for a private model, log in with `hf auth login` or set HF_TOKEN",
        )
    if isinstance(cause, errors.EntryNotFoundError) and not isinstance(cause, FileNotFoundError):
        return NoFileError(f"{repository} has no file {name}", hint=f"see {hub_name()}/{repository}")
    if isinstance(cause, errors.HfHubHTTPError):
        return _answered(cause.response.status_code, cause, what)
    if isinstance(cause, OSError) and cause.errno is not None and cause.filename is not None:
        return cannot_write(cause, Path(str(cause.filename)), name)
    why = "it does not answer in time" if is_timeout(cause) else first_line(cause)
    return ModelError(f"cannot ask {hub_name()} for {what}: {why}", hint=WAYS_OUT)


def _gated(cause: Exception, repository: str) -> ModelError:
    terms = f"accept the terms at {hub_name()}/{repository}"
    known = getattr(getattr(cause, "response", None), "status_code", 401) == 403
    who = (
        "your account has no access to it yet"
        if known
        else "only those who accepted its terms may download it"
    )
    then = (
        "with the account that `hf auth whoami` names, and wait where its owner must agree"
        if known
        else "then log in with `hf auth login`, or set HF_TOKEN"
    )
    return ModelError(f"{repository} is gated: {who}", hint=f"{terms}, {then}")


def _answered(status: int, cause: Exception, what: str) -> ModelError:
    if status in (401, 403):
        return ModelError(
            f"{hub_name()} refuses the token of this machine ({status})",
            hint="log in again with `hf auth login`, or unset HF_TOKEN: public models need none",
        )
    if status == 429:
        return ModelError(
            f"{hub_name()} has had too many requests from here (429)",
            hint="wait some minutes and try again; those who are logged in (`hf auth login`) may ask more often",
        )
    if status >= 500:
        return ModelError(
            f"{hub_name()} has trouble of its own ({status}) and does not give {what}",
            hint=f"try again later, or: {WAYS_OUT}",
        )
    return ModelError(f"{hub_name()} does not give {what}: {first_line(cause)}", hint=WAYS_OUT)


def cannot_write(cause: OSError, place: Path, name: str) -> ModelError:
    """The error where the cache cannot hold a file, because of its folder or its disk."""
    if cause.errno in _FULL:
        return ModelError(
            f"the disk of {place} is full: no room for {name}",
            hint=f"make room, or {_ELSEWHERE.format('on another disk')}",
        )
    return ModelError(
        f"cannot write to the cache of models in {place}: {os_reason(cause)}",
        hint=_ELSEWHERE.format("that you can write to"),
    )


def no_room(name: str, size: int, free: int, place: Path) -> ModelError:
    """The error where a file of ``size`` bytes would not fit into the ``free`` bytes of a disk."""
    return ModelError(
        f"no room for {name}: it has {size / 1e6:,.0f} MB, and the disk of {place} has {free / 1e6:,.0f} MB left",
        hint=f"make room, or {_ELSEWHERE.format('on another disk')}",
    )

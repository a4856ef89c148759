"""Ray without its own words, progress bars, dashboard and usage statistics: a run prints what deltaoe prints."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

# Read when Ray is imported or started; what the user has set stays, except for what would contact a network.
_ENVIRONMENT = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray will do by default; until then it warns
}


def quiet_environment() -> None:
    """Set Ray's environment variables of this process, before Ray is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def quiet_logging() -> None:
    """Keep Ray's log messages from the terminal."""
    from ray.data import DataContext

    for name in ("ray", *logging.root.manager.loggerDict):
        if name.partition(".")[0] == "ray":  # each of them, as Ray Data sets its own level anew
            logging.getLogger(name).setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    for setting in ("enable_progress_bars", "print_on_execution_start", "enable_auto_log_stats"):
        if hasattr(context, setting):
            setattr(context, setting, False)


@contextlib.contextmanager
def no_news() -> Iterator[None]:
    """Keep Ray from printing to standard output, where results go, that a worker has died; it has no option for that.

    Where a version of Ray has no such function, nothing is changed.
    """
    import ray._private.worker as place

    name = "print_to_stdstream"
    before = getattr(place, name, None)
    if before is None:
        yield
        return
    setattr(place, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(place, name, before)


@contextlib.contextmanager
def nothing_printed() -> Iterator[None]:
    """Discard what is written to the standard error stream, of C++ too, where Ray says which log level it was given."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

"""``deltaoe score --stream`` and ``--watch``: one line of JSON per image, as soon as it comes."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from deltaoe import exit_codes as exits
from deltaoe.errors import ConfigError, DataError
from deltaoe.progress import Event

from .output import Screen

if TYPE_CHECKING:
    from deltaoe.images.watch import FolderWatch
    from deltaoe.scoring.options import ScoreOptions
    from deltaoe.store.workspace import Workspace

# Between two looks at watched folders; more where a look takes long.
_LOOK_SECONDS = 0.5
# After so long without a path, what is due is done.
_IDLE_SECONDS = 5.0
_CHUNK = 1 << 16  # bytes of standard input
_WAITING = 4096  # paths that are read ahead


def run_stream(
    chosen: ScoreOptions,
    workspace: Workspace,
    inputs: Sequence[str],
    *,
    watch: bool,
    null: bool,
    unfit: Iterable[str],
    strict: bool,
    fail_on_unknown: bool,
    screen: Screen,
) -> None:
    """Answer until the input ends, which that of watched folders never does.

    Args:
        chosen: the options.
        workspace: the workspace.
        inputs: what the command was given: the folders to watch; nothing, or ``-``, for paths on standard input.
        watch: whether folders are watched.
        null: whether paths end with NUL instead of newline.
        unfit: flags that were given and are about all images together.
        strict, fail_on_unknown: as for :func:`deltaoe_cli.exits.of_verdicts`.
        screen: shows notes.

    Raises:
        ConfigError: the inputs do not fit, or a flag.
    """
    from deltaoe.images.watch import FolderWatch
    from deltaoe.scoring.stream import TOGETHER, ScoreStream

    mode = "--watch" if watch else "--stream"
    for flag in unfit:
        raise ConfigError(
            f"{flag} is about all images together, and {mode} answers each at once",
            hint=f"leave {flag} out, or score a folder without {mode}",
        )
    if watch and (not inputs or "-" in inputs or null):
        raise ConfigError("--watch looks at folders", hint="name them: deltaoe score ./inbox --watch")
    if not watch and [one for one in inputs if one != "-"]:
        raise ConfigError(
            f"--stream reads paths from standard input, not {inputs[0]}",
            hint=f"deltaoe score {inputs[0]} --watch looks at a folder; or pipe paths into --stream",
        )
    # A service is told to stop by SIGTERM: what is done must be stored then, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folders = FolderWatch(inputs) if watch else None
    counts: Counter[str] = Counter(known=0, unknown=0, undecided=0, failed=0)
    with ScoreStream(workspace, chosen, _stages(screen)) as stream:
        for sentence in stream.notes:
            screen.warn(sentence)
        where = f"watching {', '.join(inputs)}" if watch else "paths are read from standard input"
        screen.note(f"Scoring with {stream.origin}; {where}")
        for paths in _read(TOGETHER, null=null) if folders is None else _watched(folders, TOGETHER, screen):
            for record in stream.score_many(paths):
                counts[record["verdict"]] += 1
                sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
    code = exits.of_verdicts(counts, strict=strict, fail_on_unknown=fail_on_unknown)
    if code:
        raise typer.Exit(code)


def _stages(screen: Screen) -> Callable[[Event], None]:
    """Notes of messages and of each new stage; a live line would stand between the answers."""
    said: list[str] = []

    def on(event: Event) -> None:
        if event.message:
            screen.note(event.message)
        elif event.stage not in said:
            said.append(event.stage)
            screen.note("  ".join([event.stage, *(f"{name} {value}" for name, value in event.info.items())]))

    return on


def _read(most: int, *, null: bool) -> Iterator[list[str]]:
    """Paths from standard input, as many as wait and at most ``most``; an empty list after seconds without any."""
    waiting: queue.Queue[str | None] = queue.Queue(_WAITING)
    # A daemon, and no buffered stream, whose lock it would hold when the interpreter ends.
    threading.Thread(target=_pump, args=(sys.stdin.fileno(), waiting, null), daemon=True).start()
    while True:
        try:
            paths = [waiting.get(timeout=_IDLE_SECONDS)]
        except queue.Empty:
            yield []
            continue
        while len(paths) < most and paths[-1] is not None and not waiting.empty():
            paths.append(waiting.get())
        found = [path for path in paths if path is not None]
        if found:
            yield found
        if len(found) < len(paths):
            return


def _pump(source: int, into: queue.Queue[str | None], null: bool) -> None:
    """Put each path that a file descriptor gives into a queue, and None at its end."""
    rest = b""
    try:
        while chunk := os.read(source, _CHUNK):
            *whole, rest = (rest + chunk).split(b"\0" if null else b"\n")
            for path in whole:
                _put(path, into, null)
        _put(rest, into, null)
    finally:
        into.put(None)


def _put(path: bytes, into: queue.Queue[str | None], null: bool) -> None:
    text = os.fsdecode(path if null else path.removesuffix(b"\r"))
    if text.strip():
        into.put(text)


def _watched(folders: FolderWatch, most: int, screen: Screen) -> Iterator[list[str]]:
    """Paths of new and changed files, at most ``most`` at a time; an empty list after every look without any."""
    lost, unlisted = "", set[str]()
    while True:
        start = time.monotonic()
        paths: list[str] = []
        try:
            paths, lost = folders.look(), ""
        except DataError as cause:  # the folder may come back, as with a disk that is mounted anew
            if str(cause) != lost:
                screen.warn(str(cause))
            lost = str(cause)
        for one in folders.unlisted:
            if one.path not in unlisted:
                screen.warn(f"{one.path} {one.reason}: its images are not scored until it can be")
        unlisted = {one.path for one in folders.unlisted}
        looked = time.monotonic() - start
        yield from (paths[i : i + most] for i in range(0, max(len(paths), 1), most))
        time.sleep(max(_LOOK_SECONDS, 2 * looked))

"""Kill -9 without the wait: a process that has imported everything and loaded the model forks a child per kill.

Run as a script it is that process: orders come as lines of JSON on its standard input, answers leave the same way.
Children are forked from a process with one thread: with OMP_NUM_THREADS=1 no parallel region ever starts a team.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

SHARD_ROWS, COMPACT_ROWS, BATCH = 4, 7, 2
_TOO_LONG = 120.0
_NOTHING: dict[str, Any] = {"error": "", "moments": 0, "writing": 0.0}


class Ended(NamedTuple):
    """How a child ended: killed or not, after how many seconds, of which it wrote, and how many moments it passed."""

    killed: bool
    seconds: float
    writing: float
    moments: int


class Killer:
    """Lets a child extract or compact and kills it on the way."""

    def __init__(self, process: subprocess.Popen[str], mark: str) -> None:
        self._process, self._mark = process, mark

    def __call__(
        self,
        do: str,
        workspace: Path,
        *,
        after: float | None = None,
        batch: bool = False,
        at: int | None = None,
        **options: Any,
    ) -> Ended:
        """``do`` is "extract" (``images=``, ``workers=``, ``views=``) or "compact".

        The child is killed ``after`` so many seconds from its start or from its first ``batch``, or before its
        ``at``-th change to the file system (in the middle of writing a file is one, too), or not at all.
        """
        order = {"do": do, "workspace": str(workspace), "after": after, "batch": batch, "at": at} | options
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(order, default=str) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, "the process that forks has ended: its stderr tells why"
        answer = json.loads(line)
        assert answer["error"] == "", answer["error"]
        return Ended(answer["killed"], answer["seconds"], answer["writing"], answer["moments"])

    def decoders(self) -> list[int]:
        """Decoding processes of this one's children that are alive."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                ours = f"KILLING={self._mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
                if ours and b"extraction.decoder_processes" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # it has just ended
                continue
        return found


@contextmanager
def killer(model: Path, mark: str) -> Iterator[Killer]:
    """Start the process; ``mark`` is a word that nobody else has in the environment."""
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__, str(model)],
        env={**os.environ, **single, "HF_HUB_OFFLINE": "1", "KILLING": mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Killer(process, mark)
        finally:
            process.kill()


class _OneByOne:
    """A CLIP whose features do not depend on which pictures share a batch, so that they can be compared to the bit."""

    def __init__(self, clip: Any) -> None:
        self._clip = clip

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clip, name)

    def encode_pixels(self, pixels: Any) -> Any:
        import torch

        return torch.cat([self._clip.encode_pixels(pixels[i : i + 1]) for i in range(len(pixels))])


class _Moments:
    """Counts what the process does to files below a folder, and kills it before the n-th such thing."""

    KINDS = frozenset({"open", "os.rename", "os.remove", "os.mkdir"})

    def __init__(self, folder: str, last: int | None) -> None:
        self.count = 0
        self._folder, self._last = folder, last
        sys.addaudithook(self._hear)
        Path.write_bytes = lambda path, data: self._write(path, data)  # type: ignore[method-assign]
        Path.write_text = lambda path, text, **_: self._write(path, text.encode())  # type: ignore[method-assign]

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in self.KINDS and str(arguments[0]).startswith(self._folder):
            self._pass()

    def _pass(self) -> None:
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            self._pass()
            file.write(data[len(data) // 2 :])
        return len(data)


def _prepare(model: Path) -> dict[str, Any]:
    """Everything that children need: what to call for each order."""
    import torch

    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.clip.options import ModelOptions
    from deltaoe.clip.reference import ModelRef
    from deltaoe.extraction import encoding_run
    from deltaoe.extraction.extract import extract
    from deltaoe.extraction.options import ExtractOptions, IngestOptions
    from deltaoe.store import compaction, maintenance
    from deltaoe.store.workspace import Workspace

    torch.set_num_threads(1)
    encoding_run._SHARD_ROWS, compaction._ROWS = SHARD_ROWS, COMPACT_ROWS
    name = f"local-dir:{model}"
    clip = _OneByOne(FrozenClip.load(ModelRef.parse(name, None), torch.device("cpu"), precision="fp32"))
    FrozenClip.load = lambda *_, **__: clip  # type: ignore[method-assign]

    def do_extract(order: dict[str, Any]) -> None:
        how = IngestOptions(views=order.get("views", 0), batch_size=BATCH, workers=order.get("workers", 0))
        options = ExtractOptions(
            ingest=how, model=ModelOptions(model=name, precision="fp32", device="cpu", offline=True)
        )
        extract(order["images"], Workspace(Path(order["workspace"])), options)

    def do_compact(order: dict[str, Any]) -> None:
        maintenance.compact(Workspace(Path(order["workspace"])))

    # Once in this process: children find all modules imported and all of PyTorch's first times behind them.
    with tempfile.TemporaryDirectory() as place:
        images = Path(place) / "images"
        images.mkdir()
        for i in range(2):
            (images / f"{i}.ppm").write_bytes(b"P6 1 1 255\n" + bytes(3 * [i]))
        do_extract({"images": str(images), "workspace": f"{place}/.deltaoe", "views": 1})
        do_compact({"workspace": f"{place}/.deltaoe"})
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"{threads} threads, of which a child would have one"
    return {"extract": do_extract, "compact": do_compact}


def _child(act: Any, order: dict[str, Any], batch: int, report: int) -> None:
    from deltaoe.extraction.encoding_run import EncodingRun

    encode_batch, first = EncodingRun._encode_batch, 0.0

    def announced(run: Any, encoder: Any) -> None:
        nonlocal first
        if not first:
            first = time.monotonic()
            os.write(batch, b"!")
        encode_batch(run, encoder)

    EncodingRun._encode_batch = announced  # type: ignore[method-assign]
    answer = dict(_NOTHING)
    faulthandler.dump_traceback_later(_TOO_LONG / 2)
    try:
        moments = _Moments(order["workspace"], order["at"]) if order["at"] is not None else None
        act(order)
        answer["moments"] = moments.count if moments else 0
        answer["writing"] = time.monotonic() - first if first else 0.0
    except BaseException:
        answer["error"] = traceback.format_exc()
    os.write(report, json.dumps(answer).encode()[:60_000])
    os._exit(0)


def _serve(model: Path) -> None:
    acts = _prepare(model)
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        began = time.monotonic()
        (begun, batch), (receive, report) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            _child(acts[order["do"]], order, batch, report)
        os.close(batch)
        os.close(report)
        # Whatever is awaited, the pipes also tell that the child is done before.
        waited = [begun] if order["batch"] else []
        stuck = waited and not select.select(waited, [], [], _TOO_LONG)[0]
        ended = select.select([receive], [], [], _TOO_LONG if order["after"] is None else order["after"])[0]
        stuck = stuck or (order["after"] is None and not ended)
        if stuck or not ended:
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        seconds = time.monotonic() - began
        os.close(begun)
        with os.fdopen(receive, "rb") as pipe:
            told = pipe.read()
        answer = json.loads(told) if told else dict(_NOTHING)
        if status not in (0, -signal.SIGKILL):
            answer["error"] = f"the child ended with {status}"
        if stuck:
            answer["error"] = (
                f"the child did not come to an end in {_TOO_LONG:g} seconds (see its stack on stderr)"
            )
        sys.stdout.write(json.dumps(answer | {"killed": not told, "seconds": seconds}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))

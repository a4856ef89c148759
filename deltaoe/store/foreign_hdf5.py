"""HDF5 files that somebody else wrote, read in a child process.

libhdf5 is not made for files that are out to harm it: there are some that it never finishes to read, deaf to Ctrl-C,
some that crash it, and some that make it ask for all the memory there is. The child has a limit of memory, where the
operating system knows one, and a limit of time without progress; what it says is checked like the content of a file.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError, os_reason

SECONDS = 30.0  # without any progress; a block is 8 MB at most
_START_SECONDS = 60.0
_PROGRAM = "import sys; sys.path[:] = {}; from deltaoe.store.hdf5_child import serve; serve()"
_HINT = "is it complete, and what its name says? copy it or make it again"


class Dataset(NamedTuple):
    """A dataset at the root of a file, not read yet.

    Attributes:
        name: its name; bytes that are no UTF-8 are lone surrogates.
        shape: its shape.
        dtype: NumPy's type string of numbers; the type in words of anything else.
        text: whether it holds strings.
        why: why it is not read, as the end of a sentence about it; empty if it is.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    text: bool
    why: str


class ForeignHdf5:
    """An HDF5 file of others, open in a child process that ends with this object.

    Attributes:
        path: the file.
        attributes: the root's attributes that are one string or one integer; None for others, which are not read.
        datasets: what is at the root, by name.

    Raises:
        DataError: the file cannot be read, or reading it crashed, or did not come to an end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            mode = os.stat(path).st_mode
        except OSError as cause:
            raise DataError(f"cannot read {path}: {os_reason(cause)}", hint="check the path") from cause
        if not stat.S_ISREG(mode):  # reading a pipe or a device may never end
            raise DataError(f"cannot read {path}: not a regular file", hint="save it as a file first")
        self._start()

    def _start(self) -> None:
        self._child = _started()
        self._finalizer = weakref.finalize(self, _end, self._child)
        self._busy = False
        self._answer(_START_SECONDS)  # it says that it is ready
        self._ask(os.path.abspath(self.path))
        head, _ = self._answer(SECONDS)
        try:
            self.attributes: dict[str, str | int | None] = dict(head["attributes"])
            found = [Dataset(**{**one, "shape": tuple(one["shape"])}) for one in head["datasets"]]
        except (KeyError, TypeError, ValueError) as cause:
            raise self._refused("its description cannot be understood") from cause
        self.datasets = {one.name: one for one in found}

    def blocks(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """The rows of a dataset, a few thousand at a time; strings as objects of UTF-8 ``bytes``, (m,).

        Raises:
            DataError: as the class; and if the dataset is not to be read.
        """
        about = self.datasets[name]
        if about.why:
            raise self._refused(f"{name!r} {about.why}")
        if self._busy:  # somebody else reads, or stopped halfway
            other = ForeignHdf5(self.path)
            yield from other.blocks(name)
            return
        self._busy = True
        self._ask(name)
        done = 0
        while True:
            head, content = self._answer(SECONDS)
            if "rows" not in head:
                break
            try:
                block = _block(about, head, content)
            except (KeyError, TypeError, ValueError) as cause:
                raise self._refused(f"{name!r} cannot be understood") from cause
            done += len(block)
            yield block
        if done != about.shape[0]:
            raise self._refused(f"{name!r} has {done:,} rows of {about.shape[0]:,}")
        self._busy = False

    def read(self, name: str) -> npt.NDArray[Any]:
        """A whole dataset. Raises DataError as :meth:`blocks`."""
        about = self.datasets[name]
        found = list(self.blocks(name))
        if not found:
            return np.empty(about.shape, dtype=object if about.text else np.dtype(about.dtype))
        return np.concatenate(found)

    def close(self) -> None:
        """End the child process."""
        self._finalizer()

    def _ask(self, what: str) -> None:
        pipe = _stream(self._child.stdin)
        try:
            pipe.write(json.dumps(what).encode() + b"\n")
            pipe.flush()
        except OSError as cause:
            raise self._ended() from cause

    def _answer(self, seconds: float) -> tuple[dict[str, Any], bytes]:
        """The next message. Raises DataError for one that says why there is none, or where the child has ended."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._child.kill()

        watchdog = threading.Timer(seconds, give_up)
        watchdog.daemon = True
        watchdog.start()
        pipe = _stream(self._child.stdout)
        try:
            line = pipe.readline()
            head = json.loads(line) if line.endswith(b"\n") else {"bytes": 0, "gone": True}
            content = pipe.read(head["bytes"])
            gone = head.get("gone") or len(content) < head["bytes"]
        finally:
            watchdog.cancel()
        if late.is_set():
            self.close()
            raise self._refused(f"the HDF5 library got no further in {seconds:.0f} seconds")
        if gone:
            raise self._ended()
        if "error" in head:
            raise self._refused(str(head["error"]))
        return head, content

    def _ended(self) -> DataError:
        code = self._child.wait()
        self.close()
        how = f"exit code {code}"
        if code < 0:
            how = signal.strsignal(-code) or f"signal {-code}"
        return self._refused(f"the HDF5 library crashed on it ({how.lower()})")

    def _refused(self, why: str) -> DataError:
        return DataError(f"cannot read {self.path}: {why}", hint=_HINT)


def _block(about: Dataset, head: dict[str, Any], content: bytes) -> npt.NDArray[Any]:
    if not about.text:
        return np.frombuffer(content, np.dtype(about.dtype)).reshape(head["rows"], *about.shape[1:])
    ends = np.cumsum(np.asarray(head["lengths"], dtype=np.int64)).tolist()
    out = np.empty(len(ends), dtype=object)
    out[:] = [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return out


def _started() -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HDF5_PLUGIN")}
    # "::" keeps HDF5 from loading filters of other libraries, and threads cost the child time to start.
    environment |= {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(ascii([one for one in sys.path if isinstance(one, str)]))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # where libhdf5 says what it does not like; the answer says it, too
        env=environment,
        process_group=0 if os.name != "nt" else None,  # Ctrl-C is for the calling process alone
    )


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - for the type checker
    return stream


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                continue

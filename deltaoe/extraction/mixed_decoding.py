"""Chunks of files of which a device decodes the JPEGs, and the CPU all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from deltaoe.extraction.decoding_jobs import Job, Outcome

if TYPE_CHECKING:
    from deltaoe.clip.jpegs_on_device import DeviceViews
    from deltaoe.images.jpeg_head import JpegHead

_SHOWN = 3  # reasons in the sentence
_PIECE = 8  # files per message to a decoder process


class OnDevice(Protocol):
    """A device's decoder, as :class:`deltaoe.clip.jpegs_on_device.JpegsOnDevice`; threads may share it.

    Attributes:
        left_out: how many files were left to the CPU, by reason.
    """

    left_out: Counter[str]

    def head(self, data: bytes, /) -> JpegHead | None:
        """What the device must know of a file that it decodes; None where the CPU has to."""

    def __call__(self, files: Sequence[Any], heads: Sequence[JpegHead], /) -> Sequence[DeviceViews | None]:
        """Each file's views; None where it could not be decoded."""


def decode_mixed(
    jobs: Sequence[Job], device: OnDevice, on_cpu: Callable[[list[Job]], Future[list[Outcome]]]
) -> list[Outcome]:
    """The outcome of each job, from a device where it can decode the file, else from the CPU, at the same time.

    Args:
        jobs: what to decode.
        device: its decoder.
        on_cpu: starts decoding jobs on the CPU.
    """
    heads = {i: head for i, job in enumerate(jobs) if (head := device.head(job.data)) is not None}
    started = _start([i for i in range(len(jobs)) if i not in heads], jobs, on_cpu)
    views = device([jobs[i] for i in heads], list(heads.values()))
    found = {
        i: Outcome(one.pixels, notes=one.notes)
        for i, one in zip(heads, views, strict=True)
        if one is not None
    }
    started += _start([i for i in heads if i not in found], jobs, on_cpu)
    for rows, outcomes in started:
        found.update(zip(rows, outcomes.result(), strict=True))
    return [found[i] for i in range(len(jobs))]


def _start(
    rows: Sequence[int], jobs: Sequence[Job], on_cpu: Callable[[list[Job]], Future[list[Outcome]]]
) -> list[tuple[Sequence[int], Future[list[Outcome]]]]:
    pieces = [rows[start : start + _PIECE] for start in range(0, len(rows), _PIECE)]
    return [(piece, on_cpu([jobs[i] for i in piece])) for piece in pieces]


def left_out_sentence(left_out: Mapping[str, int], total: int) -> str:
    """How many of the files were left to the CPU, and why; empty if none was.

    Example:
        >>> left_out_sentence({"not JPEG": 1200, "CMYK": 2}, 5000)
        '1,202 of 5,000 files were decoded on the CPU, exactly: not JPEG 1,200, CMYK 2'
    """
    counts = sorted(((count, reason) for reason, count in left_out.items() if count), reverse=True)
    if not counts:
        return ""
    reasons = ", ".join(f"{reason} {count:,}" for count, reason in counts[:_SHOWN])
    more = ", …" if len(counts) > _SHOWN else ""
    return f"{sum(count for count, _ in counts):,} of {total:,} files were decoded on the CPU, exactly: {reasons}{more}"

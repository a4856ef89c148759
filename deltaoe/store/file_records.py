"""What a store knows of files: the latest observation of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.store.hdf5 import Digests

if TYPE_CHECKING:
    from deltaoe.images.file_list import FileList


class FileRecord(NamedTuple):
    """One observation of a file.

    Attributes:
        size: bytes.
        mtime_ns: time of the last modification, nanoseconds since 1970, modulo 2^64.
        digest: SHA-256 of its content, 32 bytes; zeros in observations of a problem before version 3.
        problem: why it is no usable image; empty if it is one.
        ctime_ns: time of the last change of content or attributes, as ``mtime_ns``; 0 where it is not known.
        inode: number of the file in its file system, modulo 2^64; 0 where it is not known.
    """

    size: int
    mtime_ns: int
    digest: bytes
    problem: str
    ctime_ns: int = 0
    inode: int = 0


class FileRecords(NamedTuple):
    """The latest observation of each of n files, column by column.

    Attributes:
        known: (n,) whether there is one; where there is none, the other columns hold zeros.
        size: (n,) bytes.
        mtime_ns: (n,) nanoseconds since 1970, modulo 2^64.
        ctime_ns: (n,) likewise; 0 where it is not known, as in every observation before version 3.
        inode: (n,) modulo 2^64; 0 where it is not known.
        digest: (n, 32) SHA-256 of the content; zeros in observations of a problem before version 3.
        problem: position → why that file is no usable image.
    """

    known: npt.NDArray[np.bool_]
    size: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    ctime_ns: npt.NDArray[np.int64]
    inode: npt.NDArray[np.uint64]
    digest: Digests
    problem: dict[int, str]

    def unchanged(self, files: FileList) -> npt.NDArray[np.bool_]:
        """(n,) whether each file of a list (n) is still the one that was observed, as far as can be told unread.

        Size, modification time, change time and inode must be the recorded ones. The first two can stay the same while
        the content becomes another (files exchanged, archives without times, ``rsync -t``, ``touch -r``). Nobody can
        set the change time; and after folders were exchanged by renaming, it is only the inode that differs. Where a
        file has no inode, now or on record, that is not compared.
        """
        inode = np.asarray(files.inode)
        same: npt.NDArray[np.bool_] = (
            self.as_sized_and_dated(files)
            & self.has_change_time
            & (self.ctime_ns == np.asarray(files.ctime_ns))
            & ((self.inode == inode) | (self.inode == 0) | (inode == 0))
        )
        return same

    def as_sized_and_dated(self, files: FileList) -> npt.NDArray[np.bool_]:
        """(n,) whether each file of a list (n) has the recorded size and modification time; less than unchanged."""
        same: npt.NDArray[np.bool_] = (
            self.known & (self.size == np.asarray(files.size)) & (self.mtime_ns == np.asarray(files.mtime_ns))
        )
        return same

    @property
    def has_change_time(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the observation has a change time; none of before version 3 has."""
        return np.asarray(self.ctime_ns != 0)

    @property
    def failed(self) -> npt.NDArray[np.bool_]:
        """(n,) whether it was no usable image."""
        failed = np.zeros(len(self.known), dtype=bool)
        failed[list(self.problem)] = True
        return failed

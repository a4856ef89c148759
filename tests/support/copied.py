"""A copy of a project whose files count as unchanged: a copy has other inodes and change times than the original."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deltaoe.extraction.changes import fingerprint_of, remember_folders
from deltaoe.images.walk import observed
from deltaoe.store.shards import read_paths
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace


def copied_project(source: Path, target: Path) -> Path:
    """Copy a project and observe its files anew, as the next ``extract`` would."""
    shutil.copytree(source, target)
    workspace = Workspace(target / ".deltaoe")
    for space in workspace.spaces():
        store = workspace.store(space)
        names = sorted({name for shard in store.shards for name in read_paths(shard.path)})
        with store.writer() as writer:
            for name in names:
                path, before = os.path.join(os.fsencode(target), name), store.file(name)
                if before is not None and before.ctime_ns and os.path.exists(path):
                    size, modified, changed, inode = observed(os.stat(path))
                    if (size, modified) != (before.size, before.mtime_ns):
                        continue  # it had changed already
                    writer.add(
                        name, FileRecord(size, modified, before.digest, before.problem, changed, inode)
                    )
    for data in workspace.datasets():
        if workspace.folders_seen(data):
            remember_folders(workspace, data, fingerprint_of(data.inputs))
    return target

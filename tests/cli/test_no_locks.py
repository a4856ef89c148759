"""Commands on a disk without file locks, and with files that cannot be read just now."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from command import Run, contents, unwrapped
from folders import only

# Every lock is refused, as by a network file system without a lock daemon.
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
int flock(int descriptor, int operation) { errno = CODE; return -1; }
int lockf(int descriptor, int command, off_t length) { errno = CODE; return -1; }
static int locks(int c) {
  return c == F_SETLK || c == F_SETLKW || c == F_GETLK || c == F_OFD_SETLK || c == F_OFD_SETLKW;
}
#define WRAPPED(name) \
  int name(int descriptor, int command, ...) { \
    va_list rest; va_start(rest, command); void *argument = va_arg(rest, void *); va_end(rest); \
    if (locks(command)) { errno = CODE; return -1; } \
    static int (*real)(int, int, ...); \
    if (!real) real = dlsym(RTLD_NEXT, #name); \
    return real(descriptor, command, argument); \
  }
WRAPPED(fcntl)
WRAPPED(fcntl64)
"""
SAYS = "warning: the workspace's disk has no file locks"


@pytest.fixture(scope="module")
def lockless(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a command for which no file can be locked."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if os.uname().sysname != "Linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("lockless")
    (folder / "nolock.c").write_text(SOURCE)
    build = [
        "-shared",
        "-fPIC",
        "-DCODE=ENOLCK",
        "-o",
        folder / "nolock.so",
        folder / "nolock.c",
        "-ldl",
    ]
    subprocess.run([compiler, *build], check=True)
    return {"LD_PRELOAD": str(folder / "nolock.so")}


def test_everything_works_without_locks_and_it_is_said_once(
    project: Path, run: Run, lockless: dict[str, str]
) -> None:
    shutil.copytree(project / "unknown", project / "more")
    (project / "more" / "noise" / "0.png").write_bytes(
        (project / "images" / "red_stripes" / "00.png").read_bytes()
    )
    told = run("extract", "more", cwd=project, env=lockless)
    assert unwrapped(told.stderr).count(SAYS) == 1 and "DELTAOE_LOCKS=file" in unwrapped(told.stderr)
    quiet = lockless | {"DELTAOE_LOCKS": "file"}
    for command in (("store", "verify", "--repair"), ("store", "compact")):
        told = run(*command, cwd=project, env=quiet)
        assert SAYS not in told.stderr and "sets no option" not in told.stderr
    assert not list((project / ".deltaoe").rglob("writer.held"))
    asked = run("store", "info", cwd=project, env=lockless | {"HDF5_USE_FILE_LOCKING": "TRUE"}, rc=1)
    assert "no locks available" in asked.stderr
    assert "HDF5_USE_FILE_LOCKING" in asked.stderr and "--repair" not in asked.stderr


def test_a_shard_that_may_not_be_read_is_left_alone(project: Path, run: Run, mortal: bool) -> None:
    run("store", "compact", cwd=project)
    shard = only(project, "features/*/shard-*.h5")
    before = contents(project)
    shard.chmod(0)
    try:
        told = run("store", "verify", "--repair", "--json", cwd=project, mortal=mortal, rc=1)
        assert told.json["damaged"] == told.json["set_aside"] == []
        (one,) = told.json["unreadable"]
        assert (
            one["path"] == str(shard) and "permission denied" in one["error"] and "permissions" in one["hint"]
        )
        assert "--repair" not in told.stderr
        refused = run("extract", "images", cwd=project, mortal=mortal, rc=1)
        assert "permission denied" in refused.stderr and "--repair" not in refused.stderr
    finally:
        shard.chmod(0o644)
    assert contents(project) == before

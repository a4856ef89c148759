"""Files of features that travel: damaged, made up to deceive, or made to harm who imports them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from command import COMMAND, Fails, Run, contents, environment
from foreign import SECRET, make_endless, make_secret
from outputs import table

ROWS = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)


def refused(fails: Fails, folder: Path, file: str, *options: str, says: tuple[str, ...], rc: int = 1) -> None:
    """The import is refused and leaves nothing, not even an empty workspace."""
    done = fails("store", "import", file, "--name", "x", *options, cwd=folder, says=(file, *says), rc=rc)
    assert "Traceback" not in done.stderr and not (folder / ".deltaoe").exists()


def test_one_flipped_bit_of_an_export(template: Path, tmp_path: Path, run: Run, fails: Fails) -> None:
    run("store", "export", tmp_path / "whole.h5", cwd=template)
    content = bytearray((tmp_path / "whole.h5").read_bytes())
    for at in (len(content) // 2, 20, len(content) - 9):
        flipped = bytearray(content)
        flipped[at] ^= 4
        (tmp_path / "flipped.h5").write_bytes(flipped)
        refused(fails, tmp_path, "flipped.h5", says=("cannot read",))


def test_imported_features_never_stand_in_for_computed_ones(
    template: Path, tmp_path: Path, run: Run, fails: Fails
) -> None:
    """Somebody negates all features of an export: whoever imports it still knows the own images."""
    right = run("score", template / "images", "--json", cwd=template).json
    run("store", "export", tmp_path / "carried.h5", cwd=template)
    with h5py.File(tmp_path / "carried.h5", "r+") as file:
        file["features"][...] = -file["features"][()]
    refused(fails, tmp_path, "carried.h5", says=("its content has changed since it was written",))
    with h5py.File(tmp_path / "carried.h5", "r+") as file:
        file.attrs["version"] = 2  # of which nobody can tell
    told = run("store", "import", "carried.h5", "--name", "theirs", "--json", cwd=tmp_path).json
    assert told["images"] == 96 and "damage to it cannot be seen" in told["notes"][0]

    # Own images are encoded, also after a compaction, and also where both are there.
    run("store", "compact", "-q", cwd=tmp_path)
    done = run("extract", template / "images", "--json", cwd=tmp_path)
    assert (done.json["encoded"], done.json["known_by_content"]) == (96, 0)
    run("store", "compact", "-q", cwd=tmp_path)
    done = run("extract", template / "images", "--json", cwd=tmp_path)
    assert (done.json["encoded"], done.json["unchanged"]) == (0, 96)
    run("store", "verify", "-q", cwd=tmp_path)
    detector = next((template / ".deltaoe" / "detectors").iterdir())
    again = run("score", template / "images", "--detector", detector, "--json", cwd=tmp_path).json
    for mine, theirs in zip(again["images"], right["images"], strict=True):
        assert (mine["verdict"], mine["class"]) == (theirs["verdict"], theirs["class"])

    # The imported data set is one to work with: of these images, what was computed here counts.
    run("tune", "--data", "data:theirs", "--shots", "2", "--epochs", "1", "-q", cwd=tmp_path)
    run("score", "data:theirs", "--out", "scored", "-q", cwd=tmp_path)
    assert len(table(tmp_path / "scored" / "scores.csv")) == 96


def test_other_files_of_this_computer_stay_unread(tmp_path: Path, run: Run, fails: Fails) -> None:
    secret = make_secret(tmp_path)
    with h5py.File(tmp_path / "classes.h5", "w") as file:
        file["features"], file["labels"] = ROWS, np.zeros(20, np.int64)
        file.create_dataset("class_names", (1,), f"S{len(SECRET)}", external=[(str(secret), 0, len(SECRET))])
        file["paths"] = h5py.ExternalLink(f"{secret}.h5", "x")
    told = run("store", "import", "classes.h5", "--name", "x", "--json", cwd=tmp_path)
    assert told.json["classes"] == ["class 0"]
    note = " ".join(told.json["notes"])
    assert (
        "class_names (which lies in other files" in note and "paths (which is a link to another file" in note
    )
    kept = b"".join(Path(name).read_bytes() for name in contents(tmp_path / ".deltaoe"))
    assert SECRET[:20] not in kept and "secret of another" not in told.stdout + told.stderr

    with h5py.File(tmp_path / "features.h5", "w") as file:
        layout = h5py.VirtualLayout((20, 8), "f4")
        layout[:] = h5py.VirtualSource(f"{secret}.h5", "x", (20, 8))
        file.create_virtual_dataset("features", layout)
    fails("store", "import", "features.h5", "--name", "y", cwd=tmp_path, says=("features.h5", "virtual"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_an_import_that_hangs(tmp_path: Path) -> None:
    make_endless(tmp_path / "endless.h5")
    command = [COMMAND, "store", "import", "endless.h5", "--name", "x"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(None), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and b"Traceback" not in said
    assert not (tmp_path / ".deltaoe").exists()


def npy(shape: tuple[int, ...], dtype: str = "<f4", content: bytes = bytes(400)) -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


def bomb(path: Path, name: str, header: bytes, zeros: int, **others: np.ndarray) -> None:
    np.savez(path, **others)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as file:
        file.write(header)
        for _ in range(zeros >> 20):
            file.write(bytes(1 << 20))


def test_files_that_declare_more_than_they_hold(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "header.npy").write_bytes(npy((10**12, 512)))
    refused(fails, tmp_path, "header.npy", says=("is cut off", "2,048,000,000,000,000 bytes"))
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for i in range(1001):
            archive.writestr(f"image_{i}.npy", npy((10,)))
    refused(fails, tmp_path, "many.npz", says=("1,001 files", "not one per image"))
    with h5py.File(tmp_path / "fill.h5", "w") as file:
        file.create_dataset("features", (10**9, 512), "f4", chunks=(4096, 512), fillvalue=1)
    refused(fails, tmp_path, "fill.h5", says=("2,048,000,000,000 bytes, but 0 are there",))


def test_a_header_without_end(tmp_path: Path, fails: Fails) -> None:
    start = b"\x93NUMPY\x02\x00" + (64 << 20).to_bytes(4, "little") + b"{"
    bomb(tmp_path / "header.npz", "features.npy", start, 64 << 20)
    refused(fails, tmp_path, "header.npz", says=("header cannot have 67,108,864 bytes",))


@pytest.mark.parametrize("label", [50_000, 5 * 10**7, 2**40, 2**62])
def test_numbers_that_are_no_class_numbers(tmp_path: Path, fails: Fails, label: int) -> None:
    labels = np.arange(20)
    labels[7] = label
    np.savez(tmp_path / "ids.npz", features=ROWS, labels=labels)
    says = (f"the label in row 7 is {label:,}, of 20 images", "give the labels as text")
    refused(fails, tmp_path, "ids.npz", says=says)


def test_class_numbers_that_few_images_have(tmp_path: Path, run: Run) -> None:
    """Of a thousand classes twenty images have some: fine, as it always was."""
    np.savez(tmp_path / "some.npz", features=ROWS, labels=np.arange(20) * 50)
    told = run("store", "import", "some.npz", "--name", "x", "--json", cwd=tmp_path).json
    assert len(told["classes"]) == 951


def test_a_late_row_that_is_wrong_leaves_nothing(tmp_path: Path, fails: Fails) -> None:
    rows = np.ones((30_000, 8), np.float32) + np.arange(30_000)[:, None]
    rows[29_999, 2] = np.nan
    np.save(tmp_path / "late.npy", rows)
    refused(fails, tmp_path, "late.npy", says=("row 29,999", "holds NaN"))


def test_a_remote_model_that_only_an_export_names(tmp_path: Path, run: Run, fails: Fails) -> None:
    """Whoever made the export does not decide which repository is asked."""
    remote = "hf-hub:somebody/model"
    np.savez(tmp_path / "mine.npz", features=ROWS, labels=np.arange(20) % 2, class_names=["a", "b"])
    for place in ("mine", "theirs"):
        (tmp_path / place).mkdir()
    run("store", "import", tmp_path / "mine.npz", "--name", "x", "--model", remote, cwd=tmp_path / "mine")
    run("store", "export", tmp_path / "x.h5", "--data", "data:x", cwd=tmp_path / "mine")
    run("store", "import", tmp_path / "x.h5", cwd=tmp_path / "theirs")
    tune = ("tune", "--data", "data:x", "--shots", "2", "--evidence", "text", "--allow-undecided")
    says = (f"names the model {remote}", "you have not named it", f"--model {remote}")
    fails(*tune, cwd=tmp_path / "theirs", model=None, rc=2, says=says)
    # Named once, as here with the import, it is looked for: which fails, as there is no network.
    for place, model in (("mine", None), ("theirs", remote)):
        done = run(*tune, cwd=tmp_path / place, model=model, rc=1)
        assert "you have not named it" not in done.stderr and "not on this machine" in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_no_export(tmp_path: Path, fails: Fails) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    started = time.monotonic()
    fails("store", "import", "pipe.h5", "--name", "x", cwd=tmp_path, says=("not a regular file",))
    assert time.monotonic() - started < 60

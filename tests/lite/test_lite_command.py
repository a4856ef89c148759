"""``python -m deltaoe.lite`` where nothing but NumPy, ONNX Runtime and Pillow can be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from exported import ALLOWED, BLOCK, copied_export, with_manifest

from deltaoe.lite.__main__ import main

RUN = BLOCK + 'import runpy; runpy.run_module("deltaoe.lite", run_name="__main__", alter_sys=True)'


def lite(*arguments: object, code: str = RUN, rc: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == rc, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def images(project) -> list[Path]:
    return [*sorted((project / "new" / "noise").iterdir())[:2], project / "images" / "red_stripes" / "00.png"]


def test_it_needs_nothing_else(export, images):
    done = lite(export, *images, project_missing := "no-such.png")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["path"] for record in records] == [*map(str, images), project_missing]
    assert [record["verdict"] for record in records][2:] == ["known", "failed"]
    assert records[3]["error"] == "no such file or folder"
    assert done.stderr == ""


def test_nothing_else_is_imported(export, images):
    """Even where all is installed."""
    code = f"""
import sys
import deltaoe.lite
deltaoe.lite.load({str(export)!r}).score({str(images[0])!r})
print(*sorted({{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)))
"""
    loaded = {name for name in lite(code=code).stdout.split() if not name.startswith("_")}
    assert {"deltaoe", "numpy", "onnxruntime", "PIL"} <= loaded
    assert not loaded - set(ALLOWED) - {"cython_runtime", "sitecustomize", "distutils", "pillow_heif"}, loaded


@pytest.mark.parametrize(
    ("given", "rc"),
    [
        ("images", 0),
        ("unknown", 0),
        ("unknown --fail-on-unknown", 3),
        ("undecided --fail-on-unknown", 4),
        ("broken", 0),
        ("broken --strict", 1),
        ("broken --fail-on-unknown", 0),
    ],
)
def test_exit_codes(export, project, images, tmp_path, capsys, given, rc):
    kind, *flags = given.split()
    folder = export
    if kind == "undecided":
        folder = copied_export(export, tmp_path / "undecided")
        with_manifest(folder, rule={"alpha": 1e-4, "per_class": False})
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no")
    named = {"images": images[2], "unknown": images[0], "undecided": images[2], "broken": broken}[kind]
    assert main([str(folder), str(named), *flags]) == rc
    out, err = capsys.readouterr()
    assert json.loads(out)["path"] == str(named)
    assert ("needs at least" in err) == (kind == "undecided")


def test_errors_are_two_lines(tmp_path, export, capsys):
    assert main([str(tmp_path / "nowhere\x1b[31m"), "a.jpg"]) == 1
    said = capsys.readouterr().err
    assert (
        said.splitlines()[0].startswith("error: there is no folder") and "  try: deltaoe export-onnx" in said
    )
    assert "\x1b" not in said
    with pytest.raises(SystemExit) as ended:
        main([str(export)])
    assert ended.value.code == 2


def test_without_onnxruntime_it_says_what_to_install(export, images):
    code = RUN.replace("'onnxruntime', ", "")
    assert "onnxruntime" not in code
    done = lite(export, images[0], code=code, rc=2)
    assert "needs ONNX Runtime" in done.stderr and "pip install onnxruntime" in done.stderr


@pytest.mark.parametrize(
    ("streams", "rc", "told"),
    [
        (">&-", 1, "error: cannot write to standard output: bad file descriptor"),
        (">/dev/full", 1, "error: cannot write to standard output: no space left on device"),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("<&-", 0, "warning: "),
    ],
)
def test_streams_that_are_closed_or_full(export, images, tmp_path, streams, rc, told):
    """Answers that cannot be written are an error; a warning that cannot be written is none."""
    folder = copied_export(export, tmp_path / "undecided")
    with_manifest(folder, rule={"alpha": 1e-4, "per_class": False})  # there is a warning to print
    line = f'"$0" -m deltaoe.lite "$1" "$2" {streams}'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, folder, images[0]], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == rc, done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert (told in done.stderr) if told else not done.stderr
    assert rc or json.loads(done.stdout)["verdict"] == "undecided"


def test_a_reader_that_goes_away_is_no_traceback(export, images):
    process = subprocess.Popen(
        [sys.executable, "-m", "deltaoe.lite", str(export), *map(str, images * 40)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(timeout=300) in (0, 1) and "Traceback" not in said
    process.stderr.close()

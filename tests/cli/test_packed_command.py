"""The command on tars and URLs: what it says and writes is what it says and writes of the same files in folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command import Fails, Run
from packed import files_below, make_tar, serving


def test_a_tar_equals_its_folder(project: Path, run: Run, fails: Fails) -> None:
    """From extraction to thumbnails, and copies of unknown images out of the archive."""
    make_tar(
        project / "images.tar", {f"./{name}": data for name, data in files_below(project / "images").items()}
    )
    make_tar(project / "new" / "00000.tar", files_below(project / "unknown"))
    done = run("extract", "images.tar", "--json", cwd=project)
    assert "1 tar file read like a folder, without unpacking: 96 images" in done.stderr
    assert done.json["images"] == 96 and len(done.json["images_per_class"]) == 4
    report = ("--json", "--report", "html", "--force")
    folder = run("score", "unknown", *report, cwd=project).json
    pages = (project / "report.html").read_text().count("data:image/webp")
    told = run("score", "new", *report, "--only", "unknown", "--copy-to", "sorted", cwd=project)
    packed = told.json
    start = "new/00000.tar/"
    rows = [{**record, "path": record["path"].replace(start, "unknown/")} for record in packed["images"]]
    assert rows == folder["images"] and all(one["path"].startswith(start) for one in packed["images"])
    assert (project / "report.html").read_text().count("data:image/webp") == pages == len(rows)
    unknown = [one["path"].removeprefix(start) for one in packed["images"] if one["verdict"] == "unknown"]
    copied = files_below(project / "sorted")
    contents = [(project / "unknown" / name).read_bytes() for name in unknown]
    assert unknown and all(data in copied.values() for data in contents)
    moved = run("score", "new", "--only", "unknown", "--move-to", "moved", cwd=project, rc=None)
    assert "it can only be copied" in moved.stderr
    assert run("status", cwd=project).stdout.count("images.tar") >= 1
    data = (project / "images.tar").read_bytes()
    (project / "images.tar").write_bytes(data[: len(data) // 2])
    cut = run("extract", "images.tar", cwd=project)
    assert "images.tar: it is cut off" in cut.stderr and "Loading model" not in cut.stderr
    fails("extract", "x.tar.gz", cwd=project, says=("no such file",))


def test_urls_with_a_password(project: Path, run: Run, fails: Fails) -> None:
    pytest.importorskip("aiohttp")
    with serving() as server:
        server.files = dict(files_below(project / "images"))
        given = server.url.replace("//", "//me:SECRET@")
        done = run("extract", f"{given}/", cwd=project)
        server.files |= {f"u/{name}": data for name, data in files_below(project / "unknown").items()}
        listed = [f"{given}/u/{name}?X-Amz-Signature=SECRET" for name in files_below(project / "unknown")]
        (project / "list.txt").write_text("\n".join([*listed, f"{given}/gone.png"]))
        scored = run("score", "list.txt", "--report", "html", "--report", "json", "--force", cwd=project)
        assert (project / "report.html").read_text().count("data:image/webp") == len(listed)
        server.asked.clear()
        status = run("status", cwd=project)
        assert server.url in status.stdout and not server.asked
        said = "".join(one.stdout + one.stderr for one in (done, scored, status))
        fails("extract", f"{given}/u/none/", cwd=project, says=("nothing is at", server.url))
    assert f"{server.url}/gone.png: no such file" in scored.stderr
    written = b"".join(
        path.read_bytes() for path in project.rglob("*") if path.is_file() and path.name != "list.txt"
    )
    assert "SECRET" not in said and b"SECRET" not in written
    refused = fails("extract", f"{given}/", cwd=project, says=("cannot reach", server.url))
    assert "SECRET" not in refused.stdout + refused.stderr and os.sep in str(project)

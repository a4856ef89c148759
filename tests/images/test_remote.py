"""Inputs at URLs: a web server on this machine, and fsspec's memory; and what is never fetched or said."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import SPACE, FakeClip, FakeSource, draw
from named_files import make, rows
from packed import Server, serving

from deltaoe.errors import ConfigError, DataError
from deltaoe.extraction.ingest import ingest
from deltaoe.extraction.options import IngestOptions
from deltaoe.images import remote, remote_errors
from deltaoe.images.decode import ImageError
from deltaoe.images.inputs import FileList, find_files
from deltaoe.images.location_text import is_url, masked, without_secrets
from deltaoe.images.locations import observe, read_location
from deltaoe.images.one_by_one import one_by_one
from deltaoe.store.workspace import Workspace

pytest.importorskip("fsspec")
pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_errors, "_PAUSE", 0.001)
    monkeypatch.setattr(remote, "_silent", {})


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("aiohttp")
    with serving() as found:
        yield found


@pytest.fixture
def memory() -> Iterator[Any]:
    system = importlib.import_module("fsspec").filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def content(files: FileList) -> dict[str, bytes]:
    return {files.relative[row]: read_location(files.path(row)) for row in range(len(files))}


def test_a_folder_of_a_bucket(memory):
    for name in ("a/cat/1.jpg", "a/dog/2.png", "a/dog/.3.jpg", "a/notes.txt", "a/0.tar", "b/4.jpg"):
        memory.pipe_file(f"/{name}", name.encode())
    files = find_files(["memory://a"])
    assert rows(files) == [("memory://a", "cat/1.jpg"), ("memory://a", "dog/2.png")]
    assert content(files) == {"cat/1.jpg": b"a/cat/1.jpg", "dog/2.png": b"a/dog/2.png"}
    assert (files.ignored.hidden, files.ignored.other_files) == (1, 2)
    assert files.notes == [
        "1 tar or Parquet file below memory://a passed over: they are not read from a URL; download them"
    ]
    assert list(files.size) == [11, 11] and all(files.ctime_ns)
    assert [files.path(row) for row in range(2)] == ["memory://a/cat/1.jpg", "memory://a/dog/2.png"]
    globbed = find_files(["memory://a/*/[12].*"])
    assert sorted(content(globbed)) == ["cat/1.jpg", "dog/2.png"]
    assert rows(find_files(["memory://b/4.jpg"])) == [("memory://b", "4.jpg")]
    with pytest.raises(DataError, match="nothing is at memory://c"):
        find_files(["memory://c"])
    with pytest.raises(DataError, match="not read from a URL"):
        find_files(["memory://a/0.tar"])


def test_a_changed_object_is_observed_as_another(memory):
    memory.pipe_file("/a/1.jpg", b"1")
    before = observe("memory://a/1.jpg")
    assert before == observe("memory://a/1.jpg")
    memory.pipe_file("/a/1.jpg", b"2")
    assert observe("memory://a/1.jpg") != before


def test_a_folder_of_a_web_server(server):
    server.files = {
        "set/cat/1.png": b"1",
        "set/cr%C3%A8me/2.png": b"2",
        "set/readme.txt": b"",
        "other/3.png": b"3",
    }
    files = find_files([f"{server.url}/set/"])
    assert files.roots == [f"{server.url}/set"]
    assert content(files) == {"cat/1.png": b"1", "cr%C3%A8me/2.png": b"2"}
    assert len(server.asked_by("HEAD")) == 2  # and none again before an object is read
    tagged = {files.path(row): files.ctime_ns[row] for row in range(2)}
    server.files["set/cat/1.png"] = b"!"  # of the same size
    again = find_files([f"{server.url}/set"])
    changed = [files.path(row) for row in range(2) if tagged[again.path(row)] != again.ctime_ns[row]]
    assert changed == [f"{server.url}/set/cat/1.png"]


def test_lists_of_urls(server):
    make("in/local.jpg")
    server.files = {"a/1.png": b"1", "b/2": b"2", "list.csv": b"path,class\na/1.png,cat\nb/2,dog\n"}
    Path("in/list.csv").write_text(
        f"url,label\n{server.url}/a/1.png,cat\n{server.url}/b/2,dog\n{server.url}/gone.png,dog\n"
    )
    files = find_files(["in/list.csv"])
    assert files.roots == [server.url]
    assert (files.relative, files.classes) == (["a/1.png", "b/2", "gone.png"], ["cat", "dog", "dog"])
    assert files.problems == {2: "no such file"}
    Path("in/list.txt").write_text(
        f"{server.url}/a/1.png\nlocal.jpg\nfile://{Path('in/local.jpg').absolute()}\n"
    )
    files = find_files(["in/list.txt"])
    assert (len(files), files.ignored.repeated) == (2, 1)  # the list has two names of the file
    assert {Path(files.path(row)).name for row in range(2)} == {"1.png", "local.jpg"}
    files = find_files([f"{server.url}/list.csv"])
    assert content(files) == {"a/1.png": b"1", "b/2": b"2"} and files.classes == ["cat", "dog"]


def test_failures_pass_or_are_named(server):
    server.files = {"1.png": b"1", "2.png": 403, "3.png": b"3"}
    server.failures = {"1.png": 1}
    urls = [f"{server.url}/{i}.png" for i in range(1, 5)]
    Path("list.txt").write_text("\n".join(urls))
    files = find_files(["list.txt"])
    assert files.problems == {1: "cannot be fetched: the server answers 403", 3: "no such file"}
    server.failures = {"3.png": 2}
    assert read_location(urls[2]) == b"3"
    server.failures = {"3.png": 9}
    with pytest.raises(ImageError, match="the server answers 503"):
        read_location(urls[2])
    server.files["5.png"], server.cut = b"5" * 1000, {"5.png"}
    with pytest.raises(ImageError, match=r"^cannot be fetched: the connection broke off$"):
        read_location(f"{server.url}/5.png")


def test_a_server_that_does_not_answer(server):
    gone = "http://127.0.0.1:9"
    Path("list.txt").write_text("".join(f"{gone}/{i}.jpg\n" for i in range(50)))
    for given in (f"{gone}/folder", "list.txt", f"{gone}/1.jpg", f"{gone}/list.csv"):
        with pytest.raises(DataError, match=r"127\.0\.0\.1:9") as caught:
            find_files([given])
        assert caught.value.hint
    with pytest.raises(ImageError, match="does not answer"):
        read_location(f"{gone}/1.jpg")


def test_a_host_that_does_not_answer_is_let_alone(server, monkeypatch):
    """Beside one that does: a list of a million dead links must not take weeks."""
    server.files = {f"{i}.png": b"x" for i in range(20)}
    asked: list[str] = []

    def tried(ask: Any) -> Any:
        asked.append("")
        return remote_errors.tried(ask)

    monkeypatch.setattr(remote, "tried", tried)
    monkeypatch.setattr(remote, "REMOTE_READERS", 2)
    dead = [f"http://127.0.0.1:9/{i}.png" for i in range(100)]
    Path("list.txt").write_text("".join(f"{server.url}/{i}.png\n" for i in range(20)) + "\n".join(dead))
    files = find_files(["list.txt"])
    assert len(files.problems) == 100 and set(files.problems.values()) == {
        "cannot be fetched: the server does not answer"
    }
    assert 28 <= len(asked) <= 32
    monkeypatch.setattr(remote, "_PAUSE_SECONDS", 0.0)  # it is asked again later
    with pytest.raises(ImageError):
        read_location(dead[0])
    assert len(asked) > 28


def test_objects_without_a_tag_or_time_are_read_each_time(server):
    server.tags = False
    server.files = {"1.png": b"1"}
    files = find_files([f"{server.url}/1.png"])
    assert list(files.ctime_ns) == [0]
    assert remote.read_object(f"{server.url}/1.png") == (b"1", None)


def test_passwords_and_signatures_are_used_and_not_shown(server):
    server.files = {"a/1.png": b"1"}
    host = server.url.removeprefix("http://")
    url = f"http://me:pw@{host}/a/1.png?id=3&X-Amz-Expires=60&X-Amz-Signature=SECRET"
    public = f"http://{host}/a/1.png?id=3"
    files = find_files([url])
    assert files.shown(0) == public == f"{files.roots[0]}/{files.relative[0]}"
    assert files.path(0) == url and files.part([0]).path(0) == url
    assert read_location(files.path(0)) == b"1"
    assert server.asked[-1] == ("GET", "a/1.png?id=3&X-Amz-Expires=60&X-Amz-Signature=SECRET")
    for broken in (url.replace("1.png", "2.png"), url.replace(host, "127.0.0.1:9")):
        with pytest.raises((ImageError, DataError)) as caught:
            read_location(broken)
        assert "SECRET" not in str(caught.value) and "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/a.jpg?id=7&w=3", "https://h/a.jpg?id=7&w=3"),
        ("https://h/a.jpg?Expires=1&Signature=x&Key-Pair-Id=k", "https://h/a.jpg"),
        ("https://h/a.jpg?expires=1", "https://h/a.jpg?expires=1"),  # nothing signs it
        ("https://h/a.jpg?sv=2&se=3&sr=b&sig=x", "https://h/a.jpg"),
        ("https://h/a.jpg?sr=b", "https://h/a.jpg?sr=b"),
        ("s3://key:secret@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("https://h/a.jpg?token=x&id=7", "https://h/a.jpg?id=7"),
        ("images/a.jpg?token=x", "images/a.jpg?token=x"),
    ],
)
def test_what_is_secret_of_a_url(url, shown):
    assert without_secrets(url) == shown
    if is_url(url):
        assert masked(f"GET '{url}' failed ({url})") == f"GET '{shown}' failed ({shown})"


@pytest.mark.parametrize(
    "url", ["zip://a.zip::https://h/b.zip", "reference://x", "https://h/a.jpg::file:///etc/passwd"]
)
def test_other_kinds_of_urls_are_refused(url):
    with pytest.raises(ConfigError, match=r"not read") as caught:
        find_files([url])
    assert "s3://" in caught.value.hint


def test_packages_that_are_missing(monkeypatch):
    for scheme, package in (("s3", "s3fs"), ("gs", "gcsfs")):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        with pytest.raises(ConfigError, match=f"{scheme}:// needs {package}") as caught:
            find_files([f"{scheme}://bucket/a"])
        assert caught.value.hint == f"pip install {package}"
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(ConfigError, match="need fsspec") as caught:
        find_files(["https://h/a.jpg"])
    assert "deltaoe[remote]" in caught.value.hint


def test_no_credentials_are_one_message(memory, monkeypatch):
    class NoCredentialsError(Exception):
        pass

    def fail(*arguments: Any, **more: Any) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(type(memory), "find", fail)
    monkeypatch.setattr(type(memory), "info", fail)
    Path("list.txt").write_text("memory://bucket/1.jpg\nmemory://bucket/2.jpg\n")
    for given in ("memory://bucket/folder", "list.txt"):
        with pytest.raises(DataError, match="no credentials for memory://bucket"):
            find_files([given])


def test_what_arrives_one_by_one_causes_no_fetch(server):
    server.files = {"1.png": b"1"}
    files = one_by_one([f"{server.url}/1.png"])
    assert "not fetched" in files.problems[0] and not server.asked


def test_objects_that_each_run_reads_again_are_said_to_be_so(server, tmp_path):
    """They have not changed, which is what is said of files without an observation."""
    draw(tmp_path / "1.png", 1)
    server.tags, server.files = False, {"1.png": (tmp_path / "1.png").read_bytes()}
    workspace, said = Workspace(tmp_path / ".deltaoe"), []
    files = find_files([f"{server.url}/1.png"])
    source = FakeSource(workspace, FakeClip(), SPACE)
    ingest(files, workspace, source, lambda event: said.append(event.message), IngestOptions(workers=0))
    assert [one for one in said if one.startswith("1 object at URLs without an ETag")]
    assert not [one for one in said if "changed while being read" in one]

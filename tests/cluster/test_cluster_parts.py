"""What a cluster is asked for and how it refuses, without one: options, addresses, plans, lacking machines, errors."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from inspect import getsource
from textwrap import dedent
from typing import ClassVar

import pytest
from command import Run, environment

from deltaoe.cluster.connection import Node, check_alive
from deltaoe.cluster.failures import cluster_error
from deltaoe.cluster.nodes import Needs, looker, problem_of, versions_here
from deltaoe.cluster.options import ClusterOptions
from deltaoe.cluster.tally import Tally
from deltaoe.cluster.worker_plan import plan_workers
from deltaoe.errors import ClusterError, ConfigError, DataError
from deltaoe.extraction.options import IngestOptions

has_ray = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("ray", "pyarrow"))), reason="Ray is not installed"
)


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        IngestOptions(cluster=ClusterOptions("local")).check()
    assert caught.value.hint == 'pip install "deltaoe[ray]"'
    IngestOptions().check()


def test_ray_data_is_asked_for_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"not installed"):
        ClusterOptions("local").check()


@pytest.mark.parametrize(
    "given", ["ray://10.0.0.1:10001", "10.0.0.1", "host:port", "", "LOCAL", "http://a:1"]
)
def test_what_is_no_cluster_is_refused(given):
    with pytest.raises(ConfigError, match="--cluster"):
        ClusterOptions(given).check()


def test_nothing_of_ray_is_imported_without_a_cluster(tiny_model, pictures, tmp_path):
    code = """
import sys
from deltaoe_cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print([name for name in sys.modules if name.partition(".")[0] == "ray"])
"""
    words = [
        "extract",
        str(pictures / "red_stripes"),
        "--workspace",
        str(tmp_path / "w"),
        "--quiet",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment(tiny_model)
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@contextlib.contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """A server that answers once with these bytes; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                stream, _ = server.accept()
                with stream:
                    stream.recv(64)
                    stream.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
    thread.join()


@has_ray
def test_what_answers_must_be_a_ray_cluster():
    with (
        listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        pytest.raises(ClusterError, match="is no Ray cluster"),
    ):
        ClusterOptions(f"127.0.0.1:{port}").check_reachable()
    with listening(b"") as port, pytest.raises(ClusterError, match="is no Ray cluster"):
        ClusterOptions(f"127.0.0.1:{port}").check_reachable()
    with listening(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) as port:  # settings, as HTTP/2 begins (RFC 9113, 6.5)
        ClusterOptions(f"127.0.0.1:{port}").check_reachable()


@has_ray
def test_an_address_where_nobody_listens_is_one_message(run: Run, pictures, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    done = run("extract", pictures, "--cluster", address, cwd=tmp_path, rc=1)
    assert f"error: no Ray cluster answers at {address}: connection refused" in done.stderr
    assert "ray start --head" in done.stderr and not list(tmp_path.iterdir())


@has_ray
def test_auto_needs_a_cluster_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ClusterError, match="part of no Ray cluster"):
        ClusterOptions("auto").check_reachable()
    monkeypatch.setenv("RAY_ADDRESS", "ray://somewhere:10001")
    with pytest.raises(ConfigError, match="Ray's client"):
        ClusterOptions("auto").check_reachable()


# Plans of workers


@pytest.mark.parametrize(
    ("nodes", "gpus", "cpus", "size", "each", "share"),
    [
        ([(16, 1)], None, None, 1, 16, 1),  # one GPU has all CPUs
        ([(16, 4)], None, None, 4, 4, 1),
        ([(16, 4), (32, 4)], None, None, 8, 4, 1),  # what the poorer machine has
        ([(16, 4)], False, None, 4, 4, 0),
        ([(16, 4)], None, 8, 2, 8, 1),  # as many as the CPUs suffice for
        ([(8, 0.5)], None, None, 1, 8, 0.5),
        ([(2, 0)], None, None, 2, 1, 0),
        ([(1, 0)], None, None, 1, 1, 0),
        ([(64, 0), (0, 0)], None, None, 16, 4, 0),  # a head without CPUs does nothing
    ],
)
def test_workers_fit_their_machines(nodes, gpus, cpus, size, each, share):
    machines = [Node(str(i), f"m{i}", *node) for i, node in enumerate(nodes)]
    assert plan_workers(machines, gpus=gpus, cpus=cpus) == (size, each, share)


@pytest.mark.parametrize(
    ("nodes", "gpus", "cpus", "says"),
    [
        ([(8, 0)], True, None, "no machine of the cluster has a GPU"),
        ([(0, 0)], None, None, "has a CPU"),
        ([(4, 2)], None, 8, "8 CPUs"),
    ],
)
def test_workers_that_fit_nowhere_are_refused(nodes, gpus, cpus, says):
    with pytest.raises(ClusterError, match=says):
        plan_workers([Node("a", "a", *node) for node in nodes], gpus=gpus, cpus=cpus)


# What machines lack


@pytest.fixture
def needs(tmp_path) -> Needs:
    probe, sample = tmp_path / "probe", tmp_path / "a.jpg"
    probe.write_text("token", encoding="ascii")
    sample.touch()
    return Needs(versions_here(), str(probe), "token", [str(sample)])


def test_this_machine_has_what_it_needs(needs):
    assert needs.versions["torch"] == importlib.metadata.version("torch")
    assert problem_of(looker()(dataclasses.asdict(needs)), needs) is None


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        ({"versions": {"deltaoe": "0.0.1"}}, r"has deltaoe \S+, this machine 0\.0\.1", "pip install"),
        ({"versions": {"no-such-package": "1"}}, "has no no-such-package", "pip install"),
        ({"token": "another"}, "does not see the workspace", "--workspace"),
        ({"probe": "/no/such/file"}, "does not see the workspace", "--workspace"),
        ({"samples": ["/no/such/image.jpg"]}, "does not see /no/such/image.jpg", "share"),
    ],
)
def test_what_a_machine_lacks_is_said_with_the_next_action(needs, change, says, hint):
    wanted = dataclasses.replace(needs, **change)
    problem = problem_of(looker()(dataclasses.asdict(wanted)), wanted)
    assert problem is not None
    with pytest.raises(ClusterError, match=says):
        raise problem
    assert hint in problem.hint


def test_a_machine_without_the_package_can_be_looked_at(needs):
    """The code that looks is sent as code: an interpreter without any package runs it."""
    source = dedent(getsource(looker()))
    code = f"import json, sys\n{source}\nprint(json.dumps(look(json.loads(sys.argv[1]))))"
    names = code.replace("Mapping[str, Any]", "dict").replace("dict[str, Any]", "dict")
    told = json.dumps(dataclasses.asdict(needs))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", names, told], capture_output=True, text=True, check=True
    )
    problem = problem_of(json.loads(done.stdout), needs)
    assert problem is not None and "has no deltaoe" in str(problem)


# What is said


@pytest.mark.parametrize(
    ("cause", "says", "hint"),
    [
        (
            RuntimeError("…\nModuleNotFoundError: No module named 'deltaoe'"),
            "has no module deltaoe",
            "pip install",
        ),
        (MemoryError("out of memory"), "run out of memory", "--workers 1"),
        (RuntimeError("x\ny"), "the cluster failed: x", "same command"),
    ],
)
def test_an_error_of_ray_is_one_message(cause, says, hint):
    error = cluster_error(cause)
    assert says in str(error) and "\n" not in str(error) and hint in error.hint


def test_an_error_of_ours_stays_what_it_is():
    error = DataError("no images")
    assert cluster_error(error) is error


def test_what_is_done_twice_counts_once():
    tally = Tally()
    tally.start("one")
    assert not tally.report(0, 60, 1, True)
    tally.report(1, 10, 0, True)
    tally.start("two")  # in place of the first, which was killed
    tally.report(0, 20, 0, True)
    tally.say("batches of 16 from now on")
    tally.say("batches of 16 from now on")
    reading = tally.read()
    assert (reading.done, reading.failed, reading.busy, reading.started) == (30, 0, 2, 2)
    assert reading.said == ["batches of 16 from now on"] and tally.read().said == []
    tally.stop()
    assert tally.report(0, 64, 0, False) and tally.read().busy == 1


@has_ray
def test_that_ray_itself_has_ended_is_said_before_it_ends_this_program(monkeypatch):
    import ray._private.worker as place

    class Node:
        ended: ClassVar[list[tuple[str, None]]] = []

        def dead_processes(self):
            return self.ended

    monkeypatch.setattr(place, "_global_node", Node())
    check_alive()
    Node.ended.append(("raylet", None))
    with pytest.raises(ClusterError, match=r"Ray has ended on this machine \(raylet\)") as caught:
        check_alive()
    assert "run the same command again" in caught.value.hint
    monkeypatch.setattr(place, "_global_node", None)
    check_alive()

"""``deltaoe extract --cluster`` on real Ray clusters of two workers: as without it, whatever is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command import COMMAND, Run, environment
from ray_cluster import RayCluster, processes, ray_cluster, wait_for, workers
from tiny import HUES, make_pictures

from deltaoe.store.workspace import Workspace

pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("pyarrow", reason="Ray Data is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for workers in /proc")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster(environment(None)) as running:
        yield running


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """276 files: 272 pictures, a copy of one far from it, one that is broken, one that is empty, an odd name."""
    root = tmp_path_factory.mktemp("cluster") / "images"
    for number, name in enumerate(HUES):
        make_pictures(root / name, 68, seed=10 + number)
    first = next(iter(HUES))
    shutil.copy(root / first / "00.png", root / list(HUES)[-1] / "copy.png")
    (root / first / "zz-broken.png").write_bytes((root / first / "01.png").read_bytes()[:60])
    (root / first / "zz-empty.png").touch()
    os.rename(root / first / "00.png", os.fsencode(root / first) + b"/na\xefve \xc3\xa9.png")
    return root


def start(images: Path, place: Path, model: Path, cluster: RayCluster | None) -> subprocess.Popen[bytes]:
    """The command as a process of its own, on a cluster that runs, or on one that it starts."""
    address, env = ("local", {}) if cluster is None else (cluster.address, cluster.env)
    return subprocess.Popen(
        [COMMAND, "extract", images, "--workspace", place, "--cluster", address, "--json", "--workers", "1"],
        cwd=images.parent,
        env=environment(model) | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def same_results(one: Workspace, other: Workspace) -> None:
    """The same data set, digests, classes and records, and of each image the same feature, each once."""
    (a,), (b,) = one.datasets(), other.datasets()
    assert a.space_id == b.space_id and list(a.paths) == list(b.paths) and a.class_names == b.class_names
    for column in ("digests", "class_of", "domain_of", "split_of"):
        np.testing.assert_array_equal(getattr(a, column), getattr(b, column))
    store, found = one.features_of(a), other.features_of(b)
    np.testing.assert_array_equal(store.features(a.digests), found.features(b.digests))
    assert sum(shard.features for shard in found.shards) == store.feature_rows == found.feature_rows
    records, again = store.file_table(), found.file_table()
    assert records is not None and again is not None and len(records) == len(again)


def test_the_driver_and_a_worker_are_killed_and_nothing_is_lost_or_doubled(
    cluster, images, run: Run, tiny_model, tmp_path
):
    plain = run("extract", images, "--workspace", tmp_path / "plain", "--json", cwd=images.parent).json
    place = tmp_path / "cluster"

    # On a cluster that runs: the driver, when the first shard is there
    driver = start(images, place, tiny_model, cluster)
    wait_for(lambda: list(place.glob("features/*/**/shard-*.h5")), driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    wait_for(lambda: not workers(cluster.pid))  # nor is a decoder left

    # On all of this machine, for the same workspace: a worker, in the middle
    driver = start(images, place, tiny_model, None)
    (worker, *_) = wait_for(lambda: workers(driver.pid), driver)
    os.kill(worker.pid, signal.SIGKILL)
    out, err = driver.communicate(timeout=200)
    assert driver.returncode == 0, err.decode()
    said = json.loads(out)
    assert 0 < said["encoded"] < plain["encoded"]
    assert not re.search(rb"raylet|ray::|INFO|WARN|\[\d{4}-|Traceback", err), (
        err.decode()
    )  # of Ray's own words
    for key in ("images", "images_per_class", "failed", "classes", "feature_space", "notes", "assumed"):
        assert said.get(key) == plain.get(key), key
    same_results(Workspace(tmp_path / "plain"), Workspace(place))
    assert not list(place.glob("features/*/incoming/*"))

    # What was started has ended, and left no file
    mine = f"deltaoe-ray-{driver.pid}-"
    wait_for(lambda: not [one for one in processes() if mine.encode() in one.command])
    assert not list(Path(tempfile.gettempdir()).glob(f"{mine}*"))

    again = run("extract", images, "--workspace", place, "--cluster", "local", "--json", cwd=images.parent)
    assert (again.json["encoded"], again.json["unchanged"]) == (0, plain["images"])

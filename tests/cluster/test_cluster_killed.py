"""Ten rounds of ``extract --cluster``, in each of which workers and drivers are killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import pytest
from command import Run, environment
from ray_cluster import ray_cluster, workers
from test_cluster_extract import same_results, start
from tiny import HUES, make_pictures

from deltaoe.store.workspace import Workspace

pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("pyarrow", reason="Ray Data is not installed")
ROUNDS, MOST_KILLS = 10, 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for workers in /proc")
def test_ten_rounds_of_kills(run: Run, tiny_model, tmp_path):
    images = tmp_path / "images"
    for number, name in enumerate(HUES):
        make_pictures(images / name, 80, seed=number)
    run("extract", images, "--workspace", tmp_path / "plain", cwd=tmp_path)
    with ray_cluster(environment(None)) as cluster:
        for round_ in range(ROUNDS):
            choose, place = random.Random(round_), tmp_path / f"cluster-{round_}"
            for kills in range(MOST_KILLS + 1):
                driver = start(images, place, tiny_model, cluster)
                while kills < MOST_KILLS and driver.poll() is None:
                    busy = workers(cluster.pid)
                    if busy and choose.random() < 0.02:
                        victim = choose.choice([driver.pid, *(one.pid for one in busy)])
                        os.kill(victim, signal.SIGKILL)
                        if victim == driver.pid:
                            break
                    time.sleep(0.02)
                _, err = driver.communicate(timeout=500)
                if driver.returncode == 0:
                    break
                assert driver.returncode == -signal.SIGKILL, (round_, err.decode())
            assert driver.returncode == 0, (round_, err.decode())
            same_results(Workspace(tmp_path / "plain"), Workspace(place))
            assert not list(place.glob("features/*/incoming/*"))

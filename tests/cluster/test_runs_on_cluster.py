"""``evaluate --protocol --cluster``: the workers' results are those of one process, and finished runs are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import COMMAND, Run, environment
from shops import PROTOCOL
from tiny import HUES, make_noise, make_pictures

from deltaoe.errors import ConfigError
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.evaluation.protocol import Part, Protocol
from deltaoe.evaluation.runs_on_cluster import RunsSpec, RunWorker

pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("pyarrow", reason="Ray Data is not installed")

COMMON = ["--protocol", "mine.toml", "--root", "data", "--scores", "delta_energy", "--background", "none"]
RUNS = 2 * 4


def results(folder: Path) -> dict[str, dict]:
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (folder / "runs").iterdir()}


@pytest.mark.skipif(sys.platform != "linux", reason="what is started ends with this process on Linux alone")
def test_workers_give_the_results_of_one_process(run: Run, tiny_model, tmp_path):
    for d, shop in enumerate(("left", "right")):
        for k, name in enumerate(list(HUES)[:3]):
            make_pictures(tmp_path / "data" / "shops" / shop / name, 5, seed=10 * d + k)
    make_noise(tmp_path / "data" / "rubbish", 6)
    (tmp_path / "mine.toml").write_text(PROTOCOL, encoding="utf-8")
    run("evaluate", *COMMON, "--out", "alone", cwd=tmp_path)
    alone = results(tmp_path / "alone")
    assert len(alone) == RUNS

    some = tmp_path / "spread" / "runs"
    some.mkdir(parents=True)
    for name in sorted(alone)[:2]:  # that are not computed again
        (some / name).write_bytes((tmp_path / "alone" / "runs" / name).read_bytes())
    done = subprocess.run(
        [COMMAND, "evaluate", *COMMON, "--out", "spread", "--cluster", "local", "--workers", "1"],
        cwd=tmp_path,
        env=environment(tiny_model),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"Runs of the protocol: 2/{RUNS}" in done.stderr or f"2/{RUNS}" in done.stderr
    assert results(tmp_path / "spread") == alone
    tables = [tmp_path / name / "evaluation.csv" for name in ("alone", "spread")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    protocol = Protocol("one", "One", "", "leave-one-domain-out", Part(("known",)))
    spec = RunsSpec(str(tmp_path / "gone"), str(tmp_path / "place"), protocol, EvaluateOptions("", {}), "out")
    with pytest.raises(ConfigError, match=r"cannot use the folder .*gone") as caught:
        RunWorker(spec, print)
    assert "all machines share" in caught.value.hint

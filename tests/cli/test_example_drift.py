"""The example that watches for drift, beside SciPy's test of the same name."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from examples import EXAMPLES, example
from scipy.stats import ks_2samp, kstwobign

PROGRAM = EXAMPLES / "service" / "drift.py"


def lines(values) -> str:
    """Answers with these p-values, and a failed one."""
    records = [{"verdict": "known", "p_value": float(one)} for one in values]
    return "".join(json.dumps(one) + "\n" for one in [*records, {"verdict": "failed", "p_value": None}])


def drift(*arguments: str, answers: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], input=answers, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_gap_and_its_bound_are_those_of_kolmogorov_and_smirnov():
    drift = example("service/drift.py")
    rng = np.random.default_rng(0)
    for sizes in ((40, 300), (500, 500), (1, 7)):
        # Rounded, so that values repeat, as p-values do.
        earlier, latest = (rng.beta(1, 1 + i, size).round(2) for i, size in enumerate(sizes))
        assert drift.gap(earlier, latest) == pytest.approx(ks_2samp(earlier, latest).statistic)
    wanted = kstwobign.isf(drift.CHANCE) * np.sqrt(1 / 500 + 1 / 300)
    assert drift.largest_by_chance(500, 300) == pytest.approx(wanted, rel=1e-3)


def test_evenly_spread_p_values_are_as_before_and_small_ones_are_drift(tmp_path):
    rng = np.random.default_rng(1)
    even = rng.integers(1, 202, 1000) / 201
    code, said = drift("--calibration-images", "200", answers=lines(even))
    assert code == 0 and said.count("as before") == 2
    low = rng.integers(1, 101, 500) / 201
    code, said = drift("--calibration-images", "200", answers=lines([*even[:500], *low]))
    first, last = said.splitlines()
    assert (
        code == 1 and first.endswith("as before") and last.startswith("501..1000") and last.endswith("DRIFT")
    )
    # A stream that always had such images is as it was before.
    (tmp_path / "good.jsonl").write_text(lines(rng.integers(1, 101, 500) / 201))
    code, said = drift("--earlier", str(tmp_path / "good.jsonl"), answers=lines(low))
    assert code == 0 and said.endswith("as before\n")


def test_too_few_images_are_said():
    code, said = drift("--calibration-images", "200", "--window", "50", answers=lines([0.5] * 9))
    assert (code, said) == (0, "9 images, fewer than one window of 50\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--earlier nowhere.jsonl", "cannot read nowhere.jsonl: No such file or directory"),
        ("--earlier empty.jsonl", "empty.jsonl has no p-values"),
        ("--calibration-images 0", "must be at least 1"),
        ("--calibration-images 9 --window 0", "must be at least 1"),
    ],
)
def test_what_cannot_be_told_is_no_drift(tmp_path, arguments, told):
    """1 is the exit code of drift, and so of no mistake."""
    (tmp_path / "empty.jsonl").write_text("")
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments.split()],
        input=lines([0.5]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and told in done.stderr


def test_lines_that_are_no_answers_are_counted():
    """A line that was cut when the service was stopped, a message between the lines, bytes of no text."""
    others = [
        b'{"verdict": "known", "p_va',
        b"INFO: started",
        b"[]",
        b"1",
        b"{}",
        b'{"p_value": NaN}',
        b"\xff\xfe",
    ]
    others += [b'{"p_value": "x"}', b'{"p_value": 7}']
    done = subprocess.run(
        [sys.executable, PROGRAM, "--calibration-images", "9", "--window", "2"],
        input=b"\n".join([*others, lines([0.5, 0.6]).encode()]),
        capture_output=True,
    )
    assert done.returncode == 0 and done.stdout.startswith(b"1..2: gap") and b"as before" in done.stdout
    assert done.stderr == b"9 lines left out, which are no answers of deltaoe\n"

"""What the demo says was gained, against means by hand; and the stored numbers over seeds."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from deltaoe.demo import measured_seeds
from deltaoe.demo.gains import METHODS, ROWS, TWO_GAINS, over_seeds, small_table
from deltaoe.demo.summary import ACCURACY, CALLED_UNKNOWN, DETECTION

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = (*ACCURACY, *DETECTION, *CALLED_UNKNOWN)


@pytest.fixture
def by_seed() -> dict[str, dict[str, tuple[float, ...]]]:
    rng = np.random.default_rng(3)
    return {method: {number: tuple(rng.random(3)) for number in NUMBERS} for method in METHODS}


def test_the_small_table_shows_means_and_marks_the_best(
    by_seed: dict[str, dict[str, tuple[float, ...]]],
) -> None:
    one = {method: {name: values[0] for name, values in by_seed[method].items()} for method in METHODS}
    rows = {name: cells for name, *cells in small_table(one, by_seed)}
    assert len(rows) == len(ROWS) == 8
    right = [(one[m]["accuracy, photo"] + one[m]["accuracy, sketch"]) / 2 for m in METHODS]
    cells = [f"{100 * value:.1f}%" for value in right]
    best = int(np.argmax(right))
    assert [cell.lstrip("*") for cell in rows["right class, your styles"][:4]] == cells
    assert [place for place, cell in enumerate(rows["right class, your styles"]) if "*" in cell] == [best]
    near = [one[m][n] for m in METHODS[:1] for n in DETECTION if "objects" in n]
    assert rows["AUROC, other objects"][0].lstrip("*") == f"{sum(near) / 2:.3f}"
    assert not any("*" in cell for name, row in rows.items() if "alarms" in name for cell in row)
    found = np.array(by_seed["deltaoe (default)"]["called unknown: patterns"]) * 100
    assert rows["patterns found"][-1] == f"{found.mean():.1f}% ({found.min():.1f} to {found.max():.1f})"


def test_sentences_give_gains_over_plain_clip(by_seed: dict[str, dict[str, tuple[float, ...]]]) -> None:
    said = " ".join(over_seeds(by_seed))
    right = {m: np.mean([by_seed[m][name] for name in ACCURACY], axis=0) * 100 for m in METHODS}
    gain = right["deltaoe (default)"] - right["zero-shot"]
    told = re.search(r"gives ([\d.]+)%: (\S+) points \((\S+) to (\S+)\)", said)
    assert told is not None
    numbers = [float(number.replace("−", "-")) for number in told.groups()]
    expected = [right["deltaoe (default)"].mean(), gain.mean(), gain.min(), gain.max()]
    assert numbers == pytest.approx(expected, abs=0.051)
    assert f"{right['CoOp'].mean():.1f}% right" in said and f"{right['zero-shot'].mean():.1f}% of" in said
    assert "-" not in re.sub(r"zero-shot", "", said)  # a fall has a minus sign


def test_what_is_stored_bears_out_what_is_said() -> None:
    """Tuning, beside the same image evidence, and image evidence, beside plain CLIP."""
    mean = {m: {n: np.mean(v) for n, v in numbers.items()} for m, numbers in measured_seeds.RESULTS.items()}
    zero_shot, with_images, ours = mean["zero-shot"], mean["with images"], mean["deltaoe (default)"]
    assert over_seeds(measured_seeds.RESULTS)[0] == TWO_GAINS
    accuracy = [np.mean([one[name] for name in ACCURACY]) for one in (zero_shot, with_images, ours)]
    assert accuracy[2] > max(accuracy[:2]) + 0.01
    for name in ("called unknown: other objects", "called unknown: patterns"):
        assert with_images[name] > zero_shot[name] + 0.05 and ours[name] > zero_shot[name] + 0.05
    seen = [
        [r[name] for name in ("accuracy, photo", "accuracy, sketch")] for r in measured_seeds.RESULTS.values()
    ]
    assert (np.mean(seen[3], axis=0) > np.mean(seen[0], axis=0)).all()  # with every seed, as the page says


def test_what_is_stored_is_whole_and_as_the_benchmark_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(set(measured_seeds.SEEDS)) == len(measured_seeds.SEEDS) >= 3
    assert tuple(measured_seeds.RESULTS) == METHODS
    for numbers in measured_seeds.RESULTS.values():
        assert tuple(numbers) == NUMBERS
        assert all(len(values) == len(measured_seeds.SEEDS) for values in numbers.values())
        assert all(0 <= value <= 1 for values in numbers.values() for value in values)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(importlib.sys.modules, "demo", raising=False)  # type: ignore[attr-defined]
    benchmark = importlib.import_module("demo")
    written = benchmark.module(list(measured_seeds.SEEDS), measured_seeds.RESULTS)
    assert written == benchmark.MODULE.read_text(encoding="utf-8")

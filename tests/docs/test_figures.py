"""The documentation's figures: what they show is what the pages' tables say, and whoever cannot see them is told."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in p.parts)]
NAMES = ("method", "verdict", "curves", "growth", "calibration", "evidence")
LARGEST = 60_000


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """docs/update_figures.py, which finds the modules beside it as if it were run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        yield importlib.import_module("update_figures")


def luminance(color: str) -> float:
    """Relative luminance by WCAG 2, of ``#rrggbb``."""
    parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_folder_holds_these_figures(script: ModuleType) -> None:
    assert {path.name for path in FIGURES.iterdir()} == {f"{name}.svg" for name in NAMES}
    assert {*script.FROM_PAGES, *script.FROM_FEATURES} == set(NAMES)


def test_figures_show_what_the_tables_say(script: ModuleType) -> None:
    for name, data in script.numbers([*script.FROM_PAGES]).items():
        assert script.carried(FIGURES / f"{name}.svg") == data, f"run: python docs/update_figures.py {name}"


def test_the_tables_are_read_as_they_stand(script: ModuleType) -> None:
    """Against the page that sums one of them up, and against cells of the others as they are written."""
    del script
    data = importlib.import_module("figure_data")
    below = data.verdict()["below best"]
    summary = (ROOT / "docs" / "explanation" / "verdict-table-summary.md").read_text(encoding="utf-8")
    for score, worst in re.findall(r"^\| ([^|]+) \|.*\| ([+-][\d.]+) \(", summary, re.MULTILINE):
        if score in below:
            assert min(below[score]) == pytest.approx(float(worst), abs=0.0016), score
    assert len(below) > 10
    last = (ROOT / "docs" / "explanation" / "tuning-curves.md").read_text(encoding="utf-8").splitlines()[-1]
    assert last.split(" | ")[1] == f"{data.curves()['energy prompts']['time'][-1]} s"
    append = data.growth()["append"]
    table = (ROOT / "docs" / "explanation" / "scale-table.md").read_text(encoding="utf-8")
    assert f"append, {append['rows'][-1]:,} rows" in table and f"| {append['CPU'][-1]:.3f} |" in table


@pytest.mark.parametrize("name", NAMES)
def test_what_a_figure_is_made_of(name: str) -> None:
    path = FIGURES / f"{name}.svg"
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size <= LARGEST
    assert "<dc:date>" not in text and "<text" in text
    # Nothing is loaded: an address is a name of XML or of a licence, never a thing to fetch.
    assert not re.findall(r'(?:xlink:)?href="(?!#)', text)
    colors = set(re.findall(r"<text style=\"[^\"]*fill: (#[0-9a-f]{6})", text))
    assert colors and all(1.05 / (luminance(color) + 0.05) >= 4.5 for color in colors)


def test_figures_are_drawn_by_the_script(script: ModuleType) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    for name in NAMES:
        path = FIGURES / f"{name}.svg"
        made = script.svg(name, script.carried(path))
        if f"matplotlib {matplotlib.__version__}<" in path.read_text(encoding="utf-8"):
            assert made == path.read_bytes(), f"run: python docs/update_figures.py {name}"
        else:  # other releases place things a little differently
            words = r"<text[^>]*>(.*?)</text>"
            assert re.findall(words, made.decode()) == re.findall(words, path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_figures_of_real_features(script: ModuleType, shared: Path) -> None:
    assert (shared / "data" / "clip-features").is_dir()
    found = script.numbers([*script.FROM_FEATURES])
    old = {name: script.carried(FIGURES / f"{name}.svg") for name in script.FROM_FEATURES}
    for line in ("false alarms", "found"):
        new, before = (one["calibration"][line]["mean"] for one in (found, old))
        assert new == pytest.approx(before, abs=0.01)
    for kind in ("known", "unknown"):
        assert found["evidence"][kind]["shares"] == pytest.approx(old["evidence"][kind]["shares"], abs=0.02)


def test_every_image_says_what_is_to_be_seen() -> None:
    seen = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        images = re.findall(r"!\[([^\]]*)\]\(([^)\s]+)", text)
        for tag in re.findall(r"<img[^>]*>", text):
            (source,) = re.findall(r'src="([^"]+)"', tag)
            images.append(("".join(re.findall(r'alt="([^"]*)"', tag)), source))
        for words, source in images:
            badge = source.startswith("http")
            assert len(words) >= (3 if badge else 40), f"{page.name}: {source}"
            seen.add(Path(source).name)
    assert {f"{name}.svg" for name in NAMES} <= seen


def test_without_the_features_a_figure_keeps_its_numbers(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["figure_data"], "FEATURES", tmp_path / "none")
    kept = script.numbers(["calibration"])["calibration"]
    assert kept == script.carried(FIGURES / "calibration.svg")
    assert "calibration keep their numbers" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="no such figure: pie"):
        script.main(["pie"])

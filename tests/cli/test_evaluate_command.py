"""``deltaoe evaluate``, ``deltaoe background``, and the rules and labels of ``deltaoe score``, as a user runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command import Fails, Run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_evaluate_a_project(project: Path, run: Run, fails: Fails) -> None:
    told = run(
        *("evaluate", "--id", "images", "--ood", "noise=unknown/noise", "--ood", "unknown/red_stripes"),
        *("--bootstrap", "20", "--alpha", "0.1", "--scores", "delta_energy,mcm,knn,mahalanobis,neglabel"),
        *("--theory", "--probes", "2", "--verbose"),
        cwd=project,
    )
    assert "AUROC, id against" in told.stdout and "False alarms at alpha = 0.1" in told.stdout
    assert "evaluation/evaluation.html" in told.stdout.replace("\\", "/")
    out = project / "evaluation"
    found = rows(out / "evaluation.csv")
    assert {row["unknown"] for row in found if row["metric"] == "auroc"} == {"noise", "red_stripes", "mean"}
    assert {row["score"] for row in found if row["score"]} == {
        *("delta_energy", "mcm", "knn", "mahalanobis", "neglabel")
    }
    assert len({row["detector"] for row in found}) == 2  # zero-shot, and the one tuned here
    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert "NegLabel" in page and "<script" not in page
    kept = json.loads((out / "evaluation.json").read_text())
    assert told.stdout.endswith("\n".join(kept["conclusions"]) + "\n")
    assert len(kept["rows"]) == len(found)
    # What the theorems need and claim, on the same images; of one domain, so there are no Hessians to compare.
    assert "The EBM bound" in told.stdout and "Separation: ΔEnergy beside other scores" in told.stdout
    assert "not measured" in told.stdout and "one domain" in told.stdout
    assert {row["part"] for row in rows(out / "theory.csv")} == {"bound", "separation"}
    assert "What these data say" in (out / "theory.md").read_text(encoding="utf-8")
    assert "What the theorems need and claim" in page and "The EBM bound" in page
    # The workspace's last data set and detector are what they were.
    assert run("store", "info", "--json", cwd=project).json["data_sets"][0]["images"] == 96

    fails(
        *("evaluate", "--id", "images", "--ood", "unknown/red_stripes"),
        cwd=project,
        says=("evaluation.csv has the result of images, unknown/noise", "--force"),
    )
    (out / "evaluation.csv").write_text("mine\n")
    fails(
        *("evaluate", "--id", "images", "--ood", "noise=unknown/noise"),
        cwd=project,
        says=("was not written by deltaoe", "--out"),
    )


@pytest.mark.parametrize(
    ("arguments", "rc", "says"),
    [
        (("--ood", "a=unknown"), 2, ("no in-distribution images", "--id")),
        (("--id", "", "--ood", "a=unknown"), 1, ("an empty name", "a variable of the shell")),
        (("--id", "images", "--ood", "a=unknown", "--ood", "a=images"), 2, ("twice", "NAME=DATA")),
        (("--recipe", "pacs-lodo", "--theory"), 2, ("not for protocols", "--id")),
        (
            ("--id", "images", "--ood", "a=unknown", "--theory", "--probes", "0"),
            2,
            ("--probes", "at least 1"),
        ),
        (("--protocol", "pacs-lod"), 2, ("no protocol", "did you mean pacs-lodo")),
        (("--protocol", "pacs-lodo", "--root", "images"), 1, ("does not find", "--root")),
    ],
)
def test_refusals(
    project: Path, fails: Fails, arguments: tuple[str, ...], rc: int, says: tuple[str, ...]
) -> None:
    fails("evaluate", *arguments, cwd=project, rc=rc, says=says, writes=True)


def test_protocols_are_listed(fresh: Path, run: Run) -> None:
    listed = run("evaluate", "--protocol", "list", cwd=fresh).stdout
    assert "pacs-lodo" in listed
    # The option's former name is a second spelling.
    assert run("evaluate", "--recipe", "list", cwd=fresh).stdout == listed


def test_background_labels_are_listed_with_the_class_nearest_to_them(project: Path, run: Run) -> None:
    (project / "names.txt").write_text("lamp\nRed Stripes\nharbour\nteapot\n", encoding="utf-8")
    found = run("background", "--background", "names.txt", "--json", cwd=project).json
    assert {one["label"] for one in found["labels"]} == {
        "lamp",
        "harbour",
        "teapot",
    }  # a class is no background
    assert found["kept"] == 1
    likeness = [one["likeness"] for one in found["labels"]]
    assert likeness == sorted(likeness, reverse=True)
    assert [one["kept"] for one in found["labels"]] == [False, False, True]
    assert "lamp" in run("background", "--background", "names.txt", cwd=project).stdout
    told = run("background", cwd=project)
    assert "background labels are kept" in told.stdout and "--json lists all" in told.stderr


def test_score_with_other_rules_and_labels(project: Path, run: Run, fails: Fails) -> None:
    def scored(*arguments: str) -> dict:
        return run("score", "unknown", *arguments, "--json", "--report", "html", cwd=project).json

    tuned = scored("--alpha", "0.1")
    assert tuned["background_labels"] > 0
    rates = scored("--fdr", "0.3")
    assert (rates["fdr"], rates["per_class"]) == (0.3, False)
    page = (project / "report.html").read_text(encoding="utf-8")
    assert "false alarms (Benjamini–Hochberg" in page.replace("\n", " ")
    p = np.sort([image["p_value"] for image in rates["images"]])
    most = max((k for k in range(1, 7) if p[k - 1] <= 0.3 * k / 6), default=0)
    assert rates["counts"]["unknown"] == most

    scored("--per-class", "--alpha", "0.2")
    assert "threshold of the class it was taken for" in (project / "report.html").read_text(encoding="utf-8")

    chosen = scored("--zero-shot", "--select", "--background", "none")
    assert chosen["background_labels"] == 0 and "held-out classes" in (project / "report.html").read_text(
        "utf-8"
    )
    assert scored("--zero-shot")["background_labels"] > 0
    assert scored("--zero-shot", "--evidence", "text")["background_labels"] == 0
    asked = ("--zero-shot", "--background", "imagenet", "--evidence", "text")
    bounded = scored(*asked, "--neighbours", "20", "--temperature", "0.1")
    exact = scored(*asked, "--temperature", "0.1")
    assert exact["background_labels"] > 0
    for near, true in zip(bounded["images"], exact["images"], strict=True):
        assert near["score_low"] <= true["score"] <= near["score_high"]
        assert near["verdict"] == true["verdict"]
    assert "score_low" in rows(project / "scores.csv")[0] or "score_low" not in exact["images"][0]
    # Verdicts are those of all labels, also of the calibration image whose score is the threshold.
    loose = ("score", "images", *asked, "--temperature", "0.02", "--alpha", "0.3", "--json")
    bounded, exact = (run(*loose, *more, cwd=project).json for more in (("--neighbours", "3"), ()))
    assert [one["verdict"] for one in bounded["images"]] == [one["verdict"] for one in exact["images"]]
    widths = np.array([one["score_high"] - one["score_low"] for one in bounded["images"]])
    assert widths.min() < 1e-5
    told = run("score", "unknown", "--zero-shot", "--index", "hnsw", cwd=project)
    assert "approximate index finds" in told.stderr
    says = ("fixed in a tuned detector", "--zero-shot")
    fails("score", "unknown", "--background", "none", cwd=project, rc=2, says=says)
    fails(
        *("tune", "--shots", "2", "--background", "gone.txt"),
        cwd=project,
        rc=2,
        says=("gone.txt",),
        writes=True,
    )

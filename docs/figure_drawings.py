"""How the documentation's figures are drawn: with matplotlib, on a white card that both themes of the site leave white.

Colours are told apart without colour vision, and every difference in colour is one in shape, line or words, too. Text
has a contrast of at least 4.5 to 1 with the card.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

Data = dict[str, Any]

# Contrast with white: 8.4, 5.0, 5.8 and 16.1 to 1.
BLUE, ORANGE, GREY, INK = "#0b4f8a", "#b45309", "#62666c", "#202124"
LIGHT = "#c3c8ce"  # lines and areas only
WIDTH = 7.4  # inches, as wide as the site's column
STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "deltaoe",  # the same names in every run
}


def method(data: Data) -> Figure:
    """Cosines of a known and of an unknown image with the largest crossed out; below, the change of energy."""
    figure = Figure((WIDTH, 3.9), layout="constrained")
    upper, lower = figure.subplots(2, 2, height_ratios=(3, 1.15), sharex="row", sharey="row")
    for bars, line, (name, image) in zip(upper, lower, data["images"].items(), strict=True):
        cosines = np.array(image["cosines"])
        top = int(cosines.argmax())
        others = np.arange(len(cosines)) != top
        places = np.arange(len(cosines))
        bars.bar(places[others], cosines[others], color=LIGHT, edgecolor=GREY, width=0.65)
        bars.bar(
            [top],
            [cosines[top]],
            color="white",
            edgecolor=ORANGE,
            linestyle="--",
            linewidth=1.5,
            hatch="///",
            width=0.65,
        )
        bars.set_xticks(places, data["classes"])
        bars.tick_params(axis="x", length=0)
        bars.set_title(name)
        bars.text(
            top, cosines[top] + 0.008, "set to 0", color=ORANGE, ha="center", va="bottom", fontweight="bold"
        )
        bars.set_ylim(0, 0.36)
        _change(line, image["before"], image["after"])
    upper[0].set_ylabel("cosine with the class name")
    lower[0].set_xlabel("energy (less is more familiar)")
    lower[1].set_xlabel("energy (less is more familiar)")
    return figure


def _change(axes: Axes, before: float, after: float) -> None:
    """An arrow from one energy to the other."""
    axes.annotate(
        "",
        (after, 0),
        (before, 0),
        arrowprops={"arrowstyle": "-|>", "color": BLUE, "linewidth": 2.5, "shrinkA": 0, "shrinkB": 0},
    )
    axes.plot([before, after], [0, 0], "o", color=BLUE, markersize=4)
    axes.text(before, 0.25, "before", ha="center", va="bottom", color=GREY)
    axes.text(after, 0.25, "after", ha="center", va="bottom", color=GREY)
    axes.text(
        (before + after) / 2,
        -0.35,
        f"ΔEnergy {after - before:.3f}",
        ha="center",
        va="top",
        color=BLUE,
        fontweight="bold",
    )
    axes.set_ylim(-1.2, 1.1)
    axes.margins(x=0.25)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def calibration(data: Data) -> Figure:
    """Scores with the threshold; and what came of it, against what was promised."""
    figure = Figure((WIDTH, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    edges, at = np.array(data["edges"]), data["threshold"]
    middles, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    left.bar(
        middles,
        data["calibration"],
        width,
        color=BLUE,
        alpha=0.75,
        label=f"{data['images']} calibration images",
    )
    left.stairs(data["unknown"], edges, color=ORANGE, linewidth=1.8, label="images of other classes")
    top = left.get_ylim()[1] * 1.3
    left.set_ylim(0, top)
    left.vlines(at, 0, top * 0.7, color=INK, linestyle="--", linewidth=1.2)
    left.text(at - 0.15, top * 0.69, "threshold\nat α = 0.05", va="top", ha="right")
    left.legend(loc="upper left", frameon=False)
    left.set_title("Scores of one draw")
    left.set_xlabel("score (higher is more familiar)")
    left.set_ylabel("share of the images")

    levels = np.array(data["alpha"])
    for name, color, style in (("false alarms", BLUE, "-"), ("found", ORANGE, "-.")):
        line = data[name]
        right.fill_between(levels, line["lowest"], line["highest"], color=color, alpha=0.18, linewidth=0)
        right.plot(levels, line["mean"], style, color=color, linewidth=1.8)
    right.plot(levels, levels, "--", color=INK, linewidth=1)
    right.text(0.17, 0.77, "unknown images found", color=ORANGE, fontweight="bold", ha="center", va="top")
    right.text(
        0.17,
        0.36,
        "false alarms among new images\nof the same classes",
        color=BLUE,
        fontweight="bold",
        ha="center",
    )
    right.text(0.30, 0.20, "promised:\nat most α", ha="right", va="top")
    right.set_xlim(0, 0.305)
    right.set_ylim(0, 1.02)
    right.set_title(f"Called unknown at α ({data['draws']} draws)")
    right.set_xlabel("α, the accepted share of false alarms")
    right.set_ylabel("share called unknown")
    return figure


def evidence(data: Data) -> Figure:
    """p-values of the text side and of the image side, and which images the verdict calls unknown."""
    figure = Figure((WIDTH, 3.9), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    titles = {"known": "New images of the classes", "unknown": "Images of other classes"}
    for axes, (name, points) in zip(panels, data.items(), strict=True):
        text, images = np.array(points["text"]), np.array(points["images"])
        called = np.array(points["called unknown"])
        axes.plot(
            text[~called],
            images[~called],
            "o",
            color=BLUE,
            markersize=4,
            markerfacecolor="none",
            label="known",
        )
        axes.plot(text[called], images[called], "x", color=ORANGE, markersize=4.5, label="unknown")
        for line in (axes.axvline, axes.axhline):
            line(0.05, color=INK, linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        shares = points["shares"]
        axes.set_title(titles[name], pad=32)
        axes.text(
            0,
            1.02,
            f"called unknown: {shares['text']:.0%} by text alone,\n"
            f"{shares['images']:.0%} by images alone, {shares['both']:.0%} by the verdict",
            transform=axes.transAxes,
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([0.01, 0.05, 0.2, 1]))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel("p-value of the text side")
    panels[0].set_ylabel("p-value of the image side")
    panels[0].legend(title="verdict", loc="lower left", frameon=True, edgecolor=LIGHT)
    panels[0].set_xlim(0.0011, 1.25)
    panels[0].set_ylim(0.0011, 1.25)
    panels[1].text(0.055, 0.0013, "α = 0.05", va="bottom")
    return figure


def verdict(data: Data) -> Figure:
    """For each score, its distance to the best single score of each set-up; the largest is named."""
    figure = Figure((WIDTH, 4.3), layout="constrained")
    axes = figure.subplots()
    below = sorted(data["below best"].items(), key=lambda item: min(item[1]))
    names = {
        "delta_energy_plain": "ΔEnergy alone",
        "verdict": "deltaoe's verdict",
        "mcm": "MCM",
        "msp": "MSP",
        "knn": "KNN",
        "gda": "GDA",
        "fdbd": "fDBD",
        "neglabel": "NegLabel",
        "mahalanobis": "Mahalanobis",
        "relative_mahalanobis": "relative Mahalanobis",
        "tip_adapter": "Tip-Adapter",
    }
    for place, (score, values) in enumerate(below):
        ours = score == "verdict"
        color = BLUE if ours else GREY
        axes.axhline(place, color=LIGHT, linewidth=0.5, zorder=0)
        axes.plot(
            values,
            [place] * len(values),
            "D" if ours else "o",
            color=color,
            markersize=5 if ours else 4,
            alpha=0.65,
            markeredgewidth=0,
        )
        worst = int(np.argmin(values))
        axes.plot(
            values[worst],
            place,
            "D" if ours else "o",
            color=color if ours else ORANGE,
            markersize=7,
            markerfacecolor="none",
            markeredgewidth=1.5,
        )
        axes.text(
            values[worst] - 0.018,
            place,
            f"{values[worst]:+.2f} ({data['setups'][worst]})".replace("-", "−"),
            ha="right",
            va="center",
            color=BLUE if ours else ORANGE,
            fontsize=8,
            fontweight="bold" if ours else "normal",
        )
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(below)), [names.get(score, score.replace("_", " ")) for score, _ in below])
    axes.get_yticklabels()[-1].set(color=BLUE, fontweight="bold")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(-1.2, 0.06)
    axes.set_title(f"Each score in {len(data['setups'])} set-ups; the ring is its worst one")
    axes.set_xlabel("AUROC above (+) or below (−) the best single score of the set-up")
    return figure


def curves(data: Data) -> Figure:
    """Accuracy and AUROC over the seconds of tuning."""
    figure = Figure((WIDTH, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    looks = {
        "CoOp": (GREY, "s", ":"),
        "class prompts": (BLUE, "o", "-"),
        "energy prompts": (ORANGE, "^", "--"),
    }
    for axes, measure in ((left, "acc."), (right, "AUROC")):
        for run, values in data.items():
            color, marker, line = looks[run]
            for where in ("source", "held-out"):
                axes.plot(
                    values["time"],
                    values[f"{where} {measure}"],
                    line,
                    marker=marker,
                    color=color,
                    markersize=4,
                    markerfacecolor=color if where == "source" else "white",
                    linewidth=1.4,
                    label=run if where == "source" else None,
                )
        axes.set_xlabel("seconds of tuning")
        axes.set_ylim(0.2, 0.85)
        axes.set_xlim(0, 11.2)
    left.set_title("Accuracy")
    right.set_title("AUROC of ΔEnergy")
    left.text(11, 0.755, "source domains (filled)", ha="right")
    left.text(11, 0.375, "held-out domain (hollow)", ha="right")
    right.legend(frameon=False, loc="lower right")
    return figure


def growth(data: Data) -> Figure:
    """CPU seconds and memory over the rows of the store, both axes logarithmic."""
    figure = Figure((WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    shown = {
        "append": (BLUE, "o", "-"),
        "score against 1,000 labels": (ORANGE, "^", "--"),
        "look up all": (GREY, "s", "-."),
        "open, look up 1,000": (BLUE, "v", ":"),
        "open": (ORANGE, "x", ":"),
    }
    for axes, measure in ((left, "CPU"), (right, "MB")):
        for work, (color, marker, line) in shown.items():
            # A log axis has no place for 0; what was less than its last digit is drawn at that digit.
            values = np.maximum(data[work][measure], 0.001 if measure == "CPU" else 0.1)
            axes.plot(
                data[work]["rows"],
                values,
                line,
                marker=marker,
                color=color,
                markersize=5,
                linewidth=1.5,
                label=work,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("rows in the store")
        axes.xaxis.set_major_locator(FixedLocator([1e4, 1e5, 1e6]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value):,}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
    left.plot([1e4, 1e6], [0.3, 30], color=LIGHT, linewidth=4, zorder=0)
    left.text(1.1e4, 6, "grey: ten times the rows,\nten times the seconds", color=GREY, fontsize=8)
    left.set_title("CPU seconds")
    right.set_title("Memory in use, MB")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


DRAWINGS: dict[str, Callable[[Data], Figure]] = {
    function.__name__: function for function in (method, calibration, evidence, verdict, curves, growth)
}


def drawn(name: str, data: Data) -> Figure:
    """The figure of this name, in the style that all share."""
    with matplotlib.rc_context(STYLE):
        return DRAWINGS[name](data)

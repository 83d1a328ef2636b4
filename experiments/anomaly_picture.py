"""The picture of `anomalies.py`: the score of each line of the main log."""

import numpy as np
from anomaly_log import KINDS, Log
from matplotlib.figure import Figure
from pictures import GREY, INK, add_legend, new_figure

BIN = 100  # lines: the picture has room for the highest score of a hundred, not for each
LOOKS = dict(
    zip(KINDS, (("#4477aa", "o"), ("#ee6677", "s"), ("#228833", "^"), ("#ccbb44", "D"), ("#aa3377", "X")), strict=True)
)


def shown(scores: np.ndarray, log: Log, first: int, number: int) -> dict:
    """Reduce the scores of all lines to what the picture shows."""
    normal = scores.copy()
    normal[list(log.planted)] = 0
    highest = [round(float(each.max()), 2) for each in np.array_split(normal, max(1, len(scores) // BIN))]
    threshold = float(np.sort(scores[first:])[-number])
    odd = {kind: [[line, round(float(scores[line]), 2)] for line, of in log.planted.items() if of == kind] for kind in KINDS}
    return {"lines": len(scores), "first": first, "normal": highest, "odd": odd, "threshold": round(threshold, 2)}


def picture(found: dict) -> Figure:
    """Draw the scores with learning on, and with learning off after the first lines."""
    figure = new_figure(6.0, "A model that learns as it reads is surprised by the odd lines, and by few others")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, (name, of) in zip(panels, found["shown"].items(), strict=True):
        places = (np.arange(len(of["normal"])) + 0.5) * of["lines"] / len(of["normal"])
        axes.vlines(places, 0, of["normal"], color="#bbbbbb", linewidth=0.7, label=f"normal, oddest of {BIN}")
        for kind, points in of["odd"].items():
            colour, marker = LOOKS[kind]
            axes.scatter(*zip(*points, strict=True), s=16, color=colour, marker=marker, label=kind, zorder=3)
        axes.axhline(of["threshold"], color=INK, linewidth=0.8, linestyle="--", label="50th oddest line")
        axes.axvline(of["first"], color=GREY, linewidth=1, linestyle=":", label="ranked from here")
        axes.set_yscale("symlog", linthresh=10)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        highest = max(*of["normal"], *(score for points in of["odd"].values() for _, score in points))
        axes.set(title=name[0].upper() + name[1:], ylabel="nats beyond 4, of a line", ylim=(0, 1.5 * highest))
    panels[1].set_xlabel("line")
    panels[1].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panels[1].set_xlim(0, found["shown"][next(iter(found["shown"]))]["lines"] * 1.005)
    add_legend(figure, list(panels), 3)
    return figure

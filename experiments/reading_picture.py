"""The picture of `reading.py`: bits against seconds, every point with its name beside it and no name on another."""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

COLOURS = {"ours": "#c1272d", "peer": "#1f4e79", "cited": "#1f4e79"}
LEGEND = {"ours": "jaxrnn", "peer": "compressors", "cited": "cited, not measured here"}
# Where a name may stand beside its point: alignment, and the distance in points. The first that is free is taken.
PLACES = [
    *(("left", 7, 0), ("right", -7, 0), ("center", 0, 11), ("center", 0, -11)),
    *((align, right, up) for up in (8, -8, 14, -14, 20, -20) for align, right in (("left", 5), ("right", -5))),
    *(("center", 0, up) for up in (20, -20, 29, -29)),
]


class Point(NamedTuple):
    """What is drawn of a row."""

    name: str
    kind: str
    seconds: float
    bits: float


class Panel(NamedTuple):
    """Points on the same axes."""

    title: str
    points: list[Point]


def draw(panels: list[Panel], path: Path) -> None:
    """Write the picture, on a white ground, which is readable on a dark page, too."""
    make_figure(panels).savefig(path, dpi=120)


def make_figure(panels: list[Panel]) -> Figure:
    """Draw panels side by side."""
    figure = Figure(figsize=(9.8, 7.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True)
    for axes, panel in zip(all_axes, panels, strict=True):
        axes.set_title(panel.title, fontsize=11)
        axes.set_xlabel("seconds for the whole text")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
        for kind, colour in COLOURS.items():
            drawn = np.array([(point.seconds, point.bits) for point in panel.points if point.kind == kind]).reshape(-1, 2)
            face = "white" if kind == "cited" else colour
            axes.plot(*drawn.T, "o", color=colour, markerfacecolor=face, markersize=7, label=LEGEND[kind])
    seconds = [point.seconds for panel in panels for point in panel.points]
    all_axes[0].set_xlim(min(seconds) / 2, max(seconds) * 24)  # room for the names on the right
    all_axes[0].set_ylabel("bits per character (lower is better)")
    all_axes[-1].legend(loc="upper right", fontsize=9)
    figure.draw_without_rendering()  # now it is known where points are
    for axes, panel in zip(all_axes, panels, strict=True):
        place_names(axes, panel.points, canvas.get_renderer())
    return figure


def place_names(axes: Any, points: list[Point], renderer: Any) -> None:
    """Write each name where it covers neither a point nor another name nor the edge."""
    scale = axes.figure.dpi / 72
    at = [axes.transData.transform((point.seconds, point.bits)) for point in points]
    taken = [Bbox.from_bounds(x - 5 * scale, y - 5 * scale, 10 * scale, 10 * scale) for x, y in at]
    inside = axes.get_window_extent(renderer)
    for point in sorted(points, key=lambda point: point.seconds):
        for (align, right, up), is_last in zip(PLACES, itertools.chain([False] * (len(PLACES) - 1), [True]), strict=True):
            name = axes.annotate(
                point.name, (point.seconds, point.bits), (right, up), textcoords="offset points", ha=align, va="center",
                fontsize=9.5, color=COLOURS[point.kind], annotation_clip=False,
            )  # fmt: skip
            box = name.get_window_extent(renderer)
            is_inside = inside.containsx(box.x0) and inside.containsx(box.x1) and inside.containsy(box.y0)
            if is_last or (is_inside and not any(box.overlaps(other) for other in taken)):
                taken.append(box)
                break
            name.remove()

"""The picture of `reading.py`: bits against seconds, each point with its name beside it, and no two names overlapping."""

import itertools
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from pictures import CELL_COLOURS, DPI, GREY, INK, add_legend, new_figure

COLOURS = {
    "jaxrnn, GRU": CELL_COLOURS["gru"],
    "jaxrnn, LSTM": CELL_COLOURS["lstm"],
    "jaxrnn, counts alone": INK,
    "compressors": GREY,
    "cited, not measured here": GREY,
}
# Places for a name beside its point: alignment, and distance in points. The first free one is taken.
PLACES = [
    *(("left", 7, 0), ("right", -7, 0), ("center", 0, 11), ("center", 0, -11)),
    *((align, right, up) for up in (8, -8, 14, -14, 20, -20) for align, right in (("left", 5), ("right", -5))),
    *(("center", 0, up) for up in (20, -20, 29, -29)),
]


class Point(NamedTuple):
    """A row, as it is drawn."""

    name: str
    kind: str
    seconds: float
    bits: float

    @property
    def group(self) -> str:
        """Its label in the legend; the preset `reader` is an LSTM."""
        if self.kind != "ours":
            return "compressors" if self.kind == "peer" else "cited, not measured here"
        cell = "GRU" if self.name.startswith("GRU") else "LSTM" if self.name.startswith("reader") else "counts alone"
        return f"jaxrnn, {cell}"


class Panel(NamedTuple):
    """Points on the same axes."""

    title: str
    points: list[Point]


def make_figure(panels: list[Panel]) -> Figure:
    """Draw panels one below the other."""
    figure = new_figure(8.4, "Network and counts together predict better than zpaq, in minutes instead of seconds")
    all_axes = figure.subplots(len(panels), 1, sharex=True, sharey=True)
    for axes, panel in zip(all_axes, panels, strict=True):
        axes.set_title(panel.title)
        axes.set_ylabel("bits per character (lower is better)")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        for group, colour in COLOURS.items():
            drawn = np.array([(point.seconds, point.bits) for point in panel.points if point.group == group]).reshape(-1, 2)
            face = "white" if group.startswith("cited") else colour
            axes.plot(*drawn.T, "o", color=colour, markerfacecolor=face, markersize=6, label=group)
    seconds = [point.seconds for panel in panels for point in panel.points]
    all_axes[0].set_xlim(min(seconds) / 2, max(seconds) * 24)  # room for the names on the right
    all_axes[-1].set_xlabel("seconds for the whole text (log scale)")
    add_legend(figure, all_axes, 3)
    figure.draw_without_rendering()  # fixes where points are
    for axes, panel in zip(all_axes, panels, strict=True):
        place_names(axes, panel.points)
    return figure


def place_names(axes: Axes, points: list[Point]) -> None:
    """Write each name where it covers neither a point nor another name nor the edge."""
    scale = DPI / 72
    at = [axes.transData.transform((point.seconds, point.bits)) for point in points]
    taken = [Bbox.from_bounds(x - 5 * scale, y - 5 * scale, 10 * scale, 10 * scale) for x, y in at]
    inside = axes.get_window_extent()
    for point in sorted(points, key=lambda point: point.seconds):
        for (align, right, up), is_last in zip(PLACES, itertools.chain([False] * (len(PLACES) - 1), [True]), strict=True):
            name = axes.annotate(
                point.name, (point.seconds, point.bits), (right, up), textcoords="offset points", ha=align, va="center",
                fontsize=8.5, color=COLOURS[point.group], annotation_clip=False,
            )  # fmt: skip
            box = name.get_window_extent()
            is_inside = inside.containsx(box.x0) and inside.containsx(box.x1) and inside.containsy(box.y0)
            if is_last or (is_inside and not any(box.overlaps(other) for other in taken)):
                taken.append(box)
                break
            name.remove()

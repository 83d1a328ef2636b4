"""What all pictures share: a colour for each rule and each cell, text that is readable on a page, legends beside the axes.

A picture is a function from the results that an experiment wrote as JSON to a figure. The experiment draws it when it has
measured, and `draw.py` draws all of them again.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

Picture: TypeAlias = Callable[[Any], Figure]

RESULTS = Path(__file__).with_name("results")
WIDTH, DPI = 7.5, 160  # inches; at 100 pixels to the inch, as a page shows it, 9 points are 12.5 pixels
INK, GREY = "#222222", "#767676"  # for what is neither a rule nor a cell

# No colour stands for two things. Those of rules, and of cells, differ for the colour-blind, too (`test_pictures.py`).
RULE_COLOURS = {
    "one_step": "#000000",
    "bptt": "#7f5539",
    "tbptt_sliding": "#0072b2",
    "rtrl": "#d55e00",
    "rtrl_diagonal": "#cc79a7",
    "snap1": "#009e73",
    "snap_n": "#56b4e9",
    "snap1_lookahead": "#b800e0",
    "snap_n_lookahead": "#002900",
    "rflo": "#e69f00",
    "eprop": "#c5b866",
    "uoro": "#882255",
    "rtrl_kronecker": "#0609f9",
}
CELL_COLOURS = {
    "elman": "#785ef0",
    "leaky": "#117733",
    "indrnn": "#aa4499",
    "gru": "#6b8e23",
    "lstm": "#ff4f79",
    "lru": "#332288",
}
# A second channel, since the lines of some rules lie on each other. Dashed ones are drawn last.
RULE_MARKERS = dict(zip(RULE_COLOURS, "oXs^vDPphd<*>", strict=True))
CELL_MARKERS = dict(zip(CELL_COLOURS, "oXdsD^", strict=True))
DASHED_RULES = {"rtrl_diagonal": (0, (3, 2)), "snap_n": (0, (3, 2)), "snap_n_lookahead": (0, (3, 2)), "rflo": (0, (2, 1.5))}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw with these settings whatever the user's are, and restore the user's."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "figure.dpi": DPI,
                "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 9, "figure.titlesize": 10.5,
                "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "text.color": INK, "axes.labelcolor": INK,
                "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK,
                "ytick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
                "axes.grid": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "axes.axisbelow": True,
                "lines.linewidth": 1.5, "lines.markersize": 4.5, "legend.frameon": False, "legend.handlelength": 2.6,
            }
        )  # fmt: skip
        yield


def rule_look(name: str) -> dict[str, Any]:
    """Look up how the line of a rule is drawn, whose name may be followed by its length: `tbptt_sliding 12`."""
    rule = name.split()[0]
    return {
        "color": RULE_COLOURS[rule],
        "marker": RULE_MARKERS[rule],
        "linestyle": DASHED_RULES.get(rule, "-"),
        "zorder": 3 if rule in DASHED_RULES else 2,
    }


def cell_look(cell: str) -> dict[str, Any]:
    """Look up how the line of a cell is drawn."""
    return {"color": CELL_COLOURS[cell], "marker": CELL_MARKERS[cell]}


def new_figure(height: float, title: str) -> Figure:
    """Make a figure of a page's width.

    Args:
      height: inches.
      title: a sentence that says what is seen.
    """
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontweight="bold")
    return figure


def add_legend(figure: Figure, axes: Sequence[Axes], ncols: int, empty: Axes | None = None) -> None:
    """Put one legend for all axes below them, or where a panel is empty; each label once."""
    lines = {label: line for each in axes for line, label in zip(*each.get_legend_handles_labels(), strict=True)}
    if empty is None:
        figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=ncols)
    else:
        empty.axis("off")
        empty.legend(list(lines.values()), list(lines), loc="center", ncols=ncols)


def draw_picture(name: str, picture: Picture, results: Path = RESULTS, folder: Path = RESULTS) -> Figure:
    """Draw results/NAME.json as NAME.png in a folder. Returns the figure."""
    with style():
        figure = picture(json.loads((results / f"{name}.json").read_text("utf-8")))
        figure.savefig(drawn := io.BytesIO())
    Image.open(drawn).convert("RGB").quantize(256).save(folder / f"{name}.png", optimize=True)  # a third of the bytes
    return figure

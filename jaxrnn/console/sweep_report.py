"""A sweep as a table and a picture."""

import base64
import io
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxrnn.console.plot import new_figure
from jaxrnn.errors import InputError, pluralize
from jaxrnn.training.sweeps import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_POINTS = 50  # of a curve
HEAD = ("learning rate", "mean loss", "standard deviation", "lowest", "highest", "diverged")


class SweepCurves(NamedTuple):
    """The losses of a sweep, averaged: all that its table and picture show."""

    rates: tuple[float, ...]  #: ascending
    seeds: tuple[int, ...]
    last: int  #: number of final losses of which `means` is the mean
    means: Float[np.ndarray, "rates seeds"]  #: NaN for a run that diverged
    places: Float[np.ndarray, " points"]  #: losses before the middle of each point
    curves: Float[np.ndarray, "rates seeds points"]


class SweepReport(NamedTuple):
    """A table in Markdown and a picture, which a notebook shows inline; `print` shows the table."""

    table: str
    figure: "Figure"

    def __str__(self) -> str:
        return self.table

    def _repr_html_(self) -> str:
        self.figure.savefig(picture := io.BytesIO(), dpi=100, format="png")
        encoded = base64.b64encode(picture.getvalue()).decode()
        head, _, *rows = (line.strip("| ").split(" | ") for line in self.table.splitlines())
        lines = [_html_row("th", head), *(_html_row("td", row) for row in rows)]
        return f'<table>{"".join(lines)}</table><img alt="losses of the sweep" src="data:image/png;base64,{encoded}">'


def report_sweep(found: Sweep, last: int | None = None) -> SweepReport:
    """Make the table and the picture of a sweep; see `jaxrnn.show`."""
    averaged = average_sweep(found, last)
    return SweepReport(sweep_table(averaged), sweep_figure(averaged))


def average_sweep(found: Sweep, last: int | None = None) -> SweepCurves:
    """Average the losses of a sweep.

    Args:
      last: how many of the final losses to average; None = the last quarter.
    Raises:
      InputError: `last` is under 1, or more than there are.
    """
    # A learner of networks and counts has a column for each, and their mixture in the last.
    order = np.argsort(found.rates)
    losses = np.asarray(found.losses, np.float64)[order]
    losses = losses if losses.ndim == 3 else losses[..., -1]
    count = losses.shape[-1]
    last = max(1, count // 4) if last is None else last
    if not 1 <= last <= count:
        raise InputError(f"last is {last}; each run of the sweep has {count:,} losses, so it must be 1 to {count}")
    pieces = np.array_split(np.arange(count), min(NUM_POINTS, count))
    with np.errstate(invalid="ignore", over="ignore"):  # of runs that diverged
        curves = np.stack([losses[..., piece].mean(-1) for piece in pieces], axis=-1)
        means = losses[..., -last:].mean(-1)
    means = np.where(np.isfinite(means), means, np.nan)
    places = np.array([piece.mean() for piece in pieces])
    return SweepCurves(tuple(found.rates[place] for place in order), found.seeds, last, means, places, curves)


def sweep_table(averaged: SweepCurves) -> str:
    """Format a table in Markdown, with a row for each rate; the best is in bold.

    The mean is NaN if a run diverged.
    """
    best = best_rate(averaged)
    rows = []
    for number, (rate, means) in enumerate(zip(averaged.rates, averaged.means, strict=True)):
        finite = means[np.isfinite(means)]
        spread = finite.std(ddof=1) if finite.size > 1 else math.nan
        numbers = [means.mean(), spread, *((finite.min(), finite.max()) if finite.size else [math.nan] * 2)]
        cells = [f"{rate:g}", *(f"{each:.4f}" for each in numbers), str(len(means) - len(finite))]
        rows.append([f"**{cell}**" if number == best and place < 2 else cell for place, cell in enumerate(cells)])
    return "\n".join(f"| {' | '.join(row)} |" for row in (HEAD, ["---"] * len(HEAD), *rows))


def best_rate(averaged: SweepCurves) -> int | None:
    """Return the place of the rate with the lowest mean, of those at which no run diverged; None if there is none."""
    means = averaged.means.mean(axis=1)
    return int(np.nanargmin(means)) if np.isfinite(means).any() else None


def sweep_figure(averaged: SweepCurves) -> "Figure":
    """Draw the loss of each run against its rate, and along the stream."""
    figure, best = new_figure(9.0, 4.2), best_rate(averaged)
    by_rate, along = figure.subplots(1, 2)
    lowest, highest = _limits(averaged)
    by_rate.plot(averaged.rates, averaged.means.mean(axis=1), color="0.4", zorder=1, label="mean of the seeds")
    for number, (rate, means) in enumerate(zip(averaged.rates, averaged.means, strict=True)):
        colour = colour_of(number, len(averaged.rates))
        finite = means[np.isfinite(means)]
        by_rate.plot(
            [rate] * len(finite), np.minimum(finite, highest), "o", color=colour, markerfacecolor="none", clip_on=False
        )
        if len(finite) < len(means):
            by_rate.plot([rate], [highest], "x", color=colour, markersize=9, clip_on=False)
        curves = averaged.curves[number]
        with np.errstate(invalid="ignore", over="ignore"):
            along.plot(
                averaged.places, curves.mean(axis=0), color=colour, label=f"{rate:g}", linewidth=2 if number == best else 1
            )
            along.fill_between(averaged.places, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    by_rate.set(
        xscale="log", ylim=(lowest, highest), xlabel="learning rate (log scale)",
        ylabel=f"loss, mean of the last {averaged.last:,}", title="each seed; x: diverged",
    )  # fmt: skip
    by_rate.set_xticks(averaged.rates, [f"{rate:g}" for rate in averaged.rates])
    by_rate.minorticks_off()
    along.set(ylim=(lowest, highest), xlabel="steps of the stream", title="mean and range of the seeds")
    for axes in (by_rate, along):
        axes.grid(alpha=0.2)
    figure.legend(*along.get_legend_handles_labels(), title="learning rate", frameon=False, loc="outside right center")
    figure.suptitle(_title(averaged, best))
    return figure


def colour_of(number: int, count: int) -> tuple[float, ...]:
    """Choose the colour of a rate, from dark blue for the lowest to yellow-green for the highest."""
    from matplotlib import colormaps  # here, because it takes a while to import

    return colormaps["viridis"](0.85 * number / max(1, count - 1))


def _title(averaged: SweepCurves, best: int | None) -> str:
    if best is None:
        return "A run diverged at every learning rate"
    seeds = f"mean of {pluralize(len(averaged.seeds), 'seed')}" if len(averaged.seeds) > 1 else "one seed"
    return f"Learning rate {averaged.rates[best]:g} is best: {averaged.means[best].mean():.4f} ({seeds})"


def _limits(averaged: SweepCurves) -> tuple[float, float]:
    """Choose the range of losses to show: from the lowest of all to the highest of the best rate."""
    best = best_rate(averaged)
    shown = averaged.curves if best is None else averaged.curves[best]
    finite = shown[np.isfinite(shown)]
    if not finite.size:
        return 0.0, 1.0
    reached = averaged.means[np.isfinite(averaged.means)]
    lowest = float(min(finite.min(), reached.min(initial=np.inf)))
    highest = float(max(finite.max(), -np.inf if best is None else averaged.means[best].max()))
    pad = 0.05 * (highest - lowest) or 0.05
    return lowest - pad, highest + pad


def _html_row(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell.replace('**', '')}</{tag}>" for cell in cells) + "</tr>"

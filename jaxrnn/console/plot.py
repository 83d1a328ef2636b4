"""Plot the losses of a run, as a figure or as a PNG that a separate process draws.

In a separate process, no matplotlib settings, notebook backend or failure can affect the run, and the run changes nothing in
the matplotlib that the user's process may be using. This module does not import JAX, so the process starts in half a second.
"""

import contextlib
import io
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECONDS = 300.0  # at most; a user's first plot takes a long time, because matplotlib searches for fonts
# Colours that colour-blind readers can tell apart (Tol's "vibrant" scheme), on white and on black.
EPOCHS, VALIDATION = "#0077bb", "#ee3377"
LEVELS = {  # a number -> its label, colour and dashes
    "train_nats": ("training text, frozen", "#ee7733", "--"),
    "heldout_nats": ("held-out, frozen", "#cc3311", "-."),
    "heldout_dynamic_nats": ("held-out, dynamic", "#009988", ":"),
}
# With the import paths of this process, which may run from a checkout, or in a notebook that has added some.
PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from jaxrnn.console import plot; plot.main()"

Points: TypeAlias = Sequence[Sequence[float]]  # (epochs read so far, nats)
Draw: TypeAlias = "Callable[[Curves, Mapping[str, float], int, str], bytes]"  # `draw`


class NotDrawn(Exception):
    """The plot could not be drawn; the message says why."""


class Curves(NamedTuple):
    """Losses of a run, each at the position of its characters in the run."""

    windows: Points  # at the end of the window
    epochs: Points  # in the middle of the epoch, or of the part that was read
    validation: Points  # after the epoch
    end: float  # epochs read in all


def collect_curves(events: Iterable[Mapping[str, Any]], updates_per_epoch: int) -> Curves:
    """Collect the losses in a run's metrics, at the updates that they belong to.

    The `step` of an epoch is its last update, so an epoch that was cut short is as wide as the part that was read. Lines that
    lack a number, or were edited by hand, are skipped.
    """
    windows, epochs, validation, before = [], [], [], 0.0
    for event in events:
        step, nats = event.get("step"), event.get("online_nats")
        if event.get("event") not in ("progress", "epoch") or not _is_number(step) or not _is_number(nats):
            continue
        place = step / updates_per_epoch
        if event["event"] == "progress":
            windows.append((place, nats))
            continue
        epochs.append(((max(before, place - 1) + place) / 2, nats))
        if _is_number(event.get("validation_nats")):
            validation.append((place, event["validation_nats"]))
        before = place
    return Curves(windows, epochs, validation, max((place for place, _ in (*windows, (before, 0.0))), default=0.0))


def figure(curves: Curves, numbers: Mapping[str, float], window: int, title: str) -> "Figure":
    """Plot the losses as a matplotlib figure, in the current style.

    Args:
      numbers: the final numbers by name, in nats per character; empty for a run that is not finished.
      window: number of characters averaged in a point of `curves.windows`.
      title: in printable characters.
    """
    drawn = new_figure(9.0, 5.5)
    axes = drawn.add_subplot()
    axes.plot(*_split_points(curves.windows), color="0.75", linewidth=0.8, label=f"online, mean of {window:,} characters")
    axes.plot(*_split_points(curves.epochs), "o-", color=EPOCHS, label="online, mean of the epoch")
    if curves.validation:
        axes.plot(*_split_points(curves.validation), "s-", color=VALIDATION, label="validation")
    levels = {name: numbers[name] for name in LEVELS if name in numbers}
    for name, level in levels.items():
        words, color, dashes = LEVELS[name]
        axes.axhline(level, color=color, linestyle=dashes, linewidth=2, label=f"{words}: {level:.3f}")
    shown = [nats for nats in (*levels.values(), *(nats for _, nats in curves.epochs)) if math.isfinite(nats)]
    axes.set(xlim=(0, curves.end or 1), ylim=(min(shown, default=0.0) - 0.25, max(shown, default=1.0) + 0.5))
    _label_axes(axes, title)
    drawn.legend(loc="outside lower center", ncols=2, frameon=False)  # where it covers nothing
    return drawn


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure of this size in inches that a notebook shows, though pyplot was never imported."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here, because it takes a while to import
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure as a PNG."""

        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, dpi=100, format="png")
            return picture.getvalue()

    drawn = Picture(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def draw(curves: Curves, numbers: Mapping[str, float], window: int, title: str) -> bytes:
    """Draw the figure as a PNG, in matplotlib's default style, not the user's; the arguments are those of `figure`."""
    import matplotlib as mpl  # here, because it takes a while to import

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that the font lacks are drawn as boxes
        mpl.rcdefaults()
        picture = io.BytesIO()
        figure(curves, numbers, window, title).savefig(picture, dpi=120, format="png")
    return picture.getvalue()


@contextlib.contextmanager
def drawing_process() -> Iterator[Draw]:
    """Start a process that draws, which Ctrl-C does not reach. It imports matplotlib while this one does something else.

    Yields:
      `draw`, in that process, to be called once. It raises `NotDrawn`, also if there is no process.
    """
    with contextlib.ExitStack() as inside:
        try:
            process, problem = inside.enter_context(_start_process()), ""
            inside.callback(process.kill)  # one that was not needed, or is not done
        except Exception as error:  # no memory, no process
            process, problem = None, _last_line(str(error)) or type(error).__name__

        def draw_there(curves: Curves, numbers: Mapping[str, float], window: int, title: str) -> bytes:
            if process is None:
                raise NotDrawn(problem)
            given = {"curves": curves, "numbers": dict(numbers), "window": window, "title": title}
            try:
                picture, complaint = process.communicate(json.dumps(given).encode(), SECONDS)
            except subprocess.TimeoutExpired:
                raise NotDrawn(f"it took over {SECONDS:g} seconds") from None
            if process.returncode or not picture:
                raise NotDrawn(_last_line(complaint.decode(errors="replace")) or f"exit code {process.returncode}")
            return picture

        yield draw_there


def main() -> None:
    """Draw the plot that stdin describes, and write the PNG to stdout."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401 (both before there is something to draw)

    given = json.load(sys.stdin)
    picture = draw(**{**given, "curves": Curves(*given["curves"])})
    sys.stdout.buffer.write(picture)


def _start_process() -> subprocess.Popen[bytes]:
    paths = json.dumps([os.path.abspath(path) for path in sys.path])  # noqa: PTH100 (an empty path is the working folder)
    return subprocess.Popen(
        [sys.executable or "python", "-P", "-c", PROGRAM, paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull},
        cwd=Path(__file__).parent,  # not the user's folder: matplotlib would read settings there
        # Ctrl-C goes to all processes of a terminal, but only the run decides what happens to the plot.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _last_line(complaint: str) -> str:
    """Return the last line of a traceback, which says what was wrong."""
    lines = complaint.strip().splitlines()
    return lines[-1][:200] if lines else ""


def _label_axes(axes: Any, title: str) -> None:
    axes.set_title(title, parse_math=False)  # a folder's name may hold a dollar sign
    axes.set(xlabel="epochs", ylabel="nats per character")
    right = axes.secondary_yaxis("right", functions=(lambda nats: nats / np.log(2), lambda bits: bits * np.log(2)))
    right.set_ylabel("bits per character")
    axes.grid(alpha=0.2)


def _split_points(points: Points) -> tuple[list[float], list[float]]:
    return [place for place, _ in points], [nats for _, nats in points]

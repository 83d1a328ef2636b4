"""What one sees: the run in a few lines, progress, a table row for each epoch, the four numbers.

Without a terminal everything comes as plain lines, without progress bar and control codes.
"""

import contextlib
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from jaxrnn import devices, paths
from jaxrnn.folder import PICTURE
from jaxrnn.store import Rejected
from jaxrnn.vocabulary import Vocabulary

LOSSES = {"online nats": "online_nats", "best nats": "best_nats"}
SAMPLE_LINES, SAMPLE_WIDTH = 4, 68  # of the sample shown after each epoch


class Epoch(NamedTuple):
    """A row of the table. Losses in nats per character."""

    epoch: int
    step: int  # updates so far
    characters: int  # read in it: fewer than the epoch has, where a timed run ends inside it
    online_nats: float  # mean of the losses of these characters
    characters_per_second: float
    learning_rate: float
    validation_nats: float | None  # None without a validation part
    clipped_fraction: float | None  # of all updates so far; None without clipping


class FourNumbers(NamedTuple):
    """How good the model is, in nats per character; the README tells what each of them says."""

    online_nats: float
    train_nats: float
    heldout_nats: float
    heldout_dynamic_nats: float


Show = Callable[[int, int, float, float], None]  # epoch, characters read in it, nats of the last ones, characters per second

MEANING = {
    "online_nats": "online: last epoch, scored, then learned from",
    "train_nats": "training text, weights frozen",
    "heldout_nats": "held-out text, weights frozen",
    "heldout_dynamic_nats": "held-out text, dynamic: scored, then learned from",
}


def console() -> Console:
    """A screen, or whatever takes its place, for the first process; nothing in a text is taken for markup."""
    return Console(quiet=not devices.is_first(), highlight=False, markup=False, emoji=False, soft_wrap=True)


def bits(nats: float) -> float:
    """Bits per character."""
    return nats / math.log(2)


def show_facts(screen: Console, facts: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        screen.print(Text(name.ljust(width), style="bold") + Text(printable(value)))
    screen.print()


def printable(characters: str) -> str:
    """The same characters, with a sign in the place of those that would steer the terminal."""
    return "".join(character if character.isprintable() else "·" for character in characters)


def visible(characters: str, most: int = 52) -> str:
    """Characters on one line, the blank ones spelled by signs, shortened."""
    shown = printable(characters.replace("\n", "⏎").replace(" ", "␣").replace("\t", "⇥"))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def vocabulary_in_words(known: Vocabulary, threshold: int, most: int = 52) -> str:
    """How many characters there are, which, and how many of them are merged."""
    seldom = f" (under {threshold} times)" if threshold else ""  # 0: they were merged by the run whose weights these were
    merged = f", {len(known.rare)} of them merged{seldom}" if known.rare else ""
    return f"{len(known.characters)} characters: {visible(known.characters, most)}{merged}"


@contextlib.contextmanager
def progress(screen: Console, num_characters: int, num_epochs: int | None) -> Iterator[Show]:
    """A bar over the characters of all epochs, or of one epoch after the other where their number is not known.

    It fits into 80 columns. Call what it gives with what `Show` says.
    """
    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(bar_width=10),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[nats]:.3f} nats  {task.fields[bits]:.3f} bits"),
        TextColumn("{task.fields[speed]:,.0f} char/s"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    task = bar.add_task("", total=num_characters * (num_epochs or 1), visible=False, epoch="", nats=0.0, bits=0.0, speed=0.0)

    def show(epoch: int, num_read: int, nats: float, speed: float) -> None:
        if num_epochs is None:
            number, completed = f"{epoch + 1}", num_read
            if bar.tasks[0].completed > num_read:  # a new epoch: without a reset the time left would stay at zero
                bar.reset(task)
        else:
            number, completed = f"{epoch + 1} of {num_epochs}", epoch * num_characters + num_read
        bar.update(task, completed=completed, visible=True, epoch=number, nats=nats, bits=bits(nats), speed=speed)

    with bar:
        yield show


def busy(screen: Console, word: str) -> contextlib.AbstractContextManager:
    """A sign of life on a terminal."""
    return screen.status(word) if screen.is_terminal else contextlib.nullcontext()


def show_header(screen: Console, validated: bool, clipped: bool) -> None:
    """The head of the table of epochs."""
    titles = f"{'epoch':>5}  {'online nats':>11}  {'bits':>6}  {'characters/s':>12}  {'rate':>9}"
    titles += f"  {'validation nats':>15}" if validated else ""
    screen.print(Text(titles + (f"  {'clipped':>7}" if clipped else ""), style="bold"))


def show_epoch(screen: Console, row: Epoch, sample: str) -> None:
    """A row of the table of epochs, and the beginning of what the model writes after it."""
    numbers = (
        f"{row.epoch + 1:>5}  {row.online_nats:>11.4f}  {bits(row.online_nats):>6.3f}"
        f"  {row.characters_per_second:>12,.0f}  {row.learning_rate:>9.4g}"
    )
    numbers += "" if row.validation_nats is None else f"  {row.validation_nats:>15.4f}"
    screen.print(numbers + ("" if row.clipped_fraction is None else f"  {row.clipped_fraction:>7.1%}"))
    lines = [line for paragraph in sample.split("\n") for line in textwrap.wrap(paragraph.strip(), SAMPLE_WIDTH)]
    for line in lines[:SAMPLE_LINES]:
        screen.print(Text(f"       │ {printable(line)}", style="dim"))


def show_numbers(screen: Console, numbers: FourNumbers) -> None:
    """Show the four numbers."""
    screen.print()
    show_losses(screen, {MEANING[name]: nats for name, nats in numbers._asdict().items()})
    screen.print()


def show_verdicts(screen: Console, lines: Sequence[str]) -> None:
    """Show what the numbers say, a line for each thing that should be changed."""
    for line in lines:
        screen.print(line)
    if lines:
        screen.print()


def show_next(screen: Console, run_dir: Path, drawn: bool, tested: Mapping[str, str]) -> None:
    """Show how the run was tested, and what can be done next.

    Args:
      drawn: whether there is a picture.
      tested: what is to be said of the test, by name.
    """
    show_facts(
        screen,
        {
            **tested,
            **({"picture": str(run_dir / PICTURE)} if drawn else {}),
            "write with it": f"python -m jaxrnn.sample {paths.typed(run_dir)}",
            "test it": f"python -m jaxrnn.evaluate {paths.typed(run_dir)}",
        },
    )


def show_losses(screen: Console, losses: Mapping[str, float]) -> None:
    """A table of losses in nats, bits and perplexity per character."""
    screen.print(Text("  nats    bits  perplexity  per character", style="bold"))
    for meaning, nats in losses.items():
        if not math.isfinite(nats):
            screen.print(f"{nats:>6.4f}  {nats:>6.4f}  {nats:>10.3f}  {meaning}".replace("nan", "NaN"))
            continue
        perplexity = math.exp(nats) if nats < 100 else math.inf
        screen.print(f"{nats:>6.4f}  {bits(nats):>6.4f}  {perplexity:>10.3f}  {meaning}")


def show_checkpoints(screen: Console, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table of the checkpoints of a run; the rows are those of `inspect`."""
    widths = {"number": 6, "step": 11, "epochs": 6, "rate": 9, "online nats": 11, "best nats": 9, "kB": 6}
    screen.print(Text("  ".join(f"{title:>{width}}" for title, width in widths.items()) + "  SHA-256", style="bold"))
    for row in rows:
        cells = dict.fromkeys(widths, "") | {"number": f"{row['number']}", "kB": f"{row['bytes'] / 1000:,.0f}"}
        if row["good"]:
            cells |= {"step": f"{row['step']:,}", "epochs": f"{row['epochs']}", "rate": f"{row['learning_rate']:.6g}"}
            cells |= {title: "–" if row[key] is None else f"{row[key]:.4f}" for title, key in LOSSES.items()}
        found = "good" if row["good"] else f"DAMAGED: {row['reason']}"
        screen.print("  ".join(f"{cells[title]:>{width}}" for title, width in widths.items()) + f"  {found}")


def show_rejected(rejected: Iterable[Rejected]) -> None:
    """A line for each checkpoint that was passed over, on stderr."""
    for path, reason in rejected:
        print(f"warning: checkpoint {str(path)!r} is damaged: {reason}; an older one is used", file=sys.stderr)


def show_undrawn(screen: Console, reason: str) -> None:
    """Show a line for a picture that could not be drawn."""
    screen.print(f"warning: the picture of the loss could not be drawn: {printable(reason)}")

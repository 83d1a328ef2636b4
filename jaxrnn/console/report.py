"""What one sees: the run in a few lines, progress, a table row for each epoch, the four numbers.

Without a terminal everything comes as plain lines, without progress bar and control codes.
"""

import contextlib
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from jaxrnn.console.layout import LEAST_ROOM, columns_of, fitting, hang, hang_whole, wrap
from jaxrnn.data import paths
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.runtime import devices
from jaxrnn.storage.run_folder import PICTURE
from jaxrnn.storage.store import Rejected
from jaxrnn.training.progress import Epoch, FourNumbers

LOSSES = {"online nats": "online_nats", "best nats": "best_nats"}
SAMPLE_LINES, SAMPLE_WIDTH, SAMPLE_MARGIN = 4, 68, "       │ "  # of the sample shown after each epoch
LOSSES_WIDTH = 28  # of the numbers in the table of losses


BAR_IMPORTANCE = ("epoch", "nats", "time", "speed", "bits", "bar")
EPOCH_WIDTHS = {
    "epoch": 5, "online nats": 11, "bits": 6, "characters/s": 12, "rate": 9, "validation nats": 15, "clipped": 7,
}  # fmt: skip
EPOCH_IMPORTANCE = ("epoch", "online nats", "validation nats", "bits", "characters/s", "clipped", "rate")
CHECKPOINT_WIDTHS = {"number": 6, "step": 11, "epochs": 6, "rate": 9, "online nats": 11, "best nats": 9, "kB": 6, "SHA-256": 7}
CHECKPOINT_IMPORTANCE = ("number", "SHA-256", "step", "epochs", "online nats", "best nats", "kB", "rate")
PATHS = ("run", "picture")  # among the facts: they are copied, so that they are not broken
Show = Callable[[int, int, float, float], None]  # epoch, characters read in it, nats of the last ones, characters per second

MEANING = {
    "online_nats": "online: last epoch, scored, then learned from",
    "train_nats": "training text, weights frozen",
    "heldout_nats": "held-out text, weights frozen",
    "heldout_dynamic_nats": "held-out text, dynamic: scored, then learned from",
}


def console() -> Console:
    """A screen, or whatever takes its place, for the first process; nothing in a text is taken for markup."""
    plain = Console(quiet=not devices.is_first_process(), highlight=False, markup=False, emoji=False)
    plain.soft_wrap = not plain.is_terminal  # a terminal would break lines inside words
    return plain


def bits(nats: float) -> float:
    """Bits per character."""
    return nats / math.log(2)


def show_facts(screen: Console, facts: Mapping[str, str]) -> None:
    """Show names and values, one a line; on a terminal a long value hangs beside its name."""
    width, columns = max(map(len, facts)) + 2, columns_of(screen)
    for name, value in facts.items():
        copied = name in PATHS or value.startswith("python -m ")
        first, *rest = (hang_whole if copied else hang)(name.ljust(width), printable(value), columns)
        screen.print(Text.assemble((first[:width], "bold"), first[width:]), soft_wrap=True)
        for line in rest:
            screen.print(Text(line), soft_wrap=True)
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

    What does not fit the terminal is left out. Call what it gives with what `Show` says.
    """
    if not screen.is_terminal:
        yield lambda epoch, num_read, nats, speed: None
        return
    chosen = fitting(bar_widths(num_epochs), BAR_IMPORTANCE, screen.width, gap=1)
    parts = bar_parts()
    bar = Progress(*(parts[name] for name in chosen), console=screen, transient=True)
    task = bar.add_task("", total=num_characters * (num_epochs or 1), epoch="", nats=0.0, bits=0.0, speed=0.0)

    with contextlib.ExitStack() as shown:
        shown.enter_context(busy(screen, "learning"))

        def show(epoch: int, num_read: int, nats: float, speed: float) -> None:
            if num_epochs is None:
                number, completed = f"{epoch + 1}", num_read
                if bar.tasks[0].completed > num_read:  # a new epoch: without a reset the time left would stay at zero
                    bar.reset(task)
            else:
                number, completed = f"{epoch + 1} of {num_epochs}", epoch * num_characters + num_read
            bar.update(task, completed=completed, epoch=number, nats=nats, bits=bits(nats), speed=speed)
            if not bar.live.is_started:
                shown.close()
                shown.enter_context(bar)

        yield show


def bar_parts() -> dict[str, ProgressColumn]:
    """The parts of a bar, by name."""
    return {
        "epoch": TextColumn("epoch {task.fields[epoch]}"),
        "bar": BarColumn(bar_width=10),
        "nats": TextColumn("{task.percentage:>3.0f} %  {task.fields[nats]:.3f} nats"),
        "bits": TextColumn(" {task.fields[bits]:.3f} bits"),
        "speed": TextColumn("{task.fields[speed]:,.0f} char/s"),
        "time": TimeRemainingColumn(),
    }


def bar_widths(num_epochs: int | None) -> dict[str, int]:
    """How many columns each part of the bar takes at most."""
    of_all = "" if num_epochs is None else f"{num_epochs} of {num_epochs}"
    return {"epoch": len(f"epoch {of_all or '99'}"), "bar": 10, "nats": 17, "bits": 11, "speed": 16, "time": 7}


def busy(screen: Console, word: str) -> contextlib.AbstractContextManager:
    """A sign of life on a terminal."""
    return screen.status(word) if screen.is_terminal else contextlib.nullcontext()


def show_header(screen: Console, validated: bool, clipped: bool) -> None:
    """Show the head of the table of epochs."""
    titles = epoch_titles(screen, validated, clipped)
    screen.print(Text("  ".join(f"{title:>{EPOCH_WIDTHS[title]}}" for title in titles), style="bold"))


def show_epoch(screen: Console, row: Epoch, sample: str) -> None:
    """Show a row of the table of epochs, and the beginning of what the model writes after it."""
    cells = {
        "epoch": f"{row.epoch + 1}",
        "online nats": f"{row.online_nats:.4f}",
        "bits": f"{bits(row.online_nats):.3f}",
        "characters/s": f"{row.characters_per_second:,.0f}",
        "rate": f"{row.learning_rate:.4g}",
        "validation nats": "" if row.validation_nats is None else f"{row.validation_nats:.4f}",
        "clipped": "" if row.clipped_fraction is None else f"{row.clipped_fraction:.1%}",
    }
    titles = epoch_titles(screen, validated=row.validation_nats is not None, clipped=row.clipped_fraction is not None)
    screen.print("  ".join(f"{cells[title]:>{EPOCH_WIDTHS[title]}}" for title in titles))
    for line in sample_lines(sample, columns_of(screen)):
        screen.print(Text(f"{SAMPLE_MARGIN}{line}", style="dim"))


def epoch_titles(screen: Console, validated: bool, clipped: bool) -> Sequence[str]:
    """The columns of the table of epochs that there are, and that fit."""
    absent = ("" if validated else "validation nats", "" if clipped else "clipped")
    widths = {title: width for title, width in EPOCH_WIDTHS.items() if title not in absent}
    return fitting(widths, EPOCH_IMPORTANCE, columns_of(screen))


def sample_lines(sample: str, columns: int | None) -> list[str]:
    """The first lines of a sample, broken between words."""
    lines = [line for paragraph in sample.split("\n") for line in textwrap.wrap(paragraph.strip(), SAMPLE_WIDTH)]
    lines = [printable(line) for line in lines]
    if columns is not None:  # characters may be wider than a column, and the terminal narrower than a sample
        room = max(1, min(SAMPLE_WIDTH, columns - len(SAMPLE_MARGIN)))
        lines = [part for paragraph in sample.split("\n") for part in wrap(printable(paragraph.strip()), room) if part]
    return lines[:SAMPLE_LINES]


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
            "write with it": f"python -m jaxrnn.sample {paths.quote_path(run_dir)}",
            "test it": f"python -m jaxrnn.evaluate {paths.quote_path(run_dir)}",
        },
    )


def show_losses(screen: Console, losses: Mapping[str, float]) -> None:
    """Show a table of losses in nats, bits and perplexity per character."""
    columns = columns_of(screen)
    whole = columns is None or columns >= LOSSES_WIDTH + LEAST_ROOM
    screen.print(Text(f"  nats    bits  {'perplexity  ' * whole}per character", style="bold"))
    for meaning, nats in losses.items():
        if not math.isfinite(nats):
            screen.print(f"{nats:>6.4f}  {nats:>6.4f}  {nats:>10.3f}  {meaning}".replace("nan", "NaN"))
            continue
        perplexity = math.exp(nats) if nats < 100 else math.inf
        numbers = f"{nats:>6.4f}  {bits(nats):>6.4f}  " + (f"{perplexity:>10.3f}  " if whole else "")
        for line in hang(numbers, printable(meaning), columns):
            screen.print(line, soft_wrap=True)


def show_checkpoints(screen: Console, rows: Iterable[Mapping[str, Any]]) -> None:
    """Show a table of the checkpoints of a run; the rows are those of `inspect`."""
    columns = columns_of(screen)
    titles = fitting(CHECKPOINT_WIDTHS, CHECKPOINT_IMPORTANCE, columns)[:-1]  # the last one is of any width
    screen.print(Text("  ".join(f"{title:>{CHECKPOINT_WIDTHS[title]}}" for title in titles) + "  SHA-256", style="bold"))
    for row in rows:
        cells = dict.fromkeys(titles, "") | {"number": f"{row['number']}", "kB": f"{row['bytes'] / 1000:,.0f}"}
        if row["good"]:
            cells |= {"step": f"{row['step']:,}", "epochs": f"{row['epochs']}", "rate": f"{row['learning_rate']:.6g}"}
            cells |= {title: "–" if row[key] is None else f"{row[key]:.4f}" for title, key in LOSSES.items()}
        bad = "cannot be read here" if row["good"] is None else "DAMAGED"
        found = "good" if row["good"] else f"{bad}: {row['reason']}"
        numbers = "  ".join(f"{cells[title]:>{CHECKPOINT_WIDTHS[title]}}" for title in titles)
        for line in hang(f"{numbers}  ", found, columns):
            screen.print(line, soft_wrap=True)


def show_rejected(rejected: Iterable[Rejected]) -> None:
    """A line for each checkpoint that was passed over, on stderr."""
    for path, reason in rejected:
        print(f"warning: checkpoint {str(path)!r} is damaged: {reason}; an older one is used", file=sys.stderr)


def show_undrawn(screen: Console, reason: str) -> None:
    """Show a line for a picture that could not be drawn."""
    screen.print(f"warning: the picture of the loss could not be drawn: {printable(reason)}")

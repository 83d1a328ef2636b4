"""Show a run: its settings, a progress bar, a table row per epoch, the final numbers.

Without a terminal the output is plain lines, without control codes.
"""

import contextlib
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from jaxrnn.console import starting
from jaxrnn.console.layout import LEAST_ROOM, align_cells, choose_columns, count_columns, hang_text, hang_unbroken, wrap_words
from jaxrnn.console.notebook import CellOutput
from jaxrnn.console.progress_lines import describe_progress, describe_test, print_progress, print_testing
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.runtime import devices
from jaxrnn.storage.store import Rejected
from jaxrnn.training.progress import Epoch, FinalNumbers, measured

CHECKPOINT_LOSSES = {"online nats": "online_nats", "best nats": "best_nats"}
SAMPLE_LINES, SAMPLE_WIDTH, SAMPLE_MARGIN = 4, 68, "       │ "  # of the sample shown after each epoch
LOSS_WIDTHS = {"nats": 6, "bits": 6, "perplexity": 10}  # the more important columns first
BAR_IMPORTANCE = ("epoch", "nats", "time", "speed", "bits", "bar")
EPOCH_WIDTHS = {
    "epoch": 5, "online nats": 11, "bits": 6, "characters/s": 12, "rate": 9, "validation nats": 15, "clipped": 7,
}  # fmt: skip
EPOCH_IMPORTANCE = ("epoch", "online nats", "validation nats", "bits", "characters/s", "clipped", "rate")
CHECKPOINT_WIDTHS = {"number": 6, "step": 11, "epochs": 6, "rate": 9, "online nats": 11, "best nats": 9, "kB": 6, "SHA-256": 7}
CHECKPOINT_IMPORTANCE = ("number", "SHA-256", "step", "epochs", "online nats", "best nats", "kB", "rate")
PATHS = ("run", "picture")  # facts that users copy, and that are therefore never broken
# (epoch, characters read in it, their loss in nats, characters per second, share of the run, seconds left); the last two, which
# a bar finds out itself, may be missing, or None if the length of the run is not known.
MoveBar = Callable[..., None]
MoveTest = Callable[[str, int, int], None]  # part of the text, characters read so far, and of how many

MEANINGS = {
    "online_nats": "online: last epoch, scored, then learned from",
    "train_nats": "training text, weights frozen",
    "heldout_nats": "held-out text, weights frozen",
    "heldout_dynamic_nats": "held-out text, dynamic: scored, then learned from",
    "heldout_counts_nats": "held-out text, counts alone: a table, no network",
    "heldout_mixed_nats": "held-out text, all together: network and counts",
}


def make_screen() -> Console:
    """Make the console for stdout, silent in all processes but the first; no text is interpreted as markup."""
    plain = Console(quiet=not devices.is_first_process(), highlight=False, markup=False, emoji=False)
    plain.soft_wrap = not plain.is_terminal  # a terminal would break lines inside words
    return plain


def to_bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / math.log(2)


def show_facts(screen: Console, facts: Mapping[str, str]) -> None:
    """Show names and values, one per line; on a terminal a long value is wrapped and stays aligned beside its name."""
    width, columns = max(map(len, facts)) + 2, count_columns(screen)
    for name, value in facts.items():
        copied = name in PATHS or value.startswith("python -m ")
        first, *rest = (hang_unbroken if copied else hang_text)(name.ljust(width), replace_controls(value), columns)
        screen.print(Text.assemble((first[:width], "bold"), first[width:]), soft_wrap=True)
        for line in rest:
            screen.print(Text(line), soft_wrap=True)
    screen.print()


def replace_controls(characters: str) -> str:
    """Replace control characters, which would steer the terminal."""
    return "".join(character if character.isprintable() else "·" for character in characters)


def spell_characters(characters: str, most: int = 52) -> str:
    """Spell characters on one line of at most `most`, with visible signs for blanks."""
    shown = replace_controls(characters.replace("\n", "⏎").replace(" ", "␣").replace("\t", "⇥"))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def describe_vocabulary(known: Vocabulary, threshold: int, most: int = 52) -> str:
    """Describe a vocabulary: how many characters it has, which ones, and how many of them are merged."""
    seldom = f" (under {threshold} times)" if threshold else ""  # 0: merged by the run that the weights come from
    merged = f", {len(known.rare)} of them merged{seldom}" if known.rare else ""
    return f"{len(known.characters)} characters: {spell_characters(known.characters, most)}{merged}"


@contextlib.contextmanager
def progress_bar(screen: Console, num_characters: int, num_epochs: int | None) -> Iterator[MoveBar]:
    """Show a progress bar over all epochs, or over each epoch in turn if their number is unknown; yield what moves it.

    Parts that do not fit the terminal are left out.
    """
    if isinstance(screen.file, CellOutput):
        refresh = screen.file.refresh
        try:
            yield lambda *position: refresh(describe_progress(num_epochs, *position))
        finally:
            refresh("")
        return
    if not screen.is_terminal:
        yield print_progress(screen, num_characters, num_epochs)
        return
    chosen = choose_columns(bar_widths(num_epochs), BAR_IMPORTANCE, screen.width, gap=1)
    parts = bar_parts()
    bar = Progress(*(parts[name] for name in chosen), console=screen, transient=True)
    task = bar.add_task("", total=num_characters * (num_epochs or 1), epoch="", nats=0.0, bits=0.0, speed=0.0)

    with contextlib.ExitStack() as shown:
        shown.enter_context(show_status(screen, "learning"))

        def show(epoch: int, num_read: int, nats: float, speed: float, *_of_run: float | None) -> None:
            if num_epochs is None:
                number, completed = f"{epoch + 1}", num_read
                if bar.tasks[0].completed > num_read:  # a new epoch; without a reset the remaining time would stay at zero
                    bar.reset(task)
            else:
                number, completed = f"{epoch + 1} of {num_epochs}", epoch * num_characters + num_read
            bar.update(task, completed=completed, epoch=number, nats=nats, bits=to_bits(nats), speed=speed)
            if not bar.live.is_started:
                shown.close()
                shown.enter_context(bar)

        yield show


@contextlib.contextmanager
def testing_bar(screen: Console) -> Iterator[MoveTest]:
    """Show what is being tested, how much of it was read, and the time left; yield what moves it."""
    if isinstance(screen.file, CellOutput):
        refresh = screen.file.refresh
        try:
            yield lambda part, num_read, of: refresh(describe_test(part, num_read, of))
        finally:
            refresh("")
        return
    if not screen.is_terminal:
        yield print_testing(screen)
        return
    bar = Progress(TextColumn("{task.description}"), TimeRemainingColumn(), console=screen, transient=True)
    with bar:
        tasks = {}

        def show(part: str, num_read: int, of: int) -> None:
            if part not in tasks:
                for old in tasks.values():
                    bar.remove_task(old)
                tasks.clear()
                tasks[part] = bar.add_task("", total=of or None)
            bar.update(tasks[part], completed=num_read, description=describe_test(part, num_read, of))

        yield show


def bar_parts() -> dict[str, ProgressColumn]:
    """Return the parts of a progress bar, by name."""
    return {
        "epoch": TextColumn("epoch {task.fields[epoch]}"),
        "bar": BarColumn(bar_width=10),
        "nats": TextColumn("{task.percentage:>3.0f} %  {task.fields[nats]:.3f} nats"),
        "bits": TextColumn(" {task.fields[bits]:.3f} bits"),
        "speed": TextColumn("{task.fields[speed]:,.0f} char/s"),
        "time": TimeRemainingColumn(),
    }


def bar_widths(num_epochs: int | None) -> dict[str, int]:
    """Return the maximum width of each part of a progress bar."""
    of_all = "" if num_epochs is None else f"{num_epochs} of {num_epochs}"
    return {"epoch": len(f"epoch {of_all or '99'}"), "bar": 10, "nats": 17, "bits": 11, "speed": 16, "time": 7}


def show_status(screen: Console, word: str = starting.WORD) -> contextlib.AbstractContextManager:
    """Show a word until the work inside is done: with a spinner on a terminal, or below the output of a notebook cell."""
    if isinstance(screen.file, CellOutput):
        return _word_below(screen.file, word)
    return screen.status(word) if screen.is_terminal else contextlib.nullcontext()


@contextlib.contextmanager
def _word_below(output: CellOutput, word: str) -> Iterator[None]:
    output.refresh(f"{word} …")
    try:
        yield
    finally:
        output.refresh("")


def show_header(screen: Console, validated: bool, clipped: bool) -> None:
    """Show the head of the table of epochs."""
    titles = epoch_titles(screen, validated, clipped)
    screen.print(Text(align_cells({title: title for title in titles}, EPOCH_WIDTHS, titles), style="bold"))


def show_epoch(screen: Console, row: Epoch, sample: str) -> None:
    """Show a row of the table of epochs, and the beginning of a sample."""
    cells = {
        "epoch": f"{row.epoch + 1}",
        "online nats": f"{row.online_nats:.4f}",
        "bits": f"{to_bits(row.online_nats):.3f}",
        "characters/s": f"{row.characters_per_second:,.0f}",
        "rate": f"{row.learning_rate:.4g}",
        "validation nats": "" if row.validation_nats is None else f"{row.validation_nats:.4f}",
        "clipped": "" if row.clipped_fraction is None else f"{row.clipped_fraction:.1%}",
    }
    titles = epoch_titles(screen, validated=row.validation_nats is not None, clipped=row.clipped_fraction is not None)
    screen.print(align_cells(cells, EPOCH_WIDTHS, titles))
    for line in sample_lines(sample, count_columns(screen)):
        screen.print(Text(f"{SAMPLE_MARGIN}{line}", style="dim"))


def epoch_titles(screen: Console, validated: bool, clipped: bool) -> Sequence[str]:
    """Choose the columns of the table of epochs that apply and fit."""
    absent = ("" if validated else "validation nats", "" if clipped else "clipped")
    widths = {title: width for title, width in EPOCH_WIDTHS.items() if title not in absent}
    return choose_columns(widths, EPOCH_IMPORTANCE, count_columns(screen))


def sample_lines(sample: str, columns: int | None) -> list[str]:
    """Wrap the beginning of a sample."""
    lines = [line for paragraph in sample.split("\n") for line in textwrap.wrap(paragraph.strip(), SAMPLE_WIDTH)]
    lines = [replace_controls(line) for line in lines]
    if columns is not None:  # characters may be wider than a column, and the terminal narrower than a sample
        room = max(1, min(SAMPLE_WIDTH, columns - len(SAMPLE_MARGIN)))
        lines = [
            part for paragraph in sample.split("\n") for part in wrap_words(replace_controls(paragraph.strip()), room) if part
        ]
    return lines[:SAMPLE_LINES]


def show_numbers(screen: Console, numbers: FinalNumbers, parts: Mapping[str, str]) -> None:
    """Show the final numbers; where one covers only part of the text, say which part."""
    screen.print()
    show_losses(screen, {MEANINGS[name] + parts.get(name, ""): nats for name, nats in measured(numbers).items()})
    screen.print()


def show_verdicts(screen: Console, lines: Sequence[str]) -> None:
    """Show advice drawn from the numbers, one line for each thing to change."""
    for line in lines:
        screen.print(line)
    if lines:
        screen.print()


def show_losses(screen: Console, losses: Mapping[str, float]) -> None:
    """Show a table of losses in nats, bits and perplexity per character."""
    columns = count_columns(screen)
    room = None if columns is None else columns - LEAST_ROOM - 2
    titles = choose_columns(LOSS_WIDTHS, LOSS_WIDTHS, room)
    head = align_cells({title: title for title in titles}, LOSS_WIDTHS, titles)
    screen.print(Text(f"{head}  per character", style="bold"))
    for meaning, nats in losses.items():
        perplexity = math.inf if nats >= 100 else math.exp(nats)
        cells = {"nats": f"{nats:.4f}", "bits": f"{to_bits(nats):.4f}", "perplexity": f"{perplexity:.3f}"}
        numbers = align_cells(cells, LOSS_WIDTHS, titles).replace("nan", "NaN")
        for line in hang_text(f"{numbers}  ", replace_controls(meaning), columns):
            screen.print(line, soft_wrap=True)


def show_checkpoints(screen: Console, rows: Iterable[Mapping[str, Any]]) -> None:
    """Show a table of a run's checkpoints; the rows are those of `inspect`."""
    columns = count_columns(screen)
    titles = choose_columns(CHECKPOINT_WIDTHS, CHECKPOINT_IMPORTANCE, columns)[:-1]  # the last one may have any width
    head = align_cells({title: title for title in titles}, CHECKPOINT_WIDTHS, titles)
    screen.print(Text(f"{head}  SHA-256", style="bold"))
    for row in rows:
        cells = dict.fromkeys(titles, "") | {"number": f"{row['number']}", "kB": f"{row['bytes'] / 1000:,.0f}"}
        if row["good"]:
            cells |= {"step": f"{row['step']:,}", "epochs": f"{row['epochs']}", "rate": f"{row['learning_rate']:.6g}"}
            cells |= {title: "–" if row[key] is None else f"{row[key]:.4f}" for title, key in CHECKPOINT_LOSSES.items()}
        bad = "cannot be read here" if row["good"] is None else "DAMAGED"
        found = "good" if row["good"] else f"{bad}: {row['reason']}"
        for line in hang_text(f"{align_cells(cells, CHECKPOINT_WIDTHS, titles)}  ", found, columns):
            screen.print(line, soft_wrap=True)


def warn_of_rejected(rejected: Iterable[Rejected]) -> None:
    """Print a line on stderr for each checkpoint that was skipped."""
    for path, reason in rejected:
        print(f"warning: checkpoint {str(path)!r} is damaged: {reason}; an older one is used", file=sys.stderr)

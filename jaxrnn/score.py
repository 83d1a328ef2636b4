"""Score a text: how surprising is each line, character or document for the model of a run?

The model may go on learning while it reads, without an end:  tail -f service.log | python -m jaxrnn.score RUN - --learn auto
"""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import run_program

    run_program("score")

import contextlib
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax

from jaxrnn.config.flags import CompilationCache, Flag, Trust
from jaxrnn.config.scorers import OFF, describe_learning
from jaxrnn.config.trust import trusted
from jaxrnn.console import cli, report, terminal
from jaxrnn.console.program_flags import RunFolder, WhichWeights
from jaxrnn.console.score_page import check_page_size, make_score_page
from jaxrnn.console.score_rows import FORMATS, Format, keep_oddest
from jaxrnn.data.files import STDIN
from jaxrnn.data.reading import UTF_8
from jaxrnn.errors import InputError, Stopped, check_value, pluralize
from jaxrnn.runs import stream_folder
from jaxrnn.runs.events import Note
from jaxrnn.runs.incoming import find_inputs, read_incoming
from jaxrnn.runs.open_stream import OpenStream, open_stream
from jaxrnn.runs.score_stream import Found, Position, Scoring, begin_document, score, skip_read
from jaxrnn.runtime import devices, precision, signals
from jaxrnn.runtime.compilation_cache import keep_programs
from jaxrnn.scoring.pieces import MEASURES, UNKNOWN_NATS, Measure, PieceKind, measure
from jaxrnn.scoring.stream import make_read
from jaxrnn.storage import checkpoint
from jaxrnn.storage.checkpoint import SavedRun
from jaxrnn.storage.streams import Extent


@dataclass(frozen=True)
class ScoreConfig:
    """Options."""

    run: RunFolder
    files: Annotated[tuple[str, ...], Flag("FILES...|-", default="standard input", is_positional=True)] = ()
    """Texts to score: files, also compressed ones (.gz, .bz2, .xz), folders, patterns, known texts; - = standard input."""
    per: PieceKind = "line"
    """What gets a score."""
    learn: Annotated[float | Literal["off", "auto"] | None, Flag("FLOAT|off|auto", default="off, or as RUN was saved")] = None
    """Whether the model goes on learning as it reads; each character is scored before it is learned from. auto: as in the run's
    final test or, if it was trained together with counts, as in its training. A number: at this learning rate."""
    format: Format = "auto"
    """tsv: columns file:line:column (of the most surprising character), excess, nats, nats per character, text. jsonl: the same
    as JSON. ansi: the text, coloured by surprise. html: a page that shows what was expected instead. auto: ansi on a terminal,
    else tsv."""
    by: Measure | Literal["auto"] = "auto"
    """What --top and --above go by. excess: nats beyond 4 of each character that costs more, so that numbers and times do not
    add up. mean: nats per character. total: nats of the whole. auto: excess for lines, total for characters, mean for
    documents."""
    top: int = 0
    """Print only the N oddest, the oddest first, at the end; 0 = all."""
    above: Annotated[float | None, Flag("NATS", default="all")] = None
    """Print only what has more than this many nats, as --by counts them."""
    ignore: Annotated[str | None, Flag("REGEX", default="nothing")] = None
    """What does not count in a line, for example its time: "^[-0-9]+ [:0-9]+". It is read and learned like the rest."""
    save: Annotated[Path | None, Flag("FOLDER", default="nothing is saved")] = None
    """Save what is learned as a run in this folder, which can be scored, sampled and trained like any other."""
    save_every_seconds: float = 60.0
    """Seconds between saves; the end and a signal save, too."""
    resume: bool = False
    """The input is the one that RUN was reading when it was saved: skip what was read of it, and go on from there."""
    separator: Annotated[str, Flag("TEXT", default="none")] = ""
    """What stands between documents: a line that equals it, or a mark within a line. Each file begins a document, too."""
    reset: bool = True
    """Carry the state on from one document to the next; by default it starts anew with each."""
    encoding: str = UTF_8
    """Encoding of the texts. Bytes that are not valid are charged like characters that the model does not know."""
    weights: WhichWeights = "auto"
    trust: Trust = ""
    compilation_cache: CompilationCache = True


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    with cli.exit_on_error(), contextlib.ExitStack() as inside:
        options = cli.parse(ScoreConfig, "score", __doc__, arguments)
        inputs = check_options(options)
        devices.start_backend()
        jax.config.update("jax_cpu_enable_async_dispatch", False)  # for one line, handing over takes longer than computing
        inside.enter_context(keep_programs(options.compilation_cache))
        with report.show_status(report.make_screen()):
            run = checkpoint.load_run(options.run, trust=trusted(options.trust))
        report.warn_of_rejected(run.rejected)
        precision.use_float32()
        has_documents = len(inputs) > 1 or bool(options.separator)
        opened = open_stream(run, options.learn, options.weights, resets=has_documents and options.reset)
        check_stream(options, run, opened)
        received = inside.enter_context(signals.catch_signals())
        _score(options, inputs, run, opened, received)


def check_options(options: ScoreConfig) -> tuple[str, ...]:
    """Return the texts to read; raise `InputError`, naming the flag, if a value is not allowed."""
    check_value("top", options.top, options.top >= 0, "0 (all) or more")
    seconds = options.save_every_seconds
    check_value("save-every-seconds", seconds, 0 < seconds < math.inf, "over 0, and finite")
    compile_pattern(options.ignore)
    if options.above is not None:
        check_value("above", options.above, math.isfinite(options.above), "a finite number")
    if options.ignore is not None and options.per != "line":
        raise InputError(f"--ignore is for lines, not for --per {options.per}: leave one of the two out")
    if not options.files and sys.stdin is not None and sys.stdin.isatty():
        raise InputError("no text to score: name files, or - to type one")
    if options.format == "html" and sys.stdout.isatty():
        raise InputError("--format html is a page, which a terminal does not show; write it to a file: > scores.html")
    return find_inputs(options.files or (STDIN,), options.encoding)


def compile_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """Compile a regular expression; `InputError` if it is none."""
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise InputError(f"--ignore {pattern!r} is not a regular expression: {error}") from None


def check_stream(options: ScoreConfig, run: SavedRun, opened: OpenStream) -> None:
    """Raise `InputError` if there is nothing to save, or nothing to resume."""
    if options.save and opened.learning == OFF:
        raise InputError("--save needs --learn: with fixed weights there is nothing new to save")
    if options.resume and run.stream is None:
        raise InputError(
            f"--resume: the run in {str(run.path)!r} was not reading a stream when it was saved; leave --resume out"
        )
    if options.resume and not opened.is_resumed:
        raise InputError("--resume goes on with a stream just as it was saved: leave --learn and --weights out")


def _score(
    options: ScoreConfig, inputs: tuple[str, ...], run: SavedRun, opened: OpenStream, received: signals.Received
) -> None:
    read = make_read(opened.scorer, opened.model if options.format == "html" else None)
    ignored = compile_pattern(options.ignore)
    scoring = Scoring(run.vocabulary, read, options.per, ignored=ignored, resets=opened.model.reads_marks)
    incoming = read_incoming(inputs, options.encoding, options.separator, options.save_every_seconds, received)
    position, writer = Position(opened.stream, opened.extent), None
    with contextlib.ExitStack() as inside:
        input_hash = None
        if options.resume and run.stream:
            incoming, source, pending, input_hash = skip_read(incoming, run.stream, received)
            position = position._replace(source=source, pending=pending)
        elif opened.is_resumed:
            position = position._replace(stream=begin_document(scoring, opened.stream))
        if options.save:
            folder = stream_folder.open_folder(options.save, run, opened, options.save_every_seconds, input_hash)
            writer = inside.enter_context(folder)
        found = inside.enter_context(contextlib.closing(score(scoring, position, incoming, writer)))
        extent = _show(options, found, inputs, run, opened)
    terminal.print_to_stderr(_summarise(extent, opened))
    if received():
        saved = f"; what was learned is saved in {str(options.save)!r}" if options.save else ""
        raise Stopped(received(), f"stopped{saved}")


def _show(
    options: ScoreConfig, found: Iterator[Found | Note], inputs: tuple[str, ...], run: SavedRun, opened: OpenStream
) -> Extent:
    """Print the scores as they come, or at the end; return how much was read."""
    name = ("ansi" if sys.stdout.isatty() else "tsv") if options.format == "auto" else options.format
    kept, extent, by = [], opened.extent, MEASURES[options.per] if options.by == "auto" else options.by
    for each in found:
        if isinstance(each, Note):
            terminal.print_to_stderr(f"warning: {each.line}")
            continue
        extent = each.extent
        pieces = [piece for piece in each.pieces if options.above is None or measure(piece, by) > options.above]
        if options.top:
            kept = keep_oddest(kept + pieces, options.top, by)
        elif name == "html":
            kept += pieces
            check_page_size(kept)
        elif pieces:
            sys.stdout.write("".join(FORMATS[name](piece, by) for piece in pieces))
            sys.stdout.flush()
    if name == "html":
        about = f"{_summarise(extent, opened)}."
        sys.stdout.write(make_score_page(", ".join(inputs), about, kept, by, run.vocabulary.characters))
    elif kept:
        sys.stdout.write("".join(FORMATS[name](piece, by) for piece in kept))
    return extent


def _summarise(extent: Extent, opened: OpenStream) -> str:
    """Describe in one line what was read, and how well it was predicted."""
    before = opened.extent
    characters, unknown = extent.num_characters - before.num_characters, extent.num_unknown - before.num_unknown
    parts = [
        f"{pluralize(extent.num_lines - before.num_lines, 'line')}, {pluralize(characters, 'character')}",
        f"{(extent.nats - before.nats) / max(1, characters):.4f} nats per character",
        f"learning: {describe_learning(opened.learning)}",
        f"{pluralize(unknown, 'unknown character')}, charged {UNKNOWN_NATS:.2f} nats each" if unknown else "",
        f"after {pluralize(before.num_lines, 'line')} read before" if opened.is_resumed else "",
    ]
    return "; ".join(filter(None, parts))

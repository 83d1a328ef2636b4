"""Score what comes in, piece by piece, and save on the way what the model learns from it."""

import hashlib
import itertools
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import Diverged, InputError, NotSaved, Stopped
from jaxrnn.runs import stream_folder
from jaxrnn.runs.events import Note
from jaxrnn.runs.incoming import Incoming
from jaxrnn.runs.stream_folder import StreamWriter
from jaxrnn.runtime.signals import Received
from jaxrnn.scoring import pieces
from jaxrnn.scoring.evaluation import DIVERGED_NATS
from jaxrnn.scoring.pieces import UNKNOWN_NATS, Pending, Piece, PieceKind, Place, ScoredText, advance_place
from jaxrnn.scoring.stream import DIVERGED_SUM, Read, Scored, Stream, start_document
from jaxrnn.storage.streams import Extent, SavedStream


class Scoring(NamedTuple):
    """Everything that stays the same while a stream is scored."""

    vocabulary: Vocabulary
    read: Read
    kind: PieceKind = "line"
    unknown_nats: float = UNKNOWN_NATS
    ignored: re.Pattern[str] | None = None  # what does not count in a line
    resets: bool = False  # whether the model starts anew with each document


class Position(NamedTuple):
    """Where the scoring of a stream stands. Reading on overwrites the arrays of `stream`."""

    stream: Stream
    extent: Extent
    source: str = ""
    pending: Pending = Pending()


class Found(NamedTuple):
    """Pieces that are complete, and how much was read up to them."""

    pieces: list[Piece]
    extent: Extent


def score(
    scoring: Scoring, position: Position, incoming: Iterable[Incoming | None], writer: StreamWriter | None = None
) -> Generator[Found | Note, None, None]:
    """Score what comes in; yield the pieces that are complete as soon as they are, and what went wrong with a save.

    Args:
      incoming: the characters; None when there are none yet, but it may be time to save.
      writer: where to save what is learned; None = nowhere.
    Raises:
      NotSaved: the end could not be saved.
      Diverged: learning failed; what was saved before stays.
    """
    try:
        for each in incoming:
            for part in _cut(each, writer is not None and stream_folder.is_due(writer)):
                held, writer = writer, None  # where reading fails, it has overwritten the arrays: nothing can be saved
                found, position = advance(scoring, position, part)
                writer = held and stream_folder.count(held, part.characters)
                yield Found(found, position.extent)
                writer = yield from _save_if_due(writer, position)
            if each is None:
                writer = yield from _save_if_due(writer, position)
        is_open = position.pending.place.column > 1 or position.pending.line.characters != ""  # the last line has no end
        extent = position.extent._replace(num_lines=position.extent.num_lines + is_open)
        yield Found(pieces.finish(scoring.kind, position.source, position.pending, scoring.ignored), extent)
    finally:  # also where nobody reads the scores any more
        if writer:
            writer = stream_folder.save(writer, position.stream, position.extent, position.pending)
    if writer and writer.problem:
        raise NotSaved(f"what was learned could not be saved in {str(writer.path)!r}: {writer.problem}")


def _save_if_due(writer: StreamWriter | None, position: Position) -> Generator[Note, None, StreamWriter | None]:
    if writer is None or not (stream_folder.is_due(writer) and stream_folder.has_news(writer)):
        return writer
    writer = stream_folder.save(writer, position.stream, position.extent, position.pending)
    if writer.problem:
        yield Note(f"not saved: {writer.problem}; trying again later")
    return writer


class Skipped(NamedTuple):
    """What was read of an input before its stream was saved, and the rest of the input."""

    rest: Iterator[Incoming | None]
    source: str  # the name of the file that is read on
    pending: Pending  # the position in it
    input_hash: Any  # of hashlib


def skip_read(incoming: Iterator[Incoming | None], saved: SavedStream, received: Received) -> Skipped:
    """Skip what was read of an input before its stream was saved.

    Raises:
      InputError: the input begins otherwise, or is shorter.
      Stopped: by a signal.
    """
    missing, found, source, place = saved.input_characters, hashlib.sha256(), "", Place()
    rest: list[Incoming] = []
    for part in incoming if missing else ():
        if part is None:
            continue
        skipped = part.characters[:missing]
        source, place = part.source, advance_place(part.begins or place, skipped)
        found.update(skipped.encode("utf-8", "surrogatepass"))
        missing -= len(skipped)
        if not missing:
            left = part.characters[len(skipped) :]
            rest = [Incoming(source, left)] if left else []
            break
    if received():
        raise Stopped(received(), "stopped")
    if missing:
        read = f"{saved.input_characters:,} characters were read of it before, and it has only "
        raise InputError(f"--resume: {read}{saved.input_characters - missing:,}; without --resume it is read as a new one")
    if found.hexdigest() != saved.input_sha256:
        raise InputError("--resume: the input is not the one that was read before; without --resume it is read as a new one")
    return Skipped(itertools.chain(rest, incoming), source, Pending(place, document=saved.tally), found)


def advance(scoring: Scoring, position: Position, incoming: Incoming) -> tuple[list[Piece], Position]:
    """Score the next characters; return the pieces that they complete, and the position after them."""
    stream, extent, source, pending = position
    found = []
    if incoming.begins and source:
        found = pieces.finish(scoring.kind, source, pending, scoring.ignored)
        stream = begin_document(scoring, stream)
    if incoming.begins:
        pending = Pending(incoming.begins)
    known, characters = scoring.vocabulary, incoming.characters
    stream, text, scored = pieces.score_characters(scoring.read, stream, known, characters, scoring.unknown_nats)
    if not (scored.nats < DIVERGED_NATS).all():
        place = f"{incoming.source}:{pending.place.line}"
        raise Diverged(f"learning has diverged, at {place} or soon after; give --learn a lower rate")
    completed, pending = pieces.cut(scoring.kind, incoming.source, pending, text, scoring.ignored)
    return found + completed, Position(stream, _extend(extent, text, scored), incoming.source, pending)


def begin_document(scoring: Scoring, stream: Stream) -> Stream:
    """Let the model start anew, if it does so with each document."""
    return start_document(stream, _newline(scoring.vocabulary)) if scoring.resets else stream


def _newline(known: Vocabulary) -> int | None:
    at = known.characters.find("\n")
    return None if at < 0 else at


def _extend(extent: Extent, text: ScoredText, scored: Scored) -> Extent:
    sums = np.nan_to_num(scored.of_networks.sum(axis=0, dtype=np.float64), nan=DIVERGED_SUM, posinf=DIVERGED_SUM)
    return Extent(
        num_characters=extent.num_characters + len(text.characters),
        num_lines=extent.num_lines + text.characters.count("\n"),
        num_unknown=extent.num_unknown + len(text.characters) - len(scored.nats),
        nats=extent.nats + float(text.nats.sum(dtype=np.float64)),
        of_networks=tuple((np.array(extent.of_networks or np.zeros(len(sums))) + sums).tolist()),
    )


def _cut(incoming: Incoming | None, after_lines: bool) -> list[Incoming]:
    """Cut after the last complete line, if wanted; nothing if nothing has come in."""
    if incoming is None:
        return []
    end = incoming.characters.rfind("\n") + 1
    if not (after_lines and 0 < end < len(incoming.characters)):
        return [incoming]
    return [
        incoming._replace(characters=incoming.characters[:end]),
        incoming._replace(characters=incoming.characters[end:], begins=None),
    ]

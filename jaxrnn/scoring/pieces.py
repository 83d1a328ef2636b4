"""Add up the scores of characters over the pieces of a text to compare: lines, documents or single characters."""

import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from jaxrnn.data import vocabulary
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.scoring.stream import Expected, Read, Scored, Stream

PieceKind: TypeAlias = Literal["line", "character", "document"]
Measure: TypeAlias = Literal["excess", "mean", "total"]
MEASURES: dict[PieceKind, Measure] = {"line": "excess", "character": "total", "document": "mean"}  # by which kinds are ranked
# The cost of a character that the model does not know, as if it were drawn from all characters of Unicode alike.
UNKNOWN_NATS = math.log(0x110000 - 0x800)  # 13.92
EXPECTED_NATS = 4.0  # a random digit or letter of a log costs 2 to 3.3: what costs more is news, see experiments/anomalies.py
MOST_CHARACTERS = 1_000_000  # a longer line is scored in pieces of this length, so that memory does not grow with it


class ScoredText(NamedTuple):
    """Consecutive characters and their scores."""

    characters: str
    nats: Float[np.ndarray, " time"]
    expected: Expected | None = None  # by the network, where it was asked; no id is that of an unknown character


class Piece(NamedTuple):
    """The score of a line, a document or a character."""

    source: str  # the name of its file
    line: int  # where its most surprising character stands, from 1
    column: int  # of that character, from 1
    nats: float  # of all of its characters
    excess: float  # nats beyond `EXPECTED_NATS` of each character that costs more than that
    num_characters: int  # a line has its line end, too
    text: ScoredText | None  # its characters; None for a document, which may be long


def measure(piece: Piece, by: Measure) -> float:
    """Return by how much a piece is odd.

    Args:
      by: "excess" counts only what is surprising, so that numbers and times, of which each line has some, do not add up; "mean"
        is nats per character, to compare texts of different lengths; "total" is -ln of the probability of the whole piece.
    """
    return {"excess": piece.excess, "mean": piece.nats / piece.num_characters, "total": piece.nats}[by]


class Place(NamedTuple):
    """A position in a file: the line and column of the next character, from 1."""

    line: int = 1
    column: int = 1


class Tally(NamedTuple):
    """What was added up of a document so far."""

    nats: float = 0.0
    excess: float = 0.0
    num_characters: int = 0
    peak: float = -1.0  # the highest loss of a character
    place: Place = Place()  # where that is


class Pending(NamedTuple):
    """The position in a document: what is not complete yet."""

    place: Place = Place()  # of the first character of `line`
    line: ScoredText = ScoredText("", np.zeros(0, np.float32))
    document: Tally = Tally()


def score_characters(
    read: Read, stream: Stream, known: Vocabulary, characters: str, unknown_nats: float = UNKNOWN_NATS
) -> tuple[Stream, ScoredText, Scored]:
    """Score the next characters of a stream; unknown ones are charged, and not read.

    Returns:
      The stream after them, their scores, and those of the known ones alone.
    """
    ids = vocabulary.look_up(known, characters)
    is_known = ids >= 0
    nats = np.full(len(ids), unknown_nats, np.float32)
    stream, scored = read(stream, ids[is_known])
    nats[is_known] = scored.nats
    if scored.expected is None:
        return stream, ScoredText(characters, nats), scored
    expected = Expected(*(np.full((len(ids), each.shape[1]), -1, each.dtype) for each in scored.expected))
    for whole, part in zip(expected, scored.expected, strict=True):
        whole[is_known] = part
    return stream, ScoredText(characters, nats, expected), scored


def cut(
    kind: PieceKind, source: str, pending: Pending, text: ScoredText, ignored: re.Pattern[str] | None = None
) -> tuple[list[Piece], Pending]:
    """Cut the next characters of a document into the pieces that they complete.

    Args:
      source: the name of the file.
      ignored: what does not count in a line, such as its time; each match costs nothing.
    Returns:
      The pieces, and what is pending afterwards.
    """
    if kind == "line":
        return _cut_lines(source, pending, text, ignored)
    after = advance_place(pending.place, text.characters)
    if kind == "character":
        places = _places(pending.place, text.characters)
        return [_piece(source, place, _part(text, i, i + 1)) for i, place in enumerate(places)], Pending(after)
    return [], Pending(after, document=_add(pending.document, pending.place, text))


def finish(kind: PieceKind, source: str, pending: Pending, ignored: re.Pattern[str] | None = None) -> list[Piece]:
    """Return what is left at the end of a document: its last line, if that has no line end, or its sum."""
    if kind == "line" and pending.line.characters:
        return [_piece(source, pending.place, ignore(pending.line, ignored))]
    if kind == "document" and pending.document.num_characters:
        nats, excess, number, _, place = pending.document
        return [Piece(source, place.line, place.column, nats, excess, number, None)]
    return []


def ignore(text: ScoredText, ignored: re.Pattern[str] | None) -> ScoredText:
    """Let what a pattern matches cost nothing."""
    if ignored is None:
        return text
    nats = text.nats.copy()
    for match in ignored.finditer(text.characters.removesuffix("\n")):
        nats[match.start() : match.end()] = 0
    return text._replace(nats=nats)


def _cut_lines(source: str, pending: Pending, text: ScoredText, ignored: re.Pattern[str] | None) -> tuple[list[Piece], Pending]:
    joined, place = _join(pending.line, text), pending.place
    found, start, characters = [], 0, joined.characters
    while start < len(characters):
        end = characters.find("\n", start, start + MOST_CHARACTERS) + 1
        if not end and len(characters) - start < MOST_CHARACTERS:
            break
        end = end or start + MOST_CHARACTERS
        found.append(_piece(source, place, ignore(_part(joined, start, end), ignored)))
        place = advance_place(place, characters[start:end])
        start = end
    return found, Pending(place, _part(joined, start, len(characters)))


def _add(tally: Tally, place: Place, text: ScoredText) -> Tally:
    if not text.characters:
        return tally
    highest, nats = int(text.nats.argmax()), tally.nats + float(text.nats.sum(dtype=np.float64))
    peak, at = float(text.nats[highest]), tally.place
    if peak > tally.peak:
        at = advance_place(place, text.characters[:highest])
    excess, number = tally.excess + _excess(text.nats), tally.num_characters + len(text.characters)
    return Tally(nats, excess, number, max(peak, tally.peak), at)


def _piece(source: str, place: Place, text: ScoredText) -> Piece:
    highest = int(text.nats.argmax())
    nats = float(text.nats.sum(dtype=np.float64))
    return Piece(source, place.line, place.column + highest, nats, _excess(text.nats), len(text.characters), text)


def _excess(nats: Float[np.ndarray, " time"]) -> float:
    return float(np.maximum(nats - EXPECTED_NATS, 0).sum(dtype=np.float64))


def advance_place(place: Place, characters: str) -> Place:
    """Return the place after some characters."""
    num_lines = characters.count("\n")
    after_last = len(characters) - characters.rfind("\n") - 1
    return Place(place.line + num_lines, after_last + 1 if num_lines else place.column + len(characters))


def _places(place: Place, characters: str) -> Iterator[Place]:
    line, column = place
    for character in characters:
        yield Place(line, column)
        line, column = (line + 1, 1) if character == "\n" else (line, column + 1)


def _join(first: ScoredText, second: ScoredText) -> ScoredText:
    if not first.characters:
        return second
    expected = None
    if first.expected is not None and second.expected is not None:
        expected = Expected(*(np.concatenate(pair) for pair in zip(first.expected, second.expected, strict=True)))
    return ScoredText(first.characters + second.characters, np.concatenate([first.nats, second.nats]), expected)


def _part(text: ScoredText, start: int, end: int) -> ScoredText:
    expected = None if text.expected is None else Expected(*(each[start:end] for each in text.expected))
    return ScoredText(text.characters[start:end], text.nats[start:end], expected)

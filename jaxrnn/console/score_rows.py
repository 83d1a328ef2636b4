"""Show the scores of a text: as columns, as JSON, or as the text itself, coloured by surprise."""

import heapq
import json
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from jaxrnn.scoring.pieces import Measure, Piece, ScoredText, measure

Format: TypeAlias = Literal["auto", "tsv", "jsonl", "ansi", "html"]
LEVELS = (1.0, 2.0, 3.0, 4.5, 6.0)  # nats, from which a character gets the next stronger colour
COLOURS = ("", "\x1b[48;5;223m", "\x1b[48;5;216m", "\x1b[48;5;209m", "\x1b[48;5;202m", "\x1b[48;5;196m")
INK, DIM, PLAIN = "\x1b[38;5;16m", "\x1b[2m", "\x1b[0m"


def format_tsv(piece: Piece, by: Measure) -> str:
    """Format a piece as a line of columns: its place, excess, nats, nats per character, and text."""
    del by
    text = "" if piece.text is None else escape_controls(piece.text.characters.removesuffix("\n") or piece.text.characters)
    return f"{place_of(piece)}\t{piece.excess:.3f}\t{piece.nats:.3f}\t{measure(piece, 'mean'):.4f}\t{text}\n"


def format_json(piece: Piece, by: Measure) -> str:
    """Format a piece as a line of JSON, with its text exactly as it is; a byte that could not be decoded is a surrogate."""
    del by
    values = {
        "source": piece.source,
        "line": piece.line,
        "column": piece.column,
        "excess": round(piece.excess, 6),
        "nats": round(piece.nats, 6),
        "nats_per_character": round(measure(piece, "mean"), 6),
        "characters": piece.num_characters,
        **({} if piece.text is None else {"text": piece.text.characters}),
    }
    line = json.dumps(values, ensure_ascii=False)
    return (line if _is_encodable(line) else json.dumps(values)) + "\n"


def format_ansi(piece: Piece, by: Measure) -> str:
    """Format a piece as its place, its measure and its text, in which surprising characters are coloured."""
    text = "" if piece.text is None else colour_text(piece.text)
    score = f"{measure(piece, by):.2f}" if by == "mean" else f"{measure(piece, by):.1f}"
    return f"{DIM}{place_of(piece)}{PLAIN}  {score}  {text}\n"


FORMATS: dict[str, Callable[[Piece, Measure], str]] = {"tsv": format_tsv, "jsonl": format_json, "ansi": format_ansi}


def keep_oddest(pieces: Sequence[Piece], most: int, by: Measure) -> list[Piece]:
    """Return the oddest pieces, those first."""
    return heapq.nlargest(most, pieces, key=lambda piece: measure(piece, by))


def colour_text(text: ScoredText) -> str:
    """Colour characters by their surprise; control characters are shown as escapes."""
    levels = np.searchsorted(LEVELS, text.nats, side="right").tolist()
    shown, before = [], 0
    for character, level in zip(text.characters.removesuffix("\n"), levels, strict=False):
        if level != before:
            shown.append(PLAIN + (COLOURS[level] + INK if level else ""))
            before = level
        shown.append(escape_controls(character))
    if text.characters.endswith("\n") and (levels[-1] or len(text.characters) == 1):  # a line that ends too early
        shown.append(f"{PLAIN}{COLOURS[levels[-1]]}{INK}⏎")
        before = levels[-1]
    return "".join(shown) + (PLAIN if before else "")


def place_of(piece: Piece) -> str:
    """Return where the most surprising character of a piece stands, as editors understand it."""
    return f"{escape_controls(piece.source)}:{piece.line}:{piece.column}"


def escape_controls(text: str) -> str:
    """Write characters that would steer a terminal, or break a column, as escapes."""
    if text.isprintable():
        return text
    shown = (c if c.isprintable() or unicodedata.category(c) == "Zs" else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


def _is_encodable(line: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in line)

"""Make a page of scores: a text coloured by surprise, in which one sees what was expected in the place of each character."""

import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from jaxrnn.console.score_rows import place_of
from jaxrnn.console.web_page import to_json
from jaxrnn.scoring.pieces import Measure, Piece, ScoredText, measure

MOST_CHARACTERS = 300_000  # on one page; a browser lays out as many in a few seconds


def make_score_page(title: str, about: str, pieces: Sequence[Piece], by: Measure, characters: str) -> str:
    """Make the page.

    Args:
      title: what was scored.
      about: by what, and what is not on the page.
      by: what the oddest pieces are ranked by.
      characters: the model's vocabulary.
    """
    data = {"about": about, "by": by, "pieces": [_to_values(piece, characters) for piece in pieces]}
    parts = {"title": escape(title), "data": to_json(data)}
    page = resources.files("jaxrnn.console").joinpath("scores.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)


def _to_values(piece: Piece, characters: str) -> dict[str, Any]:
    text = piece.text or ScoredText("", np.zeros(0))
    values = {
        "place": place_of(piece),
        "excess": round(piece.excess, 3),
        "total": round(piece.nats, 3),
        "mean": round(measure(piece, "mean"), 4),
        "characters": [_shown(character) for character in text.characters],
        "nats": [round(float(nats), 3) for nats in text.nats],
    }
    if text.expected is None:
        return values
    pairs = zip(text.expected.ids.tolist(), text.expected.p.tolist(), strict=True)
    return {**values, "expected": [_name(ids, p, characters) for ids, p in pairs]}


def _name(ids: list[int], p: list[float], characters: str) -> list[list[Any]] | None:
    return [[characters[i], round(chance, 6)] for i, chance in zip(ids, p, strict=True)] if ids[0] >= 0 else None


def _shown(character: str) -> str:
    """Replace what could not be decoded, which no page can hold."""
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character

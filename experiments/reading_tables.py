"""The rows of `reading.py`: how they are kept, shown as tables and placed in the picture."""

import json
import math
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from reading_picture import Panel, Point, make_figure

RESULTS = Path(__file__).with_name("results")
NUM_FIRST = 300_000
HELDOUT, FIRST, WHOLE = "heldout", "first", "whole"  # the parts of the text to predict
PEER, CITED, OURS = "peer", "cited", "ours"
# Endings of the names of rows that are not drawn: a run's counts, which have rows of their own, and frozen weights, since all
# other rows go on learning.
NOT_DRAWN = (", counts", ", frozen")


class Row(NamedTuple):
    """How well, and how fast, a model predicts each part of the text that it was tried on."""

    kind: str
    nats: dict[str, float]  # per character
    seconds: dict[str, float]


# Earlier measurements, on one core, of programs that may be missing.
CITED_ROWS = {
    "paq8px -8": Row(CITED, {HELDOUT: 0.960, FIRST: 1.236, WHOLE: 1.055}, {HELDOUT: 300.0, FIRST: 58.0, WHOLE: 300.0}),
    "lstm-compress": Row(CITED, {FIRST: 1.805}, {FIRST: 42.0}),
}


def kept_rows(path: Path = RESULTS / "reading.json") -> dict[str, Row]:
    """Read the rows of earlier measurements; programs never measured here are cited."""
    rows = {name: Row(**row) for name, row in json.loads(path.read_text("utf-8")).items()} if path.exists() else {}
    return CITED_ROWS | {name: row for name, row in rows.items() if row.kind != CITED}


def keep_rows(rows: dict[str, Row], path: Path = RESULTS / "reading.json") -> None:
    """Write the rows that `kept_rows` reads."""
    path.write_text(json.dumps({name: row._asdict() for name, row in rows.items()}, indent=1) + "\n", "utf-8")


def joined(row: Row, other: Row) -> Row:
    """Join two rows of the same model, tried on different parts."""
    return Row(row.kind, row.nats | other.nats, row.seconds | other.seconds)


def tables(rows: dict[str, Row]) -> list[str]:
    """Format two tables in Markdown, the best row of each last."""
    heldout = [f"| {title(name, rows[name])} | {cells(rows[name], HELDOUT)} |" for name in ordered(rows, HELDOUT)]
    both = dict.fromkeys([*ordered(rows, FIRST), *ordered(rows, WHOLE)])
    read = [f"| {title(name, rows[name])} | {cells(rows[name], FIRST)} | {cells(rows[name], WHOLE)} |" for name in both]
    return [
        "| held-out last tenth, after all before it | nats | bits | seconds |",
        "|---|---|---|---|",
        *heldout,
        "",
        f"| one reading | nats, first {NUM_FIRST:,} | bits | seconds | nats, all | bits | seconds |",
        "|---|---|---|---|---|---|---|",
        *read,
    ]


def ordered(rows: dict[str, Row], part: str) -> list[str]:
    """List the rows that were tried on a part, the best last."""
    return sorted((name for name, row in rows.items() if part in row.nats), key=lambda name: -rows[name].nats[part])


def title(name: str, row: Row) -> str:
    """Name a row in a table; ours is bold."""
    return {PEER: name, OURS: f"**{name}**", CITED: f"{name} (cited, not measured here)"}[row.kind]


def cells(row: Row, part: str) -> str:
    """Format nats, bits and seconds of a part; nothing if it was not tried."""
    if part not in row.nats:
        return " |  | "
    nats, seconds = row.nats[part], row.seconds[part]
    shown = f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"
    return f"{nats:.3f} | {nats / math.log(2):.3f} | {'about ' if row.kind == CITED else ''}{shown}"


def picture(found: dict[str, dict]) -> Figure:
    """Draw bits against seconds."""
    return make_figure(panels({name: Row(**row) for name, row in found.items()}))


def panels(rows: dict[str, Row]) -> list[Panel]:
    """Collect the points of each panel."""
    titles = {HELDOUT: "held-out last tenth, after all before it", WHOLE: "one reading of all 1.7 million characters"}
    drawn = {part: [name for name in ordered(rows, part) if not name.endswith(NOT_DRAWN)] for part in titles}
    return [Panel(titles[part], [point(name, rows[name], part) for name in names]) for part, names in drawn.items()]


def point(name: str, row: Row, part: str) -> Point:
    """Place a row in the picture."""
    cited = " (cited)" if row.kind == CITED else ""
    name = name.replace("all together", "with counts")
    return Point(name + cited, row.kind, row.seconds[part], row.nats[part] / math.log(2))

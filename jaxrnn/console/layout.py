"""Fit lines and tables to a terminal: wrap words, leave out columns. Without a terminal lines stay whole.

Rich's own tables would pad the last column with blanks, break lines in a pipe, and cut off what does not fit.
"""

from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

LEAST_ROOM = 24  # columns beside a name or numbers; with fewer the text goes below them
INDENT = 2


def count_columns(screen: Console) -> int | None:
    """Return the width of the terminal; None if there is none, because a pipe or a file gets whole lines."""
    return screen.width if screen.is_terminal else None


def wrap_words(text: str, width: int) -> list[str]:
    """Wrap a text into lines of at most `width` columns; only a word that is longer than that is broken."""
    lines = Text(text).wrap(Console(width=width), width, overflow="fold")
    return [line.plain.rstrip() for line in lines] or [""]


def hang_text(head: str, text: str, columns: int | None) -> list[str]:
    """Put a text beside a head; further lines are aligned with its beginning, or go below the head if there is no room."""
    room = None if columns is None else columns - cell_len(head)
    if columns is None or room is None or cell_len(text) <= room:
        return [head + text]
    if room < LEAST_ROOM:
        return [head.rstrip(), *(" " * INDENT + line for line in wrap_words(text, max(1, columns - INDENT)))]
    first, *rest = wrap_words(text, room)
    return [head + first, *(" " * cell_len(head) + line for line in rest)]


def hang_unbroken(head: str, text: str, columns: int | None) -> list[str]:
    """Put a path or a command beside a head, or below it, but never break it, so that it can be copied.

    A command may continue on a second line, in a way that a shell understands.
    """
    if columns is None or cell_len(head + text) <= columns:
        return [head + text]
    program, path = split_command(text)
    lines = [f"{program} \\", path] if program else [text]
    if len(lines) > 1 and max(map(cell_len, lines)) <= columns - cell_len(head):
        return [head + lines[0], " " * cell_len(head) + lines[1]]
    whole = [text] if cell_len(text) <= columns - INDENT else lines
    return [head.rstrip(), *(" " * INDENT + line for line in whole)]


def split_command(text: str) -> tuple[str, str]:
    """Split a command into `python -m MODULE` and the rest; for any other text the first part is empty."""
    words = text.split(" ", 3)
    return (" ".join(words[:3]), words[3]) if words[:2] == ["python", "-m"] and len(words) > 3 else ("", text)


def align_cells(cells: Mapping[str, str], widths: Mapping[str, int], titles: Iterable[str], gap: int = 2) -> str:
    """Format a row of a table with right-aligned cells; in the head each cell is its title."""
    return (" " * gap).join(cells[title].rjust(widths[title]) for title in titles)


def choose_columns(widths: Mapping[str, int], importance: Iterable[str], columns: int | None, gap: int = 2) -> Sequence[str]:
    """Choose the most important columns of a table that fit side by side; they keep their order."""
    if columns is None:
        return list(widths)
    chosen, used = set(), -gap
    for name in importance:
        if name in widths and used + gap + widths[name] <= columns:
            chosen.add(name)
            used += gap + widths[name]
    return [name for name in widths if name in chosen]

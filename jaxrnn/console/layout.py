"""How lines fit a terminal: broken between words, and tables with fewer columns. Without a terminal lines stay whole."""

from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

LEAST_ROOM = 24  # columns, beside a name or numbers; with less the text goes below them
INDENT = 2


def columns_of(screen: Console) -> int | None:
    """Count the columns of a terminal; None without one: whoever reads from a pipe or a file wants whole lines."""
    return screen.width if screen.is_terminal else None


def wrap(text: str, width: int) -> list[str]:
    """Break a text between words into lines of so many columns; a word that is longer than a line is broken, too."""
    lines = Text(text).wrap(Console(width=width), width, overflow="fold")
    return [line.plain.rstrip() for line in lines] or [""]


def hang(head: str, text: str, columns: int | None) -> list[str]:
    """Put a text beside a head; what does not fit hangs in line with its beginning, or below the head if there is no room."""
    room = None if columns is None else columns - cell_len(head)
    if columns is None or room is None or cell_len(text) <= room:
        return [head + text]
    if room < LEAST_ROOM:
        return [head.rstrip(), *(" " * INDENT + line for line in wrap(text, max(1, columns - INDENT)))]
    first, *rest = wrap(text, room)
    return [head + first, *(" " * cell_len(head) + line for line in rest)]


def hang_whole(head: str, text: str, columns: int | None) -> list[str]:
    """Put a path or a command beside a head; one that does not fit goes below it and is not broken, so that it can be copied.

    A command may go on in a second line, as the shell understands it.
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
    """`python -m MODULE` and the rest; nothing and the whole if it is no command."""
    words = text.split(" ", 3)
    return (" ".join(words[:3]), words[3]) if words[:2] == ["python", "-m"] and len(words) > 3 else ("", text)


def fitting(widths: Mapping[str, int], importance: Iterable[str], columns: int | None, gap: int = 2) -> Sequence[str]:
    """Choose the columns of a table that fit side by side, the more important ones first; they stay in their order."""
    if columns is None:
        return list(widths)
    chosen, used = set(), -gap
    for name in importance:
        if name in widths and used + gap + widths[name] <= columns:
            chosen.add(name)
            used += gap + widths[name]
    return [name for name in widths if name in chosen]

"""Update a single output of a notebook cell during a run, instead of adding an output for each line."""

import html
import io
import sys
from typing import Any

from rich.console import Console

WIDTH = 128  # columns of the text in a cell


class CellOutput(io.StringIO):
    """A stream that shows everything written to it, with a status line below, as one output of a cell."""

    def __init__(self) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports] (there is one where this is used)

        super().__init__()
        self.status = ""
        self.handle: Any = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> int:
        """Append to what is shown."""
        written = super().write(text)
        self.refresh(self.status)
        return written

    def refresh(self, status: str) -> None:
        """Show what was written, and below it this line; "" for none."""
        self.status = status
        text = self.getvalue() + status
        self.handle.update({"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}, raw=True)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; IPython in a terminal is not."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive else None
    return getattr(shell, "kernel", None) is not None


def make_notebook_screen() -> Console:
    """Make a console for the output of a cell."""
    # Rich's own support for Jupyter makes a separate output of every line.
    screen = Console(file=CellOutput(), width=WIDTH, force_jupyter=False, force_terminal=False, emoji=False, markup=False)
    screen.soft_wrap = True
    return screen

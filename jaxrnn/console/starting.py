"""A first sign of life on a terminal, before a program imports JAX, which takes a second or more.

Nothing is written to a pipe or a file. This file imports nothing that takes long.
"""

import contextlib
import os
import sys

WORD = "starting"


def show() -> None:
    """Write the word at the beginning of the terminal's line."""
    _write(f"\r{WORD}")


def clear() -> None:
    """Take it away again."""
    _write(f"\r{' ' * len(WORD)}\r")


def _write(characters: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a terminal that is gone, a closed stdout, or none at all
        if sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            sys.stdout.write(characters)
            sys.stdout.flush()

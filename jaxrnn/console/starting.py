"""Show a word on a terminal until a program has imported JAX, which takes a second or more.

Nothing is written to a pipe or a file. This module imports nothing slow.
"""

import contextlib
import os
import sys

WORD = "starting"


def show_word() -> None:
    """Write the word at the beginning of the line."""
    _write(f"\r{WORD}")


def clear_word() -> None:
    """Clear the word."""
    _write(f"\r{' ' * len(WORD)}\r")


def _write(characters: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # the terminal is gone, or stdout is closed or missing
        if sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            sys.stdout.write(characters)
            sys.stdout.flush()

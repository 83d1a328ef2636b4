"""The word that a terminal shows until a program has imported JAX, which takes a second or more.

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
    """Clear the word again."""
    _write(f"\r{' ' * len(WORD)}\r")


def _write(characters: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a terminal that is gone, a closed stdout, or none at all
        if sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            sys.stdout.write(characters)
            sys.stdout.flush()

"""Orbax prints much when it meets damaged files or a full disk; we say it in one line."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallows what Orbax prints when it meets damaged files or a full disk."""
    _ignore_closed_loops()
    unraisable, logged = sys.unraisablehook, logging.root.manager.disable
    sys.unraisablehook = lambda complaint: None
    logging.disable()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        sys.unraisablehook = unraisable
        logging.disable(logged)


def _ignore_closed_loops() -> None:
    """A thread of TensorStore may outlive a failed read or write, and find its loop closed when nobody waits for it."""
    told = sys.unraisablehook
    if getattr(told, "__name__", "") == "unless_loop_is_closed":
        return

    def unless_loop_is_closed(complaint: Any) -> None:
        if str(complaint.exc_value) != "Event loop is closed":
            told(complaint)

    sys.unraisablehook = unless_loop_is_closed

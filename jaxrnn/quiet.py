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
    _ignore_unfinished()
    unraisable, logged = sys.unraisablehook, logging.root.manager.disable
    sys.unraisablehook = lambda complaint: None
    logging.disable()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        sys.unraisablehook = unraisable
        logging.disable(logged)


def _ignore_unfinished() -> None:
    """A thread or a coroutine of Orbax may outlive a failed read or write, and complain at any time when it is collected."""
    told = sys.unraisablehook
    if getattr(told, "__name__", "") == "unless_unfinished":
        return

    def unless_unfinished(complaint: Any) -> None:
        code = getattr(complaint.object, "cr_code", None)  # of a coroutine
        of_orbax = code is not None and "orbax" in code.co_filename
        if not of_orbax and str(complaint.exc_value) != "Event loop is closed":
            told(complaint)

    sys.unraisablehook = unless_unfinished

"""Standard output and error, which may be closed, full, read by nobody, or unable to encode a character.

A program's exit code tells how its work went; only a result that cannot be written is a failure of its own, exit code 1.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


class Unread(Exception):
    """Nobody reads what is printed."""


class _Screen(io.FileIO):
    """What it cannot write it raises, or drops where that does not matter."""

    needed = True

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if not self.needed:
                return len(data)
            if isinstance(error, BrokenPipeError):  # Rich would end the program at that, with exit code 1
                raise Unread from None
            raise


def reopen_closed() -> None:
    """Put a file that takes nothing where a standard stream is closed: the next file opened would get its number."""
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest free number, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # Python found it closed
            stream = io.TextIOWrapper(io.BufferedWriter(_Screen(number, "w", closefd=False)), "utf-8", "replace")
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
            if name == "stderr":
                _forgive(stream)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Inside, a character that a stream cannot encode becomes a question mark, and nothing printed to stderr raises."""
    with contextlib.redirect_stdout(_screen(sys.stdout)), contextlib.redirect_stderr(_screen(sys.stderr)):
        _forgive(sys.stderr)
        try:
            yield
        finally:
            forgive()


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """What is printed inside is the program's result.

    Raises:
      SystemExit: with 0, nobody reads on; with 1 and a line that says why, it cannot be written.
    """
    try:
        yield
        sys.stdout.flush()
    except SystemExit as ended:
        if ended.code:
            forgive()
        with shown():  # --help
            pass
        raise
    except (Unread, BrokenPipeError):  # `| head` has seen enough
        forgive()
        raise SystemExit(0) from None
    except OSError as error:
        if error.filename is not None or error.errno not in NOT_WRITTEN:
            raise
        forgive()
        reason = "it is closed" if error.errno == errno.EBADF else (error.strerror or "").lower()
        say(f"error: the output cannot be written: {reason}")
        raise SystemExit(1) from None


def forgive() -> None:
    """From now on, what stdout cannot take is dropped: the exit code or a file holds the result."""
    _forgive(sys.stdout)


def say(line: str) -> None:
    """Print a line on stderr, if that takes it."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _forgive(stream: Any) -> None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Screen):
        raw.needed = False
        stream.flush()


def _screen(stream: Any) -> Any:
    """The same stream, ours to write to; one that is no file, as in a notebook, is left alone."""
    try:
        number, is_console = stream.fileno(), os.name == "nt" and stream.isatty()  # a console of Windows is no file, either
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return stream
    if is_console or not isinstance(stream, io.TextIOWrapper):
        return stream
    buffer = io.BufferedWriter(_Screen(number, "w", closefd=False))
    return io.TextIOWrapper(
        buffer, stream.encoding, "replace", line_buffering=stream.line_buffering, write_through=stream.write_through
    )

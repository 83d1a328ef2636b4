"""Standard output and error, which may be closed, full, read by nobody, or unable to encode a character.

A program's exit code tells how its work went; only a result that cannot be written is a failure of its own, exit code 1.
"""

import contextlib
import errno
import io
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Any

NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


SECONDS_PER_TRY = 0.05  # where the system cannot say when a stream takes more


class Unread(Exception):
    """Nobody reads what is printed."""


class _Screen(io.FileIO):
    """File that raises what it cannot write, or drops it where that does not matter."""

    needed = True

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # non-blocking, and full
                _wait_for_room(self)
            return written
        except OSError as error:
            if not self.needed:
                return len(data)
            if is_reader_gone(error):  # Rich would end the program at that, with exit code 1
                raise Unread from None
            raise


class _Closed(io.RawIOBase):
    """File in the place of a stream that Python does not have, or no longer."""

    needed = True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.needed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return len(data)


def is_reader_gone(error: OSError, system: str = os.name) -> bool:
    """Whether a write failed because its reader has closed the pipe, which Windows calls an invalid argument."""
    return isinstance(error, BrokenPipeError) or (system == "nt" and error.errno == errno.EINVAL)


def _wait_for_room(file: io.FileIO) -> None:
    try:
        select.select([], [file], [])
    except (OSError, ValueError):  # Windows selects sockets only; others no number over 1,023
        time.sleep(SECONDS_PER_TRY)


def reopen_closed() -> None:
    """Put a file that takes nothing in the place of each closed standard stream: the next file opened would get its number."""
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
    """Replace characters that a stream cannot encode by question marks, and drop what stderr cannot take."""
    with contextlib.redirect_stdout(_screen(sys.stdout)), contextlib.redirect_stderr(_screen(sys.stderr)):
        _forgive(sys.stderr)
        try:
            yield
        finally:
            forgive()


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """End the program if its result, which is printed inside, cannot be written.

    Raises:
      SystemExit: with 0 if the reader has gone, else with 1 and a line that says why.
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
    """Drop what stdout cannot take from now on: the exit code or a file holds the result."""
    _forgive(sys.stdout)


def say(line: str) -> None:
    """Print a line on stderr, if that takes it."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _forgive(stream: Any) -> None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Screen | _Closed):
        raw.needed = False
        stream.flush()


def _screen(stream: Any) -> Any:
    """Open the stream again, ours to write to; one that is no file, as in a notebook, is left alone."""
    if stream is None or getattr(stream, "closed", False):  # None: closed before Python began, or a program without a console
        return io.TextIOWrapper(io.BufferedWriter(_Closed()), "utf-8", "replace")
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

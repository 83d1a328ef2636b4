"""Write to standard streams that may be closed, full, unread, or unable to encode a character.

The exit code says how the work went. Output that cannot be written is a failure (exit code 1) only where it is the result.
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

WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
SECONDS_PER_TRY = 0.05  # where the system cannot say when a stream can be written again


class ReaderGone(Exception):
    """The reader has closed the pipe."""


class _Output(io.FileIO):
    """A file that raises an error if it cannot be written or, where that does not matter, drops the output."""

    is_required = True

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # non-blocking, and full
                _wait_for_room(self)
            return written
        except OSError as error:
            if not self.is_required:
                return len(data)
            if is_reader_gone(error):  # at that error Rich would exit with code 1
                raise ReaderGone from None
            raise


class _Closed(io.RawIOBase):
    """A stand-in for a stream that is closed."""

    is_required = True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.is_required:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return len(data)


def is_reader_gone(error: OSError, system: str = os.name) -> bool:
    """Return whether a write failed because the reader closed the pipe, which Windows reports as an invalid argument."""
    return isinstance(error, BrokenPipeError) or (system == "nt" and error.errno == errno.EINVAL)


def _wait_for_room(file: io.FileIO) -> None:
    try:
        select.select([], [file], [])
    except (OSError, ValueError):  # `select` takes only sockets on Windows, and no descriptor over 1,023 elsewhere
        time.sleep(SECONDS_PER_TRY)


def reopen_closed_streams() -> None:
    """Reopen closed standard streams as files that take nothing; otherwise the next file opened would get their descriptor."""
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest free number, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # Python found it closed
            stream = io.TextIOWrapper(io.BufferedWriter(_Output(number, "w", closefd=False)), "utf-8", "replace")
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
            if name == "stderr":
                _make_optional(stream)


@contextlib.contextmanager
def protect_streams() -> Iterator[None]:
    """Print question marks for characters that a stream cannot encode; drop what stderr cannot take."""
    with contextlib.redirect_stdout(_reopen(sys.stdout)), contextlib.redirect_stderr(_reopen(sys.stderr)):
        _make_optional(sys.stderr)
        try:
            yield
        finally:
            tolerate_closed_output()


@contextlib.contextmanager
def exit_on_write_error() -> Iterator[None]:
    """Exit if the result, which is printed inside this context, cannot be written.

    Raises:
      SystemExit: with 0 if the reader has closed the pipe, else with 1 after a line that says why.
    """
    try:
        yield
        sys.stdout.flush()
    except SystemExit as ended:
        if ended.code:
            tolerate_closed_output()
        with exit_on_write_error():  # --help
            pass
        raise
    except (ReaderGone, BrokenPipeError):  # `| head` has seen enough
        tolerate_closed_output()
        raise SystemExit(0) from None
    except OSError as error:
        if error.filename is not None or error.errno not in WRITE_ERRORS:
            raise
        tolerate_closed_output()
        reason = "it is closed" if error.errno == errno.EBADF else (error.strerror or "").lower()
        print_to_stderr(f"error: the output cannot be written: {reason}")
        raise SystemExit(1) from None


def tolerate_closed_output() -> None:
    """From now on, drop what stdout cannot take: the result is in a file, or in the exit code."""
    _make_optional(sys.stdout)


def print_to_stderr(line: str) -> None:
    """Print a line on stderr, if it can be written."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _make_optional(stream: Any) -> None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Output | _Closed):
        raw.is_required = False
        stream.flush()


def _reopen(stream: Any) -> Any:
    """Reopen the stream as one of our files; a stream that is not a file, as in a notebook, stays as it is."""
    if stream is None or getattr(stream, "closed", False):  # None: it was closed before Python started, or there is no console
        return io.TextIOWrapper(io.BufferedWriter(_Closed()), "utf-8", "replace")
    try:
        number, is_console = stream.fileno(), os.name == "nt" and stream.isatty()  # a Windows console is not a file either
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return stream
    if is_console or not isinstance(stream, io.TextIOWrapper):
        return stream
    buffer = io.BufferedWriter(_Output(number, "w", closefd=False))
    return io.TextIOWrapper(
        buffer, stream.encoding, "replace", line_buffering=stream.line_buffering, write_through=stream.write_through
    )

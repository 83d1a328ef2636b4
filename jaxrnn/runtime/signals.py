"""Handle signals (Ctrl-C, a closed terminal, SIGTERM) at once, even while XLA compiles.

Programs import this file first, so it imports as little as possible, not even `typing` or `socket`.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

TYPE_CHECKING = False  # as in `typing`
if TYPE_CHECKING:
    import socket

# SIGHUP comes when a terminal is closed; Windows has none.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
CLEAR_LINE, SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"

Received = Callable[[], int]  # returns the number of the signal received, 0 if there was none


def end_at_signals() -> None:
    """Make the first signal end the process: print one line, remove temporary folders, exit with 128 + its number.

    It is for a program that owns its process. XLA's threads may be running, so Python's shutdown is skipped.
    """
    if threading.current_thread() is threading.main_thread():
        _install(_end, _wait)
        atexit.register(_ignore)  # registered first, so called last


def end_at_signals_while_starting() -> None:
    """Make the first signal end a process that has no other threads yet, without importing anything."""
    for number in _handled_signals():
        signal.signal(number, lambda number, frame: _end(number))


@contextlib.contextmanager
def catch_signals() -> Iterator[Received]:
    """Record the first signal inside this context; a second one ends the program.

    After `end_at_signals` the second signal ends the process; otherwise the process is not ours, and it raises
    KeyboardInterrupt.
    """
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread only
        yield lambda: 0
        return
    received: list[int] = []
    interrupted: list[int] = []
    whole_process = signal.getsignal(signal.SIGINT) is _wait

    def notice(number: int) -> None:
        if received and whole_process:
            _write_to_terminal(1, f"{SHOW_CURSOR}\n")
            _end(number)  # a run can be killed at any moment without loss
        if not received:
            received.append(number)
            _write_to_terminal(2, f"{CLEAR_LINE}stopping; a second signal ends the program at once\n")

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        if len(interrupted) > 1 and not whole_process:
            raise KeyboardInterrupt(number)

    uninstall = _install(notice, interrupt)
    try:
        # Either may be first: whoever is about to wait must know of a signal before the watching thread has run.
        yield lambda: (received or interrupted or [0])[0]
    finally:
        uninstall()


class Interrupted(KeyboardInterrupt):
    """A signal interrupted the main thread."""

    def __init__(self, signal: int):
        super().__init__(signal)
        self.signal = signal


@contextlib.contextmanager
def raise_on_signal(received: Received) -> Iterator[None]:
    """Raise `Interrupted` at a signal inside this context, as soon as Python runs; for work that can be dropped at any point.

    Args:
      received: from the enclosing `catch_signals`, which keeps watching for a second signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in _handled_signals()}
    try:
        if received():  # before, or while the handlers were installed
            raise Interrupted(received())
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupt_without_ending() -> Iterator[None]:
    """Make Ctrl-C raise KeyboardInterrupt inside this context, as it does in a process that is not ours.

    Other signals still end the process.
    """
    if signal.getsignal(signal.SIGINT) is not _wait:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt

    uninstall = _install(lambda number: None if number == signal.SIGINT else _end(number), interrupt)
    try:
        yield
    finally:
        uninstall()


def _install(act: Callable[[int], None], handler: Callable[[int, FrameType | None], None]) -> Callable[[], None]:
    """Call `act` in a thread at each signal, in addition to the handler; return a function that undoes this.

    While XLA compiles or computes, Python runs no handlers, so the thread reads signals from a socket.
    """
    import socket  # not at the top: a signal may come before it is imported

    reading, writing = socket.socketpair()  # Windows cannot make a pipe non-blocking
    writing.setblocking(False)
    watch = threading.Thread(target=_watch, args=(reading, writing, act), daemon=True)
    watch.start()
    before = {number: signal.signal(number, handler) for number in _handled_signals()}
    fd_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def uninstall() -> None:
        signal.set_wakeup_fd(fd_before)
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
        writing.close()
        watch.join()
        reading.close()

    return uninstall


def _handled_signals() -> list[int]:
    """List the signals to handle: not those that are already ignored, for example by `nohup`."""
    return [number for number in SIGNALS if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]


def _ignore() -> None:
    """Ignore signals while Python shuts down: the program is done and its exit code stands."""
    for number in _handled_signals():
        signal.signal(number, signal.SIG_IGN)


def _wait(number: int, frame: FrameType | None) -> None:
    """Do nothing: the watching thread acts."""


def _watch(reading: "socket.socket", writing: "socket.socket", act: Callable[[int], None]) -> None:
    # `writing` is an argument so that it stays open as long as this thread lives.
    while number := int.from_bytes(reading.recv(1)):  # 0 when the other end is closed
        if number in SIGNALS:
            act(number)


def _end(number: int) -> None:
    flush = threading.Thread(target=_flush, daemon=True)
    flush.start()
    flush.join(0.2)  # in a thread: the program may hold the stream while it waits for a reader
    _write_to_terminal(1, CLEAR_LINE)
    with contextlib.suppress(OSError):
        os.write(2, b"stopped\n")
    with contextlib.suppress(Exception):
        # Importing here could disturb the program's imports. If this was not imported yet, there is nothing to remove.
        sys.modules["jaxrnn.data.temporary"].remove_own()
    os._exit(128 + number)


def _flush() -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()


def _write_to_terminal(descriptor: int, words: str) -> None:
    with contextlib.suppress(OSError):  # the terminal itself may have been closed
        if os.isatty(descriptor):
            os.write(descriptor, words.encode())

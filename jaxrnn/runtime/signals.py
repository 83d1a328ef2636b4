"""Signals: Ctrl-C, a closed terminal, the request to end. They are noticed at once, even while XLA compiles.

This file is the first that a program imports. So it imports little itself, not even `typing` or `socket`.
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

# The last one comes when a terminal is closed; Windows has none.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
CLEAR_LINE, SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"

Received = Callable[[], int]  # the number of the signal that came, 0 if none did


def end_at_signals() -> None:
    """From now on, the first signal ends the process: one line on stderr, temporary folders removed, exit code 128 + number.

    For a program that is the whole process. XLA's threads may be at work, so Python does not get to tear itself down.
    """
    if threading.current_thread() is threading.main_thread():
        _install(_end, _wait)
        atexit.register(_ignore)  # the first to be registered is the last to be called


def end_at_signals_while_starting() -> None:
    """The same, where no other thread is at work yet: nothing has to be imported for it."""
    for number in _handled_signals():
        signal.signal(number, lambda number, frame: _end(number))


@contextlib.contextmanager
def catch_signals() -> Iterator[Received]:
    """Inside, the first signal is only remembered. A second one ends the program: the process itself after `end_at_signals`,
    otherwise by KeyboardInterrupt, because the process is somebody else's.
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
            _end(number)  # nothing is lost: a run may be killed at any moment
        if not received:
            received.append(number)
            _write_to_terminal(2, f"{CLEAR_LINE}stopping; once more ends it at once\n")

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        if len(interrupted) > 1 and not whole_process:
            raise KeyboardInterrupt(number)

    uninstall = _install(notice, interrupt)
    try:
        yield lambda: received[0] if received else 0
    finally:
        uninstall()


class Interrupted(KeyboardInterrupt):
    """A signal has interrupted what the main thread was doing."""

    def __init__(self, signal: int):
        super().__init__(signal)
        self.signal = signal


@contextlib.contextmanager
def raise_on_signal(received: Received) -> Iterator[None]:
    """Inside, a signal raises `Interrupted` as soon as Python runs: for work that leaves nothing half done.

    Args:
      received: of the `catch_signals` around it, which goes on watching for a second signal.
    """
    if received():
        raise Interrupted(received())
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in _handled_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _install(act: Callable[[int], None], handler: Callable[[int, FrameType | None], None]) -> Callable[[], None]:
    """Calls `act` in a thread at each signal, and the handler as usual; returns the function that undoes that.

    While XLA compiles or computes, Python runs no handler: the thread reads the signals from a socket instead.
    """
    import socket  # here, because a signal may come before it is imported

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
    """What `nohup` has set to be ignored stays so."""
    return [number for number in SIGNALS if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]


def _ignore() -> None:
    """While Python tears itself down: the program is done, and its exit code stands."""
    for number in _handled_signals():
        signal.signal(number, signal.SIG_IGN)


def _wait(number: int, frame: FrameType | None) -> None:
    """Does nothing: the thread that watches acts."""


def _watch(reading: "socket.socket", writing: "socket.socket", act: Callable[[int], None]) -> None:
    # `writing` is held here, so that it stays open as long as this thread lives.
    while number := int.from_bytes(reading.recv(1)):  # nothing more to read when the other end is closed
        if number in SIGNALS:
            act(number)


def _end(number: int) -> None:
    flush = threading.Thread(target=_flush, daemon=True)
    flush.start()
    flush.join(0.2)  # the program may hold the stream, waiting for a reader
    _write_to_terminal(1, CLEAR_LINE)
    with contextlib.suppress(OSError):
        os.write(2, b"stopped\n")
    with contextlib.suppress(Exception):
        # An import here would disturb those of the program. Before it has made this one, there is nothing to remove.
        sys.modules["jaxrnn.data.temporary"].remove_own()
    os._exit(128 + number)


def _flush() -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()


def _write_to_terminal(descriptor: int, words: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be what was closed
        if os.isatty(descriptor):
            os.write(descriptor, words.encode())

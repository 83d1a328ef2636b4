"""Ctrl-C, a closed terminal, and the signal that asks a process to end: noticed, so that the run can save itself first."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one comes when a terminal is closed
CLEAR_LINE, SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"

Received = Callable[[], int]  # the number of the signal that came, 0 if none did


@contextlib.contextmanager
def noticed() -> Iterator[Received]:
    """Inside, the first signal is only remembered; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread only
        yield lambda: 0
        return
    received: list[int] = []
    # While XLA compiles or computes, Python runs no handler: a thread reads the signals from a pipe instead.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    watch = threading.Thread(target=_watch, args=(reading, received), daemon=True)
    watch.start()
    # What `nohup` has set to be ignored stays so.
    wanted = [number for number in SIGNALS if number is not signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, frame: None) for number in wanted}
    pipe_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield lambda: received[0] if received else 0
    finally:
        signal.set_wakeup_fd(pipe_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)
        watch.join()
        os.close(reading)


def _watch(reading: int, received: list[int]) -> None:
    while number := int.from_bytes(os.read(reading, 1)):  # nothing more to read when the pipe is closed
        if number not in SIGNALS:
            continue
        if received:
            _tell(1, f"{SHOW_CURSOR}\n")
            os._exit(128 + number)  # nothing is lost: a run may be killed at any moment
        received.append(number)
        _tell(2, f"{CLEAR_LINE}stopping; once more ends it at once\n")


def _tell(descriptor: int, words: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be what was closed
        if os.isatty(descriptor):
            os.write(descriptor, words.encode())

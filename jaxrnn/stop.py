"""Ctrl-C, a closed terminal, and the signal that asks a process to end: noticed, so that the run can save itself first."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one comes when a terminal is closed
SHOW_CURSOR = "\x1b[?25h"


@contextlib.contextmanager
def noticed(terminal: bool) -> Iterator[Callable[[], int]]:
    """Inside, the first signal is only remembered; a second one ends the process at once.

    Args:
      terminal: whether a cursor may have to be shown again.
    Returns:
      A function that gives the number of the signal that came, 0 if none did.
    """
    received: list[int] = []

    def notice(number: int, frame: object) -> None:
        del frame  # where the program was does not matter
        if received:
            if terminal:
                os.write(1, f"{SHOW_CURSOR}\n".encode())
            os._exit(128 + number)  # nothing is lost: a run may be killed at any moment
        received.append(number)

    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread only
        yield lambda: 0
        return
    # What `nohup` has set to be ignored stays so.
    wanted = [number for number in SIGNALS if number is not signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, notice) for number in wanted}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

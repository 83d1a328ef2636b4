"""Signals are caught whatever the program is doing, and only while a run wants them."""

import signal
import threading
import time

import pytest

from jaxrnn.runtime import signals


def noticed_within(seconds, received):
    """The signal that was noticed, for which it waits."""
    end = time.monotonic() + seconds
    while not received() and time.monotonic() < end:
        time.sleep(0.001)
    return received()


def test_whoever_begins_to_wait_knows_of_a_signal_before_the_watching_thread_does(monkeypatch):
    """Else it would wait for input that may never come."""
    late, watch = threading.Event(), signals._watch
    monkeypatch.setattr(signals, "_watch", lambda *given: late.wait() and watch(*given))
    with signals.catch_signals() as received:
        signal.raise_signal(signal.SIGTERM)
        known = received()
        late.set()
    assert known == signal.SIGTERM


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_is_remembered_and_the_handlers_are_put_back(number):
    before = [signal.getsignal(each) for each in signals.SIGNALS]
    with signals.catch_signals() as received:
        assert received() == 0
        signal.raise_signal(number)
        assert noticed_within(5, received) == number
    assert [signal.getsignal(each) for each in signals.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_closed_terminal_is_ignored_under_nohup_and_other_signals_are_not_ours(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGUSR1, lambda number, frame: None)
    with signals.catch_signals() as received:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGUSR1)
        assert noticed_within(0.1, received) == 0
    signal.signal(signal.SIGHUP, before[0])
    signal.signal(signal.SIGUSR1, before[1])


def test_in_another_thread_nothing_is_noticed():
    found = []

    def run():
        with signals.catch_signals() as received:
            found.append(received())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [0]

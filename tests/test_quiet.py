"""Logs and unfinished coroutines of Orbax are hidden, and nothing else in the process is touched."""

import contextlib
import gc
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from conftest import task_of
from test_damage import delete, empty, flip, halve

from jaxrnn.errors import InputError
from jaxrnn.runs.start import first_snapshot
from jaxrnn.storage import checkpoint, failures
from jaxrnn.storage.quiet import LOGGERS, check_disk_space, drop_orbax_logs, silence_orbax


async def unfinished():
    """A coroutine."""


def of(file):
    """A coroutine that seems to come from this file."""
    coroutine = unfinished()
    coroutine.close()
    return SimpleNamespace(cr_code=coroutine.cr_code.replace(co_filename=file))


@pytest.mark.parametrize(
    ("source", "error", "told"),
    [
        (of("/site-packages/orbax/checkpoint/serialization.py"), RuntimeError("unfinished"), False),
        (None, RuntimeError("Event loop is closed"), False),
        (of("/site-packages/other/serialization.py"), RuntimeError("unfinished"), True),
        (None, RuntimeError("unfinished"), True),
    ],
)
def test_a_program_does_not_show_what_orbax_has_left_and_nothing_else_is_lost(monkeypatch, source, error, told):
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    complaint = SimpleNamespace(object=source, exc_value=error)
    with silence_orbax():
        hook: Callable = sys.unraisablehook
        hook(complaint)
    assert complaints == ([complaint] if told else [])
    assert sys.unraisablehook == complaints.append


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


def process_state():
    """What of the process a library must leave alone."""
    loggers = [logging.getLogger(name) for name in (*LOGGERS, "orbax")]
    return [
        sys.stdout, sys.stderr, sys.unraisablehook, sys.excepthook, threading.excepthook, logging.root.manager.disable,
        list(warnings.filters), [(logger.level, list(logger.filters), list(logger.handlers)) for logger in loggers],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run with one good checkpoint and a newer one that is damaged."""
    path, task = tmp_path_factory.mktemp("run"), task_of()
    for _ in range(2):
        checkpoint.save_checkpoint(path, task.config, task.data, first_snapshot(task))
    (path / "checkpoints" / "2" / "arrays" / "manifest.ocdbt").write_bytes(b"damage")
    return path


def test_threads_that_read_runs_leave_the_process_and_what_others_say_alone(run_dir, capfd):
    before, going, said = process_state(), threading.Event(), [0, 0]
    failed = []
    host, absl = logging.getLogger("host"), logging.getLogger("absl")
    host.setLevel(logging.INFO)
    handlers = {host: Records(), absl: Records()}
    for logger, handler in handlers.items():
        logger.addHandler(handler)

    def talk(number):
        while not going.wait(0.001):
            host.info("logged")
            absl.error("logged")
            os.write(2, b"printed\n") if number else sys.stderr.write("printed\n")
            said[number] += 1

    def read():
        try:
            for _ in range(2):
                assert checkpoint.load_run(run_dir).number == 1
        except BaseException as error:
            failed.append(error)

    talkers = [threading.Thread(target=talk, args=(number,)) for number in (0, 1)]
    readers = [threading.Thread(target=read) for _ in range(4)]
    for thread in (*talkers, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    going.set()
    for thread in talkers:
        thread.join()
    for logger, handler in handlers.items():
        logger.removeHandler(handler)
    assert failed == []
    assert process_state() == before
    for handler in handlers.values():
        ours = [record for record in handler.records if record.pathname == __file__]
        assert len(ours) == sum(said)
    err = capfd.readouterr().err.splitlines()
    assert (len(err), set(err)) == (sum(said), {"printed"})


@pytest.mark.slow
@pytest.mark.parametrize("damage", [halve, delete, empty, flip(0.5), flip(0.1)])
def test_reading_a_damaged_run_as_a_library_leaves_nothing_that_complains_later(run_dir, tmp_path, monkeypatch, capfd, damage):
    """Without any hook: the files are looked at before Orbax, whose coroutines a failure would leave unfinished."""
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    newest = run_dir / "checkpoints" / "1" / "arrays"
    for path in sorted(newest.rglob("*")):
        if path.is_file() and path.stat().st_size:
            content = path.read_bytes()
            damage(path)
            with contextlib.suppress(failures.Damaged, InputError):
                checkpoint.read_checkpoint(run_dir, 1)
            path.write_bytes(content)
    gc.collect()
    assert complaints == []
    assert capfd.readouterr().err == ""


def test_a_record_of_orbax_is_dropped_for_who_reads_and_for_nobody_else(caplog):
    def record(pathname, thread):
        made = logging.makeLogRecord({"name": "absl", "pathname": pathname, "msg": "x", "levelno": logging.ERROR})
        made.thread = thread
        return made

    absl, here = logging.getLogger("absl"), threading.get_ident()
    other = threading.Thread(target=threading.Event().wait, args=(5,), daemon=True)
    other.start()
    with drop_orbax_logs():
        assert not absl.filter(record("/site-packages/orbax/x.py", here))
        assert not absl.filter(record("/site-packages/orbax/x.py", -1))  # a thread that was started meanwhile
        assert absl.filter(record("/site-packages/orbax/x.py", other.ident))
        assert absl.filter(record("/home/else.py", other.ident))
    assert absl.filter(record("/site-packages/orbax/x.py", here))


def test_a_disk_without_room_is_noticed_before_orbax_writes(tmp_path):
    check_disk_space(tmp_path, 1_000)
    with pytest.raises(OSError, match=r"No space left|too large"):
        check_disk_space(tmp_path, 2**62)
    assert list(tmp_path.iterdir()) == []

"""Scoring a stream in a process of its own: each line is answered before the next one comes, in constant memory."""

import itertools
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import READS_COMPILED

from jaxrnn.storage.checkpoint import load_run
from jaxrnn.storage.store import list_numbers

pytestmark = pytest.mark.slow
PROGRAM = [sys.executable, "-m", "jaxrnn.score"]


@pytest.fixture(scope="module")
def run_dir(trained):
    return trained / "runs" / "notebook-comedie-0"


@pytest.fixture
def start():
    """A function that starts the program; whatever is left of it ends with the test."""
    processes = []

    def of(*flags, stdout=subprocess.PIPE):
        command = [*PROGRAM, *map(str, flags)]
        process = subprocess.Popen(
            command,
            env={**os.environ, **READS_COMPILED},
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        processes.append(process)
        return process

    yield of
    for process in processes:
        process.kill()
        process.wait()
        for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
            stream.close()


def resident_kb(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def lines_of(path):
    """The lines that a run has read from its stream."""
    stream = load_run(path).stream
    return stream.extent.num_lines if stream else 0


@pytest.mark.parametrize("learn", ["off", "auto"])
def test_each_line_is_answered_before_the_next_one_comes(start, run_dir, learn):
    ours, theirs = pty.openpty()
    process = start(run_dir, "-", "--learn", learn, "--format", "tsv", stdout=theirs)
    os.close(theirs)
    seconds = []
    for number in range(30):
        sent = time.perf_counter()
        process.stdin.write(f"line {number} of a log\n".encode())
        answer = b""
        while f"line {number} of a log".encode() not in answer:
            answer += os.read(ours, 1000)
        seconds.append(time.perf_counter() - sent)
        assert f"-:{number + 1}:".encode() in answer
    os.close(ours)
    process.stdin.close()
    assert process.wait(60) == 0
    assert b"30 lines, " in process.stderr.read()
    assert min(seconds[5:]) < 0.1


def test_half_a_line_waits_for_its_end_and_a_line_end_of_windows_is_one(start, run_dir):
    process = start(run_dir, "-", "--format", "jsonl")
    for part in (b"a ha", b"lf\r", b"\nand one more", b"\r\n"):
        process.stdin.write(part)
        time.sleep(0.2)
    process.stdin.close()
    rows = [json.loads(row) for row in process.stdout]
    assert [row["text"] for row in rows] == ["a half\n", "and one more\n"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_stream_and_what_repeats_costs_less_and_less(start, run_dir):
    process = start(run_dir, "-", "--learn", "auto", "--format", "jsonl")
    writer = subprocess.Popen(["sh", "-c", 'yes "a line" | head -100000'], stdout=process.stdin)
    process.stdin.close()
    first, row, sizes = json.loads(process.stdout.readline()), b"", []
    with os.fdopen(os.dup(process.stdout.fileno()), "rb") as rows:
        for number in range(2, 100_001):
            row = rows.readline()
            if number in range(20_000, 100_000, 10_000):
                sizes.append(resident_kb(process))
        assert rows.readline() == b""
    assert json.loads(row)["nats"] < 0.1 * first["nats"]
    assert max(sizes) - sizes[0] < 20_000, sizes
    assert (process.wait(60), writer.wait(60)) == (0, 0)


def test_a_signal_saves_what_was_learned(start, run_dir, tmp_path):
    process = start(run_dir, "-", "--learn", "0.1", "--save", tmp_path / "learned", "--format", "tsv")
    for number in range(5):
        process.stdin.write(f"line {number}\n".encode())
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert b"what was learned is saved" in process.stderr.read()
    assert lines_of(tmp_path / "learned") == 5


def test_a_quiet_stream_is_saved_in_time(start, run_dir, tmp_path):
    """A kill loses what came since the last save, even if nothing has come since then that could have led to one."""
    process = start(run_dir, "-", "--learn", "0.1", "--save", tmp_path / "learned", "--save-every-seconds", "0.5")
    process.stdin.write(b"a line\n")
    process.stdout.readline()
    for _ in itertools.repeat(None, 100):
        time.sleep(0.1)
        if list_numbers(tmp_path / "learned") and lines_of(tmp_path / "learned") == 1:
            break
    else:
        pytest.fail("nothing was saved")
    process.kill()
    process.wait()


def test_a_reader_that_has_seen_enough_ends_it_and_loses_nothing(start, run_dir, tmp_path):
    process = start(run_dir, "-", "--learn", "0.1", "--save", tmp_path / "learned")
    process.stdin.write(b"a line\n" * 10)
    process.stdout.readline()
    process.stdout.close()
    for _ in range(100):
        try:
            process.stdin.write(b"another line\n")
        except BrokenPipeError:
            break
        time.sleep(0.1)
    assert process.wait(60) == 0
    assert lines_of(tmp_path / "learned") >= 10

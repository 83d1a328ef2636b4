"""Kill a program that scores a stream, learns from it and saves, again and again, and compare what it has learned.

    python experiments/kills.py [NUMBER]

NUMBER kills, 1,000 by default, take an hour on two cores; each comes at a random moment after the first score. After each the
program goes on with the lines after those that the saved run has read. Expected: the model, the state of its stream and the
counters equal, to the bit, those of a program that read the same lines without a kill.
"""

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrnn import train
from jaxrnn.storage import store
from jaxrnn.storage.checkpoint import load_run
from jaxrnn.storage.streams import Extent

SECONDS_BETWEEN_SAVES, MOST_SECONDS = 0.1, 0.6
TRAINED = ("--max-characters", "5000", "--hidden-size", "16", "--epochs", "1", "--seed", "1")


def line(number: int) -> bytes:
    drawn = random.Random(number)
    return ("".join(drawn.choices("abc dé€.\t", k=drawn.randrange(60))) + "\n").encode()


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    with tempfile.TemporaryDirectory() as folder:
        origin, killed, alone = (Path(folder, name) for name in ("origin", "killed", "alone"))
        train.main([*TRAINED, "--run-dir", str(origin)])
        drawn, started = random.Random(0), time.perf_counter()
        for kill in range(number):
            score_until_killed(origin, killed, drawn.random() * MOST_SECONDS)
            if kill % 20 == 0:
                print(f"{kill + 1} kills, {lines_read(killed):,} lines, {time.perf_counter() - started:.0f} s", flush=True)
        score_to_end(origin, killed, lines_read(killed), lines_read(killed) + 100)
        score_to_end(origin, alone, 0, lines_read(killed))
        compare(killed, alone)
        print(f"{number} kills, {lines_read(killed):,} lines: the same to the bit")


def start(origin: Path, path: Path) -> subprocess.Popen:
    """Start the program with the run that is saved, or with the first one."""
    saved = path if path.exists() and store.list_numbers(path) else origin
    flags = ["--learn", "0.1"] if saved == origin else []
    if saved == origin and path.exists():  # killed before the first save
        subprocess.run(["rm", "-r", str(path)], check=True)
    command = [sys.executable, "-m", "jaxrnn.score", str(saved), "-", *flags, "--save", str(path)]
    command += ["--save-every-seconds", str(SECONDS_BETWEEN_SAVES)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)


def lines_read(path: Path) -> int:
    """Count the lines that a saved run has read."""
    saved = load_run(path).stream if path.exists() and store.list_numbers(path) else None
    return saved.extent.num_lines if saved else 0


def score_until_killed(origin: Path, path: Path, seconds: float) -> None:
    """Feed lines until some time after the first score, then kill."""
    at, process = lines_read(path), start(origin, path)
    feeder = threading.Thread(target=feed, args=(process.stdin, at))
    feeder.start()
    if not process.stdout.read(1):
        raise SystemExit("the program has ended by itself")
    drain = threading.Thread(target=process.stdout.read)
    drain.start()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    feeder.join()
    drain.join()


def feed(pipe: Any, at: int) -> None:
    """Write lines, five at a time, until nobody reads them."""
    with contextlib.suppress(BrokenPipeError):
        for first in itertools.count(at, 5):
            pipe.write(b"".join(map(line, range(first, first + 5))))
            time.sleep(0.01)


def score_to_end(origin: Path, path: Path, at: int, end: int) -> None:
    process = start(origin, path)
    process.communicate(b"".join(map(line, range(at, end))))
    if process.returncode or lines_read(path) != end:
        raise SystemExit(f"it has read {lines_read(path)} lines, not {end}")


def compare(path: Path, other: Path) -> None:
    """Compare arrays and counters; sums of losses may differ in the last digits, as they were added up in other pieces."""
    arrays, extents = zip(*map(stored, (path, other)), strict=True)
    for pair in zip(*arrays, strict=True):
        np.testing.assert_array_equal(*pair)
    np.testing.assert_array_equal(*(extent[:3] for extent in extents))
    np.testing.assert_allclose(*([extent.nats, *extent.of_networks] for extent in extents), rtol=1e-9)


def stored(path: Path) -> tuple[list, Extent]:
    """Return the arrays of a saved run and its stream, and how much that has read."""
    run = load_run(path)
    if run.stream is None:
        raise SystemExit(f"{path} holds no stream")
    return jax.tree.leaves((run.snapshot.state, run.snapshot.best_params, run.stream.stream)), run.stream.extent


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()

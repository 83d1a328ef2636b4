"""Kill a program that scores a stream, learns from it and saves, again and again, and compare what it has learned.

    python experiments/kills.py [NUMBER]

NUMBER kills, 1,000 by default, take half an hour on two cores; each comes at a random moment after the first score. After each
the program goes on with the lines after those that the saved run has read. Expected: the model, the state of its stream and the
counters equal, to the bit, those of a program that read the same lines without a kill.
"""

import contextlib
import io
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxrnn import score
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
        trained = [sys.executable, "-m", "jaxrnn.train", *TRAINED, "--run-dir", str(origin)]
        subprocess.run(trained, check=True, stdout=subprocess.DEVNULL)
        drawn, started = random.Random(0), time.perf_counter()
        for kill in range(number):
            score_until_killed(origin, killed, drawn.random() * MOST_SECONDS)
            if kill % 20 == 0:
                print(f"{kill + 1} kills, {lines_read(killed):,} lines, {time.perf_counter() - started:.0f} s", flush=True)
        score_to_end(origin, killed, lines_read(killed), lines_read(killed) + 100)
        score_to_end(origin, alone, 0, lines_read(killed))
        compare(killed, alone)
        print(f"{number} kills, {lines_read(killed):,} lines: the same to the bit")


class Process(NamedTuple):
    """The program in a process of its own."""

    number: int
    lines: io.FileIO  # for writing
    scores: io.FileIO  # for reading


def start(origin: Path, path: Path) -> Process:
    """Start the program with the run that is saved, or with the first one.

    It is forked from this process, which has imported all and started nothing, and so is ready in a third of the time.
    """
    is_saved = path.exists() and bool(store.list_numbers(path))
    if path.exists() and not is_saved:  # killed before the first save
        shutil.rmtree(path)
    flags = [str(path), "-"] if is_saved else [str(origin), "-", "--learn", "0.1"]
    (stdin, lines), (scores, stdout) = os.pipe(), os.pipe()
    number = os.fork()
    if number:
        os.close(stdin)
        os.close(stdout)
        return Process(number, io.FileIO(lines, "w"), io.FileIO(scores))
    for mine, standard in ((stdin, 0), (stdout, 1), (os.open(os.devnull, os.O_WRONLY), 2)):
        os.dup2(mine, standard)
    os.closerange(3, 1_000)
    code = 1
    try:
        score.main([*flags, "--save", str(path), "--save-every-seconds", str(SECONDS_BETWEEN_SAVES)])
        code = 0
    finally:
        os._exit(code)


def lines_read(path: Path) -> int:
    """Count the lines that a saved run has read, from its manifest alone."""
    numbers = store.list_numbers(path) if path.exists() else []
    about = store.read_about(path, numbers[-1]) if numbers else None
    return about["stream"]["extent"]["num_lines"] if about else 0


def score_until_killed(origin: Path, path: Path, seconds: float) -> None:
    """Feed lines until some time after the first score, then kill."""
    at, process = lines_read(path), start(origin, path)
    feeder = threading.Thread(target=feed, args=(process.lines, at))
    feeder.start()
    if not process.scores.read(1):
        raise SystemExit("the program has ended by itself")
    drain = threading.Thread(target=process.scores.readall)
    drain.start()
    time.sleep(seconds)
    os.kill(process.number, signal.SIGKILL)
    os.waitpid(process.number, 0)
    feeder.join()
    drain.join()
    process.scores.close()


def feed(pipe: io.FileIO, at: int) -> None:
    """Write lines, five at a time, until nobody reads them."""
    with contextlib.suppress(BrokenPipeError), pipe:
        for first in itertools.count(at, 5):
            pipe.write(b"".join(map(line, range(first, first + 5))))
            time.sleep(0.01)


def score_to_end(origin: Path, path: Path, at: int, end: int) -> None:
    """Feed lines to their end."""
    process = start(origin, path)
    drain = threading.Thread(target=process.scores.readall)
    drain.start()
    with process.lines as pipe:
        for number in range(at, end):
            pipe.write(line(number))
    _, status = os.waitpid(process.number, 0)
    drain.join()
    process.scores.close()
    if status or lines_read(path) != end:
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

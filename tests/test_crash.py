"""Killed at any moment and gone on with, a run ends in the same bytes as one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from conftest import READS_COMPILED, events

from jaxrnn import checkpoint

# One update per call, so that a small network takes long enough to be stopped in the middle of an epoch.
FLAGS = ["--max-characters", "25000", "--hidden-size", "8", "--sample-length", "30", "--validation-fraction", "0.1"]
FLAGS += ["--updates-per-call", "1", "--epochs", "2"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run that was left alone."""
    folder = tmp_path_factory.mktemp("alone")
    finished(folder, *FLAGS, "--run-dir", "run")
    return folder / "run"


def command(*flags):
    """Training with these flags, as one types it."""
    return [sys.executable, "-W", "error", "-m", "jaxrnn.train", *flags]


def started(folder, *flags):
    environment = {**os.environ, **READS_COMPILED}
    return subprocess.Popen(
        command(*flags), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(folder, *flags):
    """The output of a run that must come to its end."""
    process = started(folder, *flags)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), err
    return out


def assert_same_run(run_dir, other):
    """The same arrays, samples and metrics, but for the time that they took."""
    ends = [checkpoint.load(path) for path in (run_dir, other)]
    for a, b in zip(*(jax.tree.leaves((run.state, run.best_params)) for run in ends), strict=True):
        np.testing.assert_array_equal(a, b)
    assert ends[0].progress._replace(epoch_seconds=0) == ends[1].progress._replace(epoch_seconds=0)
    assert (run_dir / "samples.txt").read_bytes() == (other / "samples.txt").read_bytes()
    assert without_time(events(run_dir)) == without_time(events(other))


def without_time(lines):
    return [json.dumps({name: value for name, value in line.items() if name != "characters_per_second"}) for line in lines]


def wait_until_it_learns(process, run_dir):
    """Until the process has written of its progress."""
    metrics, end = run_dir / "metrics.jsonl", time.monotonic() + 60
    before = metrics.stat().st_size if metrics.exists() else 0
    while not (metrics.exists() and metrics.stat().st_size > before):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_a_signal_saves_the_run_and_it_ends_in_the_same_bytes(tmp_path, alone):
    process, steps = started(tmp_path, *FLAGS, "--run-dir", "run"), [0]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        wait_until_it_learns(process, tmp_path / "run")
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == code
        assert said.startswith("stopped in epoch ")
        assert said.endswith("saved. Go on with: python -m jaxrnn.train --resume run\n")
        steps.append(int(checkpoint.load(tmp_path / "run").state.step))
        process = started(tmp_path, "--resume", "run")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "resumed     epoch " in out
    assert 0 < steps[1] <= steps[2] < 2 * 20_000
    assert_same_run(alone, tmp_path / "run")


def test_a_second_signal_ends_it_at_once_and_nothing_is_lost(tmp_path):
    process = started(tmp_path, "--hidden-size", "512", "--max-characters", "0", "--run-dir", "run")
    wait_until_it_learns(process, tmp_path / "run")
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert checkpoint.load(tmp_path / "run").rejected == ()


def killed_until_it_ends(folder, flags, times, longest, run_dir="run"):
    """Starts the same command over and over, killing it each time after a random while, until it was killed often enough.

    Returns:
      How many of the kills hit the run before it was over.
    """
    rng, hits = random.Random(0), 0
    for _ in range(times):
        process = started(folder, *flags, "--run-dir", run_dir, "--resume", "auto")
        time.sleep(rng.uniform(0, longest))
        process.kill()
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), said
        hits += process.returncode != 0
    return hits


def test_killed_at_random_moments_it_ends_in_the_same_bytes(tmp_path, alone):
    flags = [*FLAGS, "--save-every-seconds", "0"]
    killed_until_it_ends(tmp_path, flags, times=3, longest=4.0)
    finished(tmp_path, *flags, "--run-dir", "run", "--resume", "auto")
    assert_same_run(alone, tmp_path / "run")


@pytest.mark.slow
def test_killed_thirty_times_no_run_is_lost(tmp_path):
    """The default network on the embedded text; saved as often as possible, so that many kills hit a save."""
    flags = ["--epochs", "20", "--updates-per-call", "2000", "--save-every-seconds", "0", "--max-characters", "0"]
    finished(tmp_path, *flags, "--run-dir", "alone")
    hits, run = 0, 0
    while hits < 30:
        hits += killed_until_it_ends(tmp_path, flags, times=8, longest=6.0, run_dir=f"run{run}")
        finished(tmp_path, *flags, "--run-dir", f"run{run}", "--resume", "auto")
        assert_same_run(tmp_path / "alone", tmp_path / f"run{run}")
        run += 1

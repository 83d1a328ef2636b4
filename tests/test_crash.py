"""A run that is killed at any moment and resumed ends in the same bytes as an undisturbed one."""

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
from fixed import often

from jaxrnn.storage import checkpoint

# One update per call, so that a small network takes long enough to be stopped in the middle of an epoch, ...
FLAGS = ["--max-characters", "25000", "--hidden-size", "8", "--sample-length", "30", "--validation-fraction", "0.1"]
FLAGS += ["--updates-per-call", "1", "--epochs", "3"]
# ... and a look at the signals every 50 milliseconds, so that it is a small part of the way that lies between two of them.
OFTEN = (
    "import sys; from jaxrnn import train; from jaxrnn.runs import loop; loop.SECONDS_PER_LOOK = 0.05; train.main(sys.argv[1:])"
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run that was left alone."""
    folder = tmp_path_factory.mktemp("alone")
    finished(folder, *FLAGS, "--run-dir", "run")
    return folder / "run"


def started(folder, *flags, program=("-W", "error", "-c", OFTEN), environment=READS_COMPILED):
    """A process that trains with these flags."""
    return subprocess.Popen(
        [sys.executable, *program, *flags],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(folder, *flags):
    """The output of a run that must come to its end; as nobody kills it, it leaves to the others what it compiles."""
    process = started(folder, *flags, environment={})
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), err
    return out


def assert_same_run(run_dir, other, trust=()):
    """The same arrays, samples and metrics, but for the time that they took."""
    ends = [checkpoint.load_run(path, trust=trust) for path in (run_dir, other)]
    for a, b in zip(*(jax.tree.leaves((run.snapshot.state, run.snapshot.best_params)) for run in ends), strict=True):
        np.testing.assert_array_equal(a, b)
    assert ends[0].snapshot.progress._replace(epoch_seconds=0) == ends[1].snapshot.progress._replace(epoch_seconds=0)
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


def killed(process):
    """Kills it; whether that hit it before it was over."""
    process.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode != 0


def wait_until_it_saves(process, run_dir):
    """Until Orbax has begun a checkpoint that it has not finished."""
    while not list((run_dir / "checkpoints").glob("*.orbax-checkpoint-tmp*")):
        assert process.poll() is None, process.communicate()


@pytest.mark.slow
def test_stopped_and_killed_again_and_again_it_ends_in_the_same_bytes(tmp_path, alone):
    run_dir, steps = tmp_path / "run", [0]
    process = started(tmp_path, *FLAGS, "--save-every-seconds", "0", "--run-dir", "run")
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        wait_until_it_learns(process, run_dir)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == code
        assert said.startswith("stopped in epoch ")
        assert said.endswith("saved. Resume with: python -m jaxrnn.train --resume run\n")
        steps.append(int(checkpoint.load_run(run_dir).snapshot.state.step))
        process = started(tmp_path, "--resume", "run")
        wait = wait_until_it_learns if number == signal.SIGINT else wait_until_it_saves
        wait(process, run_dir)
        assert killed(process)
        assert checkpoint.load_run(run_dir).rejected == ()
        process = started(tmp_path, *FLAGS, "--save-every-seconds", "0", "--run-dir", "run", "--resume", "auto")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "resumed     epoch " in out
    assert 0 < steps[1] < steps[2] < 3 * 20_000
    assert_same_run(alone, run_dir)


BLOCKED = """
import sys, time
from jaxrnn import __main__ as programs
from jaxrnn import train
from jaxrnn.storage import checkpoint, store
save = checkpoint.save_checkpoint
def blocked(run_dir, *arguments):
    if store.list_numbers(run_dir):
        print("saving", flush=True)
        time.sleep(100)
    save(run_dir, *arguments)
checkpoint.save_checkpoint = blocked
"""


@pytest.mark.parametrize(
    "start", often(["train.main(sys.argv[1:])", "programs.run_program('train')"], {"train.main(sys.argv[1:])"})
)
def test_a_second_signal_ends_it_at_once_even_while_it_saves_and_nothing_is_lost(tmp_path, start):
    process = started(tmp_path, *FLAGS, "--run-dir", "run", program=("-c", BLOCKED + start))
    wait_until_it_learns(process, tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    while process.stdout.readline() != "saving\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "stopped\n")
    run = checkpoint.load_run(tmp_path / "run")
    assert (int(run.snapshot.state.step), run.rejected) == (0, ())


@pytest.mark.slow
def test_killed_thirty_times_at_random_no_run_is_lost(tmp_path):
    """The default network on a part of the embedded text; saved as often as possible, so that many kills hit a save."""
    flags = ["--epochs", "3", "--updates-per-call", "2000", "--save-every-seconds", "0", "--max-characters", "20000"]
    finished(tmp_path, *flags, "--run-dir", "alone")
    rng, hits, num_runs = random.Random(0), 0, 0
    while hits < 30:
        of_run = [*flags, "--run-dir", f"run{num_runs}", "--resume", "auto"]
        for _ in range(8):
            process = started(tmp_path, *of_run)
            time.sleep(rng.uniform(0, 6))
            hits += killed(process)
        finished(tmp_path, *of_run)
        assert_same_run(tmp_path / "alone", tmp_path / f"run{num_runs}")
        num_runs += 1

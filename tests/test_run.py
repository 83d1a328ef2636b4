"""A run survives a full disk and an exploding loss."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import optax
import pytest
from conftest import READS_COMPILED, SMALL, events, metrics

from jaxrnn import train
from jaxrnn.runs import loop, testing
from jaxrnn.runs.advance import Divergence
from jaxrnn.storage import checkpoint, failures, logs, store, verify


def exit_code(arguments):
    """Of a run that does not end well."""
    with pytest.raises(SystemExit) as exit_:
        train.main(arguments)
    return exit_.value.code


NOT_WRITTEN = "error: the end of this run could not be written to 'run'. Resume with: python -m jaxrnn.train --resume run\n"
LIMITED = """
import resource, signal, sys
from jaxrnn import train
from jaxrnn.runs import loop
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log_progress = loop.log_progress
def limited(task, advanced):
    if advanced.epoch and advanced.epoch.epoch == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
    return log_progress(task, advanced)
loop.log_progress = limited
train.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_when_files_can_no_longer_be_written_that_is_said_and_nothing_is_lost(tmp_path):
    """Real failures to write, of Orbax and of the log: no file may grow beyond 600 bytes."""
    arguments = [*SMALL, "--epochs", "3", "--run-dir", "run", "--save-every-seconds", "0"]
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, **READS_COMPILED},
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (1, NOT_WRITTEN)
    assert "cannot save: " in result.stdout
    assert "held-out text, dynamic" in result.stdout
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["event"] in ("progress", "epoch")
    run = checkpoint.load_run(tmp_path / "run")
    assert (run.snapshot.progress.epochs, run.rejected) == (1, ())
    train.main(["--resume", str(tmp_path / "run")])
    assert [event["event"] for event in metrics(tmp_path / "run")] == ["epoch", "epoch", "epoch", "final"]


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    """A small file system of its own, where one may be mounted."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(tmp_path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        arguments = ["-m", "jaxrnn.train", *SMALL, "--epochs", "20", "--run-dir", "run", "--save-every-seconds", "0"]
        arguments += ["--keep-checkpoints", "50"]
        result = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**os.environ, **READS_COMPILED},
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (1, NOT_WRITTEN)
        assert "cannot save: " in result.stdout
        assert all(found.run for found in verify.verify_run(tmp_path / "run"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_loss_that_explodes_brings_the_run_back_at_half_the_rate(tmp_path, capsys):
    run_dir = tmp_path / "run"
    train.main([*SMALL, "--epochs", "2", "--learning-rate", "50", "--run-dir", str(run_dir)])
    out = capsys.readouterr().out
    found = [event for event in events(run_dir) if event["event"] == "divergence"]
    assert 1 <= len(found) <= 5
    assert [event["rollbacks"] for event in found] == list(range(1, len(found) + 1))
    assert [event["learning_rate"] for event in found] == [50 / 2**n for n in range(1, len(found) + 1)]
    assert out.count("of at most 5 times)") == len(found)
    assert out.count("is no longer finite") + out.count("times its best") == len(found)
    run = checkpoint.load_run(run_dir)
    rate = found[-1]["learning_rate"]
    assert optax.tree_utils.tree_get(run.snapshot.state.opt_state, "learning_rate") == rate
    assert run.snapshot.progress.rollbacks == len(found)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((run.snapshot.state.params, run.snapshot.best_params)))
    assert metrics(run_dir)[-1]["event"] == "final"
    steps = [event["step"] for event in events(run_dir)]
    assert steps == sorted(steps)


AFTER_GOING_BACK = [
    ("divergence", 0), ("progress", 1_000), ("progress", 2_000), ("epoch", 2_699), ("progress", 3_000),
    ("progress", 4_000), ("progress", 5_000), ("epoch", 5_398), ("final", 5_398),
]  # fmt: skip


def with_problems(at_epochs):
    """Reading on, with a made-up problem in each of these epochs, which are used up."""
    advance = loop.advance

    def into_problems(task, snapshot, num_updates):
        advanced, epoch = advance(task, snapshot, num_updates), snapshot.progress.epochs
        if epoch in at_epochs[:1]:
            at_epochs.pop(0)
            raise Divergence("made up")
        return advanced

    return into_problems


def test_lines_that_wait_for_the_disk_are_dropped_when_the_run_goes_back(tmp_path, monkeypatch):
    """They tell of what has not happened."""
    append, problems = logs.append_log, [1]

    def append_after_the_problem(path, log):
        return log if problems else append(path, log)

    monkeypatch.setattr(loop, "advance", with_problems(problems))
    monkeypatch.setattr(logs, "append_log", append_after_the_problem)
    train.main([*SMALL, "--epochs", "2", "--run-dir", str(tmp_path / "run")])
    assert [(event["event"], event["step"]) for event in events(tmp_path / "run")] == AFTER_GOING_BACK


def test_lines_written_since_the_checkpoint_are_taken_away_when_the_run_goes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "advance", with_problems(at_epochs=[1]))
    monkeypatch.setattr(loop, "should_save", lambda *arguments: False)
    train.main([*SMALL, "--epochs", "2", "--run-dir", str(tmp_path / "run")])
    assert [(event["event"], event["step"]) for event in events(tmp_path / "run")] == AFTER_GOING_BACK


def test_returns_are_counted_even_if_the_last_one_could_not_be_saved(tmp_path, monkeypatch):
    save = checkpoint.save_checkpoint

    def save_only_at_the_start(run_dir, *arguments):
        if store.list_numbers(run_dir):
            raise failures.NotWritten("no space left on the disk")
        save(run_dir, *arguments)

    monkeypatch.setattr(loop, "advance", with_problems(at_epochs=[0, 0]))
    monkeypatch.setattr(checkpoint, "save_checkpoint", save_only_at_the_start)
    assert exit_code([*SMALL, "--epochs", "1", "--run-dir", str(tmp_path / "run")]) == 1
    (event,) = [event for event in events(tmp_path / "run") if event["event"] == "divergence"]
    assert (event["step"], event["rollbacks"], event["learning_rate"]) == (0, 2, 0.1 / 4)


@pytest.mark.slow
def test_a_loss_that_goes_on_exploding_ends_the_run(tmp_path, capsys):
    arguments = [*SMALL, "--activation", "relu", "--learning-rate", "1e6", "--run-dir", str(tmp_path / "run")]
    assert exit_code(arguments) == 3
    out, err = capsys.readouterr()
    assert out.count("of at most 5 times)") == 5
    assert " in epoch 1, after 5 rollbacks, each at half the rate: rate 31250 is too high" in err
    assert err.count("\n") == 1
    run = checkpoint.load_run(tmp_path / "run")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((run.snapshot.state.params, run.snapshot.best_params)))


def test_on_request_the_run_ends_at_once(tmp_path, capsys):
    arguments = [*SMALL, "--activation", "relu", "--learning-rate", "1e6", "--on-divergence", "stop"]
    assert exit_code([*arguments, "--run-dir", str(tmp_path / "run")]) == 3
    message = capsys.readouterr().err
    assert message == (
        "error: the loss is no longer finite in epoch 1: rate 1e+06 is too high for this model; "
        "start again with a lower --learning-rate\n"
    )


def test_without_a_checkpoint_to_go_back_to_the_run_ends(tmp_path, capsys, monkeypatch):
    def fail(*arguments):
        raise failures.NotWritten("no space left on the disk")

    monkeypatch.setattr(checkpoint, "save_checkpoint", fail)
    arguments = [*SMALL, "--activation", "relu", "--learning-rate", "1e6", "--run-dir", str(tmp_path / "run")]
    assert exit_code(arguments) == 3
    assert "no rollback is possible: no run in" in capsys.readouterr().err


def test_a_signal_while_testing_tells_how_to_see_the_numbers(tmp_path, monkeypatch, capsys):
    def signalled(*arguments):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)
        raise AssertionError("it goes on testing")

    monkeypatch.setattr(testing, "resolve_dynamic", signalled)
    arguments = [*SMALL, "--epochs", "1", "--run-dir", str(tmp_path / "run")]
    assert exit_code(arguments) == 143
    stopped = capsys.readouterr().err
    assert "stopped after epoch 1, the last one, saved. The model is ready: python -m jaxrnn.sample" in stopped
    assert "Resume with: python" in stopped
    monkeypatch.undo()
    train.main(["--resume", str(tmp_path / "run")])
    assert [event["event"] for event in metrics(tmp_path / "run")] == ["epoch", "final"]


def test_a_screen_that_takes_nothing_is_no_reason_to_end(folder, monkeypatch):
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
        screen = io.TextIOWrapper(full, write_through=True)
        for name in ("stdout", "__stdout__", "stderr", "__stderr__"):
            monkeypatch.setattr(sys, name, screen)
        with pytest.raises(OSError, match="No space"):
            print("full", flush=True)
        train.main([*SMALL, "--epochs", "1", "--run-dir", "run"])
        monkeypatch.undo()
    assert metrics(folder / "run")[-1]["event"] == "final"


@pytest.mark.slow
def test_the_clipped_fraction_is_shown_and_logged(tmp_path, capsys):
    train.main([*SMALL, "--epochs", "1", "--clip-norm", "2", "--run-dir", str(tmp_path / "run")])
    out, (epoch, _) = capsys.readouterr().out, metrics(tmp_path / "run")
    assert "gradients clipped at norm 2" in out
    assert 0 < epoch["clipped_fraction"] < 1
    assert f"{epoch['clipped_fraction']:.1%}" in out


@pytest.mark.slow
def test_a_run_that_overfits_ends_early_and_says_so(tmp_path, monkeypatch, capsys):
    """A text of random characters has nothing to learn but itself."""
    monkeypatch.chdir(tmp_path)
    characters = np.random.default_rng(0).choice(list("abcdefgh"), 3_000)
    (tmp_path / "random.txt").write_text("".join(characters))
    small = ["--hidden-size", "64", "--num-streams", "4", "--rule-length", "16", "--learning-rate", "0.03", "--dropout", "0"]
    flags = ["--validation-fraction", "0.2", "--num-devices", "1", "--sample-length", "0", "--run-dir", "run", "--epochs", "60"]
    train.main(["gru", "--text", "random.txt", "--max-characters", "0", *small, *flags])
    num_epochs = len(metrics(tmp_path / "run")) - 1
    assert num_epochs < 30
    out = " ".join(capsys.readouterr().out.split())
    assert "the validation loss has not fallen for 3 epochs: training ends early, after" in out
    assert f"{num_epochs} epochs" in out
    train.main(["--resume", "run"])
    assert "its schedule ended when the validation loss stopped improving" in " ".join(capsys.readouterr().out.split())

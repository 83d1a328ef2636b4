"""Runs whose settings change at a resume, and finished runs that are given more epochs or minutes."""

import contextlib
import json
import shutil
import signal

import jax
import numpy as np
import pytest
from conftest import SMALL, events, metrics, task_of
from test_cli_errors import error_of
from test_crash import assert_same_run
from test_resume import content

from jaxrnn import evaluate, inspect, load, train
from jaxrnn.runs import advance, loop, rollback, session, start
from jaxrnn.storage import checkpoint, failures, logs, run_folder, store
from jaxrnn.training import optimizers

COSINE = [*SMALL, "--schedule", "cosine", "--epochs", "2", "--learning-rate", "0.5"]


@pytest.fixture(scope="module")
def cosine(tmp_path_factory):
    """A run with a cosine schedule that is over."""
    path = tmp_path_factory.mktemp("cosine") / "run"
    train.main([*COSINE, "--run-dir", str(path)])
    return path


@pytest.fixture
def run_dir(cosine, tmp_path):
    """A copy of it."""
    return shutil.copytree(cosine, tmp_path / "run")


def stop_at(monkeypatch, *steps):
    """Let runs stop, as by Ctrl-C, after each of these updates."""
    read, left, received = loop.advance, list(steps), []

    def advance_and_stop(task, snapshot, most_updates):
        until = [left[0] - int(snapshot.state.step)] if left else []
        advanced = read(task, snapshot, min(most_updates, *until, 500))
        if left and int(advanced.snapshot.state.step) == left[0]:
            received.append(left.pop(0))
        return advanced

    @contextlib.contextmanager
    def catch_signals():
        received.clear()
        yield lambda: signal.SIGINT if received else 0

    monkeypatch.setattr(loop, "advance", advance_and_stop)
    monkeypatch.setattr(session.signals, "catch_signals", catch_signals)


def stopped(*arguments):
    with pytest.raises(SystemExit) as exit_:
        train.main([*arguments])
    assert exit_.value.code == 130


EXTENSION = ["--epochs", "4", "--clip-norm", "3", "--learning-rate", "0.4", "--test-characters", "200"]


@pytest.fixture(scope="module")
def extended(cosine, tmp_path_factory):
    """The cosine run, extended and changed, without an interruption."""
    path = shutil.copytree(cosine, tmp_path_factory.mktemp("extended") / "run")
    train.main(["--resume", str(path), *EXTENSION])
    return path


def test_an_extended_run_says_so_and_keeps_its_history(cosine, extended, run_dir, capsys):
    train.main(["--resume", str(run_dir), *EXTENSION])
    out = capsys.readouterr().out
    assert "resumed     epoch 3, character 0 of 2,699" in out
    said = "epochs 2 -> 4, learning rate 0.5 -> 0.4, clipping norm 0 -> 3, test characters auto -> 200"
    assert f"changed     {said}\ncontinued   for 5,398 more updates, 2 epochs, with a new cosine, from rate 0.4 to 0" in out
    lines = events(extended)
    assert lines[: len(events(cosine))] == events(cosine)
    first, change, last = [line for line in lines if line["event"] in ("final", "changed")]
    assert (first["step"], change["step"], last["step"]) == (5_398, 5_398, 10_796)
    assert change["from"] == {"epochs": 2, "learning_rate": 0.5, "clip_norm": 0.0, "test_characters": "auto"}
    assert change["to"] == {"epochs": 4, "learning_rate": 0.4, "clip_norm": 3.0, "test_characters": 200}
    assert change["learning_rate"] == 0.4
    assert last["heldout_characters"] == 200
    assert run_folder.read_config(extended).learning.clip_norm == 3.0
    run = load(extended)
    assert run.numbers is not None
    assert run.numbers.heldout_nats == last["heldout_nats"]
    assert run.losses.epoch_steps.tolist() == [2_699, 5_398, 8_097, 10_796]
    inspect.main([str(extended)])
    assert f"changed at update 5,398  {said}\n" in capsys.readouterr().out
    inspect.main([str(extended), "--json"])
    assert json.loads(capsys.readouterr().out)["changes"] == [change]


@pytest.mark.parametrize("steps", [(5_399,), (5_500, 8_090), (8_097, 10_790)])
def test_an_extended_run_that_is_stopped_anywhere_ends_in_the_same_bytes(extended, run_dir, monkeypatch, steps):
    stop_at(monkeypatch, *steps)
    stopped("--resume", str(run_dir), *EXTENSION)
    assert load(run_dir).numbers is None  # those of before are in the metrics, and are not these weights'
    for number in range(len(steps)):
        if number + 1 < len(steps):
            stopped("--resume", str(run_dir))
    train.main(["--resume", str(run_dir)])
    assert_same_run(run_dir, extended)


def test_a_change_inside_an_epoch_ends_in_the_same_bytes_wherever_it_is_stopped_later(tmp_path, monkeypatch):
    """One of the two is stopped again."""
    ends = []
    for later in ((), (2_000,)):
        run_dir = tmp_path / f"run{len(later)}"
        with monkeypatch.context() as patch:
            stop_at(patch, 970, *later)
            stopped(*SMALL, "--epochs", "2", "--run-dir", str(run_dir))
            again = ["--resume", str(run_dir), "--learning-rate", "0.05", "--dropout", "0"]
            if later:
                stopped(*again)
                again = ["--resume", str(run_dir)]
            train.main(again)
        ends.append(run_dir)
    assert_same_run(*ends)
    (change,) = [line for line in events(ends[0]) if line["event"] == "changed"]
    assert (change["step"], change["from"], change["to"]) == (970, {"learning_rate": 0.1}, {"learning_rate": 0.05})
    assert [line["learning_rate"] for line in events(ends[0]) if line["event"] == "epoch"] == [0.05, 0.05]


def test_a_change_survives_a_kill_before_its_checkpoint(extended, run_dir, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_checkpoint", killed)
        with pytest.raises(Killed):
            train.main(["--resume", str(run_dir), *EXTENSION])
    again = shutil.copytree(run_dir, run_dir.with_name("again"))
    train.main(["--resume", str(run_dir)])
    a, b = ([line for line in metrics(path) if line["event"] == "epoch"] for path in (run_dir, extended))
    assert [line["online_nats"] for line in a] == [line["online_nats"] for line in b]
    train.main(["--resume", str(again), "--learning-rate", "0.5"])  # taken back before it was made
    (change,) = [line for line in events(again) if line["event"] == "changed"]
    assert change["to"] == {"epochs": 4, "clip_norm": 3.0, "test_characters": 200}
    assert run_folder.read_config(again).learning.learning_rate == 0.5


def test_a_change_survives_the_damage_of_its_checkpoint(extended, run_dir, monkeypatch, capsys):
    stop_at(monkeypatch, 5_399)
    stopped("--resume", str(run_dir), *EXTENSION)
    for number in store.list_numbers(run_dir)[-2:]:  # those since the change
        (run_dir / "checkpoints" / str(number) / "about" / "metadata").write_text("{")
    train.main(["--resume", str(run_dir)])
    assert "is damaged" in capsys.readouterr().err
    a, b = (checkpoint.load_run(path).snapshot.state.params for path in (run_dir, extended))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_change_that_cannot_be_saved_is_not_made(run_dir, monkeypatch, capsys):
    before = content(run_dir)

    def full(*arguments):
        raise failures.NotWritten("no space left on the device")

    monkeypatch.setattr(checkpoint, "save_checkpoint", full)
    message = error_of(capsys, train.main, ["--resume", str(run_dir), *EXTENSION])
    assert "is not changed, because it cannot be saved: no space left on the device" in message
    assert content(run_dir) == before


def test_a_rollback_to_a_checkpoint_before_the_change_makes_it_again(tmp_path):
    task, slower = (task_of(epochs=2, learning_rate=rate) for rate in (0.1, 0.04))
    checkpoint.save_checkpoint(
        tmp_path, task.config, task.data, advance.advance(task, start.first_snapshot(task), 300).snapshot
    )
    back = rollback.roll_back(slower, start.first_snapshot(slower).progress, 0.04, "the loss is no longer finite", tmp_path)
    assert optimizers.learning_rate(back.snapshot.state.opt_state) == pytest.approx(0.02)
    change, divergence = map(json.loads, back.log.metrics.splitlines())
    assert (change["event"], change["to"], divergence["event"]) == ("changed", {"learning_rate": 0.04}, "divergence")


def test_the_command_that_began_a_run_still_resumes_it_after_a_change(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = [*SMALL, "--epochs", "2", "--learning-rate", "0.2", "--resume", "auto"]
    stop_at(monkeypatch, 300, 600)
    stopped(*command)
    stopped("--resume", "runs/notebook-comedie-0", "--learning-rate", "0.03", "--schedule", "cosine")
    capsys.readouterr()
    train.main(command)
    assert "resumed     epoch 1, character 600 of 2,699" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["notebook-comedie-0"]
    assert load("runs/notebook-comedie-0").config.learning.learning_rate == 0.03
    train.main([*SMALL, "--epochs", "2", "--learning-rate", "0.3", "--resume", "auto"])  # another run
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--learning-rate", "0.2"], "--learning-rate changes nothing: the run in "),
        (["--clip-norm", "1"], "is finished; to continue it, also set --minutes or a higher --epochs"),
        (["--dynamic-rate", "0.2"], "is tested; python -m jaxrnn.evaluate tests it in other ways"),
        (
            ["--optimizer", "adam"],
            "was started with 'sgd', and results depend on it; leave the flag out, or start a new run from",
        ),
        (["--learning-rate", "-1", "--epochs", "3"], "--learning-rate"),
        (["--schedule", "halving", "--epochs", "3"], "--schedule halving needs a validation part"),
        (["--epochs", "1"], "the number of epochs can only grow"),
    ],
)
def test_a_change_that_cannot_be_made_is_one_line_and_nothing_is_written(run_dir, capsys, flags, said):
    before = content(run_dir)
    assert said in error_of(capsys, train.main, ["--resume", str(run_dir), *flags])
    assert content(run_dir) == before


def test_a_run_whose_schedule_has_ended_goes_on_at_one_rate(trained, tmp_path, capsys):
    run_dir = shutil.copytree(trained / "runs" / "mikolov2010-comedie-0", tmp_path / "run")
    read = checkpoint.load_run(run_dir).snapshot.progress.epochs
    assert "is 30, but" in error_of(capsys, train.main, ["--resume", str(run_dir), "--epochs", "30"])
    assert "minutes is 1, but" in error_of(capsys, train.main, ["--resume", str(run_dir), "--minutes", "1"])
    train.main(["--resume", str(run_dir), "--schedule", "constant", "--epochs", str(read + 2)])
    run = checkpoint.load_run(run_dir)
    assert (run.snapshot.progress.epochs, run.snapshot.progress.finished) == (read + 2, False)
    rates = [line["learning_rate"] for line in events(run_dir) if line["event"] == "epoch"][-2:]
    assert rates[0] == rates[1] > 0


@pytest.mark.slow
def test_a_finished_timed_run_takes_more_minutes(tmp_path, capsys):
    flags = [*SMALL, "--schedule", "cosine", "--test-characters", "100", "--minutes", "0.02"]
    run_dir = tmp_path / "run"
    train.main([*flags, "--run-dir", str(run_dir)])
    before = checkpoint.load_run(run_dir).snapshot.state.step
    train.main(["--resume", str(run_dir)])
    assert "or --minutes for as many more (with a new cosine)" in capsys.readouterr().out
    train.main(["--resume", str(run_dir), "--minutes", "0.02"])
    assert "continued   for 0.02 minutes from now on, with a new cosine" in capsys.readouterr().out
    run = checkpoint.load_run(run_dir)
    assert run.snapshot.state.step > before
    assert [line["event"] for line in events(run_dir)].count("final") == 2
    assert optimizers.schedule_factor(run.snapshot.state.opt_state) == pytest.approx(0, abs=1e-6)
    evaluate.main([str(run_dir), "--test-characters", "100"])


def test_only_the_numbers_since_the_last_change_are_the_run_s():
    def lines(*names):
        return [{"event": name, "number": number} for number, name in enumerate(names)]

    assert logs.find_newest(lines("epoch", "final", "changed", "epoch"), "final") is None
    assert logs.find_newest(lines("epoch", "final", "changed", "epoch", "final"), "final") == {"event": "final", "number": 4}
    assert logs.find_newest(lines("changed", "final"), "final") == {"event": "final", "number": 1}
    assert logs.find_newest([], "final") is None

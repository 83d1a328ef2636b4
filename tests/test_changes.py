"""Settings of learning that change at a resume, and finished runs that are given more epochs or minutes."""

import contextlib
import json
import shutil
import signal

import jax
import numpy as np
import optax
import pytest
import reference
from conftest import SMALL, events, metrics, task_of
from test_advance import assert_same, without_clock
from test_cli_errors import error_of
from test_crash import assert_same_run
from test_resume import content

from jaxrnn import evaluate, inspect, load, train
from jaxrnn.config import build
from jaxrnn.runs import advance, changes, loop, rollback, session, start
from jaxrnn.runs import task as tasks
from jaxrnn.storage import checkpoint, failures, logs, run_folder, store
from jaxrnn.training import optimizers
from jaxrnn.training.optimizers import OPTIMIZERS, make_optimizer

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


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("then", [(False, False), (True, True)])
@pytest.mark.parametrize("now", [(False, False), (True, False), (False, True), (True, True)])
def test_a_state_takes_the_stages_of_another_optimizer_and_keeps_its_own_numbers(name, then, now):
    params = {"w": np.ones(3, np.float32)}

    def made(clipped, scheduled):
        return make_optimizer(name, 0.1, clip_norm=0.5 * clipped, cosine_over=10 if scheduled else None)

    _, state = made(*then).update(params, made(*then).init(params), params)
    converted = optimizers.with_stages(state, *now)
    assert jax.tree.structure(converted) == jax.tree.structure(made(*now).init(params))
    for field in ("mu", "nu", "trace", "learning_rate", "count"):
        kept, before = (optax.tree_utils.tree_get_all_with_path(each, field) for each in (converted, state))
        for (_, a), (_, b) in zip(kept, before, strict=True):
            jax.tree.map(np.testing.assert_array_equal, a, b)
    if now[0]:
        assert optimizers.num_clipped(converted) == then[0]
    if now[1]:
        assert optimizers.schedule_position(converted) == (1 if then[1] else 0)
        assert optimizers.schedule_position(optimizers.with_stages(state, *now, cosine_over=7)) == 0
        assert optimizers.schedule_length(optimizers.with_stages(state, *now, cosine_over=7)) == 7


def read_to_the_end(task, snapshot):
    """The last snapshot, and the rows of the epochs on the way."""
    rows = []
    while not advance.is_finished(task, snapshot):
        snapshot, _, row = advance.advance(task, snapshot, 10**6)
        rows += [row] if row else []
    return snapshot, rows


def saved_of(task, snapshot, path):
    """The run, saved and loaded."""
    checkpoint.save_checkpoint(path, task.config, task.data, snapshot)
    return checkpoint.load_run(path)


def changed(saved, task, again=False):
    """The snapshot of a saved run with the settings of a task."""
    return changes.apply_plan(task, saved, changes.plan_changes(task, saved, again))


def test_the_second_epoch_is_learned_at_the_new_rate(tmp_path):
    """The numbers are those of the network in NumPy."""
    first, second = task_of(epochs=1), task_of(epochs=2, learning_rate=0.03)
    saved = saved_of(first, read_to_the_end(first, start.first_snapshot(first))[0], tmp_path)
    weights = reference.to_float64(saved.snapshot.state.params)
    keys = build.make_keys(0)
    fresh = first.learner.restart(first.learner.init(keys.init), jax.random.fold_in(keys.epochs, 1))
    _, (row,) = read_to_the_end(second, changed(saved, second))
    losses, _, _ = reference.train(weights, np.asarray(fresh.carry, np.float64), first.data.train, 0.03)
    assert row.online_nats == pytest.approx(losses.mean(), rel=1e-4)
    assert row.learning_rate == pytest.approx(0.03)


def test_a_new_cosine_begins_where_the_run_stands_and_ends_at_zero(tmp_path):
    first, second = (task_of(epochs=epochs, schedule="cosine") for epochs in (2, 5))
    saved = saved_of(first, read_to_the_end(first, start.first_snapshot(first))[0], tmp_path)
    snapshot = changed(saved, second)
    assert optimizers.schedule_length(snapshot.state.opt_state) == 3 * tasks.updates_per_epoch(second)
    snapshot, rows = read_to_the_end(second, snapshot)
    expected = [0.1 * (1 + np.cos(np.pi * part)) / 2 for part in (1 / 3, 2 / 3, 1.0)]
    assert [row.learning_rate for row in rows] == pytest.approx(expected, abs=1e-4)
    assert snapshot.progress.epochs == 5


def test_the_rate_of_a_cosine_that_is_not_over_changes_and_its_shape_stays(tmp_path):
    task, slower = (task_of(epochs=2, schedule="cosine", learning_rate=rate) for rate in (0.1, 0.05))
    snapshot = advance.advance(task, start.first_snapshot(task), 500).snapshot
    saved = saved_of(task, snapshot, tmp_path)
    before, after = saved.snapshot.state.opt_state, changed(saved, slower).state.opt_state
    assert optimizers.learning_rate(after) == pytest.approx(0.05)
    assert optimizers.schedule_factor(after) == optimizers.schedule_factor(before)


def test_a_restarted_cosine_is_not_shortened(tmp_path):
    first, second = (task_of("gru", epochs=epochs, rule_length=4, dropout=0.0) for epochs in (1, 8))
    losses = iter([1.0, *[2.0] * 7])
    first, second = (each._replace(validate=lambda params: next(losses)) for each in (first, second))
    saved = saved_of(first, read_to_the_end(first, start.first_snapshot(first))[0], tmp_path)
    snapshot, _ = read_to_the_end(second, changed(saved, second))
    assert snapshot.progress.epochs == 8


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dropout_begins_and_ends_inside_an_epoch(tmp_path, dropout):
    first, second = (task_of("gru", epochs=1, rule_length=4, dropout=each) for each in (dropout, 0.3 - dropout))
    saved = saved_of(first, advance.advance(first, start.first_snapshot(first), 5).snapshot, tmp_path)
    snapshot = changed(saved, second)
    jax.tree.map(np.testing.assert_array_equal, snapshot.state.carry, saved.snapshot.state.carry)
    after = advance.advance(second, snapshot, 5).snapshot
    assert jax.tree.structure(after.state) == jax.tree.structure(start.first_snapshot(second).state)


def test_a_timed_run_that_ended_inside_an_epoch_reads_on_from_there(tmp_path):
    timed, by_epochs = task_of(minutes=1.0), task_of(epochs=4, schedule="cosine")
    snapshot, _ = read_to_the_end(timed, advance.with_num_updates(start.first_snapshot(timed), 1_000))
    whole = tasks.updates_per_epoch(timed)
    saved = saved_of(timed, snapshot, tmp_path)
    assert changes.plan_changes(timed, saved, again=True).is_extended
    assert not changes.plan_changes(timed, saved).is_extended
    again = changed(saved, timed, again=True)
    assert (again.progress.num_updates, int(again.state.step)) == (None, 1_000)
    _, rows = read_to_the_end(by_epochs, changed(saved, by_epochs))
    assert [row.step for row in rows] == [2 * whole, 3 * whole]
    assert rows[-1].learning_rate == pytest.approx(0.0, abs=1e-9)


def test_a_run_without_changes_stays_as_it_is(tmp_path):
    task = task_of(epochs=2, schedule="cosine", clip_norm=1.0)
    saved = saved_of(task, advance.advance(task, start.first_snapshot(task), 300).snapshot, tmp_path)
    plan = changes.plan_changes(task, saved)
    assert (plan.is_extended, plan.is_logged, plan.after) == (False, False, {})
    assert changes.make_changes(task, saved, plan) is saved.snapshot
    assert_same(without_clock(changes.apply_plan(task, saved, plan)), without_clock(saved.snapshot))


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

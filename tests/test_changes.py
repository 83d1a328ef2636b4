"""Settings of learning that change at a resume: what becomes of a snapshot."""

import jax
import numpy as np
import optax
import pytest
import reference
from conftest import task_of
from test_advance import assert_same, without_clock

from jaxrnn.config import build
from jaxrnn.runs import advance, changes, start
from jaxrnn.runs import task as tasks
from jaxrnn.storage import checkpoint
from jaxrnn.training import optimizers
from jaxrnn.training.optimizers import OPTIMIZERS, make_optimizer


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

"""Advance from one snapshot to a later one: the same numbers however the updates are split and interrupted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from conftest import epochs_of, task_of
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrnn.config import build
from jaxrnn.runs.advance import Divergence, advance, is_finished
from jaxrnn.runs.start import first_snapshot
from jaxrnn.storage import checkpoint


def keys(task):
    return build.make_keys(task.config.run.seed)


def test_every_epoch_begins_with_a_carry_of_its_own():
    task = task_of(epochs=3)
    weights = reference.to_float64(task.learner.init(keys(task).init).params)
    epochs = epochs_of(task)
    for number, advanced in enumerate(epochs):
        fresh = task.learner.restart(task.learner.init(keys(task).init), jax.random.fold_in(keys(task).epochs, number))
        expected, weights, _ = reference.train(weights, np.asarray(fresh.carry, np.float64), task.data.train, 0.1)
        assert advanced.epoch.online_nats == pytest.approx(expected.mean(), rel=1e-4)
        assert advanced.epoch.step == (number + 1) * len(expected)
    assert len(epochs) == 3
    assert [window.step for advanced in epochs for window in advanced.windows] == [1_000, 2_000]


def with_validation_nats(task, nats):
    """The task, whose validation losses are these."""
    remaining = iter(nats)
    return task._replace(validate=lambda params: next(remaining))


def test_the_schedule_sets_the_rate_that_is_learned_with():
    epochs = epochs_of(with_validation_nats(task_of("mikolov2010"), [3.0, 2.9999, 2.5, 2.4999]))
    assert [advanced.epoch.learning_rate for advanced in epochs] == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_a_worse_epoch_is_taken_back():
    epochs = [
        advanced.snapshot for advanced in epochs_of(with_validation_nats(task_of("mikolov2010"), [3.0, 2.5, 2.9, 2.4, 2.8]))
    ]
    assert len(epochs) == 5
    for worse, better in ((2, 1), (4, 3)):
        jax.tree.map(np.testing.assert_array_equal, epochs[worse].state.params, epochs[better].state.params)
    assert (epochs[3].state.params["readout"]["kernel"] != epochs[2].state.params["readout"]["kernel"]).any()


@pytest.mark.parametrize("minutes", [0.0, 1.0])
def test_a_cosine_ends_early_once_the_validation_loss_has_risen_for_long(minutes):
    task = task_of("gru", epochs=20, rule_length=4, dropout=0.0, minutes=minutes)
    losses = [3.0, 2.5, 2.9, 2.8, 2.6, 2.4, 2.3, 2.2]  # three epochs above the best one, so half as many again
    epochs = epochs_of(with_validation_nats(task, losses))
    assert len(epochs) == len(losses)
    last = epochs[-1].snapshot
    assert last.progress.finished
    assert epochs[-1].epoch.learning_rate == pytest.approx(0.0, abs=1e-9)
    assert last.progress.best_step == epochs[-1].epoch.step
    rates = [advanced.epoch.learning_rate for advanced in epochs[4:]]
    assert rates == sorted(rates, reverse=True)


def test_the_best_weights_are_kept_and_training_goes_on_from_the_newest():
    task = task_of(epochs=4)
    task = task._replace(data=task.data._replace(validation=task.data.heldout))
    epochs = [advanced.snapshot for advanced in epochs_of(with_validation_nats(task, [3.0, 2.5, 2.9, 2.6]))]
    assert [epoch.progress.best_step for epoch in epochs] == [899, 1_798, 1_798, 1_798]
    assert epochs[-1].progress.best_nats == 2.5
    jax.tree.map(np.testing.assert_array_equal, epochs[-1].best_params, epochs[1].state.params)
    assert (epochs[3].state.params["readout"]["kernel"] != epochs[1].state.params["readout"]["kernel"]).any()


def test_without_a_validation_part_the_best_is_the_lowest_online_loss():
    first, second = epochs_of(task_of(epochs=2))
    assert second.snapshot.progress.best_nats == second.epoch.online_nats < first.epoch.online_nats
    jax.tree.map(np.testing.assert_array_equal, second.snapshot.best_params, second.snapshot.state.params)


def test_the_fraction_of_clipped_updates_is_reported():
    (advanced,) = epochs_of(task_of(epochs=1, clip_norm=2.0))
    assert 0 < advanced.epoch.clipped_fraction < 1
    assert epochs_of(task_of(epochs=1))[0].epoch.clipped_fraction is None


def broken(snapshot, part, value):
    """The same snapshot with a value in one of its weights."""
    params = jax.tree.map(jnp.copy, snapshot.state.params)
    params["cell"][part] = params["cell"][part].at[0].set(value)
    return snapshot._replace(state=snapshot.state._replace(params=params))


def test_nan_is_a_problem():
    task = task_of()
    first = task.data.vocabulary.characters[0]
    unread = task._replace(stream=jnp.where(task.stream == 0, 1, task.stream))  # whose weights are never used
    assert first == "\n"
    with pytest.raises(Divergence, match="the loss is no longer finite"):
        advance(task, broken(first_snapshot(task), "bias", np.nan), 50)
    with pytest.raises(Divergence, match="a weight is no longer finite"):
        advance(unread, broken(first_snapshot(task), "input_kernel", np.inf), 50)
    advance(unread, first_snapshot(task), 50)


def test_a_nan_validation_loss_is_a_problem():
    task = with_validation_nats(task_of("mikolov2010"), [np.nan])
    with pytest.raises(Divergence, match="the validation loss is not finite"):
        advance(task, first_snapshot(task), 10**6)


def test_a_loss_that_explodes_is_a_problem():
    task = task_of()
    good = advance(task, first_snapshot(task), 900).snapshot
    low = good._replace(progress=good.progress._replace(lowest_window=0.9))
    params = jax.tree.map(jnp.copy, low.state.params)
    params["readout"]["bias"] = 300 * params["readout"]["bias"]
    with pytest.raises(Divergence, match="times its best"):
        advance(task, low._replace(state=low.state._replace(params=params)), 900)


@functools.cache
def compiled_task(streams, updates_per_call):
    """Three epochs, with all that changes from one to the next."""
    return task_of("mikolov2010", streams, updates_per_call, clip_norm=0.9, epochs=3, schedule="halving")


@functools.cache
def never_stopped(streams, updates_per_call):
    """What comes of it in one go."""
    task = compiled_task(streams, updates_per_call)
    return read_to_the_end(task, first_snapshot(task), 10**6)


def read_to_the_end(task, snapshot, num_updates):
    """The last snapshot, and all windows and epochs on the way, without what depends on the clock."""
    windows, epochs = [], []
    while not is_finished(task, snapshot):
        snapshot, more, epoch = advance(task, snapshot, num_updates)
        windows += more
        epochs += [epoch._replace(characters_per_second=0.0)] if epoch else []
    return without_clock(snapshot), windows, epochs


def without_clock(snapshot):
    return snapshot._replace(progress=snapshot.progress._replace(epoch_seconds=0.0))


def assert_same(snapshot, other):
    """Bit for bit."""
    assert snapshot.progress == other.progress
    assert jax.tree.structure(snapshot) == jax.tree.structure(other)
    for a, b in zip(
        jax.tree.leaves((snapshot.state, snapshot.best_params)), jax.tree.leaves((other.state, other.best_params)), strict=True
    ):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_run_stopped_saved_and_resumed_ends_in_the_same_bits(tmp_path):
    check_stopped(tmp_path, stop=1_300, streams=1, calls=(7, 1_000), num_updates=90)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 2_000),
    st.sampled_from([1, 3]),
    st.sampled_from([(1, 1), (7, 1_000), (1_000, 7)]),
    st.integers(20, 400),
)
def test_a_run_stopped_anywhere_saved_and_resumed_ends_in_the_same_bits(tmp_path_factory, stop, streams, calls, num_updates):
    check_stopped(tmp_path_factory.mktemp("run"), stop, streams, calls, num_updates)


def check_stopped(run_dir, stop, streams, calls, num_updates):
    """Stopped after so many characters, saved, and resumed with another number of updates per call."""
    before, after = (compiled_task(streams, updates_per_call) for updates_per_call in calls)
    expected = never_stopped(streams, calls[0])
    snapshot, windows, epochs = first_snapshot(before), [], []
    left = stop // streams
    while left > 0 and not is_finished(before, snapshot):
        step = int(snapshot.state.step)
        snapshot, more, epoch = advance(before, snapshot, left)
        left -= int(snapshot.state.step) - step
        windows += more
        epochs += [epoch._replace(characters_per_second=0.0)] if epoch else []
    checkpoint.save_checkpoint(run_dir, before.config, before.data, snapshot)
    run = checkpoint.load_run(run_dir)
    last, more_windows, more_epochs = read_to_the_end(after, run.snapshot, num_updates)
    assert_same(last, expected[0])
    assert (windows + more_windows, epochs + more_epochs) == expected[1:]

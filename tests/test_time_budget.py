"""A timed run ends on time, however its speed changes."""

import dataclasses

import jax.numpy as jnp
import pytest
from conftest import task_of

from jaxrnn.runs import time_budget
from jaxrnn.runs.start import first_snapshot

MINUTE = 60.0


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [1_000.0]
    monkeypatch.setattr(time_budget.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time_budget, "seconds_to_test", lambda task: 0.0)  # all of the time is for learning here
    return now


@pytest.fixture(scope="module")
def task():
    return task_of(minutes=1.0)


def at(snapshot, step):
    """The run after so many updates."""
    return snapshot._replace(state=snapshot.state._replace(step=jnp.int32(step)))


def test_it_is_planned_by_its_speed_and_again_when_that_has_changed(task, clock):
    snapshot = first_snapshot(task)
    budget = time_budget.start_budget(task, snapshot, clock[0])
    clock[0] += 2
    assert not time_budget.is_due(budget)
    clock[0] += 1  # a twentieth of the time
    assert time_budget.is_due(budget)
    snapshot, budget = time_budget.replan(task, at(snapshot, 300), budget)
    assert snapshot.progress.num_updates == 6_000  # 100 a second
    clock[0] += 12  # a quarter of the time
    snapshot, budget = time_budget.replan(task, at(snapshot, 900), budget)
    assert snapshot.progress.num_updates == 900 + 45 * 50
    assert len(budget.moments) == len(time_budget.PLANNED_AT) - 2


def test_time_is_kept_for_the_test_but_no_more_than_a_quarter(task):
    snapshot = first_snapshot(task)
    assert time_budget.start_budget(task, snapshot, 1_000.0).end == 1_000 + 0.75 * MINUTE
    few, minutes = len(task.data.heldout), dataclasses.replace(task.config.learning, minutes=100.0)
    longer = task._replace(config=dataclasses.replace(task.config, learning=minutes))
    needed = time_budget.SECONDS_TO_COMPILE + few * time_budget.SECONDS_PER_TESTED
    assert time_budget.start_budget(longer, snapshot, 1_000.0).end == pytest.approx(1_000 + 100 * MINUTE - needed)


@pytest.mark.parametrize("seconds", [0.5, 10.0, 25.0, 60.0, 5_000.0])
def test_the_time_that_is_advised_leaves_what_is_needed(task, seconds):
    minutes = time_budget.minutes_for(task, seconds)
    timed = task._replace(
        config=dataclasses.replace(task.config, learning=dataclasses.replace(task.config.learning, minutes=minutes))
    )
    assert 60 * minutes - time_budget.seconds_to_test(timed) == pytest.approx(seconds)


def test_its_speed_is_measured_however_long_it_took_to_compile(task, clock):
    begun, snapshot = clock[0], first_snapshot(task)
    clock[0] += 20
    budget = time_budget.start_budget(task, snapshot, begun)
    clock[0] += 1.5
    assert not time_budget.is_due(budget)
    clock[0] += 0.5  # a twentieth of what was left
    assert time_budget.is_due(budget)
    assert time_budget.replan(task, at(snapshot, 100), budget)[0].progress.num_updates == 100 + 38 * 50


def test_what_is_done_between_learning_is_no_learning(task, clock):
    snapshot = first_snapshot(task)
    budget = time_budget.start_budget(task, snapshot, clock[0])
    clock[0] += 3
    budget = time_budget.exclude_time(budget, 1.0)
    assert time_budget.replan(task, at(snapshot, 200), budget)[0].progress.num_updates == 200 + 57 * 100


def test_a_run_that_went_back_is_measured_from_there(task, clock):
    snapshot = first_snapshot(task)
    budget = time_budget.start_budget(task, at(snapshot, 500), clock[0])
    clock[0] += 10
    budget = time_budget.after_rollback(budget, at(snapshot, 100))
    clock[0] += 10
    assert time_budget.replan(task, at(snapshot, 200), budget)[0].progress.num_updates == 200 + 40 * 10


def test_one_that_was_planned_before_needs_no_clock(task, clock):
    planned = first_snapshot(task)
    planned = planned._replace(progress=planned.progress._replace(num_updates=10))
    assert not time_budget.start_budget(task, planned, clock[0]).moments
    clock[0] += MINUTE
    assert not time_budget.is_due(time_budget.start_budget(task, planned, clock[0]))


def test_one_that_went_back_to_before_it_was_planned_is_planned_again(task, clock):
    snapshot = first_snapshot(task)
    budget = time_budget.start_budget(task, snapshot, clock[0])
    clock[0] += 58
    budget = time_budget.after_rollback(budget._replace(moments=()), snapshot)  # all used, and nothing saved since
    clock[0] += 1
    assert time_budget.is_due(budget)
    assert time_budget.replan(task, at(snapshot, 100), budget)[0].progress.num_updates == 100 + 100


def test_without_minutes_nothing_is_planned(clock):
    task = task_of()
    snapshot = first_snapshot(task)
    budget = time_budget.after_rollback(time_budget.start_budget(task, snapshot, clock[0]), snapshot)
    clock[0] += 1_000 * MINUTE
    assert not time_budget.is_due(budget)

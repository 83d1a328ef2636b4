"""What a test counts before the held-out part is the same ahead, in a thread, as after learning."""

import dataclasses
import threading

import numpy as np
import pytest
from conftest import SMALL, metrics, task_of

from jaxrnn import train
from jaxrnn.config.settings import DeviceConfig
from jaxrnn.errors import OutOfMemory
from jaxrnn.runs import ahead, limits, loop, testing
from jaxrnn.runs.limits import Extent, known_limits, plan_extent
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runtime import devices
from jaxrnn.scoring import counting


@pytest.fixture(scope="module")
def task():
    """One with 900 characters to train and 100 held out."""
    return task_of()


def with_settings(task, characters=None, minutes=None, num_train=None):
    """The task with other limits of its test, and with a training part of another length."""
    config, data = task.config, task.data
    if characters is not None:
        config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, test_characters=characters))
    if minutes is not None:
        config = dataclasses.replace(config, learning=dataclasses.replace(config.learning, minutes=minutes))
    if num_train is not None:
        data = data._replace(train=np.zeros(num_train, np.uint8))
    return task._replace(config=config, data=data)


def test_the_limits_are_known_unless_they_depend_on_the_time_that_learning_takes(task):
    assert known_limits(with_settings(task, characters=50)) == limits.TestLimits(characters=50)
    timed = with_settings(task, minutes=2.0)
    assert known_limits(timed) == limits.test_limits(timed, [])
    for num_train in (900, 80_000):  # as much as is counted and mixed in the least time
        of_length = with_settings(task, num_train=num_train)
        known = known_limits(of_length)
        assert known is not None
        assert plan_extent(of_length.data, known) == plan_extent(of_length.data, limits.TestLimits(seconds=1e9))
    assert known_limits(with_settings(task, num_train=80_001)) is None


def test_the_extent_is_what_there_is_time_for(task):
    data = task.data._replace(train=np.zeros(10_000_000, np.uint8), heldout=np.zeros(1_000_000, np.uint8))
    assert plan_extent(data, limits.TestLimits()) == Extent(counting.MOST_COUNTED, counting.MOST_MIXED, 1_000_000)
    assert plan_extent(data, limits.TestLimits(seconds=10.0)) == Extent(400_000, 80_000, 100_000)
    assert plan_extent(data, limits.TestLimits(seconds=0.0)) == Extent(*[limits.LEAST_HELDOUT] * 3)
    assert plan_extent(data, limits.TestLimits(characters=70)).heldout == 71


def test_a_core_is_free_if_learning_does_not_use_it(task, monkeypatch):
    monkeypatch.setattr(devices, "count_cores", lambda: 2)
    in_blocks = dataclasses.replace(task.config.learning, rule="bptt", rule_length=8)
    assert not devices.has_free_core(dataclasses.replace(task.config, learning=in_blocks))
    with_devices = [dataclasses.replace(task.config, device=DeviceConfig(num_devices=number)) for number in (0, 1, 2)]
    assert [devices.has_free_core(config) for config in with_devices] == [True, True, False]


@pytest.mark.parametrize("more", [[], ["--dynamic", "auto", "--validation-fraction", "0.2"], ["--separator", "\n"]])
def test_a_run_that_counts_ahead_finds_the_same_numbers(tmp_path, monkeypatch, more):
    found = []
    for has_free_core in (True, False):
        run_dir, threads = tmp_path / str(has_free_core), []
        monkeypatch.setattr(devices, "has_free_core", lambda config, free=has_free_core: free)
        monkeypatch.setattr(ahead, "_count", noting_threads(ahead._count, threads))
        train.main([*SMALL, *more, "--epochs", "1", "--run-dir", str(run_dir)])
        monkeypatch.undo()
        assert [thread is threading.main_thread() for thread in threads] == [not has_free_core]
        found.append(metrics(run_dir)[-1])
    assert found[0] == found[1]


def noting_threads(count, threads):
    def noting(*arguments):
        threads.append(threading.current_thread())
        return count(*arguments)

    return noting


def test_a_reader_is_used_only_with_the_settings_for_which_it_was_made(task, monkeypatch):
    monkeypatch.setattr(devices, "has_free_core", lambda config: True)
    made, make_reader = [], ahead.make_reader
    monkeypatch.setattr(ahead, "make_reader", lambda *how: made.append("ahead") or make_reader(*how))
    monkeypatch.setattr(testing, "make_reader", lambda *how: made.append("again") or make_reader(*how))
    params, known = first_snapshot(task).best_params, limits.test_limits(task, [])
    other = testing.DynamicSettings("sgd", (0.5,), 1)
    scores = []
    for how in (None, other):
        with ahead.counting_ahead(task, params) as begin:
            measuring = testing.measure(task.config, task.data, task.model, params, how, known, None, begin())
            scores.append(counting.run_to_end(measuring).scores)
        assert made == (["ahead"] if how is None else ["ahead", "again"])
        alone = testing.measure(task.config, task.data, task.model, params, how, known)
        assert scores[-1] == counting.run_to_end(alone).scores
        made.clear()
    assert scores[0].dynamic_nats != scores[1].dynamic_nats


def test_other_limits_than_were_planned_are_kept(task, monkeypatch):
    monkeypatch.setattr(devices, "has_free_core", lambda config: True)
    monkeypatch.setattr(limits, "LEAST_HELDOUT", 300)
    with ahead.counting_ahead(task, first_snapshot(task).best_params) as begin:
        found = ahead.count_before_heldout(task.config, task.data, task.model, limits.TestLimits(seconds=0.0), begin())
    assert found.num_characters == 300


def test_a_run_that_ends_early_ends_its_thread(task, monkeypatch):
    """After the piece that it is counting, however many would follow."""
    monkeypatch.setattr(devices, "has_free_core", lambda config: True)
    began, pieces = threading.Event(), []

    def endless(*_):
        while True:
            pieces.append(began.set())
            yield

    monkeypatch.setattr(ahead, "_count", endless)
    before = threading.active_count()
    with ahead.counting_ahead(task, first_snapshot(task).best_params) as begin:
        counted = begin()
        assert began.wait(30)
    assert threading.active_count() == before
    assert counted is not None
    assert isinstance(counted.counted.exception(), ahead.Cancelled)


def test_what_fails_ahead_is_tried_again_when_it_is_needed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "has_free_core", lambda config: True)
    count, tried = ahead._count, []

    def failing_once(*arguments):
        tried.append(threading.current_thread())
        if len(tried) == 1:
            raise MemoryError
        return count(*arguments)

    monkeypatch.setattr(ahead, "_count", failing_once)
    train.main([*SMALL, "--epochs", "1", "--run-dir", str(tmp_path / "run")])
    assert len(tried) == 2
    assert metrics(tmp_path / "run")[-1]["event"] == "final"


def test_memory_that_is_lacking_both_times_is_said_in_one_line(task, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "has_free_core", lambda config: True)

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(ahead, "_count", fail)
    (tmp_path / "run").mkdir()
    with pytest.raises(OutOfMemory, match="not enough memory"):
        list(loop.run(task, first_snapshot(task), tmp_path / "run", lambda: 0))


def test_without_a_held_out_part_nothing_is_counted(task):
    nothing = task._replace(data=task.data._replace(heldout=task.data.heldout[:0]))
    with ahead.counting_ahead(nothing, {}) as begin:
        assert begin() is None

"""Every number that a run shows equals a recount from the loss of each character, whatever its plans, lengths and stops."""

import dataclasses
import functools
import io
import math
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import events, task_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from jaxrnn.errors import Stopped
from jaxrnn.runs import describe, loop, saving, show, time_budget
from jaxrnn.runs.events import Progressed
from jaxrnn.runs.rollback import RolledBack
from jaxrnn.runs.task import characters_per_epoch, characters_per_update, updates_per_epoch
from jaxrnn.storage import logs
from jaxrnn.storage.logs import Log
from jaxrnn.training.learner import State
from jaxrnn.training.optimizers import make_optimizer
from jaxrnn.training.progress import Progress, Snapshot


class Killed(Exception):
    """The process is gone."""


def losses_of(first, num_updates, length):
    """Losses that depend on the number of the update alone, so that reading it again gives them again."""
    steps = np.arange(first * length, (first + num_updates) * length)
    return (2.5 - np.sin(steps * 12.9898)).astype(np.float32)


@functools.cache
def real_task(minutes):
    return task_of(minutes=minutes)


def made_up_task(updates_per_epoch, length, streams, validated, minutes, drive):
    """A task in which nothing is computed: updates take the time and give the losses that `drive` says."""
    real = real_task(minutes)
    learning = dataclasses.replace(real.config.learning, num_streams=streams)
    return real._replace(
        config=dataclasses.replace(real.config, learning=learning),
        data=real.data._replace(validation=real.data.heldout if validated else real.data.validation),
        learner=SimpleNamespace(length=length, test_params=lambda state: state.params),
        stream=np.zeros((updates_per_epoch * length + 1, streams), np.int32),
        drive=drive,
        restart=lambda state, key: state,
        validate=lambda params: 2.0,
    )


class Machine:
    """A clock, a disk and a screen that only this test moves."""

    def __init__(self, path, length, seconds_per_update, pauses, kills, signals, divergences=()):
        self.path, self.length, self.now = path, length, 1_000.0
        self.seconds_per_update, self.pauses, self.kills, self.signals = seconds_per_update, pauses, kills, signals
        self.divergences = divergences
        self.num_calls, self.seconds_learning, self.saved, self.shown = 0, 0.0, None, []

    def drive(self, state, stream, num_updates):
        del stream
        self.num_calls += 1
        if self.num_calls in self.kills:
            raise Killed
        seconds = num_updates * self.seconds_per_update[self.num_calls % len(self.seconds_per_update)]
        self.now += seconds + self.pauses.get(self.num_calls, 0.0)
        first = int(state.step)
        losses = losses_of(first, num_updates, self.length)
        if self.num_calls in self.divergences:
            losses[-1] = math.nan
        return state._replace(step=np.int32(first + num_updates)), losses

    def clock(self):
        self.now += 1e-6
        return self.now

    def save(self, task, snapshot, writer):
        del task
        self.saved = (snapshot, logs.measure_logs(writer.path))
        writer = saving.write(writer, Log())
        return writer._replace(last_try=self.now, anything_saved=True)

    def roll_back(self, task, progress, rate, problem, run_dir):
        """As the run's own, but the checkpoint is in memory, and the rate stays."""
        del task, rate
        saved, sizes = self.saved or pytest.fail("nothing was saved")
        logs.truncate_logs(run_dir, sizes)
        rollbacks = progress.rollbacks + 1
        event = {"step": int(saved.state.step), "problem": problem, "rollbacks": rollbacks}
        snapshot = saved._replace(progress=saved.progress._replace(rollbacks=rollbacks))
        return RolledBack(snapshot, Log(logs.event_line("divergence", event)), "went back")

    def received(self):
        return 15 if self.num_calls in self.signals else 0


def followed(events, last):
    """The same events; what the generator returns is then the last of the list."""
    last.append((yield from events))


def begin_again(machine, path, start):
    """What a new process finds on the disk."""
    snapshot, sizes = machine.saved or (start, {})
    logs.truncate_logs(path, sizes)
    return snapshot


def learn(machine, task, path, screen):
    """The run, started again whenever it was stopped or killed."""
    state = State(step=jnp.int32(0), params={}, opt_state=make_optimizer("sgd", 0.1).init({}), carry=(), memory=())
    start = snapshot = Snapshot(state, {}, Progress(lowest_window=math.log(72)))
    last = []

    def events_of(snapshot):
        for event in followed(loop.learn(task, snapshot, path, machine.received), last):
            if isinstance(event, Progressed):
                machine.shown.append(event)
            yield event

    for _ in range(20):
        try:
            show.show(screen, task, events_of(snapshot))
            return last[-1][0]
        except (Killed, Stopped):
            machine.signals.discard(machine.num_calls)
            snapshot = begin_again(machine, path, start)
    raise AssertionError("the run does not end")


def mean_of(machine, first_update, last_update):
    return losses_of(first_update, last_update - first_update, machine.length).mean(dtype=np.float64)


def check(machine, task, snapshot, path, screen_text):
    """Recounts what was logged and shown."""
    rows = [event for event in events(path) if event["event"] == "epoch"]
    end, whole = int(snapshot.state.step), characters_per_epoch(task)
    begun = 0
    for number, row in enumerate(rows):
        assert row["epoch"] == number
        assert row["characters"] == (row["step"] - begun) * characters_per_update(task)
        assert row["characters"] == whole or (row is rows[-1] and 0 < row["characters"] < whole)
        assert row["online_nats"] == pytest.approx(mean_of(machine, begun, row["step"]), rel=1e-5)
        assert f"{row['online_nats']:.4f}" in screen_text
        begun = row["step"]
    assert begun == end > 0
    assert snapshot.progress.online_nats == rows[-1]["online_nats"]
    if not task.data.validation.size:
        assert snapshot.progress.best_nats in [row["online_nats"] for row in rows]
    for window in [event for event in events(path) if event["event"] == "progress"]:
        updates = -(-1_000 // characters_per_update(task))
        assert window["online_nats"] == pytest.approx(mean_of(machine, window["step"] - updates, window["step"]), rel=1e-5)
    for epoch, num_read, nats, *_ in machine.shown:
        first = epoch * updates_per_epoch(task)
        assert 0 < num_read <= whole
        assert nats == pytest.approx(mean_of(machine, first, first + num_read // characters_per_update(task)), rel=1e-5)
    plans = [event for event in events(path) if event["event"] == "plan"]
    assert not plans or plans[-1]["num_updates"] == end
    assert all(plan["step"] <= plan["num_updates"] for plan in plans)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_every_number_shown_is_that_of_a_recount(tmp_path_factory, data):
    length, streams = data.draw(st.sampled_from([1, 5])), data.draw(st.sampled_from([1, 3]))
    updates_per_epoch = data.draw(st.integers(1, 400))
    speeds = data.draw(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=4))
    calls = st.integers(1, 30)
    pauses = data.draw(st.dictionaries(calls, st.floats(1, 200), max_size=2))
    kills, signals = data.draw(st.sets(calls, max_size=2)), data.draw(st.sets(calls, max_size=2))
    divergences = data.draw(st.sets(calls, max_size=3))
    path, minutes = tmp_path_factory.mktemp("run"), data.draw(st.sampled_from([0.0, 0.001, 0.1, 1.0]))
    machine = Machine(path, length, speeds, pauses, kills, signals, divergences)
    task = made_up_task(updates_per_epoch, length, streams, data.draw(st.booleans()), minutes, machine.drive)
    run_recounted(machine, task, path)


def run_recounted(machine, task, path):
    """Runs the task to its end on this machine, and recounts; returns what was on the screen."""
    text = io.StringIO()
    screen = Console(file=text, soft_wrap=True, width=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_budget.time, "perf_counter", machine.clock)
        patch.setattr(loop, "save", machine.save)
        patch.setattr(loop, "roll_back", machine.roll_back)
        patch.setattr(loop, "epoch_sample", lambda task, params, epoch: "")
        snapshot = learn(machine, task, path, screen)
    check(machine, task, snapshot, path, text.getvalue())
    return text.getvalue(), snapshot, describe.describe_last_epoch(task, snapshot)


def test_a_run_that_went_back_is_planned_at_the_speed_from_there_on(tmp_path):
    """Neither the lost time nor the lost updates count."""
    machine = Machine(tmp_path, 1, [0.01], pauses={8: 20.0}, kills=set(), signals=set(), divergences={8})
    task = made_up_task(100_000, 1, 1, False, minutes=1.0, drive=machine.drive)
    _, snapshot, _ = run_recounted(machine, task, tmp_path)
    logged = [event for event in events(tmp_path) if event["event"] in ("plan", "divergence")]
    diverged = [event["event"] for event in logged].index("divergence")
    assert 0 < diverged < len(logged) - 1
    assert logged[diverged]["step"] == logged[diverged - 1]["step"]
    for plan in logged[diverged + 1 :]:
        assert plan["num_updates"] == pytest.approx(int(snapshot.state.step), rel=0.02)
    assert machine.now == pytest.approx(1_060 - time_budget.seconds_to_test(task), abs=1)


@pytest.mark.parametrize("seconds_per_update", [0.001, 0.5, 30.0])
def test_a_run_without_time_to_learn_says_so(tmp_path, seconds_per_update):
    machine = Machine(tmp_path, 1, [seconds_per_update], pauses={1: 8.0}, kills=set(), signals=set())
    task = made_up_task(5_000, 1, 1, False, minutes=0.1, drive=machine.drive)
    said, snapshot, part = run_recounted(machine, task, tmp_path)
    assert f"time is up: training ends after 1,001 updates, 0.20 epochs (starting took {8 + seconds_per_update:.1f} s" in said
    assert snapshot.progress.epochs == 1
    assert part == {"last epoch": "the first 1,001 of 5,000 characters, then time was up"}


def test_a_run_suspended_beyond_its_end_at_the_end_of_an_epoch_begins_no_other(tmp_path):
    machine = Machine(tmp_path, 1, [0.01], pauses={2: 500.0}, kills=set(), signals=set())
    task = made_up_task(1_000, 1, 1, False, minutes=1.0, drive=machine.drive)
    _, snapshot, part = run_recounted(machine, task, tmp_path)
    assert (int(snapshot.state.step), snapshot.progress.epochs) == (1_000, 1)
    assert part == {}


def test_a_run_that_is_over_is_not_planned_anew_though_time_is_left(tmp_path):
    """It was faster than planned: what it read last was closed as an epoch, and its rate has fallen to nothing."""
    speeds = [1e-5, 0.001, 0.0059, 1e-5]  # of calls 4, 1, 2 and 3
    machine = Machine(tmp_path, 1, speeds, pauses={}, kills=set(), signals=set())
    task = made_up_task(5_000, 1, 1, False, minutes=0.1, drive=machine.drive)
    _, snapshot, _ = run_recounted(machine, task, tmp_path)
    assert machine.num_calls == 3
    assert machine.now < 1_006
    assert snapshot.progress.epochs == 1


def test_a_few_characters_of_an_epoch_are_no_best_one(tmp_path):
    """Their loss is chance."""
    machine = Machine(tmp_path, 1, [0.01], pauses={4: 500.0}, kills=set(), signals=set())
    task = made_up_task(1_025, 1, 1, False, minutes=1.0, drive=machine.drive)
    _, snapshot, _ = run_recounted(machine, task, tmp_path)
    whole, few = [event["online_nats"] for event in events(tmp_path) if event["event"] == "epoch"]
    assert few < whole
    assert (snapshot.progress.best_nats, snapshot.progress.best_step) == (whole, 1_025)


def test_a_checkpoint_that_does_not_count_goes_on_where_it_was():
    """Those that were written before the losses in the sum were pluralize."""
    task = made_up_task(100, 5, 1, False, 0.0, Machine(None, 5, [1.0], {}, set(), set()).drive)
    state = State(step=jnp.int32(130), params={}, opt_state=make_optimizer("sgd", 0.1).init({}), carry=(), memory=())
    read = losses_of(100, 30, 5)
    old = Progress(math.log(72), epochs=1, epoch_sum=float(read.sum(dtype=np.float64)), epoch_read=None)
    row = loop.advance(task, Snapshot(state, {}, old), 1_000).epoch
    assert row is not None
    assert row.online_nats == pytest.approx(losses_of(100, 100, 5).mean(dtype=np.float64), rel=1e-6)

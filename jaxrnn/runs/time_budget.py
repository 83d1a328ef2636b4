"""Plan a run of a given number of minutes: its speed is measured, and determines the number of updates."""

import math
import time
from typing import NamedTuple

from jaxrnn.config.settings import AUTO, resolved
from jaxrnn.runs.advance import is_shortened, with_num_updates
from jaxrnn.runs.task import Task, updates_per_epoch
from jaxrnn.runtime import devices
from jaxrnn.training.progress import Snapshot

# When to plan, as fractions of the time for learning: the speed is known by then, or may have changed since the last plan.
PLANNED_AT = (0.05, 0.25, 0.5, 0.75, 0.9)

TEST_SHARE = 0.25  # of --minutes, at most, for the final test
SECONDS_TO_COMPILE, SECONDS_PER_TESTED = 15.0, 4e-4  # for gru, with three rates of dynamic evaluation, on two busy cores


class TimeBudget(NamedTuple):
    """Clock and plan of a run, in seconds of a clock with an arbitrary zero."""

    end: float  # infinite if the run has a number of epochs instead
    moments: tuple[float, ...]  # when the run is to be planned (again)
    since: float  # time of the last plan
    step: int  # updates until then
    seconds_starting: float  # from the beginning of the run until it learned; mostly compiling
    seconds_between_epochs: float = 0.0  # what validation and a sample take


def start_budget(task: Task, snapshot: Snapshot, begun: float) -> TimeBudget:
    """Start the clock of a run. A resumed run keeps its plan."""
    now, minutes = time.perf_counter(), task.config.learning.minutes
    end = begun + 60 * minutes - seconds_to_test(task) if minutes else math.inf
    return TimeBudget(end, _moments(now, end, snapshot), now, int(snapshot.state.step), now - begun)


def seconds_to_test(task: Task) -> float:
    """Return the seconds of --minutes that are kept for the final test: enough for the whole held-out text, up to a share.

    Compiling takes as long for little text as for much, so a run of less than a minute keeps up to half of its time.
    """
    return _seconds_kept(task, 60 * task.config.learning.minutes)


def minutes_for(task: Task, seconds: float) -> float:
    """Compute the --minutes that leave this many seconds for starting and learning."""
    whole = seconds
    for _ in range(60):  # each step at least halves the error, because the part that is kept grows by at most half of the whole
        whole = seconds + _seconds_kept(task, whole)
    return whole / 60


def _seconds_kept(task: Task, whole: float) -> float:
    if not task.data.heldout.size:
        return 0.0
    most = max(TEST_SHARE * whole, min(SECONDS_TO_COMPILE, whole / 2))
    wanted = task.config.evaluation.test_characters
    num_tested = min(len(task.data.heldout), len(task.data.heldout) if wanted in (0, AUTO) else resolved(wanted))
    return min(most, SECONDS_TO_COMPILE + SECONDS_PER_TESTED * num_tested)


def is_due(budget: TimeBudget) -> bool:
    """Return whether it is time to plan the run (again)."""
    return bool(budget.moments) and time.perf_counter() >= budget.moments[0]


def is_up(budget: TimeBudget) -> bool:
    """Return whether time is up."""
    return time.perf_counter() >= budget.end


def exclude_time(budget: TimeBudget, seconds: float) -> TimeBudget:
    """Exclude time that was not spent on learning."""
    return budget._replace(since=budget.since + seconds)


def after_rollback(budget: TimeBudget, snapshot: Snapshot) -> TimeBudget:
    """Restart the measurement of speed after a rollback."""
    now = time.perf_counter()
    moments = _moments(now, budget.end, snapshot) or budget.moments  # before its first plan a run has no end
    return budget._replace(moments=moments, since=now, step=int(snapshot.state.step))


def replan(task: Task, snapshot: Snapshot, budget: TimeBudget) -> tuple[Snapshot, TimeBudget]:
    """Plan the number of updates that fit into the time left, at the speed since the last plan.

    If no time is left, the run ends here or, inside an epoch, after one more update, at which the epoch is closed. Save the
    result at once: a resumed run then follows the same plan, whatever its speed.
    """
    now, step = time.perf_counter(), int(snapshot.state.step)
    learning, between = (now - budget.since) / max(1, step - budget.step), budget.seconds_between_epochs
    per_update = learning + between / updates_per_epoch(task)
    least = 1 if snapshot.progress.epoch_read else 0
    (num_updates,) = devices.all_processes_max(step + max(least, int((budget.end - now - between) / per_update)))
    if is_shortened(task, snapshot.progress):
        num_updates = min(num_updates, snapshot.progress.num_updates or num_updates)
    return with_num_updates(snapshot, num_updates), budget._replace(moments=budget.moments[1:], since=now, step=step)


def _moments(now: float, end: float, snapshot: Snapshot) -> tuple[float, ...]:
    """Return the times to plan at, spread over the time left: compiling may have taken long, and one update says little."""
    needs_none = snapshot.progress.num_updates is not None or end == math.inf
    return () if needs_none else tuple(now + (end - now) * part for part in PLANNED_AT)

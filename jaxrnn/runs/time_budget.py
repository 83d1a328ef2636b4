"""Plans for a run of so many minutes: its speed is measured, and its number of updates follows."""

import math
import time
from typing import NamedTuple

from jaxrnn.runs.advance import of_length
from jaxrnn.runs.task import Task
from jaxrnn.runtime import devices
from jaxrnn.training.progress import Snapshot

# Of the time for learning: the speed is known by then, or may have changed since the last time.
PLANNED_AT = (0.05, 0.25, 0.5, 0.75, 0.9)


class Pace(NamedTuple):
    """Clock and plan of a run. Times are seconds of a clock whose zero means nothing."""

    end: float  # infinite if the run has a number of epochs instead
    moments: tuple[float, ...]  # when the run is to be planned
    since: float  # the last plan
    step: int  # updates until then
    seconds_starting: float  # from the beginning of the run until it learned: compiling, most of it
    of_epoch: float = 0.0  # what is done between two epochs takes so long


def begin(task: Task, snapshot: Snapshot, begun: float) -> Pace:
    """Start the clock of a run. A resumed run keeps its plan."""
    now, minutes = time.perf_counter(), task.config.learning.minutes
    end = begun + 60 * minutes if minutes else math.inf
    return Pace(end, _moments(now, end, snapshot), now, int(snapshot.state.step), now - begun)


def is_time(pace: Pace) -> bool:
    """Whether it is time to plan the run (again)."""
    return bool(pace.moments) and time.perf_counter() >= pace.moments[0]


def is_up(pace: Pace) -> bool:
    """Whether no time is left."""
    return time.perf_counter() >= pace.end


def without(pace: Pace, seconds: float) -> Pace:
    """Leave out of the measured time what was just spent on something else than learning."""
    return pace._replace(since=pace.since + seconds)


def went_back(pace: Pace, snapshot: Snapshot) -> Pace:
    """Measure the speed from here on, after a return to an earlier moment of the run."""
    now = time.perf_counter()
    moments = _moments(now, pace.end, snapshot) or pace.moments  # before its first plan a run has no end
    return pace._replace(moments=moments, since=now, step=int(snapshot.state.step))


def laid_out(task: Task, snapshot: Snapshot, pace: Pace) -> tuple[Snapshot, Pace]:
    """Plan the number of updates that fit into the time left, at the speed since the last plan.

    Where no time is left, the run ends here, or with the next update if that is needed to close an epoch that was begun.
    Save the result at once: a resumed run then follows the same plan, whatever its speed.
    """
    now, step = time.perf_counter(), int(snapshot.state.step)
    per_update = (now - pace.since) / max(1, step - pace.step) + pace.of_epoch / task.updates_per_epoch
    least = 1 if snapshot.progress.epoch_read else 0
    (num_updates,) = devices.all_processes_max(step + max(least, int((pace.end - now - pace.of_epoch) / per_update)))
    return of_length(snapshot, num_updates), pace._replace(moments=pace.moments[1:], since=now, step=step)


def _moments(now: float, end: float, snapshot: Snapshot) -> tuple[float, ...]:
    """Times to plan at, as parts of the time left: compiling may have taken long, and one update alone tells no speed."""
    needs_none = snapshot.progress.num_updates is not None or end == math.inf
    return () if needs_none else tuple(now + (end - now) * part for part in PLANNED_AT)

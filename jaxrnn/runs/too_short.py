"""Recognise timed runs that end before the network has learned anything, and say how much time would have been enough."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxrnn.console import verdict
from jaxrnn.errors import pluralize
from jaxrnn.runs.task import Task, characters_per_epoch, characters_per_update, updates_per_epoch
from jaxrnn.runs.time_budget import minutes_for, seconds_to_test
from jaxrnn.training.progress import Snapshot, frequency_nats, guess_nats

# Factors on the measured times: validation and sampling are compiled after the start, which takes about as long again; and the
# measured speed does not include saving.
STARTS, MARGIN = 2.0, 1.2
MANY_UPDATES = 100_000  # after so many, more time will not help

Events = Sequence[Mapping[str, Any]]  # lines of a run's metrics


def explain_too_short(task: Task, snapshot: Snapshot, events: Events) -> str:
    """Explain that a timed run was too short to learn anything, so that a test would be meaningless; "" if it was not.

    It was too short if, after less than an epoch or few updates, its last loss is no better than that of knowing how often each
    character occurs. A loss that has risen has other causes.
    """
    num_updates, minutes = int(snapshot.state.step), task.config.learning.minutes
    few = min(max(verdict.FEW_UPDATES, updates_per_epoch(task)), MANY_UPDATES)
    if not minutes or num_updates >= few:
        return ""
    windows, guess = window_nats(events), guess_nats(len(task.data.vocabulary.characters))
    of_epoch = snapshot.progress.online_nats
    # The better of both: a hard passage at the end says little.
    losses = [*windows[-1:], *([] if of_epoch is None else [of_epoch])]
    loss = min(losses) if losses else guess
    frequencies = frequency_nats(task.data.train)
    lowest = verdict.lowest_before(windows, guess, fresh=not task.config.run.init_from)
    if loss < frequencies or verdict.has_risen(loss, lowest):
        return ""
    learned_nothing = f"The loss, {loss:.4f} nats, is no better than knowing only how often each character occurs"
    return f"{_describe_time(task, num_updates, events)} {learned_nothing} ({frequencies:.4f}), so nothing was tested." + (
        _describe_need(task, num_updates, few, events)
    )


def describe_minutes(task: Task, events: Events, num_updates: int) -> str:
    """Return the --minutes that this many updates need at the speed of this run; "" if its metrics do not give the speed."""
    speeds = [event["characters_per_second"] for event in events if event["event"] == "epoch"]
    if not speeds or not speeds[-1]:
        return ""
    seconds = STARTS * _seconds_starting(events) + MARGIN * num_updates * characters_per_update(task) / speeds[-1]
    return f"about --minutes {_round_up(max(minutes_for(task, seconds), MARGIN * task.config.learning.minutes)):g}"


def describe_whole_epoch(task: Task, snapshot: Snapshot, events: Events) -> str:
    """Say how much time a whole epoch needs, if a timed run has read only part of one; "" otherwise."""
    if not task.config.learning.minutes or int(snapshot.state.step) >= updates_per_epoch(task):
        return ""
    needed = describe_minutes(task, events, updates_per_epoch(task))
    return f"; a whole one needs {needed}" if needed else ""


def window_nats(events: Events) -> list[float]:
    """Collect from the metrics the online losses, each a mean of about a thousand characters."""
    return [event["online_nats"] for event in events if event["event"] == "progress" and event.get("online_nats")]


def _describe_time(task: Task, num_updates: int, events: Events) -> str:
    """Say how the time was spent."""
    read, whole = num_updates * characters_per_update(task), characters_per_epoch(task)
    of_epoch = f"{read:,} of the {whole:,} characters of an epoch" if read < whole else f"{read / whole:.1f} epochs"
    return (
        f"too short to learn anything: starting took {_seconds_starting(events):.1f} s of --minutes "
        f"{task.config.learning.minutes:g}, {seconds_to_test(task):.1f} s were kept for the test, and "
        f"{pluralize(num_updates, 'update')} read {of_epoch}."
    )


def _describe_need(task: Task, num_updates: int, few: int, events: Events) -> str:
    """Say how much time would have been enough: for an epoch, or for more than a few updates."""
    whole = updates_per_epoch(task)
    needed = describe_minutes(task, events, whole if num_updates < whole else few)
    what = "a whole epoch needs" if num_updates < whole else f"{pluralize(few, 'update')} need"
    return f" On this machine {what} {needed}." if needed else ""


def _seconds_starting(events: Events) -> float:
    return next((event.get("seconds_starting", 0.0) for event in reversed(events) if event["event"] == "plan"), 0.0)


def _round_up(minutes: float) -> float:
    """Round up to two significant digits."""
    unit = 10.0 ** (math.floor(math.log10(minutes)) - 1)
    return math.ceil(minutes / unit) * unit

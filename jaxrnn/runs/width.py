"""Choose the width of a timed run: the faster the machine and the longer the time, the wider the network."""

import dataclasses
import time
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp

from jaxrnn.config import auto
from jaxrnn.config.build import Data
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.runs.advance import begin_epoch
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runs.task import Task, characters_per_update, prepare, updates_per_epoch
from jaxrnn.runs.time_budget import seconds_to_test
from jaxrnn.runtime import devices

LEAST_MINUTES = 3.0  # of a run: in half of that, 384 units gain no more than measuring costs
SECONDS_MEASURED = 0.4
# A step of width slows a CPU down at least so much: where a network would not be better even then, it is not measured. A GPU
# slows down less, but reads so much that wider networks are measured anyway.
LEAST_SLOWDOWN = 1.4


class Measured(NamedTuple):
    """What a width was chosen by."""

    characters: Mapping[int, float]  # that a network of each width would learn from in the time of the run
    seconds: float  # of that time, which were spent on measuring


def depends_on_speed(config: Config, num_characters: int) -> bool:
    """Return whether the width of a run is to be chosen by the speed of the machine."""
    is_open, minutes = config.model.hidden_size == AUTO, config.learning.minutes
    return is_open and minutes >= LEAST_MINUTES and num_characters >= auto.WIDE_TEXT


def prepare_width(resolved: Config, data: Data, by_speed: bool) -> tuple[Task, Measured]:
    """Prepare the task of these settings; `by_speed`, with the width that promises the lowest loss in the time of the run."""
    if not by_speed:
        return prepare(devices.resolve_num_devices(resolved), data), Measured({}, 0.0)
    started, (narrowest, *wider) = time.perf_counter(), auto.HIDDEN_SIZES
    best, speed, cost = _measure(resolved, data, narrowest)
    speeds = {narrowest: speed}
    for width in wider:
        left = _agree_on_seconds(_seconds_left(best, started))
        at_most = min(speeds.values()) / LEAST_SLOWDOWN * max(0.0, 1 - cost / left)  # measuring it takes as long again
        if auto.choose_hidden_size(_times(left, {**speeds, width: at_most})) != width:
            break
        task, speeds[width], cost = _measure(resolved, data, width)
        if auto.choose_hidden_size(_times(_agree_on_seconds(_seconds_left(task, started)), speeds)) != width:
            break
        best = task
    left = _agree_on_seconds(_seconds_left(best, started))
    return best, Measured(_times(left, speeds), time.perf_counter() - started)


def characters_per_second(task: Task) -> float:
    """Measure the speed of learning; what is learned is thrown away."""
    first = first_snapshot(task)
    state = begin_epoch(task, first._replace(state=devices.shard_state(first.state, task.mesh)))
    state, _ = task.drive(state, task.stream, 1)  # compiles
    num_updates, most = 1, updates_per_epoch(task)
    while True:
        started = time.perf_counter()
        state, _ = task.drive(state._replace(step=jnp.zeros_like(state.step)), task.stream, num_updates)
        (microseconds,) = devices.all_processes_max(max(1, int(1e6 * (time.perf_counter() - started))))
        if num_updates == most or microseconds >= 1e6 * SECONDS_MEASURED:
            return num_updates * characters_per_update(task) / (1e-6 * microseconds)
        num_updates = min(2 * num_updates, most)


def _measure(config: Config, data: Data, width: int) -> tuple[Task, float, float]:
    """Prepare a network of this width; return also its speed, and the seconds that this took."""
    started = time.perf_counter()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, hidden_size=width))
    task = prepare(devices.resolve_num_devices(config), data)
    speed = characters_per_second(task)
    return task, speed, _agree_on_seconds(time.perf_counter() - started)


def _seconds_left(task: Task, started: float) -> float:
    return 60 * task.config.learning.minutes - seconds_to_test(task) - (time.perf_counter() - started)


def _agree_on_seconds(seconds: float) -> float:
    """Return the same time in all processes, at least a thousandth of a second."""
    (milliseconds,) = devices.all_processes_max(max(1, int(1e3 * seconds)))
    return milliseconds / 1e3


def _times(seconds: float, speeds: Mapping[int, float]) -> dict[int, float]:
    """Compute how many characters each network would learn from in this time."""
    return {width: max(1.0, speed * seconds) for width, speed in speeds.items()}

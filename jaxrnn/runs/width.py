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

LEAST_MINUTES = 1.0  # of a run; in less time, compiling several networks would take too large a part
SECONDS_MEASURED = 0.4
# A step of width slows learning down at least so much: where a network would not be better even then, it is not measured.
LEAST_SLOWDOWN = 1.2


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
    best = _prepare(resolved, data, narrowest)
    speeds = {narrowest: characters_per_second(best)}
    for width in wider:
        at_most = min(speeds.values()) / LEAST_SLOWDOWN
        if auto.choose_hidden_size(_characters_until_end(best, {**speeds, width: at_most}, started)) != width:
            break
        task = _prepare(resolved, data, width)
        speeds[width] = characters_per_second(task)
        if auto.choose_hidden_size(_characters_until_end(task, speeds, started)) != width:
            break
        best = task
    return best, Measured(_characters_until_end(best, speeds, started), time.perf_counter() - started)


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


def _prepare(config: Config, data: Data, width: int) -> Task:
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, hidden_size=width))
    return prepare(devices.resolve_num_devices(config), data)


def _characters_until_end(task: Task, speeds: Mapping[int, float], started: float) -> dict[int, float]:
    """Compute how many characters each network would learn from in the time that is left, in all processes the same."""
    seconds = 60 * task.config.learning.minutes - seconds_to_test(task) - (time.perf_counter() - started)
    (milliseconds,) = devices.all_processes_max(max(1, int(1e3 * seconds)))
    return {width: speed * milliseconds / 1e3 for width, speed in speeds.items()}

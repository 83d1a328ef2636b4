"""Reading on: from one snapshot of a run to a later one. No disk and no screen, and any division of the way gives the same."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxrnn import evaluate
from jaxrnn.config import build
from jaxrnn.runtime import devices
from jaxrnn.config.build import Data, Keys
from jaxrnn.config.settings import Config
from jaxrnn.training.learner import Learner, State
from jaxrnn.training.drivers import Driver, copy, driver
from jaxrnn.models.model import Model
from jaxrnn.training.optimizers import num_clipped, schedule_factor, with_learning_rate, with_num_updates
from jaxrnn.training.progress import DIVERGED, WINDOW, Progress, Snapshot, Window, add, epoch_nats, first_diverged
from jaxrnn.console.report import Epoch
from jaxrnn.training.schedule import halve_on_validation
from jaxrnn.data.streams import to_streams, updates_per_epoch
from jaxrnn.array_types import Params, RandomKey, Stream


class Task(NamedTuple):
    """What stays the same while a run goes on."""

    config: Config
    data: Data
    keys: Keys
    model: Model
    learner: Learner
    mesh: Mesh | None  # the devices that share the streams out; None for a single one
    stream: Stream
    updates_per_epoch: int
    characters_per_update: int  # of all streams
    drive: Driver
    restart: Callable[[State, RandomKey], State]
    validate: Callable[[Params], float]  # nats per character of the validation part, weights frozen
    finite: Callable[[Params], bool]


class Advanced(NamedTuple):
    """What came of reading on."""

    snapshot: Snapshot
    windows: list[Window]  # of losses that were completed
    epoch: Epoch | None  # if it was read to its end
    problem: str | None  # in words, if learning has failed: the snapshot is then of no use


def prepare(config: Config, data: Data) -> Task:
    """Builds what the settings name."""
    model, keys = build.model(config, data.vocabulary), build.keys(config.run.seed)
    learner = build.learner(config, model)
    mesh = devices.mesh(config)
    stream = devices.place_stream(to_streams(data.train, config.learning.num_streams), mesh)
    num_updates, losses_of = updates_per_epoch(stream, learner.length), evaluate.frozen(model)
    return Task(
        config=config,
        data=data,
        keys=keys,
        model=model,
        learner=learner,
        mesh=mesh,
        stream=stream,
        updates_per_epoch=num_updates,
        characters_per_update=learner.length * config.learning.num_streams,
        drive=driver(learner, min(config.run.updates_per_call, num_updates)),
        restart=jax.jit(learner.restart, donate_argnums=0),
        validate=lambda params: evaluate.mean_nats(losses_of(devices.here(params), data.validation, keys.evaluation)),
        finite=lambda params: all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)),  # less than to compile it
    )


def advance(task: Task, snapshot: Snapshot, most_updates: int) -> Advanced:
    """Read on, but not beyond the end of the epoch. The given snapshot is used up.

    However the updates are divided among calls, the same snapshots, windows and epochs come of them, to the last bit.
    """
    state, best_params, progress = snapshot
    step = int(state.step)
    position = step % task.updates_per_epoch
    state = begin_epoch(task, snapshot)
    if progress.epoch_read is None:
        progress = progress._replace(epoch_read=position * task.learner.length if progress.epoch_sum else 0)
    left = task.updates_per_epoch - position
    if progress.num_updates is not None:
        left = min(left, progress.num_updates - step)
    started = time.perf_counter()
    state, losses = task.drive(state, task.stream, min(most_updates, left))
    seconds = time.perf_counter() - started
    after, windows = add(progress, losses, seconds, step, task.learner.length, task.characters_per_update)
    snapshot = Snapshot(state, best_params, after)
    exploded = first_diverged(windows, progress.lowest_window, len(task.data.vocabulary.characters))
    if not np.isfinite(losses).all():
        return Advanced(snapshot, windows, None, "the loss is no longer finite")
    if not task.finite(state.params):
        return Advanced(snapshot, windows, None, "a weight is no longer finite")
    if exploded:
        before = [window.online_nats for window in windows if window.step < exploded.step]
        best = min([progress.lowest_window, *before])
        words = f"the loss over {WINDOW:,} characters is {exploded.online_nats:.3g} nats, over {DIVERGED:g} times its best"
        return Advanced(snapshot, windows, None, f"{words} ({best:.3g}) and worse than guessing")
    if len(losses) < left * task.learner.length:
        return Advanced(snapshot, windows, None, None)
    return _end_of_epoch(task, snapshot, windows)


def begin_epoch(task: Task, snapshot: Snapshot) -> State:
    """The state that reads on: with a new carry where an epoch begins. The state that it is given is used up."""
    state = snapshot.state
    if int(state.step) % task.updates_per_epoch == 0:
        state = task.restart(state, jax.random.fold_in(task.keys.epochs, snapshot.progress.epochs))
    return devices.place(state, task.mesh)


def _end_of_epoch(task: Task, snapshot: Snapshot, windows: list[Window]) -> Advanced:
    state, best_params, progress = snapshot
    online_nats, num_read = epoch_nats(progress), characters_read(task, progress)
    validation_nats = task.validate(state.params) if task.data.validation.size else None
    nats = online_nats if validation_nats is None else validation_nats
    if not math.isfinite(nats):
        return Advanced(snapshot, windows, None, "the validation loss is not finite")
    row = Epoch(
        epoch=progress.epochs,
        step=int(state.step),
        characters=num_read,
        online_nats=online_nats,
        characters_per_second=num_read / progress.epoch_seconds,
        learning_rate=progress.schedule.learning_rate * schedule_factor(state.opt_state),
        validation_nats=validation_nats,
        clipped_fraction=clipped_fraction(state),
    )
    halving = task.config.learning.schedule == "halving"
    comparable = validation_nats is not None or num_read >= min(WINDOW, characters_per_epoch(task))
    if progress.best_nats is None or (comparable and nats <= progress.best_nats):
        best_params = copy(state.params)  # the next update overwrites the state
        progress = progress._replace(best_nats=nats, best_step=int(state.step))
    elif halving:  # a worse epoch is taken back
        state = state._replace(params=copy(best_params))
    if halving and validation_nats is not None:
        schedule = halve_on_validation(progress.schedule, validation_nats)
        state = state._replace(opt_state=with_learning_rate(state.opt_state, schedule.learning_rate))
        progress = progress._replace(schedule=schedule)
    progress = progress._replace(
        epochs=progress.epochs + 1, epoch_sum=0.0, epoch_read=0, epoch_seconds=0.0, online_nats=online_nats
    )
    return Advanced(Snapshot(state, best_params, progress), windows, row, None)


def characters_per_epoch(task: Task) -> int:
    """Characters that all streams read in a whole epoch."""
    return task.updates_per_epoch * task.characters_per_update


def characters_read(task: Task, progress: Progress) -> int:
    """Characters that all streams have read in this epoch so far."""
    return (progress.epoch_read or 0) // task.learner.length * task.characters_per_update


def over(task: Task, snapshot: Snapshot) -> bool:
    """Whether the last epoch was read, or as much of it as there was time for."""
    progress = snapshot.progress
    if task.config.learning.minutes:
        return progress.num_updates is not None and int(snapshot.state.step) >= progress.num_updates
    return progress.schedule.finished or progress.epochs >= task.config.learning.epochs


def of_length(snapshot: Snapshot, num_updates: int) -> Snapshot:
    """The same moment of a run that ends after so many updates, over which its schedule is laid."""
    state = snapshot.state._replace(opt_state=with_num_updates(snapshot.state.opt_state, num_updates))
    return snapshot._replace(state=state, progress=snapshot.progress._replace(num_updates=num_updates))


def num_epochs(config: Config) -> int | None:
    """How many epochs there will be, if that can be known."""
    return None if config.learning.schedule == "halving" or config.learning.minutes else config.learning.epochs


def clipped_fraction(state: State) -> float | None:
    """The part of all updates so far whose gradient was shortened; None without clipping."""
    count = num_clipped(state.opt_state)
    return None if count is None else count / max(1, int(state.step))

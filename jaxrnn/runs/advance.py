"""Reading on: from one snapshot of a run to a later one. No disk and no screen, and any division of the way gives the same."""

import math
import time
from typing import NamedTuple

import jax
import numpy as np

from jaxrnn.runs.task import Task, characters_per_epoch, characters_read
from jaxrnn.runtime import devices
from jaxrnn.training.drivers import copy_arrays
from jaxrnn.training.learner import State
from jaxrnn.training.optimizers import num_clipped, schedule_factor, with_learning_rate, with_num_updates
from jaxrnn.training.progress import DIVERGENCE_FACTOR, WINDOW, Epoch, Snapshot, Window, add_losses, epoch_nats, first_diverged
from jaxrnn.training.schedule import halve_on_validation


class Advanced(NamedTuple):
    """What came of reading on."""

    snapshot: Snapshot
    windows: list[Window]  # of losses that were completed
    epoch: Epoch | None  # if it was read to its end
    problem: str | None  # in words, if learning has failed: the snapshot is then of no use


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
    after, windows = add_losses(progress, losses, seconds, step, task.learner.length, task.characters_per_update)
    snapshot = Snapshot(state, best_params, after)
    exploded = first_diverged(windows, progress.lowest_window, len(task.data.vocabulary.characters))
    if not np.isfinite(losses).all():
        return Advanced(snapshot, windows, None, "the loss is no longer finite")
    if not task.finite(state.params):
        return Advanced(snapshot, windows, None, "a weight is no longer finite")
    if exploded:
        before = [window.online_nats for window in windows if window.step < exploded.step]
        best = min([progress.lowest_window, *before])
        words = (
            f"the loss over {WINDOW:,} characters is {exploded.online_nats:.3g} nats, over {DIVERGENCE_FACTOR:g} times its best"
        )
        return Advanced(snapshot, windows, None, f"{words} ({best:.3g}) and worse than guessing")
    if len(losses) < left * task.learner.length:
        return Advanced(snapshot, windows, None, None)
    return _end_of_epoch(task, snapshot, windows)


def begin_epoch(task: Task, snapshot: Snapshot) -> State:
    """The state that reads on: with a new carry where an epoch begins. The state that it is given is used up."""
    state = snapshot.state
    if int(state.step) % task.updates_per_epoch == 0:
        state = task.restart(state, jax.random.fold_in(task.keys.epochs, snapshot.progress.epochs))
    return devices.shard_state(state, task.mesh)


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
        best_params = copy_arrays(state.params)  # the next update overwrites the state
        progress = progress._replace(best_nats=nats, best_step=int(state.step))
    elif halving:  # a worse epoch is taken back
        state = state._replace(params=copy_arrays(best_params))
    if halving and validation_nats is not None:
        schedule = halve_on_validation(progress.schedule, validation_nats)
        state = state._replace(opt_state=with_learning_rate(state.opt_state, schedule.learning_rate))
        progress = progress._replace(schedule=schedule)
    progress = progress._replace(
        epochs=progress.epochs + 1, epoch_sum=0.0, epoch_read=0, epoch_seconds=0.0, online_nats=online_nats
    )
    return Advanced(Snapshot(state, best_params, progress), windows, row, None)


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


def clipped_fraction(state: State) -> float | None:
    """The part of all updates so far whose gradient was shortened; None without clipping."""
    count = num_clipped(state.opt_state)
    return None if count is None else count / max(1, int(state.step))

"""Advance a run by some updates, without disk or screen; splitting the updates differently gives identical results."""

import math
import time
from typing import NamedTuple

import jax
import numpy as np
import optax

from jaxrnn.config import build
from jaxrnn.data.array_types import Params
from jaxrnn.runs.task import Task, characters_per_epoch, characters_per_update, characters_read, updates_per_epoch
from jaxrnn.runtime import devices
from jaxrnn.training import optimizers
from jaxrnn.training.learner import State, copy_arrays
from jaxrnn.training.progress import (
    DIVERGENCE_FACTOR,
    WINDOW,
    Epoch,
    Progress,
    Snapshot,
    Window,
    add_losses,
    epoch_nats,
    first_diverged,
)
from jaxrnn.training.schedule import halve_on_validation, shorten_on_validation


class Advanced(NamedTuple):
    """A later snapshot, and the windows and epoch completed on the way."""

    snapshot: Snapshot
    windows: list[Window]  # of losses
    epoch: Epoch | None  # None if the epoch was not read to its end


class Divergence(ArithmeticError):
    """Learning has failed; the message says how. The snapshot that was advanced can no longer be used."""


def advance(task: Task, snapshot: Snapshot, most_updates: int) -> Advanced:
    """Read on, but not beyond the end of the epoch. The given snapshot can no longer be used, because it is overwritten.

    Raises:
      Divergence: a loss or a weight is no longer finite, or the loss has exploded.
    """
    step = int(snapshot.state.step)
    state, progress = begin_epoch(task, snapshot), _with_losses_counted(task, snapshot.progress, step)
    left = updates_left(task, step, progress)
    started = time.perf_counter()
    state, losses = task.drive(state, task.stream, min(most_updates, left))
    seconds = time.perf_counter() - started
    after, windows = add_losses(progress, losses, seconds, step, task.learner.length, characters_per_update(task))
    _check(task, state, losses, windows, progress.lowest_window)
    snapshot = Snapshot(state, snapshot.best_params, after)
    if len(losses) < left * task.learner.length:
        return Advanced(snapshot, windows, None)
    return _end_of_epoch(task, snapshot, windows)


def begin_epoch(task: Task, snapshot: Snapshot) -> State:
    """Return the state to continue from, with a new carry at the start of an epoch; it replaces the given state."""
    state = snapshot.state
    if int(state.step) % updates_per_epoch(task) == 0:
        state = task.restart(state, build.make_epoch_key(task.config.run.seed, snapshot.progress.epochs))
    return devices.shard_state(state, task.mesh)


def updates_left(task: Task, step: int, progress: Progress) -> int:
    """Count the updates until the end of the epoch, or of the run if that comes first."""
    left = updates_per_epoch(task) - step % updates_per_epoch(task)
    return left if progress.num_updates is None else min(left, progress.num_updates - step)


def updates_to_end(task: Task, snapshot: Snapshot) -> int | None:
    """Count the updates until the end of the run; None while it is not known."""
    step, progress, settings = int(snapshot.state.step), snapshot.progress, task.config.learning
    if progress.num_updates is not None:
        return max(0, progress.num_updates - step)
    if settings.minutes or settings.schedule == "halving":
        return None
    whole = updates_per_epoch(task)
    # A timed run that ended inside an epoch has counted it, and reads the rest of it as one more.
    return max(0, whole - step % whole + (settings.epochs - progress.epochs - 1) * whole)


def is_finished(task: Task, snapshot: Snapshot) -> bool:
    """Return whether the last epoch has been read, or as much of it as time allowed."""
    progress, learning = snapshot.progress, task.config.learning
    if progress.finished or (progress.num_updates is not None and int(snapshot.state.step) >= progress.num_updates):
        return True
    return not learning.minutes and progress.epochs >= learning.epochs


def is_shortened(task: Task, progress: Progress) -> bool:
    """Return whether a cosine schedule ends early because the validation loss has stopped falling."""
    return progress.halving and task.config.learning.schedule == "cosine"


def with_num_updates(snapshot: Snapshot, num_updates: int) -> Snapshot:
    """Set the number of updates of a run, in the progress and in the schedule, which may have begun later than the run."""
    step, opt_state = int(snapshot.state.step), snapshot.state.opt_state
    begun = schedule_begun(opt_state, step)
    state = snapshot.state._replace(opt_state=optimizers.with_schedule_length(opt_state, num_updates - begun))
    return snapshot._replace(state=state, progress=snapshot.progress._replace(num_updates=num_updates))


def schedule_begun(opt_state: optax.OptState, step: int) -> int:
    """Return the update at which the schedule began: 0, unless it was restarted when the run was extended."""
    position = optimizers.schedule_position(opt_state)
    return 0 if position is None else step - position


def clipped_fraction(state: State) -> float | None:
    """Compute the fraction of all updates so far whose gradient was clipped; None without clipping."""
    count = optimizers.num_clipped(state.opt_state)
    return None if count is None else count / max(1, int(state.step))


def _with_losses_counted(task: Task, progress: Progress, step: int) -> Progress:
    """Count the losses in the sum of the epoch, which older checkpoints do not say."""
    if progress.epoch_read is not None:
        return progress
    position = step % updates_per_epoch(task)
    return progress._replace(epoch_read=position * task.learner.length if progress.epoch_sum else 0)


def _check(task: Task, state: State, losses: np.ndarray, windows: list[Window], lowest_window: float) -> None:
    if not np.isfinite(losses).all():
        raise Divergence("the loss is no longer finite")
    if not _is_finite(state.params):
        raise Divergence("a weight is no longer finite")
    exploded = first_diverged(windows, lowest_window, len(task.data.vocabulary.characters))
    if exploded:
        best = min([lowest_window, *(window.online_nats for window in windows if window.step < exploded.step)])
        words = (
            f"the loss over {WINDOW:,} characters is {exploded.online_nats:.3g} nats, over {DIVERGENCE_FACTOR:g} times its best"
        )
        raise Divergence(f"{words} ({best:.3g}) and worse than guessing")


def _is_finite(params: Params) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))  # takes less time than compiling it would


def _end_of_epoch(task: Task, snapshot: Snapshot, windows: list[Window]) -> Advanced:
    validation_nats = task.validate(task.learner.test_params(snapshot.state)) if task.data.validation.size else None
    row = _row(task, snapshot, validation_nats)
    nats = row.online_nats if validation_nats is None else validation_nats
    if not math.isfinite(nats):
        raise Divergence("the validation loss is not finite")
    after = _judge_epoch(task, snapshot, row, nats)
    if task.config.learning.schedule == "cosine" and validation_nats is not None:
        after = _shorten(task, after)
    progress = after.progress._replace(
        epochs=row.epoch + 1, epoch_sum=0.0, epoch_read=0, epoch_seconds=0.0, online_nats=row.online_nats
    )
    return Advanced(after._replace(progress=progress), windows, row)


def _row(task: Task, snapshot: Snapshot, validation_nats: float | None) -> Epoch:
    state, _, progress = snapshot
    num_read = characters_read(task, progress)
    return Epoch(
        epoch=progress.epochs,
        step=int(state.step),
        characters=num_read,
        online_nats=epoch_nats(progress),
        characters_per_second=num_read / progress.epoch_seconds,
        learning_rate=optimizers.learning_rate(state.opt_state) * optimizers.schedule_factor(state.opt_state),
        validation_nats=validation_nats,
        clipped_fraction=clipped_fraction(state),
    )


def _shorten(task: Task, snapshot: Snapshot) -> Snapshot:
    """End a cosine schedule early if the validation loss has stopped falling.

    A restarted one is not shortened: its first rates are so high that the loss rises above the best one so far.
    """
    if schedule_begun(snapshot.state.opt_state, int(snapshot.state.step)):
        return snapshot
    before, size = snapshot.progress, updates_per_epoch(task)
    of_epochs = None if task.config.learning.minutes else task.config.learning.epochs * size
    planned = of_epochs if before.num_updates is None else before.num_updates
    progress = shorten_on_validation(before, int(snapshot.state.step), size, planned)
    snapshot = snapshot._replace(progress=progress)
    begins = progress.halving and not before.halving
    return with_num_updates(snapshot, progress.num_updates or 0) if begins else snapshot


def _judge_epoch(task: Task, snapshot: Snapshot, row: Epoch, nats: float) -> Snapshot:
    """Keep the weights of the best epoch; a halving schedule undoes a worse epoch, and halves the rate."""
    state, best_params, progress = snapshot
    halving, best_before = task.config.learning.schedule == "halving", progress.best_nats
    comparable = row.validation_nats is not None or row.characters >= min(WINDOW, characters_per_epoch(task))
    if best_before is None or (comparable and nats <= best_before):
        best_params = copy_arrays(task.learner.test_params(state))  # the next update overwrites the state
        progress = progress._replace(best_nats=nats, best_step=row.step)
    elif halving:
        state = state._replace(params=copy_arrays(best_params))
    if halving and row.validation_nats is not None:
        progress = halve_on_validation(progress, best_before, row.validation_nats)
        if progress.halving:
            rate = optimizers.learning_rate(state.opt_state) / 2
            state = state._replace(opt_state=optimizers.with_learning_rate(state.opt_state, rate))
    return Snapshot(state, best_params, progress)

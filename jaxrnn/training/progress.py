"""Where a run stands: its state and, as plain numbers, what is counted while it reads; and when it has diverged.

Sums are carried on one character after the other, so that they are the same to the last bit wherever the reading was cut
into calls or interrupted.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxrnn.array_types import Params
from jaxrnn.training.learner import State

WINDOW = 1_000  # characters, at least, whose mean loss is logged and watched
DIVERGENCE_FACTOR = 3.0  # times its best


class Progress(NamedTuple):
    """Plain numbers, saved with the arrays as JSON. Losses in nats per character."""

    lowest_window: float  # mean of the best window so far; before the first one that of a guess, infinite for old weights
    epochs: int = 0  # finished
    epoch_sum: float = 0.0  # of the losses in this epoch so far
    epoch_read: int | None = 0  # how many losses are in that sum; None in a checkpoint that does not say
    epoch_seconds: float = 0.0  # spent learning in it
    window_sum: float = 0.0  # of the losses in this window so far
    online_nats: float | None = None  # of the last epoch
    best_nats: float | None = None  # the lowest loss of an epoch: in validation, or online where there is no validation part
    best_step: int | None = None  # updates at the end of that epoch
    rollbacks: int = 0
    num_updates: int | None = None  # of the whole run, if it is to end after so many and not after an epoch
    halving: bool = False  # the rate, after each epoch from now on
    finished: bool = False  # no epoch comes any more, whatever number was asked for


class Snapshot(NamedTuple):
    """A run at one moment: all that a checkpoint holds and a run goes on from."""

    state: State
    best_params: Params  # of the best epoch so far
    progress: Progress


class Window(NamedTuple):
    """The mean loss of about `WINDOW` characters."""

    step: int  # after its last update
    online_nats: float


def epoch_nats(progress: Progress) -> float:
    """Mean loss of what was read of this epoch, in nats per character; NaN if that is nothing."""
    return progress.epoch_sum / progress.epoch_read if progress.epoch_read else math.nan


def guess_nats(vocab_size: int) -> float:
    """The loss of guessing evenly among all characters."""
    return math.log(vocab_size)


def updates_per_window(characters_per_update: int) -> int:
    """The fewest updates that read `WINDOW` characters."""
    return -(-WINDOW // characters_per_update)


def add_losses(
    progress: Progress, losses: Float[np.ndarray, " read"], seconds: float, step: int, length: int, characters_per_update: int
) -> tuple[Progress, list[Window]]:
    """Counts what was just read.

    Args:
      losses: one for each character of a stream, `length` for each update.
      step: the number of updates before them.
    Returns:
      The progress after them, and the windows that they complete.
    """
    size = updates_per_window(characters_per_update) * length
    windows, window_sum = _windows(losses, progress.window_sum, step * length % size, size)
    first = step // (size // length) + 1
    complete = [Window((first + i) * (size // length), nats) for i, nats in enumerate(windows)]
    progress = progress._replace(
        lowest_window=min([progress.lowest_window, *windows]),
        window_sum=window_sum,
        epoch_sum=_add_in_order(progress.epoch_sum, losses),
        epoch_read=(progress.epoch_read or 0) + len(losses),
        epoch_seconds=progress.epoch_seconds + seconds,
    )
    return progress, complete


def first_diverged(windows: list[Window], lowest_before: float, vocab_size: int) -> Window | None:
    """Find the first window that is NaN, or over three times the best one before it and worse than a guess.

    Worse than a guess, because a text that repeats itself for a while makes any loss after that look high.
    """
    lowest = lowest_before
    for window in windows:
        if not window.online_nats <= _divergence_limit(lowest, vocab_size):
            return window
        lowest = min(lowest, window.online_nats)
    return None


def is_doubtful(progress: Progress, step: int, length: int, characters_per_update: int, vocab_size: int) -> bool:
    """Whether the window begun would have diverged if it ended here: no moment to come back to."""
    read = step * length % (updates_per_window(characters_per_update) * length)
    return progress.window_sum > read * _divergence_limit(progress.lowest_window, vocab_size)


def _divergence_limit(lowest: float, vocab_size: int) -> float:
    return max(DIVERGENCE_FACTOR * lowest, guess_nats(vocab_size))


def _windows(losses: Float[np.ndarray, " read"], window_sum: float, read: int, size: int) -> tuple[list[float], float]:
    """Means of the windows completed, the first of which had `read` losses before; the sum of the one begun."""
    missing = size - read
    if len(losses) < missing:
        return [], _add_in_order(window_sum, losses)
    first, rest = losses[:missing], losses[missing:]
    whole = len(rest) // size * size
    sums = np.cumsum(rest[:whole].reshape(-1, size), axis=1, dtype=np.float64)[:, -1]
    return [s / size for s in (_add_in_order(window_sum, first), *sums.tolist())], _add_in_order(0.0, rest[whole:])


def _add_in_order(total: float, losses: Float[np.ndarray, " read"]) -> float:
    return float(np.cumsum(np.concatenate([[total], losses]), dtype=np.float64)[-1])


class Epoch(NamedTuple):
    """A row of the table. Losses in nats per character."""

    epoch: int
    step: int  # updates so far
    characters: int  # read in it: fewer than the epoch has, where a timed run ends inside it
    online_nats: float  # mean of the losses of these characters
    characters_per_second: float
    learning_rate: float
    validation_nats: float | None  # None without a validation part
    clipped_fraction: float | None  # of all updates so far; None without clipping


class FourNumbers(NamedTuple):
    """How good the model is, in nats per character; the README tells what each of them says."""

    online_nats: float
    train_nats: float
    heldout_nats: float
    heldout_dynamic_nats: float

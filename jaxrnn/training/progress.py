"""Snapshots of a run, the counters of its progress, and the detection of divergence.

Losses are summed one character after another, so that the sums do not depend, to the last bit, on how a run was split into
calls or interrupted.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from jaxrnn.data.array_types import Params
from jaxrnn.data.documents import unmark
from jaxrnn.training.learner import State

WINDOW = 1_000  # the fewest characters per logged mean loss
DIVERGENCE_FACTOR = 3.0  # times the best loss
MOST_COUNTED = 1_000_000  # characters from which the frequency of each one is measured


class Progress(NamedTuple):
    """Counters of a run, saved as JSON with the arrays. Losses in nats per character."""

    lowest_window: float  # best window mean so far; at first that of guessing, or infinite if the weights come from a run
    epochs: int = 0  # finished epochs
    epoch_sum: float = 0.0  # sum of this epoch's losses so far
    epoch_read: int | None = 0  # number of losses in that sum; None in checkpoints without it
    epoch_seconds: float = 0.0  # time spent training in this epoch
    window_sum: float = 0.0  # sum of this window's losses so far
    online_nats: float | None = None  # online loss of the last epoch
    best_nats: float | None = None  # lowest epoch loss: validation loss, or online loss without a validation part
    best_step: int | None = None  # updates at the end of that epoch
    rollbacks: int = 0
    num_updates: int | None = None  # length of the whole run, if it ends after a number of updates instead of epochs
    halving: bool = False  # the rate is halved after each epoch from now on; with a cosine: the run was shortened
    finished: bool = False  # no more epochs, however many were asked for


class Snapshot(NamedTuple):
    """A run at one moment: what a checkpoint holds and training continues from."""

    state: State
    best_params: Params  # of the best epoch so far
    progress: Progress


class Window(NamedTuple):
    """The mean loss of about `WINDOW` characters."""

    step: int  # after its last update
    online_nats: float


def epoch_nats(progress: Progress) -> float:
    """Compute the mean loss of this epoch so far, in nats per character; NaN if nothing was read."""
    return progress.epoch_sum / progress.epoch_read if progress.epoch_read else math.nan


def guess_nats(vocab_size: int) -> float:
    """Compute the loss of guessing uniformly among all characters."""
    return math.log(vocab_size)


def frequency_nats(ids: Integer[np.ndarray, " characters"]) -> float:
    """Compute the loss of a predictor that knows only how often each character occurs, on the first characters of a text."""
    counts = np.bincount(unmark(ids[:MOST_COUNTED]))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def updates_per_window(characters_per_update: int) -> int:
    """Compute the smallest number of updates that reads `WINDOW` characters."""
    return -(-WINDOW // characters_per_update)


def add_losses(
    progress: Progress, losses: Float[np.ndarray, " read"], seconds: float, step: int, length: int, characters_per_update: int
) -> tuple[Progress, list[Window]]:
    """Add losses to the counters.

    Args:
      losses: one per character of a stream, `length` per update.
      step: the number of updates before them.
    Returns:
      The new progress and the windows that were completed.
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
    """Find the first window that is NaN, or over three times the best one before it and worse than guessing.

    The second condition is needed because after a repetitive passage any loss looks high.
    """
    lowest = lowest_before
    for window in windows:
        if not window.online_nats <= _divergence_limit(lowest, vocab_size):
            return window
        lowest = min(lowest, window.online_nats)
    return None


def is_doubtful(progress: Progress, step: int, length: int, characters_per_update: int, vocab_size: int) -> bool:
    """Return whether the current window would count as diverged if it ended here: not a state to return to."""
    read = step * length % (updates_per_window(characters_per_update) * length)
    return progress.window_sum > read * _divergence_limit(progress.lowest_window, vocab_size)


def _divergence_limit(lowest: float, vocab_size: int) -> float:
    return max(DIVERGENCE_FACTOR * lowest, guess_nats(vocab_size))


def _windows(losses: Float[np.ndarray, " read"], window_sum: float, read: int, size: int) -> tuple[list[float], float]:
    """Compute the means of completed windows, the first of which already has `read` losses, and the sum of the current one."""
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
    """Result of an epoch, a row of the table. Losses in nats per character."""

    epoch: int
    step: int  # updates so far
    characters: int  # read in this epoch; fewer than all if a timed run ends inside it
    online_nats: float  # mean loss of these characters
    characters_per_second: float
    learning_rate: float
    validation_nats: float | None  # None without a validation part
    clipped_fraction: float | None  # of all updates so far; None without clipping


class FinalNumbers(NamedTuple):
    """The final scores of a model, in nats per character; the README explains each.

    NaN means not measured: by an older version, or without a held-out part.
    """

    online_nats: float
    train_nats: float
    heldout_nats: float
    heldout_dynamic_nats: float
    heldout_counts_nats: float  # counts alone, without the network
    heldout_mixed_nats: float  # network and counts together


def measured(numbers: FinalNumbers) -> dict[str, float]:
    """Return the final numbers by name; for a run without a test, only the online loss."""
    found = numbers._asdict()
    tested = not all(math.isnan(nats) for name, nats in found.items() if name != "online_nats")
    return found if tested else {"online_nats": numbers.online_nats}

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.training.progress import Progress, Window, add_losses, first_diverged, guess_nats, is_doubtful, updates_per_window

START = Progress(lowest_window=4.0)


def losses_of(number):
    """Of very different sizes, so that the order of adding them shows in the last bits."""
    rng = np.random.default_rng(0)
    return (rng.exponential(2.0, number) * 10.0 ** rng.uniform(-12, 0, number)).astype(np.float32)


@given(st.lists(st.integers(1, 1_700), min_size=1, max_size=12), st.sampled_from([1, 3, 32, 5_000]), st.sampled_from([1, 4]))
def test_cutting_changes_no_bit(counts, streams, length):
    losses, progress, windows, step = losses_of(sum(counts) * length), START, [], 0
    for count in counts:
        part = losses[step * length : (step + count) * length]
        progress, more = add_losses(progress, part, 0.5, step, length, streams * length)
        windows, step = windows + more, step + count
    whole, whole_windows = add_losses(START, losses, 0.5 * len(counts), 0, length, streams * length)
    assert (progress, windows) == (whole, whole_windows)


def test_sums_and_windows_are_what_they_say():
    losses = losses_of(4_500)
    progress, windows = add_losses(START, losses, 2.0, 0, 1, 1)
    assert progress.epoch_sum == pytest.approx(losses.sum(dtype=np.float64))
    assert progress.window_sum == pytest.approx(losses[4_000:].sum(dtype=np.float64))
    assert progress.epoch_seconds == 2.0
    assert [window.step for window in windows] == [1_000, 2_000, 3_000, 4_000]
    means = [losses[start : start + 1_000].mean(dtype=np.float64) for start in range(0, 4_000, 1_000)]
    assert [window.online_nats for window in windows] == pytest.approx(means)
    assert progress.lowest_window == pytest.approx(min(means))


@pytest.mark.parametrize(("characters_per_update", "updates"), [(1, 1_000), (32, 32), (999, 2), (1_000, 1), (4_000, 1)])
def test_a_window_is_at_least_a_thousand_characters(characters_per_update, updates):
    assert updates_per_window(characters_per_update) == updates


def windows(*nats):
    return [Window(1_000 * number, each) for number, each in enumerate(nats, 1)]


def test_three_times_the_best_has_diverged():
    lowest = 2.0
    assert first_diverged(windows(1.5, 4.4, 1.4), lowest, 20) is None
    assert first_diverged(windows(1.5, 4.6, 1.4), lowest, 20) == Window(2_000, 4.6)
    assert first_diverged(windows(4.6), 1.5, 20) == Window(1_000, 4.6)  # the best may have come before


def test_a_loss_that_a_guess_would_have_has_not_diverged():
    assert first_diverged(windows(0.01, guess_nats(20) - 0.01), 2.0, 20) is None
    assert first_diverged(windows(0.01, guess_nats(20) + 0.01), 2.0, 20) is not None


@pytest.mark.parametrize(
    ("step", "nats", "doubtful"), [(10, 6.1, True), (10, 5.9, False), (2_010, 6.1, True), (2_000, 0, False)]
)
def test_a_window_that_begins_like_one_that_has_diverged_is_doubtful(step, nats, doubtful):
    progress = START._replace(lowest_window=2.0, window_sum=step % 1_000 * nats)
    assert is_doubtful(progress, step, 1, 1, 20) == doubtful


@pytest.mark.parametrize("nats", [math.nan, math.inf])
def test_nan_has_diverged(nats):
    assert first_diverged(windows(1.0, nats), 2.0, 20) is not None

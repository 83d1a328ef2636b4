import pytest

from jaxrnn.training.progress import Progress
from jaxrnn.training.schedule import halve_on_validation, shorten_on_validation

START = Progress(lowest_window=4.0)


def rates(validation_nats):
    """The rate of each epoch, and where the run stands after the last one."""
    progress, best, rate, used = START, None, 0.1, []
    for nats in validation_nats:
        used.append(rate)
        progress = halve_on_validation(progress, best, nats)
        best = nats if best is None else min(best, nats)
        rate = rate / 2 if progress.halving else rate
    return used, progress


def test_the_rate_stays_while_the_validation_loss_falls():
    used, progress = rates([3.0, 2.5, 2.3, 2.29])
    assert used == [0.1] * 4
    assert not progress.finished


def test_the_rate_is_halved_at_every_epoch_from_the_first_failure_on():
    used, progress = rates([3.0, 2.5, 2.499, 2.4, 2.3])
    assert used == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.025])
    assert not progress.finished


def test_the_second_failure_is_the_end():
    assert not rates([3.0, 2.5, 2.6])[1].finished
    assert rates([3.0, 2.5, 2.6, 2.4, 2.399])[1].finished


def test_significant_is_three_in_a_thousand():
    assert not halve_on_validation(START, 2.0, 2.0 / 1.0031).halving
    assert halve_on_validation(START, 2.0, 2.0 / 1.0029).halving


def shortened(validation_nats, planned, updates_per_epoch=10):
    """Progress after each epoch of a cosine schedule."""
    progress, after = START, []
    for epoch, nats in enumerate(validation_nats, start=1):
        if progress.best_nats is None or nats <= progress.best_nats:
            progress = progress._replace(best_nats=nats, best_step=epoch * updates_per_epoch)
        progress = shorten_on_validation(progress, epoch * updates_per_epoch, updates_per_epoch, planned)
        planned = progress.num_updates or planned
        after.append(progress)
    return after


@pytest.mark.parametrize("planned", [1_000, None])
def test_three_epochs_without_a_lower_loss_shorten_a_cosine(planned):
    after = shortened([3.0, 2.5, 2.6, 2.55, 2.51, 2.4, 2.3, 2.2], planned)
    assert [progress.num_updates for progress in after] == [None] * 4 + [80] * 4
    assert [progress.halving for progress in after] == [False] * 4 + [True] * 4
    assert [progress.finished for progress in after] == [False] * 7 + [True]


def test_a_cosine_is_not_shortened_while_the_loss_falls_now_and_then():
    assert not any(progress.halving for progress in shortened([3.0, 2.5, 2.6, 2.6, 2.4, 2.6, 2.6, 2.3], 1_000))


def test_a_cosine_is_never_made_longer():
    after = shortened([3.0, 2.5, 2.6, 2.55, 2.51], planned=60)
    assert not any(progress.halving for progress in after)

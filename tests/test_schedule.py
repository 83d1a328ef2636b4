import pytest

from jaxrnn.training.progress import Progress
from jaxrnn.training.schedule import halve_on_validation

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

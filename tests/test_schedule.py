import pytest

from jaxrnn.training.schedule import Schedule, halve_on_validation


def rates(validation_nats):
    """The rate of each epoch, and whether training ended with the last one."""
    schedule, used = Schedule(0.1), []
    for nats in validation_nats:
        used.append(schedule.learning_rate)
        schedule = halve_on_validation(schedule, nats)
    return used, schedule


def test_the_rate_stays_while_the_validation_loss_falls():
    used, schedule = rates([3.0, 2.5, 2.3, 2.29])
    assert used == [0.1] * 4
    assert not schedule.finished


def test_the_rate_is_halved_at_every_epoch_from_the_first_failure_on():
    used, schedule = rates([3.0, 2.5, 2.499, 2.4, 2.3])
    assert used == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.025])
    assert not schedule.finished


def test_the_second_failure_is_the_end():
    assert not rates([3.0, 2.5, 2.6])[1].finished
    _, schedule = rates([3.0, 2.5, 2.6, 2.4, 2.399])
    assert schedule.finished
    assert schedule.best_nats == 2.399


def test_significant_is_three_in_a_thousand():
    assert not halve_on_validation(Schedule(0.1, 2.0), 2.0 / 1.0031).halving
    assert halve_on_validation(Schedule(0.1, 2.0), 2.0 / 1.0029).halving


def test_a_worse_epoch_does_not_move_the_best():
    assert halve_on_validation(Schedule(0.1, 2.0, halving=True), 2.5).best_nats == 2.0

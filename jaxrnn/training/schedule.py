"""What the learning rate does from one epoch to the next, and when training ends."""

from typing import NamedTuple

# Mikolov's program asks for a log-likelihood that is better by the factor 1.003.
SIGNIFICANT_IMPROVEMENT = 0.003


class Schedule(NamedTuple):
    """Plain numbers, so that it is saved with the run as JSON."""

    learning_rate: float
    best_nats: float | None = None  # of the validation part, so far
    halving: bool = False
    finished: bool = False


def halve_on_validation(schedule: Schedule, validation_nats: float) -> Schedule:
    """The schedule for the next epoch, from the validation loss of this one, in nats per character.

    The rate stays until an epoch improves the validation log-likelihood by less than 0.3 %; from then on it is halved at the
    start of every epoch; the second such epoch is the last one.

    Source: Mikolov et al. (2010), Interspeech, section 2; the factor is that of the authors' program.
    """
    best = validation_nats if schedule.best_nats is None else min(schedule.best_nats, validation_nats)
    improved = schedule.best_nats is None or validation_nats <= schedule.best_nats / (1 + SIGNIFICANT_IMPROVEMENT)
    halving = schedule.halving or not improved
    return Schedule(
        learning_rate=schedule.learning_rate / 2 if halving else schedule.learning_rate,
        best_nats=best,
        halving=halving,
        finished=schedule.halving and not improved,
    )

"""The schedule that halves the rate on validation, and early stopping."""

from jaxrnn.training.progress import Progress

# Mikolov's program requires the log-likelihood to improve by a factor of 1.003.
SIGNIFICANT_IMPROVEMENT = 0.003


def halve_on_validation(progress: Progress, best_nats: float | None, validation_nats: float) -> Progress:
    """Decide from an epoch's validation loss whether to halve the rate for the next epoch, and whether to stop.

    The rate stays until an epoch improves the validation log-likelihood by less than 0.3 %; from then on it is halved before
    every epoch. Training stops after the second such epoch.

    Args:
      best_nats: the lowest validation loss before this epoch, in nats per character; None before the first one.
    Returns:
      The progress with `halving` and `finished` set; the caller halves the rate while `halving` holds.
    Source: Mikolov et al. (2010), Interspeech, section 2; the factor is from the authors' program.
    """
    improved = best_nats is None or validation_nats <= best_nats / (1 + SIGNIFICANT_IMPROVEMENT)
    return progress._replace(
        halving=progress.halving or not improved,
        finished=progress.halving and not improved,
    )

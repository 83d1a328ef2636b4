"""When training by epochs halves its rate, and when it ends."""

from jaxrnn.training.progress import Progress

# Mikolov's program asks for a log-likelihood that is better by the factor 1.003.
SIGNIFICANT_IMPROVEMENT = 0.003


def halve_on_validation(progress: Progress, best_nats: float | None, validation_nats: float) -> Progress:
    """Decide from the validation loss of an epoch whether the next one begins with half the rate, and whether there is one.

    The rate stays until an epoch improves the validation log-likelihood by less than 0.3 %; from then on it is halved at the
    start of every epoch; the second such epoch is the last one.

    Args:
      best_nats: the lowest validation loss before this epoch, in nats per character; None before the first one.
    Returns:
      The progress with `halving` and `finished` set; whoever keeps the rate halves it while `halving` holds.
    Source: Mikolov et al. (2010), Interspeech, section 2; the factor is that of the authors' program.
    """
    improved = best_nats is None or validation_nats <= best_nats / (1 + SIGNIFICANT_IMPROVEMENT)
    return progress._replace(
        halving=progress.halving or not improved,
        finished=progress.halving and not improved,
    )

"""Early stopping by validation: a schedule that halves the rate, and a cosine that is shortened."""

from jaxrnn.training.progress import Progress

# Mikolov's program requires the log-likelihood to improve by a factor of 1.003.
SIGNIFICANT_IMPROVEMENT = 0.003
PATIENCE = 3  # epochs without a lower validation loss, before a cosine is shortened


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


def shorten_on_validation(progress: Progress, step: int, updates_per_epoch: int, planned: int | None) -> Progress:
    """Decide after an epoch whether a cosine schedule ends early, because the network has begun to overfit.

    After `PATIENCE` epochs without a lower validation loss, the run gets half as many more updates as it has made, over which
    the rate falls to zero: the falling rate finds better weights than the best ones so far.

    Args:
      step: the number of updates so far.
      planned: the number of updates of the whole run; None while it is not known.
    Returns:
      The progress, with `halving` and the new `num_updates` set if it ends early, and `finished` if that end is reached.
    """
    if progress.halving:
        return progress._replace(finished=progress.num_updates is not None and step >= progress.num_updates)
    if progress.best_step is None or step - progress.best_step < PATIENCE * updates_per_epoch:
        return progress
    epochs = -(-3 * step // (2 * updates_per_epoch))
    early = epochs * updates_per_epoch
    return progress._replace(halving=True, num_updates=early) if planned is None or early < planned else progress

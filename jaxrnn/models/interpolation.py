"""Mix models of a text after the fact, from the loss of each model alone: p(y) = sum of w_m p_m(y)."""

import numpy as np
from jaxtyping import Float

from jaxrnn.errors import InputError, describe_kind, is_number

# The best of 0, 0.0001, ... 0.1 for eight n-grams on Molière: 0.009 nats per character better than 0. Where one of two models
# is always the best, it costs at most 0.005.
SHARE = 0.01


def interpolate(losses: Float[np.ndarray, "models time"], weights: Float[np.ndarray, " models"]) -> Float[np.ndarray, " time"]:
    """Mix with fixed weights, for example 0.75 network + 0.25 n-gram.

    Args:
      losses: nats of each model at each character of the same text.
      weights: non-negative, with sum 1.
    Returns:
      Nats of the mixture at each character, f64.
    Raises:
      InputError: losses that are not finite, or of no model; weights of the wrong number, negative, or whose sum is not 1.
    Source: Mikolov et al. (2010), Interspeech, section 3.
    """
    _check(losses)
    if not isinstance(weights, np.ndarray):
        raise InputError(f"the weights of a mixture are {describe_kind(weights)}; they must be a NumPy array")
    if weights.shape != losses.shape[:1]:
        raise InputError(f"{weights.size} weights for {len(losses)} models; give one for each")
    if not (weights >= 0).all() or abs(weights.sum(dtype=np.float64) - 1) > 1e-6:
        raise InputError(f"the weights of a mixture are {weights.tolist()}; they must be 0 or more, with sum 1")
    return -np.logaddexp.reduce(_log(weights)[:, None] - losses)


def mix_online(losses: Float[np.ndarray, "models time"], share: float = SHARE) -> Float[np.ndarray, " time"]:
    """Mix with weights that learn how well each model predicts: each character is scored BEFORE they learn from it.

    The weights start equal. After each character ``w_m <- w_m p_m(y) / p_mix(y)`` (Bayes), then ``w <- (1 - share) w + share /
    models``, so that a model that has been bad so far can regain weight quickly.

    Args:
      losses: nats of each model at each character of the same text.
      share: 0 to 1. At 0 the total loss is at most that of the best model + ln(models). Above 0 it is at most that of the
        best sequence of models with k switches + ln(models) + k ln(models / share) - (time - 1 - k) ln(1 - share).
    Returns:
      Nats of the mixture at each character, f64.
    Raises:
      InputError: losses that are not finite, or of no model; a share outside 0 to 1.
    Source: Herbster & Warmuth (1998), Machine Learning 32(2) ("fixed share", there among the other models only).
    """
    _check(losses)
    if not is_number(share, 0) or share > 1:
        raise InputError(f"the share of a mixture is {share!r}; it must be 0 to 1")
    log_kept, log_shared = _log(np.array([1 - share, share / len(losses)]))
    log_w, mixed = np.full(len(losses), -np.log(len(losses))), np.empty(losses.shape[1])
    for t, loss in enumerate(losses.T):
        log_joint = log_w - loss
        mixed[t] = -np.logaddexp.reduce(log_joint)
        log_w = np.logaddexp(log_kept + log_joint + mixed[t], log_shared)
    return mixed


def _log(weights: Float[np.ndarray, "*weights"]) -> Float[np.ndarray, "*weights"]:
    """Compute the logarithm; minus infinity for 0, without a warning."""
    return np.log(weights, out=np.full(weights.shape, -np.inf), where=weights > 0, dtype=np.float64)


def _check(losses: Float[np.ndarray, "models time"]) -> None:
    if not isinstance(losses, np.ndarray):
        raise InputError(f"losses to mix are {describe_kind(losses)}; they must be a NumPy array, [models, time]")
    if losses.ndim != 2 or not len(losses):
        raise InputError(f"losses to mix must be [models, time], of one model or more; these are of shape {losses.shape}")
    if not np.isfinite(losses).all():
        raise InputError("losses to mix must be finite numbers; one of these is not")

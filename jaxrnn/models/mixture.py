"""Mix several models of a text.

While they read, over all characters and in the logarithmic domain (`start_mixture`, `mix`): log p(v) = sum of w_m log p_m(v) -
log Z, with weights that follow their gradient. Or after the fact, from the loss of each model alone (`interpolate`,
`mix_online`): p(y) = sum of w_m p_m(y).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrnn.errors import InputError

# The best of 0, 0.0001, ... 0.1 for eight n-grams on Molière: -0.009 nats per character compared with 0. If one of two models
# is always the best, it costs at most 0.005.
SHARE = 0.01

# Of the logarithmic mixture: the weights' learning rate, and how many times higher it is at first, falling over the first few
# hundred characters. The best of 0.0008, 0.0015 and 0.003, and of 0, 5, 10 and 20 times, for six models on Molière and on parts
# of it of 1,000 and 5,000 characters.
RATE, FIRST_RATES, CHARACTERS_TO_SETTLE = 0.0015, 5.0, 100
LOWEST = -15.0  # log probability: one model that is quite sure must not decide alone
LOG_SHARE = np.float32(np.log(1e-4))  # of the linear mixture behind it, which finds out if a model alone is better


class Mixture(NamedTuple):
    """Weights of several mixtures of the same M models, each of some of them, which learn as they read: arrays only."""

    weights: Float[Array, "mixtures models"]  # of the logarithmic mixture; 0 for models that do not take part
    by_character: Float[Array, "vocab mixtures models"]  # added to them after each character
    log_trust: Float[Array, "mixtures experts"]  # of the linear mixture: of the logarithmic one, then of each model
    num_read: Int[Array, ""]  # characters, i32


def start_mixture(groups: Bool[np.ndarray, "mixtures models"], vocab_size: int) -> Mixture:
    """Make the weights at the start: equal ones, and half of the trust for the logarithmic mixture.

    Args:
      groups: which models take part in which mixture.
    """
    equal = (groups / groups.sum(axis=1, keepdims=True)).astype(np.float32)
    trust = np.concatenate([np.full((len(groups), 1), 0.5, np.float32), 0.5 * equal], axis=1)
    by_character = jnp.zeros((vocab_size, *groups.shape), jnp.float32)
    return Mixture(jnp.asarray(equal), by_character, jnp.asarray(_log(trust).astype(np.float32)), jnp.int32(0))


def mix(
    state: Mixture, log_ps: Float[Array, "time models vocab"], previous: Int[Array, " time"]
) -> Float[Array, "time mixtures vocab"]:
    """Compute each mixture's log probabilities of all characters.

    Args:
      log_ps: those of each model. A model with a NaN knows nothing: all characters are alike to it.
      previous: the character before, which selects the weights.
    """
    of_models, logarithmic = _known(log_ps), _mix_logarithmically(state, log_ps, previous)
    linear = jax.nn.logsumexp(state.log_trust[None, :, 1:, None] + of_models[:, None], axis=2)
    return jnp.logaddexp(state.log_trust[None, :, :1] + logarithmic, linear)


def learn_mixture(
    state: Mixture, log_ps: Float[Array, "time models vocab"], previous: Int[Array, " time"], y: Int[Array, " time"]
) -> tuple[Mixture, Float[Array, "time mixtures"]]:
    """Score characters y, then learn from them: a gradient step of the weights, Bayes with a share for the trust.

    Returns:
      The state to mix with next, and nats of each mixture at each character, with the weights from before.
    Source: for the step, Mattern (2013), Data Compression Conference ("Linear and geometric mixtures"); for the share, see
      `mix_online`.
    """
    at_y = y[:, None, None]
    logarithmic, bounded = _mix_logarithmically(state, log_ps, previous), jnp.maximum(_known(log_ps), LOWEST)
    of_models = jnp.take_along_axis(_known(log_ps), at_y, axis=2)[:, None, :, 0]
    of_mixtures = jnp.take_along_axis(logarithmic, at_y, axis=2)
    experts = jnp.concatenate([of_mixtures, jnp.broadcast_to(of_models, (*of_mixtures.shape[:2], of_models.shape[2]))], axis=2)
    takes_part = state.log_trust[None, :, 1:] > -jnp.inf
    expected = jnp.einsum("tgv,tmv->tgm", jnp.exp(logarithmic), bounded)
    rate = RATE * (1 + FIRST_RATES / (1 + state.num_read.astype(jnp.float32) / CHARACTERS_TO_SETTLE))
    steps = rate * jnp.where(takes_part, jnp.take_along_axis(bounded, at_y, axis=2)[:, None, :, 0] - expected, 0)
    trust = jax.nn.log_softmax(state.log_trust + jnp.maximum(experts, LOWEST).sum(axis=0))
    shared = jnp.where(state.log_trust > -jnp.inf, LOG_SHARE, -jnp.inf)
    learned = Mixture(
        weights=state.weights + steps.sum(axis=0),
        by_character=state.by_character.at[previous].add(steps),
        log_trust=jax.nn.log_softmax(jnp.logaddexp(trust, shared)),
        num_read=state.num_read + y.shape[0],
    )
    return learned, -jax.nn.logsumexp(state.log_trust[None] + experts, axis=2)


def _mix_logarithmically(state: Mixture, log_ps: Array, previous: Array) -> Float[Array, "time mixtures vocab"]:
    weights = state.weights[None] + state.by_character[previous]
    return jax.nn.log_softmax(jnp.einsum("tgm,tmv->tgv", weights, jnp.maximum(_known(log_ps), LOWEST)))


def _known(log_ps: Float[Array, "time models vocab"]) -> Float[Array, "time models vocab"]:
    nothing = jnp.isnan(log_ps).any(axis=2, keepdims=True)
    return jnp.where(nothing, -np.log(log_ps.shape[2]).astype(np.float32), log_ps)


def interpolate(losses: Float[np.ndarray, "models time"], weights: Float[np.ndarray, " models"]) -> Float[np.ndarray, " time"]:
    """Mix with fixed weights, for example 0.75 network + 0.25 n-gram.

    Args:
      losses: nats of each model at each character of the same text.
      weights: non-negative, with sum 1.
    Returns:
      Nats of the mixture at each character, f64.
    Raises:
      InputError: losses not finite, or of no model; weights of the wrong number, negative, or with another sum than 1.
    Source: Mikolov et al. (2010), Interspeech, section 3.
    """
    _check(losses)
    if weights.shape != losses.shape[:1]:
        raise InputError(f"{weights.size} weights for {len(losses)} models; give one for each")
    if not (weights >= 0).all() or abs(weights.sum(dtype=np.float64) - 1) > 1e-6:
        raise InputError(f"the weights of a mixture are {weights.tolist()}; they must be 0 or more, with sum 1")
    return -np.logaddexp.reduce(_log(weights)[:, None] - losses)


def mix_online(losses: Float[np.ndarray, "models time"], share: float = SHARE) -> Float[np.ndarray, " time"]:
    """Mix with weights that learn how well each model predicts: each character is scored BEFORE they learn from it.

    They start equal. After each character w_m <- w_m p_m(y) / p_mix(y) (Bayes), then w <- (1 - share) w + share / models, so
    that a model that was bad so far can regain weight quickly.

    Args:
      losses: nats of each model at each character of the same text.
      share: 0 to 1. At 0 the total loss is at most that of the best model + ln(models). Above 0 it is at most that of the
        best sequence of models with k switches + ln(models) + k ln(models / share) - (time - 1 - k) ln(1 - share).
    Returns:
      Nats of the mixture at each character, f64.
    Raises:
      InputError: losses not finite, or of no model; a share outside 0 to 1.
    Source: Herbster & Warmuth (1998), Machine Learning 32(2) ("fixed share", there among the other models only).
    """
    _check(losses)
    if not 0 <= share <= 1:
        raise InputError(f"the share of a mixture is {share}; it must be 0 to 1")
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
    if losses.ndim != 2 or not len(losses):
        raise InputError(f"losses to be mixed are [models, time], of one model or more; these are of shape {losses.shape}")
    if not np.isfinite(losses).all():
        raise InputError("losses to be mixed must be finite numbers; one of these is not")

"""SGD whose rate stands in the state, so that a run can change it and a checkpoint holds it; clipping that counts."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int


class ClippingState(NamedTuple):
    """What clipping remembers."""

    num_clipped: Int[Array, ""]  # updates whose gradient was too long, i32


def sgd(learning_rate: float, clip_norm: float = 0.0) -> optax.GradientTransformation:
    """Stochastic gradient descent, its rate in the state (`with_learning_rate`).

    Args:
      clip_norm: longer gradients are shortened to this global norm, and counted; 0 = none is.
    """
    descent = optax.inject_hyperparams(optax.sgd)(learning_rate=learning_rate)
    return optax.chain(clip_by_global_norm(clip_norm), descent) if clip_norm else descent


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`, and a count of how often it did something.

    Source: Pascanu, Mikolov & Bengio (2013), ICML, section 3.2.
    """
    clip = optax.clip_by_global_norm(max_norm)

    def init(params: optax.Params) -> ClippingState:
        del params  # one count for all of them
        return ClippingState(jnp.int32(0))

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None) -> tuple[optax.Updates, ClippingState]:
        del params  # the norm is that of the gradient alone
        too_long = optax.tree.norm(updates) > max_norm
        clipped, _ = clip.update(updates, optax.EmptyState())
        return clipped, ClippingState(state.num_clipped + too_long.astype(jnp.int32))

    return optax.GradientTransformation(init, update)


def num_clipped(opt_state: optax.OptState) -> int | None:
    """Updates so far whose gradient was shortened; None without clipping."""
    count = optax.tree_utils.tree_get(opt_state, "num_clipped")
    return None if count is None else int(count)


def with_learning_rate(opt_state: optax.OptState, rate: float) -> optax.OptState:
    """The same state at another rate."""
    return optax.tree_utils.tree_set(opt_state, learning_rate=np.float32(rate))

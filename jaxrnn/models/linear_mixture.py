"""Mix predictions linearly, and learn by Bayes' rule which of them to trust.

The experts of a mixture are the mixture itself, the mixtures of some of its models, and these models.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

LOG_SHARE = np.float32(np.log(1e-4))  # the least that each expert keeps
LOWEST = -15.0  # log probabilities below this count as this when experts are judged


def start_trust(
    groups: Bool[np.ndarray, "mixtures models"],
    is_network: Bool[np.ndarray, " models"],
    share_of_networks: Float[Array, ""],
) -> Float[Array, "mixtures experts"]:
    """Divide the initial trust: each mixture gets a third; the mixtures of some of its models, and these models, get the rest.

    If the best expert starts with share s, finding it costs about -ln s nats in all, in addition to what `LOG_SHARE` costs.

    Args:
      groups: which models each mixture combines.
      share_of_networks: the share of the networks in what those smaller mixtures get, and in what the models get.
    Returns:
      Log trust; experts are the mixtures, then the models.
    """
    is_part = (groups[None] <= groups[:, None]).all(axis=2) & ~np.eye(len(groups), dtype=bool)
    has_networks = (groups & is_network).any(axis=1)
    of_parts = jnp.where(is_part, jnp.where(has_networks, share_of_networks, 1 - share_of_networks), 0)
    networks, counts = (_spread(jnp.asarray(groups & side, jnp.float32)) for side in (is_network, ~is_network))
    of_models = share_of_networks * networks + (1 - share_of_networks) * counts
    others = _spread(jnp.concatenate([_spread(of_parts), _spread(of_models)], axis=1))
    itself = jnp.eye(len(groups), sum(groups.shape), dtype=jnp.float32)
    return jnp.log((itself + 2 * others) / 3)


def mix_linearly(
    log_trust: Float[Array, "mixtures experts"], log_ps: Float[Array, "experts ..."]
) -> Float[Array, "mixtures ..."]:
    """Mix log probabilities of any characters."""
    return jax.nn.logsumexp(log_trust.reshape(*log_trust.shape, *[1] * (log_ps.ndim - 1)) + log_ps[None], axis=1)


def learn_trust(
    log_trust: Float[Array, "mixtures experts"], log_ps: Float[Array, " experts"]
) -> Float[Array, "mixtures experts"]:
    """Learn from the log probabilities that the experts gave to a character; each keeps a small share."""
    trust = jax.nn.log_softmax(log_trust + jnp.maximum(log_ps[None], LOWEST))
    shares = jnp.where(log_trust > -jnp.inf, LOG_SHARE, -jnp.inf)
    return jax.nn.log_softmax(jnp.logaddexp(trust, shares))


def _spread(shares: Float[Array, "mixtures experts"]) -> Float[Array, "mixtures experts"]:
    """Scale shares so that they sum to one, where there are any."""
    total = shares.sum(axis=1, keepdims=True)
    return shares / jnp.where(total > 0, total, 1)

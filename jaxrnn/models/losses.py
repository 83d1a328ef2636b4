"""Losses: what an update lowers."""

import optax
from jaxtyping import Array, Float

from jaxrnn.data.array_types import Ids, Logits


def nats(logits: Logits, y: Ids) -> Float[Array, ""]:
    """Compute the cross entropy of the next characters, in nats per character, averaged over streams.

    Args:
      logits: ``f32[*streams, vocab]``.
      y: ids, ``i32[*streams]``.
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

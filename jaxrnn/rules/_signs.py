"""Random signs for the unbiased rules."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrnn.data.array_types import RandomKey

Signs: TypeAlias = Callable[[RandomKey, Int[Array, ""], tuple[int, ...]], Float[Array, "..."]]  # (key, num_read, shape)


def rademacher(key: RandomKey, num_read: Int[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw signs +1 and -1 with equal probability."""
    return jax.random.rademacher(jax.random.fold_in(key, num_read), shape, jnp.float32)

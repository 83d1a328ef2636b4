"""What `make_optimizer` adds to Optax's optimizers: clipping that counts how often it clips, and a cosine schedule."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

WARM_UP = 100  # updates of a cosine schedule, at most


class ClippingState(NamedTuple):
    """State of clipping."""

    num_clipped: Int[Array, ""]  # clipped updates, i32


class CosineState(NamedTuple):
    """State of a cosine schedule."""

    num_done: Int[Array, ""]  # updates since it began, i32
    num_updates: Int[Array, ""]  # until it ends, i32; like `num_done` from the beginning of the run, unless it was restarted


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Clip gradients like `optax.clip_by_global_norm`, with a norm of at least float32, and count the clipped updates.

    Source: Pascanu, Mikolov & Bengio (2013), ICML, section 3.2.
    """
    clip = optax.clip_by_global_norm(max_norm)

    def init(params: optax.Params) -> ClippingState:
        del params  # one count for all
        return ClippingState(jnp.int32(0))

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None) -> tuple[optax.Updates, ClippingState]:
        del params  # only the gradient's norm counts
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), updates)
        too_long = optax.tree.norm(wide) > max_norm
        clipped, _ = clip.update(wide, optax.EmptyState())
        clipped = jax.tree.map(lambda new, old: new.astype(old.dtype), clipped, updates)
        return clipped, ClippingState(state.num_clipped + too_long.astype(jnp.int32))

    return optax.GradientTransformation(init, update)


def cosine_schedule(num_updates: int) -> optax.GradientTransformation:
    """Multiply updates by `cosine_factor`; the length of the run is in the state (see `with_schedule_length`)."""

    def init(params: optax.Params) -> CosineState:
        del params
        return CosineState(jnp.int32(0), jnp.int32(num_updates))

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None) -> tuple[optax.Updates, CosineState]:
        del params
        factor = cosine_factor(state.num_done, state.num_updates)
        scaled = jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), updates)
        return scaled, state._replace(num_done=state.num_done + 1)

    return optax.GradientTransformation(init, update)


def cosine_factor(num_done: Int[Array, ""], num_updates: Int[Array, ""]) -> Float[Array, ""]:
    """Compute the factor of the learning rate: half a cosine from 1 to 0, with linear warm-up.

    The warm-up takes `WARM_UP` updates, or a tenth of a shorter run.

    Source: Loshchilov & Hutter (2017), ICLR, eq. 5, without restarts.
    """
    done, whole = num_done.astype(jnp.float32), num_updates.astype(jnp.float32)
    warm = jnp.minimum((done + 1) / jnp.clip(whole / 10, 1, WARM_UP), 1)
    return warm * optax.cosine_decay_schedule(1.0, 1)(done / whole)


def allow_promotion(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """Allow type promotion inside an optimizer even where JAX forbids it: Optax mixes integer counts and floats."""

    accepting = optax.with_extra_args_support(transformation)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, **extra: Any
    ) -> tuple[optax.Updates, Any]:
        with jax.numpy_dtype_promotion("standard"):
            return accepting.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(transformation.init, update)

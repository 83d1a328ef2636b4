"""Unbiased online recurrent optimization (UORO): unbiased gradients in memory proportional to the weights."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrnn.data.array_types import Carry, InputBlock, Inputs, Memory, Params, RandomKey, Targets
from jaxrnn.errors import check_function
from jaxrnn.models.documents import restart_carry, split_marks
from jaxrnn.models.losses import Loss, nats
from jaxrnn.models.model import Model, streams_of
from jaxrnn.rules import _influence
from jaxrnn.rules._carry_parts import carry_streams_shape, flatten_parts, real_parts, wider_type
from jaxrnn.rules._influence import Theta
from jaxrnn.rules._signs import Signs, rademacher
from jaxrnn.rules.base import Gradient, Rule

EPSILON = 1e-12  # added to norms: both factors start at zero


class Factors(NamedTuple):
    """Two factors whose outer product approximates J; key and count determine the random signs."""

    key: RandomKey
    num_read: Int[Array, ""]  # i32
    of_carry: Float[Array, "*streams units"]
    of_theta: Theta  # [*streams, *shape of the weights]


def uoro(model: Model, signs: Signs = rademacher, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Unbiased estimate of the gradient of `rtrl`, for any cell and any number of layers.

    With random signs nu, ``c <- r0 D c + r1 nu`` and ``v <- v / r0 + nu^T I / r1``: J is the mean of ``c v^T``, and
    ``grads = g + <delta, c> v``. The factors ``r0 = sqrt(|v| / |D c|)`` and ``r1 = sqrt(|nu^T I| / |nu|)`` balance the norms,
    which lowers the variance. It stays high: learning rates must be far lower than with other rules.

    Args:
      signs: (key, num_read, shape) -> +1 and -1; a test enumerates them.
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is 4 B (U + P) bytes, a key and a count, for B streams, U numbers in the carry and P
      weights that reach it; time a small multiple of that of `one_step`.
    Raises:
      InputError: from its `init`, if the memory would take more than `max_bytes`.
    Source: Tallec & Ollivier (2018), ICLR, arXiv:1702.05043, algorithm 1.
    """
    check_function("signs", signs, "key", "num_read", "shape", returns="+1 and -1")
    names = _influence.recurrent_paths(model)
    push = functools.partial(_push, model, names)

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        streams, theta = carry_streams_shape(model, carry), _influence.select_weights(params, names)
        of_carry = jax.eval_shape(lambda carry: flatten_parts(real_parts(carry), streams), carry)
        of_theta = {
            name: jax.ShapeDtypeStruct((*streams, *leaf.shape), wider_type(of_carry, leaf)) for name, leaf in theta.items()
        }
        return Factors(key, jnp.int32(0), *_influence.zero_memory((of_carry, of_theta), max_bytes, "uoro"))

    def gradient(params: Params, memory: Factors, carry: Carry, x: InputBlock, y: Targets, loss: Loss = nats) -> Gradient:
        key, num_read, c, v = memory
        c, v, carry = jax.lax.stop_gradient((c, v, carry))
        here, streams = _influence.local_gradient(model, params, carry, x, y, loss), streams_of(model, x[0])
        if not names:  # no weight reaches the carry, if there is one
            return Gradient(here.grads, here.carry, memory, here.losses, here.asked)
        c, v = restart_carry((c, v), split_marks(model, x[0])[1])  # D is 0 there, but the norms would keep a trace of v
        along = (flatten_parts(here.delta, streams) * c).sum(-1)
        correction = {name: jnp.tensordot(along.astype(v[name].dtype), v[name], along.ndim) for name in names}
        nu = signs(key, num_read, c.shape).astype(c.dtype)
        c, v = _influence.over_streams(push, streams)(params, (c, v), nu, carry, x[0])
        grads = _influence.add_correction(here.grads, correction)
        return Gradient(grads, here.carry, Factors(key, num_read + 1, c, v), here.losses, here.asked)

    return Rule(1, init, gradient, model)


def _push(
    model: Model, names: tuple[str, ...], params: Params, factors: tuple[Array, Theta], nu: Array, carry: Carry, x: Inputs
) -> tuple[Array, Theta]:
    """Advance both factors one step, for one stream."""
    c, v = factors
    theta, before = _influence.select_weights(params, names), flatten_parts(real_parts(carry))
    step = _influence.flat_step(model, params, carry, x)
    _, Dc = jax.jvp(lambda before: step(theta, before), (before,), (c,))
    _, vjp = jax.vjp(lambda theta: step(theta, before), theta)
    (nuI,) = vjp(nu)
    r0 = jnp.sqrt((_norm(v) + EPSILON) / (_norm(Dc) + EPSILON))
    r1 = jnp.sqrt((_norm(nuI) + EPSILON) / (_norm(nu) + EPSILON))
    return r0 * Dc + r1 * nu, jax.tree.map(
        lambda v, new: v / r0.astype(v.dtype) + new.astype(v.dtype) / r1.astype(v.dtype), v, nuI
    )


def _norm(tree: Array | Theta) -> Array:
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))

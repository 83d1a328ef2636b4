"""Truncated backpropagation through time in a sliding window, with an update after each character."""

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jaxrnn.data.array_types import Carry, InputBlock, Inputs, Memory, Params, RandomKey, Targets
from jaxrnn.errors import InputError, is_whole
from jaxrnn.models.base import barrier
from jaxrnn.models.losses import Loss, nats
from jaxrnn.models.model import Model, input_shape
from jaxrnn.rules import _influence
from jaxrnn.rules._carry_parts import Parts, carry_streams_shape, real_parts
from jaxrnn.rules._influence import Theta
from jaxrnn.rules.base import Gradient, Rule


class Ring(NamedTuple):
    """The last k - 1 characters as a ring buffer: character number n is at n modulo k - 1."""

    num_read: Int[Array, ""]  # i32
    carries: Carry  # before each character: [k - 1, *streams, ...]
    inputs: Array  # the characters, or vectors


def tbptt_sliding(model: Model, length: int, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Gradient of the loss at each character through the last k characters; exact as long as no more were read.

    ``dl_t/dtheta`` is summed over the uses of theta at t, t - 1, ..., t - k + 1, in all layers. Each step is differentiated at
    its stored carry and at the current weights. Length 1 is `one_step`.

    Args:
      length: k, the characters of the window.
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is k - 1 carries and inputs, and a count: 4 B (k - 1) (U + 1) + 4 bytes for B streams of
      characters and U numbers in the carry (for vectors, their size instead of the 1; none for k = 1). An update also needs
      room for the intermediate results of k steps. Time about k times that of `one_step`.
    Raises:
      InputError: `length` is under 1; or, from its `init`, the memory would take more than `max_bytes`.
    Source: Williams & Peng (1990), Neural Computation 2(4), BPTT(h).
    """
    if not is_whole(length, 1):
        raise InputError(f"length is {length!r}; tbptt_sliding needs a window of 1 character or more, a whole number")
    length = operator.index(length)
    names = _influence.recurrent_paths(model)
    short = length == 1 or not names  # nothing to go back through

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        del params, key
        return () if short else _empty_ring(model, carry, length - 1, max_bytes)

    def gradient(params: Params, memory: Any, carry: Carry, x: InputBlock, y: Targets, loss: Loss = nats) -> Gradient:
        carry = jax.lax.stop_gradient(carry)
        here = _influence.local_gradient(model, params, carry, x, y, loss)
        if short:
            return Gradient(here.grads, here.carry, memory, here.losses, here.asked)
        memory = _fill_if_empty(memory, carry, x[0])
        read = memory._replace(inputs=memory.inputs.astype(jnp.asarray(x).dtype))  # with x64, vectors may be narrower
        correction = _backward(model, names, params, read, here.delta)
        # The ring is overwritten in place: XLA of jax 0.12, with the options of a driver, would do so before it is read.
        correction, memory = barrier((correction, memory))
        grads = _influence.add_correction(here.grads, correction)
        return Gradient(grads, here.carry, _remember(memory, carry, x[0]), here.losses, here.asked)

    return Rule(1, init, gradient, model)


def _empty_ring(model: Model, carry: Carry, size: int, max_bytes: int) -> Ring:
    carries = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype), carry)
    one = input_shape(model)
    inputs = jax.ShapeDtypeStruct((size, *carry_streams_shape(model, carry), *one.shape), one.dtype)
    advice = "use fewer units or streams, or a shorter window"
    return Ring(jnp.int32(0), *_influence.zero_memory((carries, inputs), max_bytes, "tbptt_sliding", advice))


def _fill_if_empty(ring: Ring, carry: Carry, x: Inputs) -> Ring:
    """Fill an empty ring with the first character: unread places are differentiated, too, and zeros could give NaN."""

    def fill(room: PyTree, first: PyTree) -> Any:
        return jax.tree.map(lambda leaf, new: jnp.where(ring.num_read == 0, new.astype(leaf.dtype)[None], leaf), room, first)

    return Ring(ring.num_read, fill(ring.carries, carry), fill(ring.inputs, x))


def _backward(model: Model, names: tuple[str, ...], params: Params, ring: Ring, delta: Parts) -> Theta:
    """Compute J^T delta: first the error of the carry after each character, from the newest back, then the gradient.

    The gradient is one vjp over all steps; its wide products are up to 1.7 times as fast as a loop that adds them up.
    """
    theta, size = _influence.select_weights(params, names), len(ring.inputs)
    most = jnp.minimum(ring.num_read, size)

    def unfinished(loop: tuple) -> Array:
        return loop[0] < most

    def back_one(loop: tuple) -> tuple:
        back, delta, deltas = loop
        at = (ring.num_read - 1 - back) % size
        carry, x = jax.tree.map(lambda leaf: leaf[at], (ring.carries, ring.inputs))
        step = _influence.step_parts(model, params, carry, x)
        _, vjp = jax.vjp(lambda before: step(theta, before), real_parts(carry))
        return back + 1, vjp(delta)[0], _put(deltas, delta, at)

    room = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), delta)
    deltas = jax.lax.while_loop(unfinished, back_one, (jnp.int32(0), delta, room))[2]

    def all_steps(theta: Theta) -> Parts:
        def step(carry: Carry, x: Inputs) -> Parts:
            return _influence.step_parts(model, params, carry, x)(theta, real_parts(carry))

        return jax.vmap(step)(ring.carries, ring.inputs)

    return jax.vjp(all_steps, theta)[1](deltas)[0]


def _remember(ring: Ring, carry: Carry, x: Inputs) -> Ring:
    """Overwrite the oldest entry with a character and the carry before it."""
    at = ring.num_read % len(ring.inputs)
    return Ring(ring.num_read + 1, _put(ring.carries, carry, at), _put(ring.inputs, x, at))


def _put(kept: PyTree, new: PyTree, at: Array) -> Any:
    return jax.tree.map(lambda leaf, new: leaf.at[at].set(new.astype(leaf.dtype)), kept, new)

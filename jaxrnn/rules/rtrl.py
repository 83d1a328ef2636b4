"""Exact gradients while reading: real-time recurrent learning."""

import functools

import jax

from jaxrnn import influence
from jaxrnn.influence import Theta
from jaxrnn.model import Model
from jaxrnn.rules.base import Gradient, Rule
from jaxrnn.types import Block, Carry, Memory, Params, RandomKey


def rtrl(model: Model, max_bytes: int = influence.MOST_BYTES) -> Rule:
    """Exact gradient by real-time recurrent learning, for any cell and any number of layers.

    J <- dcarry'/dtheta + (dcarry'/dcarry) J; grads = g + J^T delta. The gradients of a text, summed, are those of full
    backpropagation through time at fixed weights; while they change, J is that of weights a little older.

    Args:
      max_bytes: that the memory may take.
    Returns:
      A Rule of length 1. Memory: J, 4 B U P bytes for B streams, U numbers in the carry of all layers and P weights that reach
      it; time O(U^2 P) for each character, U^4 for an Elman network.
    Raises:
      InputError: by its `init`, if J would take more than `max_bytes`.
    Source: Williams & Zipser (1989), Neural Computation 1(2).
    """
    names = influence.paths(model)
    push = functools.partial(influence.pushed, model)

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        del key
        return influence.zeros(influence.all_of(params, carry, names), max_bytes, "rtrl")

    def gradient(params: Params, memory: Theta, carry: Carry, x: Block, y: Block) -> Gradient:
        memory, carry = jax.lax.stop_gradient((memory, carry))
        here = influence.local(model, params, carry, x, y)
        grads = influence.corrected(here.grads, influence.pulled(memory, here.delta))
        after = influence.each_stream(push, carry)(params, memory, carry, x[0])
        return Gradient(grads, here.carry, after, here.losses)

    return Rule(1, init, gradient)

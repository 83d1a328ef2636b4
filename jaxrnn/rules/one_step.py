"""Truncated backpropagation through time with k = 1: the gradient at one character, the state before it held constant."""

import jax

from jaxrnn.data.array_types import Block, Carry, Memory, Params, RandomKey
from jaxrnn.models.losses import nats
from jaxrnn.models.model import Model
from jaxrnn.rules.base import Gradient, Rule


def one_step(model: Model) -> Rule:
    """Gradient of the loss at one character, with `stop_gradient` on the carry.

    ``grads = d nats(logits_t, y_t) / d params``, with ``h_{t-1}`` a constant.

    Returns:
      A Rule of length 1 without memory; time O(params).
    Source: Elman (1990); Mikolov et al. (2010), Interspeech, section 2 (backpropagation through time, truncated at tau = 1).
    """

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        del params, carry, key
        return ()

    def gradient(params: Params, memory: Memory, carry: Carry, x: Block, y: Block) -> Gradient:
        def loss(params: Params):
            new_carry, logits = model.step(params, jax.lax.stop_gradient(carry), x[0])
            return nats(logits, y[0]), new_carry

        (value, new_carry), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return Gradient(grads, new_carry, memory, value[None])

    return Rule(1, init, gradient)

"""Truncated backpropagation through time with k = 1: the gradient at one character, the state before it held constant."""

import jax

from jaxrnn.data.array_types import Carry, InputBlock, Memory, Params, RandomKey, Targets
from jaxrnn.models.losses import Loss, nats, score_step
from jaxrnn.models.model import Model, check_model, streams_of
from jaxrnn.rules import _influence
from jaxrnn.rules.base import Gradient, Rule


def one_step(model: Model) -> Rule:
    """Gradient of the loss at one character, with `stop_gradient` on the carry.

    ``grads = d nats(logits_t, y_t) / d params``, with ``h_{t-1}`` a constant.

    Returns:
      A Rule of length 1 without memory; time O(params).
    Source: Elman (1990); Mikolov et al. (2010), Interspeech, section 2 (backpropagation through time, truncated at tau = 1).
    """

    check_model(model)

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        del params, carry, key
        return ()

    def gradient(params: Params, memory: Memory, carry: Carry, x: InputBlock, y: Targets, loss: Loss = nats) -> Gradient:
        def score(params: Params):
            after, outputs = model.step(params, jax.lax.stop_gradient(carry), x[0])
            found = score_step(loss, outputs, _influence.first(x, y), streams_of(model, x[0]))
            return found.mean, (after, found)

        grads, (after, found) = jax.grad(score, has_aux=True)(params)
        return Gradient(grads, after, memory, found.losses, found.asked)

    return Rule(1, init, gradient, model)

"""Models of vectors, real targets for them, and the derivative of a Python loop: what tests of losses share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed import drawn
from flax import linen as nn
from foreign_cells import MinGRU

from jaxrnn import network, with_cell
from jaxrnn.rules import bptt, rtrl, snap_n, tbptt_sliding

INPUTS, OUTPUTS, HIDDEN, LENGTH = 5, 2, 3, 6
STREAMS = pytest.mark.parametrize("streams", [pytest.param((), marks=pytest.mark.slow), (3,)], ids=["one stream", "3 streams"])
MODELS = {
    "our GRU": network("gru", OUTPUTS, HIDDEN, inputs=INPUTS),
    "our layers": network("lstm", OUTPUTS, HIDDEN, num_layers=2, inputs=INPUTS),
    "Flax's GRU": with_cell(nn.GRUCell(HIDDEN), OUTPUTS, HIDDEN, inputs=INPUTS),
    "minGRU": with_cell(MinGRU(HIDDEN), OUTPUTS, HIDDEN, inputs=INPUTS),
    "characters": network("gru", OUTPUTS, HIDDEN),
}
EXACT = {
    "bptt": functools.partial(bptt, length=LENGTH),
    "tbptt_sliding": functools.partial(tbptt_sliding, length=LENGTH),
    "rtrl": rtrl,
    "snap_n": functools.partial(snap_n, length=LENGTH),
}


def squared(outputs, y):
    """The squared error of all outputs, for each stream."""
    return optax.squared_error(outputs, y).sum(-1)


def vectors(streams=(), number=INPUTS):
    return jnp.asarray(np.random.default_rng(2).normal(size=(LENGTH, *streams, number)), float)


def begun(model, streams=()):
    """Weights, a carry, inputs and real targets."""
    x = vectors(streams) if model.inputs else jnp.asarray(np.random.default_rng(2).integers(0, OUTPUTS, (LENGTH, *streams)))
    return *drawn(model, streams, "float"), x.astype(jnp.int32) if not model.inputs else x, vectors(streams, OUTPUTS)


def read(rule, params, carry, x, y, loss):
    """Gradients summed over the text, and the losses, by a Python loop over updates."""
    total, memory, losses = jax.tree.map(jnp.zeros_like, params), rule.init(params, carry, jax.random.key(0)), []
    gradient = jax.jit(functools.partial(rule.gradient, loss=loss))
    for t in range(0, len(x), rule.length):
        found = gradient(params, memory, carry, *jax.tree.map(lambda leaf, t=t: leaf[t : t + rule.length], (x, y)))
        memory, carry, total = found.memory, found.carry, jax.tree.map(jnp.add, total, found.grads)
        losses.append(found.losses)
    return total, np.concatenate(losses)


def of_loop(model, params, carry, x, weigh):
    """The derivative of a number made of all outputs, which a Python loop computes."""

    def number(params):
        state, outputs = carry, []
        for x_t in x:
            state, output = model.step(params, state, x_t)
            outputs.append(output)
        return weigh(outputs)

    return jax.jit(jax.grad(number))(params)

"""Gradients of a rule over a text at fixed weights, to compare rules by."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.models.network import network
from jaxrnn.rules import RULES, bptt


def often(names, seldom):
    """Parameters of a test; what holds for those that are named `seldom`, whose code the others run, is tested with -m slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in seldom else name for name in names]


DENSE = {  # networks of dense cells, of 4 units and 5 characters
    "elman": network("elman", 5, 4),
    "leaky": network("leaky", 5, 4),
    "gru": network("gru", 5, 4),
    "lstm": network("lstm", 5, 4),
    "layers": network("lstm", 5, 4, num_layers=2, embedding_size=3),
    "tied": network("gru", 5, 4, num_layers=2, embedding_size=4, tied_readout=True),
}
EACH_RULE = often(RULES, seldom=set(RULES) - {"one_step", "bptt", "tbptt_sliding", "snap1", "uoro"})


def drawn(model, streams=(), dtype="float32"):
    """Weights and a carry. A model's own way of drawing them takes longer to compile than all that is tested here."""
    rng, shapes = np.random.default_rng(0), _shapes(model.init, model.initial_carry, streams)

    def draw(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            return jax.lax.complex(*(jnp.asarray(rng.normal(0, 0.5, leaf.shape), dtype) for _ in range(2)))
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(0), leaf.shape) if leaf.shape else jax.random.key(0)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(rng.integers(0, 2, leaf.shape), leaf.dtype)
        return jnp.asarray(rng.normal(0, 0.5, leaf.shape), dtype)

    return jax.tree.map(draw, shapes)


@functools.cache
def _shapes(init, initial_carry, streams):
    with jax.enable_x64(False):
        return jax.eval_shape(lambda key: (init(key), initial_carry(key, streams)), jax.random.key(0))


def text(vocab_size, length, streams=()):
    """Characters, and the next ones."""
    ids = np.random.default_rng(1).integers(0, vocab_size, (length + 1, *streams), np.int32)
    return ids[:-1], ids[1:]


def case(model, length=7, streams=()):
    """Weights, a carry and a text, in double precision where that is on."""
    (params, carry), (x, y) = drawn(model, streams, "float"), text(model.vocab_size, length, streams)
    return params, carry, x, y


def summed(rule, params, carry, x, y):
    """The gradients of all updates."""
    return jax.jit(functools.partial(reading, rule))(params, carry, x, y)


def reading(rule, params, carry, x, y):
    """The same, to be transformed: one program for the whole text, which is compiled faster than a step and what adds up."""
    x, y = (jnp.asarray(ids).reshape(-1, rule.length, *ids.shape[1:]) for ids in (x, y))

    def one(loop, block):
        total, carry, memory = loop
        grads, carry, memory, *_ = rule.gradient(params, memory, carry, *block)
        return (jax.tree.map(jnp.add, total, grads), carry, memory), None

    begun = jax.tree.map(jnp.zeros_like, params), carry, rule.init(params, carry, jax.random.key(0))
    (total, _, _), _ = jax.lax.scan(one, begun, (x, y))
    return total


def full(model, params, carry, x, y):
    """The gradient of the summed loss by backpropagation through the whole text."""
    return jax.tree.map(lambda leaf: len(x) * np.asarray(leaf), summed(bptt(model, len(x)), params, carry, x, y))


def apart(a, b):
    """How far two gradients are apart, relative to the second."""
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(each)]) for each in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)

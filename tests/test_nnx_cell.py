"""A cell of flax.nnx is taken apart, and steps as it does by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrnn import bptt, online, with_nnx_cell
from jaxrnn.training.optimizers import make_optimizer, optimizer_kind

VOCAB, HIDDEN = 7, 4


class Counting(nnx.Module):
    """Holds a variable that is no parameter."""

    def __init__(self, in_features, hidden_features, *, rngs):
        self.read = nnx.Linear(in_features, hidden_features, rngs=rngs)
        self.scale = nnx.Variable(jnp.full((hidden_features,), 0.5))

    def __call__(self, h, x):
        h = jnp.broadcast_to(self.scale[...], h.shape) * h + self.read(x)
        return h, h

    def initialize_carry(self, input_shape, rngs):
        del rngs
        return jnp.zeros((*input_shape[:-1], self.scale.shape[0]))


@pytest.mark.parametrize("cell", [nnx.GRUCell, pytest.param(nnx.LSTMCell, marks=pytest.mark.slow), Counting])
@pytest.mark.parametrize("streams", [(), (3,)])
def test_a_step_is_that_of_the_module(cell, streams):
    model = with_nnx_cell(cell, VOCAB, HIDDEN)
    params = jax.jit(model.init)(jax.random.key(0))
    carry = model.initial_carry(jax.random.key(1), streams)
    ids = jnp.full(streams, 2, jnp.int32)
    after, logits = jax.jit(model.step)(params, carry, ids)
    module = cell(VOCAB, HIDDEN, rngs=nnx.Rngs(0))
    graph, weights, rest = nnx.split(module, nnx.Param, ...)
    named = {
        jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(weights)
    }
    assert {name: leaf.shape for name, leaf in named.items()} == {name: leaf.shape for name, leaf in params["cell"].items()}
    theirs = jax.tree.unflatten(jax.tree.structure(weights), [params["cell"][name] for name in named])
    expected, h = nnx.merge(graph, theirs, rest)(carry, jax.nn.one_hot(ids, VOCAB))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after, expected)
    readout = params["readout"]
    np.testing.assert_allclose(logits, h @ readout["kernel"].T + np.broadcast_to(readout["bias"], logits.shape), rtol=1e-4)


def test_other_weights_are_drawn_with_another_key():
    model = with_nnx_cell(nnx.GRUCell, VOCAB, HIDDEN)
    first, second = (jax.jit(model.init)(jax.random.key(seed))["cell"]["dense_i.kernel"] for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_a_schedule_free_optimizer_is_tested_with_its_average(model, ids):
    """The average of the steps that plain SGD with that rate takes at the trained weights, by Optax's own function."""
    kind = optimizer_kind(optax.contrib.schedule_free_sgd)
    assert kind is not None
    learner = online(model, bptt(model, 4), make_optimizer(kind, 0.5, clip_norm=1.0))
    state = jax.jit(learner.init)(jax.random.key(0))
    update = jax.jit(learner.update)
    for start in range(0, 40, 4):
        state, _ = update(state, jnp.asarray(ids[start : start + 4]), jnp.asarray(ids[start + 1 : start + 5]))
    inner = state.opt_state[1].inner_state
    expected = optax.contrib.schedule_free_eval_params(inner, state.params)
    jax.tree.map(np.testing.assert_array_equal, learner.test_params(state), expected)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (expected, state.params)), strict=True))
    plain = online(model, bptt(model, 4), make_optimizer("adam", 0.1))
    begun = jax.jit(plain.init)(jax.random.key(0))
    assert plain.test_params(begun) is begun.params

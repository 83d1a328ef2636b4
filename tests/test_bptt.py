"""Truncated BPTT in blocks equals the gradient of a loop unrolled in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HIDDEN, VOCAB
from fixed import drawn, often
from flax import linen as nn
from test_loop import primitives

from jaxrnn import fast_driver, nats, online
from jaxrnn.errors import InputError
from jaxrnn.models.network import network, with_cell
from jaxrnn.rules import bptt, one_step
from jaxrnn.rules.bptt import Masks
from jaxrnn.training.drivers import update_many
from jaxrnn.training.optimizers import make_optimizer

LENGTH = 3
MODELS = {
    "elman": network("elman", VOCAB, HIDDEN),
    "gru": network("gru", VOCAB, HIDDEN, initialisation="orthogonal"),
    "lstm": network("lstm", VOCAB, HIDDEN),
    "leaky": network("leaky", VOCAB, HIDDEN),
    "lru": network("lru", VOCAB, 4),
    "layers of IndRNN": network("indrnn", VOCAB, HIDDEN, num_layers=2),
    "without biases": network("gru", VOCAB, HIDDEN, initialisation="mikolov"),
    "layers": network("lstm", VOCAB, HIDDEN, num_layers=3, embedding_size=2),
    "tied": network("gru", VOCAB, HIDDEN, num_layers=2, embedding_size=HIDDEN, tied_readout=True),
    "many characters": network("elman", 30, HIDDEN, activation="tanh"),
    "in one piece": network("lstm", VOCAB, HIDDEN)._replace(layers=()),
    "Flax": with_cell(nn.SimpleCell(HIDDEN), VOCAB, HIDDEN),
}


def begun(learner, model):
    """The state that it learns from, with such weights."""
    return learner.begin(drawn(model)[0], jax.random.key(0))


def block(streams=(), length=LENGTH):
    """Characters, and the next ones."""
    ids = jax.random.randint(jax.random.key(2), (length + 1, *streams), 0, VOCAB, jnp.int32)
    return ids[:-1], ids[1:]


def unrolled(model, carry, x, y):
    """Mean loss of a block as a function of the weights, one step after the other."""

    def loss(params):
        state, losses = carry, []
        for x_t, y_t in zip(x, y, strict=True):
            state, logits = model.step(params, state, x_t)
            losses.append(nats(logits, y_t).mean())
        return sum(losses) / len(losses), (state, jnp.stack(losses))

    return loss


@pytest.mark.parametrize("name", often(MODELS, seldom=("leaky", "layers of IndRNN")))
def test_it_is_the_gradient_of_the_unrolled_loop(name):
    model, streams = MODELS[name], (3,) if name in ("layers", "in one piece") else ()
    with jax.enable_x64(True):
        (params, carry), (x, y) = drawn(model, streams, "float64"), block(streams)
        result = jax.jit(bptt(model, LENGTH).gradient)(params, (), carry, x, y)
        grads, (state, losses) = jax.jit(jax.grad(unrolled(model, carry, x, y), has_aux=True))(params)
        np.testing.assert_allclose(result.losses, losses, rtol=1e-12)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), result.carry, state)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14), result.grads, grads)
        assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(result.grads))


@pytest.mark.parametrize("name", ["elman", "layers", "in one piece"])
def test_a_block_of_one_character_is_one_step(name):
    model = MODELS[name]
    with jax.enable_x64(True):
        (params, carry), (x, y) = drawn(model, (), "float64"), block(length=1)
        one, blocks = (jax.jit(rule.gradient)(params, (), carry, x, y) for rule in (one_step(model), bptt(model, 1)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-17), blocks, one)


def test_no_gradient_reaches_the_block_before():
    model, (x, y) = MODELS["gru"], block()
    params, carry = drawn(model)
    grads = jax.jit(jax.grad(lambda carry: bptt(model, LENGTH).gradient(params, (), carry, x, y).losses.sum()))(carry)
    assert not np.asarray(grads).any()


@pytest.mark.parametrize("name", ["gru", pytest.param("in one piece", marks=pytest.mark.slow)])
def test_there_is_no_scan_and_the_state_is_carried_on(name):
    learner = online(MODELS[name], bptt(MODELS[name], LENGTH), make_optimizer("adam", 0.01))
    state, stream = begun(learner, MODELS[name]), jnp.arange(50, dtype=jnp.int32) % VOCAB
    found = set(primitives(jax.make_jaxpr(update_many(learner, 4))(state, stream, jnp.int32(3)).jaxpr))
    assert "while" in found
    assert "scan" not in found
    whole, _ = fast_driver(learner, 4)(jax.tree.map(jnp.copy, state), stream, 2)
    by_hand = state
    for start in (0, LENGTH):
        x, y = stream[start : start + LENGTH], stream[start + 1 : start + LENGTH + 1]
        by_hand, _ = jax.jit(learner.update)(by_hand, x, y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole, by_hand)


def test_dropout_is_drawn_anew_for_each_block_and_layer_and_follows_from_the_state():
    model, (x, y) = MODELS["tied"], block((2,))
    rule, (params, carry) = bptt(model, LENGTH, 0.5), drawn(model, (2,))
    gradient, memory = jax.jit(rule.gradient), rule.init(params, carry, jax.random.key(3))
    first, again = (gradient(params, memory, carry, x, y) for _ in range(2))
    second = gradient(params, first.memory, carry, x, y)
    np.testing.assert_array_equal(first.losses, again.losses)
    assert (np.asarray(first.losses) != np.asarray(second.losses)).all()
    without = jax.jit(bptt(model, LENGTH).gradient)(params, (), carry, x, y)
    assert (np.asarray(first.losses) != np.asarray(without.losses)).all()


def test_dropout_leaves_out_its_part_and_keeps_the_mean():
    """Where all errors are the same, the gradient of the readout is the sum of what was kept."""
    model, dropout, streams = network("elman", 2, 50), 0.3, (400,)
    params, carry = drawn(model, streams)
    rule, x = bptt(model, 1, dropout), jnp.zeros((1, *streams), jnp.int32)
    memory = rule.init(params, carry, jax.random.key(3))
    quiet = {**params, "readout": jax.tree.map(jnp.zeros_like, params["readout"])}  # all errors are the same
    kernel = jax.jit(rule.gradient)(quiet, memory, carry, x, x).grads["readout"]["kernel"][1]
    plain = jax.jit(bptt(model, 1).gradient)(quiet, (), carry, x, x).grads["readout"]["kernel"][1]
    np.testing.assert_allclose(kernel / plain, 1, atol=5 * (dropout / (1 - dropout) / 400) ** 0.5)
    assert 0.5 < np.std(kernel / plain) / (dropout / (1 - dropout) / 400) ** 0.5 < 1.5


def test_going_on_from_a_copy_gives_the_same_bits():
    """Which units are dropped follows from the state, too: whatever was read before it plays no part."""
    learner = online(MODELS["gru"], bptt(MODELS["gru"], LENGTH, 0.5), make_optimizer("sgd", 0.1))
    drive, stream = fast_driver(learner, 2), jnp.arange(40, dtype=jnp.int32) % VOCAB
    _, whole = drive(begun(learner, MODELS["gru"]), stream, 9)
    state, first = drive(begun(learner, MODELS["gru"]), stream, 4)
    memory = Masks(
        jax.random.wrap_key_data(jnp.asarray(np.asarray(jax.random.key_data(state.memory.key)))), jnp.int32(state.memory.block)
    )
    again = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), state._replace(memory=()))
    _, second = drive(again._replace(memory=memory), stream, 5)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)


@pytest.mark.parametrize(("length", "dropout"), [(0, 0.0), (3, 1.0), (3, -0.1)])
def test_an_invalid_length_or_dropout_is_an_error(length, dropout):
    with pytest.raises(InputError, match=f"length is {length} and dropout {dropout}; length must be 1"):
        bptt(MODELS["gru"], length, dropout)


def test_dropout_needs_cells_that_come_apart():
    with pytest.raises(InputError, match="dropout needs a network of jaxrnn's own cells"):
        bptt(MODELS["Flax"], 3, 0.1)


@pytest.mark.parametrize("name", ["gru"])
def test_it_learns_what_lies_several_characters_back(name):
    """Each second character is the one four before it, the others are random: one step cannot see that far."""
    rng, model = np.random.default_rng(0), MODELS[name]
    period = rng.integers(0, VOCAB, 4)
    ids = np.tile(np.append(period, period[::-1]), 300).astype(np.int32)
    learner = online(model, bptt(model, 8), make_optimizer("adam", 0.02))
    _, losses = fast_driver(learner, 300)(jax.jit(learner.init)(jax.random.key(0)), jnp.asarray(ids), 290)
    assert losses[:8].mean() > 1.5
    assert losses[-80:].mean() < 0.1

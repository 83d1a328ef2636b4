"""Rules that see the whole past: RTRL, a sliding window, and UORO averaged over all signs."""

import functools
import itertools
import math

import dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixed import apart, case, full, often, reading, summed
from flax import linen as nn
from test_bptt import unrolled

from jaxrnn.errors import InputError
from jaxrnn.models.cells import CELLS
from jaxrnn.models.losses import nats
from jaxrnn.models.network import network, with_cell
from jaxrnn.rules import one_step, rtrl, snap_n, snap_n_lookahead, tbptt_sliding, uoro
from jaxrnn.rules._signs import rademacher

VOCAB, HIDDEN, LENGTH = 5, 4, 7
MODELS = {name: network(name, VOCAB, HIDDEN) for name in CELLS} | {
    "layers": network("lstm", VOCAB, HIDDEN, num_layers=2, embedding_size=2),
    "LRU layers": network("lru", VOCAB, HIDDEN, num_layers=2, embedding_size=2),
    "tied": network("elman", VOCAB, HIDDEN, embedding_size=HIDDEN, tied_readout=True),
    "Flax": with_cell(nn.GRUCell(HIDDEN), VOCAB, HIDDEN),
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@functools.cache
def whole(name, streams=()):
    """The gradient of full backpropagation, and what it was made from."""
    given = case(MODELS[name], LENGTH, streams)
    return full(MODELS[name], *given), given


def test_blocks_as_long_as_the_text_are_the_unrolled_loop():
    grads, (params, carry, x, y) = whole("elman")
    expected, _ = jax.jit(jax.grad(unrolled(MODELS["elman"], carry, jnp.asarray(x), jnp.asarray(y)), has_aux=True))(params)
    assert apart(grads, jax.tree.map(lambda leaf: len(x) * leaf, expected)) < 1e-12


@pytest.mark.parametrize("name", often(MODELS, seldom=("leaky", "indrnn", "LRU layers", "tied", "Flax")))
def test_rtrl_is_full_backpropagation(name):
    expected, given = whole(name, (2,) if name in CELLS and name != "elman" else ())
    assert apart(summed(rtrl(MODELS[name]), *given), expected) < 1e-12


@pytest.mark.parametrize(("name", "streams", "length"), [("gru", (2,), LENGTH), ("layers", (), 20), ("Flax", (), LENGTH + 1)])
def test_a_window_as_long_as_the_text_is_full_backpropagation(name, streams, length):
    expected, given = whole(name, streams)
    assert apart(summed(tbptt_sliding(MODELS[name], length), *given), expected) < 1e-12
    assert apart(summed(one_step(MODELS[name]), *given), expected) > 0.01


@pytest.mark.parametrize(("name", "streams"), [("gru", (2,)), ("layers", ())])
def test_a_window_of_one_character_is_one_step_bit_for_bit(name, streams):
    (params, carry, x, y), rules = case(MODELS[name], 1, streams), (one_step(MODELS[name]), window_of(name, 1))
    memories = [rule.init(params, carry, jax.random.key(0)) for rule in rules]
    one, window = (jax.jit(rule.gradient)(params, memory, carry, x, y) for rule, memory in zip(rules, memories, strict=True))
    jax.tree.map(np.testing.assert_array_equal, window, one)


class OnASphere(nn.SimpleCell):
    """A cell without a derivative at a carry of zeros, which it never reaches."""

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.ones((*input_shape[:-1], self.features))

    @nn.compact
    def __call__(self, carry, inputs):
        return nn.SimpleCell.__call__(self, carry / jnp.linalg.norm(carry, axis=-1, keepdims=True), inputs)


def test_unread_places_of_a_window_have_a_carry_of_the_cell():
    model = with_cell(OnASphere(4), 5, 4)
    given = case(model, LENGTH)
    assert apart(summed(tbptt_sliding(model, 2 * LENGTH), *given), summed(rtrl(model), *given)) < 1e-12


class OfADirection(nn.SimpleCell):
    """A cell without a derivative where carry and input are both zero."""

    @nn.compact
    def __call__(self, carry, inputs):
        length = jnp.sqrt((inputs**2).sum(-1, keepdims=True) + (carry**2).sum(-1, keepdims=True))
        return nn.SimpleCell.__call__(self, carry, inputs / length)


def test_unread_places_of_a_window_have_an_input_of_the_stream():
    model = with_cell(OfADirection(4), 5, 4, inputs=3)
    params, carry = jax.tree.map(lambda leaf: leaf.astype(float), jax.jit(model.init)(jax.random.key(0))), jnp.zeros(4)
    rules = tbptt_sliding(model, 9), rtrl(model)
    memories, states, x = [rule.init(params, carry, jax.random.key(0)) for rule in rules], [carry, carry], jnp.ones((1, 3))
    for y in range(4):
        found = [
            jax.jit(rule.gradient)(params, memory, state, x + y, jnp.array([y]))
            for rule, memory, state in zip(rules, memories, states, strict=True)
        ]
        memories, states = [each.memory for each in found], [each.carry for each in found]
        assert apart(found[0].grads, found[1].grads) < 1e-12


def window_of(name, length):
    return tbptt_sliding(MODELS[name], length)


@pytest.mark.parametrize("name", ["lstm", "layers"])
def test_a_window_is_the_sum_of_derivatives_of_its_steps(name):
    given = case(MODELS[name], LENGTH)
    of_steps = dense.steps(MODELS[name], *given)
    grads = summed(window_of(name, 3), *given)
    assert apart(grads, dense.window(of_steps, 3)) < 1e-12
    assert apart(grads, dense.window(of_steps, 4)) > 1e-4


def test_a_window_is_the_gradient_of_the_last_loss_from_the_carry_before_it():
    model, length = MODELS["gru"], 3
    params, carry, x, y = case(model, LENGTH)

    def last(params, carry, x, y):
        logits = jnp.zeros(VOCAB)
        for x_t in x:
            carry, logits = model.step(params, carry, x_t)
        return nats(logits, y)

    gradient, step, carries, parts = jax.jit(jax.grad(last)), jax.jit(model.step), [carry], []
    for t in range(len(x)):
        first = max(0, t - length + 1)
        parts.append(gradient(params, carries[first], list(x[first : t + 1]), y[t]))
        carries.append(step(params, carries[t], x[t])[0])
    expected = jax.tree.map(lambda *each: np.sum(each, axis=0), *parts)
    assert apart(summed(window_of("gru", length), params, carry, x, y), expected) < 1e-12


def test_a_window_keeps_the_carries_of_their_own_time():
    """The weights change meanwhile: what was read before is differentiated where it was, through the weights of now."""
    model, (params, carry, x, y) = MODELS["elman"], case(MODELS["elman"], 2)
    gradient, moved = jax.jit(window_of("elman", 2).gradient), jax.tree.map(lambda leaf: 1.5 * leaf, params)
    first = gradient(params, window_of("elman", 2).init(params, carry, jax.random.key(0)), carry, x[:1], y[:1])
    second = gradient(moved, first.memory, first.carry, x[1:], y[1:])
    ((now, _, _, _),) = dense.steps(model, moved, carry, x[:1], y[:1])
    ((_, _, g, delta),) = dense.steps(model, moved, first.carry, x[1:], y[1:])
    assert apart(second.grads, g + now.T @ delta) < 1e-12


@pytest.mark.parametrize(("cell", "streams", "length"), [("gru", (), 5), ("elman", (2,), 3)])
def test_the_mean_of_uoro_over_all_signs_is_rtrl(cell, streams, length):
    model = network(cell, VOCAB, 2)
    params, carry, x, y = case(model, length, streams)
    shape = (length - 1, *streams, 2)  # those drawn at the last character do not count
    every = np.array(list(itertools.product([1.0, -1.0], repeat=math.prod(shape)))).reshape(-1, *shape)

    def gradient(signs):
        return reading(uoro(model, lambda key, num_read, shape: signs[num_read]), params, carry, x, y)

    of_each = jax.jit(jax.vmap(gradient))(every)
    mean, last = (jax.tree.map(of, of_each) for of in (lambda leaf: np.mean(leaf, axis=0), lambda leaf: np.asarray(leaf)[-1]))
    expected = summed(rtrl(model), params, carry, x, y)
    assert apart(mean, expected) < 1e-12
    assert apart(last, expected) > 1e-3


def test_uoro_draws_other_signs_for_each_character_stream_and_key():
    shape, drawn = (3, 40), jax.jit(rademacher, static_argnums=2)
    first, again = (drawn(jax.random.key(0), jnp.int32(5), shape) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert set(np.unique(first)) == {-1.0, 1.0}
    others = [drawn(jax.random.key(1), jnp.int32(5), shape), drawn(jax.random.key(0), jnp.int32(6), shape)]
    assert all(0.3 < np.mean(first != other) < 0.7 for other in (*others, np.roll(first, 1, axis=0)))


@pytest.mark.parametrize("length", [0, -1])
def test_a_length_under_one_is_an_error(length):
    with pytest.raises(InputError, match=f"length is {length}; tbptt_sliding needs a window of 1"):
        tbptt_sliding(MODELS["elman"], length)
    for rule in (snap_n, snap_n_lookahead):
        with pytest.raises(InputError, match=f"length is {length}; {rule.__name__} needs 1 step"):
            rule(MODELS["elman"], length)

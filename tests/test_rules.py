"""Properties of every rule, and `one_step` against the witness."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from conftest import HIDDEN, VOCAB
from fixed import EACH_RULE, drawn, text

from jaxrnn import elman, network, one_step
from jaxrnn.rules import RULES, make_rule, rtrl_kronecker, uoro

LENGTHS = {"bptt": 3, "tbptt_sliding": 3, "snap_n": 3, "snap_n_lookahead": 3}


def signs(key, num_read, shape):
    """Of rules that draw some: the same for each stream, as they must be where streams are compared."""
    return jnp.broadcast_to(jnp.where((jnp.arange(shape[-1]) + num_read) % 3, 1.0, -1.0), shape)


@functools.cache
def made(name):
    """A model that the rule is for, the rule, and its gradient, compiled once for all tests."""
    model = network("indrnn" if name == "rtrl_diagonal" else "leaky", VOCAB, HIDDEN)
    noisy = {"uoro": uoro, "rtrl_kronecker": rtrl_kronecker}
    rule = noisy[name](model, signs=signs) if name in noisy else make_rule(RULES[name], model, LENGTHS.get(name, 1))
    return model, rule, jax.jit(rule.gradient)


@functools.cache
def begun(name, streams=()):
    """Weights, memory, carry and the blocks that are read."""
    model, rule, _ = made(name)
    (params, carry), ids = drawn(model, streams), text(VOCAB, 4 * rule.length, streams)
    blocks = list(zip(*(each.reshape(4, rule.length, *streams) for each in ids), strict=True))
    return params, memory_of(name)(params, carry, jax.random.key(0)), np.asarray(carry), blocks


@functools.cache
def memory_of(name):
    """How its memory begins, in one program."""
    return jax.jit(made(name)[1].init)


def read(gradient, params, memory, carry, blocks):
    """What each block gives."""
    results = []
    for x, y in blocks:
        results.append(gradient(params, memory, carry, x, y))
        _, carry, memory, *_ = results[-1]
    return results


def assert_close(tree, expected):
    def same(a, b):
        a, b = (jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf for leaf in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    jax.tree.map(same, tree, expected)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("initialisation", ["pytorch", "mikolov"])
def test_one_step_is_the_gradient_of_the_witness(activation, initialisation):
    with jax.enable_x64(True):
        model = elman(VOCAB, HIDDEN, activation, initialisation)
        params, h = drawn(model, dtype="float64")
        grads, carry, _, losses, *_ = jax.jit(one_step(model).gradient)(params, (), h, np.array([3]), np.array([5]))
        loss, new_h, expected = reference.gradient(reference.to_float64(params), np.asarray(h), 3, 5, activation)
        np.testing.assert_allclose(losses, [loss], rtol=1e-13)
        np.testing.assert_allclose(carry, new_h, rtol=1e-13)
        for name, array in reference.to_float64(grads).items():
            if array.any():  # else the model has no such bias
                np.testing.assert_allclose(array, expected[name], rtol=1e-11, atol=1e-15)
        assert {array.dtype for array in jax.tree.leaves(grads)} == {np.dtype(np.float64)}


@pytest.mark.parametrize("name", EACH_RULE)
def test_no_gradient_reaches_the_carried_state(name):
    _, rule, _ = made(name)
    params, memory, carry, blocks = begun(name)

    def total(carry):
        grads, new_carry, _, losses, *_ = rule.gradient(params, memory, carry, *map(jnp.asarray, blocks[0]))
        return sum(leaf.sum() for leaf in jax.tree.leaves((grads, new_carry, losses)))

    assert (jax.jit(jax.grad(total))(carry) == np.zeros(HIDDEN)).all()


@pytest.mark.parametrize("name", EACH_RULE)
def test_the_gradient_of_streams_is_the_mean_of_theirs(name):
    _, _, gradient = made(name)
    params, memory, carry, blocks = begun(name, (3,))
    *_, together = read(gradient, params, memory, carry, blocks)
    alone = []
    for b in range(3):
        memory = memory_of(name)(params, carry[b], jax.random.key(0))
        of_stream = params, memory, carry[b], [(x[:, b], y[:, b]) for x, y in blocks]
        alone.append(read(gradient, *of_stream)[-1])
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *[(each.grads, each.losses) for each in alone])
    assert_close((together.grads, together.losses), mean)
    assert_close(together.carry, np.stack([each.carry for each in alone]))


@pytest.mark.parametrize("name", EACH_RULE)
def test_equal_streams_are_one_stream(name):
    """Their memories, too: each has its own row."""
    _, _, gradient = made(name)
    params, memory, carry, blocks = begun(name)
    one, carries = read(gradient, params, memory, carry, blocks)[-1], np.stack([carry] * 3)
    copies = [tuple(np.stack([ids] * 3, axis=1) for ids in block) for block in blocks]
    three = read(gradient, params, memory_of(name)(params, carries, jax.random.key(0)), carries, copies)[-1]
    assert_close((three.grads, three.losses), (one.grads, one.losses))
    axis = 1 if name == "tbptt_sliding" else 0
    rows = jax.tree.map(lambda a, b: a if a.ndim == b.ndim else a.take(2, axis), three.memory, one.memory)
    assert_close(rows, one.memory)


@pytest.mark.parametrize("name", EACH_RULE)
def test_a_rule_is_the_same_under_jit_and_is_traced_once(name):
    _, rule, _ = made(name)
    (params, memory, carry, blocks), traces = begun(name), []

    def counted(*arguments):
        traces.append(1)
        return rule.gradient(*arguments)

    results = read(jax.jit(counted), params, memory, carry, blocks)
    assert len(traces) == 1
    last = params, results[-2].memory, results[-2].carry, *map(jnp.asarray, blocks[-1])
    assert_close(rule.gradient(*last), results[-1])


@pytest.mark.parametrize("name", EACH_RULE)
def test_two_sets_of_weights_side_by_side_give_what_each_gives(name):
    _, rule, gradient = made(name)
    params, memory, carry, blocks = begun(name)
    params = jax.tree.map(np.asarray, params)
    last, both = read(gradient, params, memory, carry, blocks)[-2], jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), params)
    fixed = last.memory, last.carry, *blocks[-1]
    together = jax.jit(jax.vmap(rule.gradient, in_axes=(0, None, None, None, None)))(both, *fixed)
    for number, weights in enumerate((params, jax.tree.map(np.negative, params))):
        assert_close(jax.tree.map(operator.itemgetter(number), together), gradient(weights, *fixed))

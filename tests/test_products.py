"""Products with factors in bfloat16: gradients are those of float32 but for the rounding, and nothing else is rounded."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from conftest import HIDDEN, VOCAB
from fixed import apart, case, drawn, summed, text
from flax import linen as nn
from test_loop import equations

from jaxrnn import fast_driver, online
from jaxrnn.models.network import network, with_cell
from jaxrnn.models.products import product, rounding
from jaxrnn.rules import bptt, with_precision
from jaxrnn.training.learner import State, copy_arrays
from jaxrnn.training.optimizers import make_optimizer

LENGTH, STREAMS = 6, (4,)
MODELS = {
    "elman": network("elman", VOCAB, HIDDEN),
    "leaky": network("leaky", VOCAB, HIDDEN),
    "gru": network("gru", VOCAB, HIDDEN, embedding_size=3),
    "lstm": network("lstm", VOCAB, HIDDEN),
    "indrnn": network("indrnn", VOCAB, HIDDEN),
    "lru": network("lru", VOCAB, 6),
    "layers": network("lstm", VOCAB, HIDDEN, num_layers=3, embedding_size=4),
    "tied": network("gru", VOCAB, HIDDEN, num_layers=2, embedding_size=HIDDEN, tied_readout=True),
    "in one piece": network("gru", VOCAB, HIDDEN)._replace(layers=()),
}
rounded = functools.partial(with_precision, precision="bfloat16")


def gradient(model, rule, streams=STREAMS, dtype="float32"):
    """The gradients of two updates, from the same weights whatever their precision."""
    (params, carry), (x, y) = drawn(model, streams, dtype), text(VOCAB, 2 * LENGTH, streams)
    return summed(rule, params, carry, x, y)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_double_precision_but_for_the_rounding(name):
    model = MODELS[name]
    with jax.enable_x64(True):
        exact = gradient(model, bptt(model, LENGTH), dtype="float64")
    assert 1e-5 < apart(gradient(model, rounded(bptt(model, LENGTH))), exact) < 2e-2
    assert apart(gradient(model, bptt(model, LENGTH)), exact) < 1e-5


@pytest.mark.parametrize("name", ["gru", "layers"])
def test_layer_by_layer_and_step_by_step_they_are_the_same(name):
    model = MODELS[name]
    whole = model._replace(layers=())
    assert apart(gradient(model, rounded(bptt(model, LENGTH))), gradient(whole, rounded(bptt(whole, LENGTH)))) < 2e-2


def test_dropout_drops_the_same_units():
    model = MODELS["layers"]
    exact = gradient(model, bptt(model, LENGTH, dropout=0.5))
    assert 1e-5 < apart(gradient(model, rounded(bptt(model, LENGTH, dropout=0.5))), exact) < 2e-2


def test_each_stream_is_read_as_if_alone():
    model, rule = MODELS["gru"], rounded(bptt(MODELS["gru"], LENGTH))
    params, carry = drawn(model, STREAMS)
    x, y = map(jnp.asarray, text(VOCAB, LENGTH, STREAMS))
    together = rule.gradient(params, (), carry, x, y)
    alone = [rule.gradient(params, (), carry[n : n + 1], x[:, n : n + 1], y[:, n : n + 1]).grads for n in range(*STREAMS)]
    assert apart(together.grads, jax.tree.map(lambda *each: sum(each) / len(each), *alone)) < 2e-2


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("leading", [(), (1,), (3,), (2, 3), (1, 1)])
def test_a_product_rounds_its_factors_and_those_of_its_derivatives_and_nothing_else(leading, axis):
    rng = np.random.default_rng(0)
    shapes = ((*leading, 5), (5, 7) if axis == 0 else (7, 5), (*leading, 7))
    a, kernel, g = (jnp.asarray(rng.normal(size=shape), "float32") for shape in shapes)

    def of(a, kernel):
        return product(a, kernel, axis)

    with rounding():
        value, vjp = jax.vjp(of, a, kernel)
        da, dkernel = vjp(g)
    assert {str(each.dtype) for each in (value, da, dkernel)} == {"float32"}
    a, kernel, g = (np.asarray(each).astype(ml_dtypes.bfloat16).astype(np.float64) for each in (a, kernel, g))
    matrix = kernel if axis == 0 else kernel.T
    dmatrix = a.reshape(-1, 5).T @ g.reshape(-1, 7)
    np.testing.assert_allclose(value, a @ matrix, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(da, g @ matrix.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dkernel, dmatrix if axis == 0 else dmatrix.T, rtol=1e-5, atol=1e-6)


def test_a_setting_of_the_caller_s_own_changes_nothing_on_a_cpu():
    a, kernel = jnp.full((2, 3), 1.001), jnp.full((3, 4), 1.003)
    expected = product(a, kernel)
    with jax.default_matmul_precision("bfloat16"):
        np.testing.assert_array_equal(product(a, kernel), expected)
        jax.jvp(product, (a, kernel), (a, kernel))  # and derivatives in forward mode exist
    with rounding():
        assert jnp.abs(product(a, kernel) - expected).max() > 1e-3


def test_double_precision_is_never_rounded():
    with jax.enable_x64(True):
        params, carry, x, y = case(MODELS["gru"], LENGTH, STREAMS)
        rule = bptt(MODELS["gru"], LENGTH)
        same, exact = (summed(each, params, carry, x, y) for each in (rounded(rule), rule))
    assert apart(same, exact) == 0


def products_of(function, *arguments):
    """The kinds of factors of all products in a program."""
    return {
        tuple(str(variable.aval.dtype) for variable in equation.invars)
        for equation in equations(jax.make_jaxpr(function)(*arguments).jaxpr)
        if equation.primitive.name == "dot_general"
    }


def learner_of(precision_of_products="bfloat16"):
    model = MODELS["layers"]
    rule = bptt(model, LENGTH) if precision_of_products == "float32" else rounded(bptt(model, LENGTH))
    return model, online(model, rule, make_optimizer("adam", 1e-2, clip_norm=1.0), STREAMS)


def test_all_products_of_an_update_are_rounded_and_none_outside_of_the_rule():
    model, learner = learner_of()
    state, (x, y) = jax.eval_shape(learner.init, jax.random.key(0)), text(VOCAB, LENGTH, STREAMS)
    assert products_of(learner.update, state, x, y) == {("bfloat16", "bfloat16")}
    assert products_of(model.step, state.params, state.carry, x[0]) == {("float32", "float32")}
    _, plain = learner_of("float32")
    assert products_of(plain.update, state, x, y) == {("float32", "float32")}


def test_the_state_stays_in_float32():
    _, learner = learner_of()
    state = jax.eval_shape(learner.init, jax.random.key(0))
    after, losses = jax.eval_shape(learner.update, state, *text(VOCAB, LENGTH, STREAMS))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((after, losses))} == {"float32", "int32"}


def test_any_number_of_updates_per_call_gives_the_same_bits():
    _, learner = learner_of()
    start = jax.jit(learner.init)(jax.random.key(0))
    ids = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, (5 * LENGTH + 1, *STREAMS), np.int32))
    ends: list[tuple[State, np.ndarray]] = [fast_driver(learner, most)(copy_arrays(start), ids, 5) for most in (2, 5)]
    for a, b in zip(*(jax.tree.leaves(end) for end in ends), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_foreign_cell_multiplies_in_its_own_way():
    model = with_cell(nn.GRUCell(HIDDEN), VOCAB, HIDDEN)
    rule = rounded(bptt(model, LENGTH))
    params, carry = drawn(model, STREAMS)
    products = products_of(lambda *given: rule.gradient(*given).grads, params, (), carry, *text(VOCAB, LENGTH, STREAMS))
    assert ("float32", "float32") in products

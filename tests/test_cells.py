"""Gated cells have Flax's equations and weights; leaky cells those of their paper."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HIDDEN, VOCAB
from flax import linen as nn

from jaxrnn import network
from jaxrnn.errors import InputError
from jaxrnn.models import dense
from jaxrnn.models.base import INITIALISATIONS
from jaxrnn.models.cells import CELLS
from jaxrnn.models.dense import GRU, LSTM, Elman, LeakyElman

INPUTS = 3


def begun(cell, streams=(), x: Any = 0):
    """A carry and the variables, drawn by one program instead of one for each operation."""

    def draw(key, x):
        carry = cell.initialize_carry(key, streams)
        return carry, cell.init(key, carry, x)

    return jax.jit(draw)(jax.random.key(0), x)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_matrix_of_each_gate_is_drawn_from_its_own_key(name):
    """One by one, as Flax would draw them: `init` draws all at once, which compiles sooner, to the same numbers."""
    gates = 4 if name == "lstm" else 3

    def draw(key, shape, dtype):
        keys = jax.random.split(key, gates)
        return jnp.concatenate([jax.nn.initializers.orthogonal()(each, (HIDDEN, HIDDEN), dtype) for each in keys], axis=1)

    all_at_once = dense._per_gate(jax.nn.initializers.orthogonal(), gates)
    key, shape = jax.random.key(4), (HIDDEN, gates * HIDDEN)
    np.testing.assert_array_equal(all_at_once(key, shape, jnp.float32), draw(key, shape, jnp.float32))


def of_flax(name, params):
    """The same weights under the names that Flax's cell has for them."""
    gates = {"gru": "rzn", "lstm": "ifgo"}[name]
    parts = {key: dict(zip(gates, np.split(np.asarray(params[key]), len(gates), axis=-1), strict=True))
             for key in ("input_kernel", "recurrent_kernel", "bias")}  # fmt: skip
    if name == "lstm":
        inputs = {f"i{gate}": {"kernel": parts["input_kernel"][gate]} for gate in gates}
        return inputs | {f"h{g}": {"kernel": parts["recurrent_kernel"][g], "bias": parts["bias"][g]} for g in gates}
    inputs = {f"i{g}": {"kernel": parts["input_kernel"][g], "bias": parts["bias"][g]} for g in gates}
    states = {f"h{g}": {"kernel": parts["recurrent_kernel"][g]} for g in gates}
    states["hn"]["bias"] = params["recurrent_bias"]
    return inputs | states


@pytest.mark.parametrize(("name", "flax_cell"), [("gru", nn.GRUCell), ("lstm", nn.LSTMCell)])
@pytest.mark.parametrize("streams", [(), (2,)])
def test_a_step_is_that_of_flax(name, flax_cell, streams):
    cell, inputs = CELLS[name].make(INPUTS, HIDDEN), np.random.default_rng(0).normal(size=(*streams, INPUTS))
    carry, variables = begun(cell, streams, inputs.astype(np.float32))
    with jax.enable_x64(True):
        params, carry = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (variables["params"], carry))
        ours = jax.jit(cell.apply)({"params": params}, carry, inputs)
        flaxs = jax.jit(flax_cell(HIDDEN, param_dtype=jnp.float64).apply)({"params": of_flax(name, params)}, carry, inputs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), ours, flaxs)


@pytest.mark.parametrize("name", CELLS)
def test_an_id_is_a_one_hot_vector(name):
    cell, ids = CELLS[name].make(VOCAB, 6), np.array([0, 4, 6], np.int32)
    carry, variables = begun(cell, (3,), ids)
    by_id, by_vector = (jax.jit(cell.apply)(variables, carry, x) for x in (ids, np.eye(VOCAB, dtype=np.float32)[ids]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), by_id, by_vector)


@pytest.mark.parametrize("initialisation", ["pytorch", "orthogonal"])
def test_only_the_forget_gate_of_an_lstm_has_a_bias_that_starts_one_higher(initialisation):
    params = begun(LSTM(VOCAB, 50, INITIALISATIONS[initialisation]))[1]["params"]
    means = np.asarray(params["bias"]).reshape(4, 50).mean(axis=1)
    np.testing.assert_allclose(means, [0, 1, 0, 0], atol=0.1)


def test_orthogonal_matrices_keep_the_length_of_a_state_in_every_gate():
    params = begun(GRU(VOCAB, HIDDEN, INITIALISATIONS["orthogonal"]))[1]["params"]
    for gate in np.split(np.asarray(params["recurrent_kernel"]), 3, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(HIDDEN), atol=1e-5)
    assert not np.asarray(params["bias"]).any()


def test_without_biases_there_are_none():
    params = begun(GRU(VOCAB, HIDDEN, INITIALISATIONS["mikolov"]))[1]["params"]
    assert set(params) == {"input_kernel", "recurrent_kernel"}


@pytest.mark.parametrize("name", CELLS)
def test_both_parts_have_one_derivative_where_a_cell_says_so(name):
    cell = CELLS[name].make(3, 4)
    px, ph = np.random.default_rng(0).normal(size=(2, 4 * cell.num_gates)).astype(np.float32)

    def derivatives(px, ph):
        carry, error = (cell.initialize_carry(jax.random.key(seed), ()) for seed in (1, 2))
        _, *of_both = jax.vjp(cell.gates, carry, px, ph)[1](error)
        return of_both

    dpx, dph = map(np.asarray, jax.jit(derivatives)(px, ph))
    assert bool((dpx == dph).all()) == cell.gates_of_sum


def leaky(leak):
    """The cell, its variables, a carry and an id."""
    cell, x = LeakyElman(VOCAB, HIDDEN, leak=leak), np.array([0, 4, 6], np.int32)
    carry, variables = begun(cell, (3,), x)
    return cell, variables, carry, x


def test_a_leaky_unit_keeps_a_part_of_its_state():
    cell, variables, carry, x = leaky(0.3)
    (after, seen), h = jax.jit(cell.apply)(variables, carry, x), np.asarray(carry, np.float64)
    W_x, W_h, b = (np.asarray(variables["params"][name]) for name in ("input_kernel", "recurrent_kernel", "bias"))
    expected = 0.7 * h + 0.3 / (1 + np.exp(-(W_x[np.asarray(x)] + h @ W_h + b)))
    np.testing.assert_allclose(after, expected, rtol=1e-6)
    np.testing.assert_array_equal(seen, after)


def test_units_that_leak_all_are_those_of_elman():
    cell, variables, carry, x = leaky(1.0)
    np.testing.assert_array_equal(*(jax.jit(each.apply)(variables, carry, x) for each in (cell, Elman(VOCAB, HIDDEN))))


@pytest.mark.parametrize("leak", [0.0, 1.5, -0.1])
def test_a_leak_is_over_0_and_at_most_1(leak):
    with pytest.raises(InputError):
        network("leaky", VOCAB, HIDDEN, leak=leak)


@pytest.mark.parametrize("name", CELLS)
def test_what_each_unit_gives_to_itself_is_the_derivative_by_its_own_state(name):
    cell = CELLS[name].make(3, 4)
    carry, variables = begun(cell)
    recur, own = (lambda h, method=method: cell.apply(variables, h, method=method) for method in ("recur", "recur_diagonal"))
    every, own = (np.asarray(jax.jit(jax.jacobian(function))(cell.hidden(carry))) for function in (recur, own))
    units = jax.tree.leaves(carry)[0].size
    of_own_unit = np.arange(len(every))[:, None] % units == np.arange(4) % units
    np.testing.assert_allclose(own, np.where(of_own_unit, every, 0), rtol=1e-6)

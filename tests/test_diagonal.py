"""Diagonal cells equal NumPy: IndRNN in real numbers, LRU in complex numbers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import VOCAB
from fixed import drawn

from jaxrnn import network
from jaxrnn.errors import InputError
from jaxrnn.models.diagonal import LRU

SIZE, UNITS = 6, 3
IDS = np.array([0, 4])


def step(cell, **choices):
    """Weights, the carry of two streams and the model's step, in double precision."""
    model = network(cell, VOCAB, SIZE, **choices)
    params, carry = drawn(model, (2,), "float64")
    after, logits = jax.jit(model.step)(params, carry, IDS)
    arrays = jax.tree.map(np.asarray, (params, carry, after))
    readout = arrays[0]["readout"]
    return *arrays, lambda h: np.testing.assert_allclose(logits, h @ readout["kernel"].T + readout["bias"], rtol=1e-12)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_a_step_of_indrnn():
    params, h, after, check = step("indrnn", activation="tanh")
    w = params["cell"]
    expected = np.tanh(w["input_kernel"][IDS] + w["recurrent_weights"] * h + w["bias"])
    np.testing.assert_allclose(after, expected, rtol=1e-12)
    check(expected)


def gelu(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def test_a_step_of_an_lru_in_complex_numbers():
    params, (real, imaginary), after, check = step("lru")
    w = params["cell"]
    eigenvalue = np.exp(-np.exp(w["nu"]) + 1j * w["theta"])
    inputs = w["input_kernel"][IDS] @ np.vstack([np.eye(UNITS), 1j * np.eye(UNITS)])
    h = eigenvalue * (real + 1j * imaginary) + np.sqrt(1 - np.abs(eigenvalue) ** 2) * inputs
    np.testing.assert_allclose(after[0] + 1j * after[1], h, rtol=1e-12)
    check(gelu(np.hstack([h.real, h.imag]) @ w["output_kernel"] + w["output_bias"]))


@pytest.mark.parametrize("nu", [-5.0, 0.0, 5.0])
def test_no_update_makes_a_state_of_an_lru_grow(nu):
    cell = LRU(VOCAB, SIZE)
    h = jnp.asarray(np.random.default_rng(0).normal(size=SIZE))
    params = {"nu": jnp.full(UNITS, nu), "theta": jnp.linspace(-9.0, 9.0, UNITS)}
    shapes = {"input_kernel": (VOCAB, SIZE), "output_kernel": (SIZE, SIZE), "output_bias": (SIZE,)}
    params |= {name: jnp.zeros(shape) for name, shape in shapes.items()}
    after = cell.apply({"params": params}, h, method="recur")
    before, after = (np.abs(np.asarray(each)[:UNITS] + 1j * np.asarray(each)[UNITS:]) for each in (h, after))
    assert (after < before).all()
    np.testing.assert_allclose(after / before, math.exp(-math.exp(nu)), rtol=1e-12)


def test_an_lru_begins_with_the_sizes_of_its_paper_and_any_angle():
    with jax.enable_x64(False):
        cell, key = LRU(VOCAB, 400), jax.random.key(0)
        params = jax.jit(cell.init)(key, cell.initialize_carry(key, ()), jnp.int32(0))["params"]
    sizes, angles = np.exp(-np.exp(np.asarray(params["nu"]))), np.asarray(params["theta"])
    assert 0.5 <= sizes.min() < 0.6 < 0.98 < sizes.max() <= 0.999
    assert np.mean(sizes**2) == pytest.approx((0.5**2 + 0.999**2) / 2, abs=0.05)  # evenly over the ring's area
    assert 0 <= angles.min() < 0.2 < 2 * math.pi - 0.2 < angles.max() <= 2 * math.pi


@pytest.mark.parametrize("hidden_size", [1, 7])
def test_an_odd_hidden_size_is_an_error(hidden_size):
    with pytest.raises(InputError, match=f"hidden_size is {hidden_size}; an LRU needs an even hidden_size"):
        network("lru", VOCAB, hidden_size).init(jax.random.key(0))

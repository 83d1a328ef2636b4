"""The fast activations equal the exact functions to float32 precision, and exactly in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.models.activations import sigmoid, tanh

X = np.linspace(-20, 20, 100_001)
EXACT = {tanh: np.tanh(X), sigmoid: 1 / (1 + np.exp(-X))}


@pytest.mark.parametrize("function", EXACT)
def test_in_float32_they_are_exact_to_its_precision(function):
    values = np.asarray(jax.jit(function)(jnp.asarray(X, jnp.float32)), np.float64)
    np.testing.assert_allclose(values, EXACT[function], rtol=0, atol=6e-7)
    assert abs(values).max() <= 1


@pytest.mark.parametrize("function", EXACT)
def test_in_float64_they_are_exact(function):
    with jax.enable_x64(True):
        np.testing.assert_allclose(function(jnp.asarray(X)), EXACT[function], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("function", "derivative"), [(tanh, lambda y: 1 - y * y), (sigmoid, lambda y: y * (1 - y))])
def test_their_derivatives_are_those_of_the_exact_functions(function, derivative):
    values = jax.jit(jax.vmap(jax.grad(function)))(jnp.asarray(X, jnp.float32))
    np.testing.assert_allclose(values, derivative(EXACT[function]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("function", "least"), [(tanh, -1), (sigmoid, 0)])
def test_nan_stays_nan_and_infinity_is_where_the_function_ends(function, least):
    values = jax.jit(function)(np.array([np.nan, -np.inf, np.inf], np.float32))
    np.testing.assert_allclose(values, [np.nan, least, 1], rtol=1e-6, atol=6e-7)
    slopes = jax.jit(jax.vmap(jax.grad(function)))(np.array([np.nan, -np.inf, np.inf], np.float32))
    np.testing.assert_allclose(slopes, [np.nan, 0, 0], atol=1e-6)

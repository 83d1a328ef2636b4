"""The checks of types and shapes in all tests reject wrong calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation
from checked import check
from jaxtyping import Array, Float

from jaxrnn import nats
from jaxrnn.data import vocabulary
from jaxrnn.models.activations import tanh


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (nats, (jnp.zeros((3, 5)), jnp.zeros(2, jnp.int32))),  # streams that do not agree
        (nats, (jnp.zeros(5), jnp.zeros(()))),  # a character that is no integer
        (tanh, (np.zeros(3),)),  # no array of JAX
        (vocabulary.of_text, (3,)),
    ],
)
def test_what_the_package_is_called_with(function, arguments):
    with pytest.raises(BeartypeCallHintViolation):
        function(*arguments)


def test_what_a_traced_function_returns():
    @check
    def grown(x: Float[Array, " streams"]) -> Float[Array, " streams"]:
        return jnp.concatenate([x, x])

    with pytest.raises(BeartypeCallHintViolation):
        jax.jit(grown)(jnp.zeros(3))

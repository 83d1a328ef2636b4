"""Cells with a diagonal recurrence: each unit's state reaches only that unit, so exact online gradients are cheap."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jaxrnn.data.array_types import Carry, Inputs, RandomKey
from jaxrnn.errors import InputError
from jaxrnn.models.activations import sigmoid
from jaxrnn.models.base import Activation, Cell
from jaxrnn.models.products import product


class IndRNN(Cell):
    """Independently recurrent network: ``h_t = f(W_x x_t + u * h_{t-1} + b)``, with one number u per unit.

    Source: Li et al. (2018), CVPR, eq. 2; u starts between 0 and 1, as in the paper.
    """

    activation: Activation = sigmoid

    gates_of_sum = True

    def set_up_recurrence(self) -> None:
        self.recurrent_weights = self.param("recurrent_weights", nn.initializers.uniform(1.0), (self.hidden_size,), jnp.float32)

    def recur(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        return h * jnp.broadcast_to(self.recurrent_weights, h.shape)

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        del carry
        return self.activation(px + ph)


class LRU(Cell):
    """Linear recurrent unit: complex units ``h_t = l * h_{t-1} + g * W_x x_t``, with ``|l| < 1`` and ``g = sqrt(1 - |l|^2)``.

    ``l = exp(-exp(nu) + i theta)``, so that no update can make a state grow. (The paper learns ln theta, to which the state is
    more sensitive the larger it is, so exact gradients diverge.) `hidden_size` counts real numbers: there are half as many
    complex units. The carry is (real parts, imaginary parts). Other layers and the readout see ``gelu(C h + c)``; without it
    the whole model would be linear.

    Source: Orvieto et al. (2023), ICML, sections 3.3 and 3.4; without their skip connections and batch normalisation.
    Raises:
      InputError: an odd `hidden_size`.
    """

    has_bias = False
    gates_of_sum = True

    @property
    def num_units(self) -> int:
        """Return the number of complex units."""
        if self.hidden_size % 2:
            raise InputError(
                f"hidden_size is {self.hidden_size}; an LRU needs an even hidden_size (two reals per complex unit)"
            )
        return self.hidden_size // 2

    def set_up_recurrence(self) -> None:
        size, units = self.hidden_size, (self.num_units,)
        start = self.initialisation
        self.nu = self.param("nu", _init_nu, units, jnp.float32)
        self.theta = self.param("theta", nn.initializers.uniform(2 * np.pi), units, jnp.float32)
        self.output_kernel = self.param("output_kernel", start.weights(size), (size, size), jnp.float32)
        self.output_bias = self.param("output_bias", start.bias(size), (size,), jnp.float32) if start.bias else None

    def project(self, inputs: Inputs) -> Float[Array, "*streams gates"]:
        gain = jnp.tile(
            jnp.sqrt(-jnp.expm1(-2 * jnp.exp(self.nu))), 2
        )  # keeps the state on the scale of the inputs, for any |l|
        product = super().project(inputs)
        return product * jnp.broadcast_to(gain, product.shape)

    def recur(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        real, imaginary = jnp.split(h, 2, axis=-1)
        size, angle = (jnp.broadcast_to(each, real.shape) for each in (jnp.exp(-jnp.exp(self.nu)), self.theta))
        cosine, sine = size * jnp.cos(angle), size * jnp.sin(angle)
        return jnp.concatenate([cosine * real - sine * imaginary, sine * real + cosine * imaginary], axis=-1)

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        del carry
        real, imaginary = jnp.split(px + ph, 2, axis=-1)
        return real, imaginary

    @nn.nowrap
    def hidden(self, carry: Carry) -> Float[Array, "*streams hidden"]:
        return jnp.concatenate(carry, axis=-1)

    def output(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams hidden"]:
        mixed = product(h, self.output_kernel)
        return nn.gelu(mixed if self.output_bias is None else mixed + jnp.broadcast_to(self.output_bias, mixed.shape))

    @nn.nowrap
    def initialize_carry(self, rng: RandomKey, input_shape: tuple[int, ...]) -> Carry:
        real, imaginary = jnp.split(super().initialize_carry(rng, input_shape), [self.num_units], axis=-1)
        return real, imaginary


def _init_nu(key: RandomKey, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw nu so that ``|l|`` is between 0.5 and 0.999, uniform over the area of the ring."""
    square = jax.random.uniform(key, shape, dtype, 0.5**2, 0.999**2)
    return jnp.log(-0.5 * jnp.log(square))

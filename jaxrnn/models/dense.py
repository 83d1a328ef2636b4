"""Cells in which each unit reaches all others: Elman, leaky Elman, GRU and LSTM."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxrnn.data.array_types import Carry, RandomKey
from jaxrnn.models.activations import sigmoid, tanh
from jaxrnn.models.base import Activation, Cell, Initializer
from jaxrnn.models.products import product


class DenseCell(Cell):
    """A cell in which each unit's state reaches the gates of all units."""

    def set_up_recurrence(self) -> None:
        size, fan_in = self.hidden_size, self.input_size + self.hidden_size
        recurrent = _per_gate(self.initialisation.recurrent(fan_in), self.num_gates)
        self.recurrent_kernel = self.param("recurrent_kernel", recurrent, (size, self.num_gates * size), jnp.float32)

    def recur(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        return product(h, self.recurrent_kernel)

    def recur_diagonal(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        columns = jnp.arange(self.num_gates * self.hidden_size)
        weights = self.recurrent_kernel[columns % self.hidden_size, columns]  # for each gate, from its own unit
        return jnp.tile(h, self.num_gates) * jnp.broadcast_to(weights, (*h.shape[:-1], weights.size))


class Elman(DenseCell):
    """Simple recurrent network: ``h_t = f(W_x x_t + W_h h_{t-1} + b)``.

    Source: Elman (1990), Cognitive Science 14(2); Mikolov et al. (2010), Interspeech, eq. 1-3.
    """

    activation: Activation = sigmoid

    gates_of_sum: ClassVar[bool] = True

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        del carry  # no gate keeps part of the state
        return self.activation(px + ph)


class LeakyElman(DenseCell):
    """Elman network with leaky units: ``h_t = (1 - a) h_{t-1} + a f(W_x x_t + W_h h_{t-1} + b)``.

    Source: Jaeger et al. (2007), Neural Networks 20(3); with RFLO: Murray (2019), eLife 8, eq. 1.
    """

    activation: Activation = sigmoid
    leak: float = 0.5  # a

    gates_of_sum: ClassVar[bool] = True

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        return (1 - self.leak) * carry + self.leak * self.activation(px + ph)


class GRU(DenseCell):
    """Gated recurrent unit with the reset gate after the recurrent product, as in cuDNN, PyTorch and Flax.

    ``r = s(W_r x + U_r h + b_r)``, ``z = s(W_z x + U_z h + b_z)``, ``n = tanh(W_n x + b_n + r (U_n h + c))``,
    ``h' = (1 - z) n + z h``; the columns of the kernels are r, z and n, in this order; c is `recurrent_bias`.

    Source: Cho et al. (2014), EMNLP; the place of the reset gate: Chung et al. (2014), arXiv:1412.3555.
    """

    num_gates: ClassVar[int] = 3

    def setup(self) -> None:
        super().setup()
        start, fan_in = self.initialisation, self.input_size + self.hidden_size
        self.recurrent_bias = (
            self.param("recurrent_bias", start.bias(fan_in), (self.hidden_size,), jnp.float32) if start.bias else None
        )

    def recur(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        ph = super().recur(h)
        if self.recurrent_bias is None:
            return ph
        bias = jnp.pad(self.recurrent_bias, (2 * self.hidden_size, 0))  # for n only: `project` adds those of r and z
        return ph + jnp.broadcast_to(bias, ph.shape)

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        (rzx, nx), (rzh, nh) = (jnp.split(pre, [2 * self.hidden_size], axis=-1) for pre in (px, ph))
        r, z = jnp.split(sigmoid(rzx + rzh), 2, axis=-1)  # both at once: one by one, jax 0.10 computes number by number
        n = tanh(nx + r * nh)
        return n + z * (carry - n)


class LSTM(DenseCell):
    """Long short-term memory with a forget gate, whose bias starts 1 higher than the others.

    ``i, f, o = s(W x + U h + b)``, ``g = tanh(W_g x + U_g h + b_g)``, ``c' = f c + i g``, ``h' = o tanh(c')``; the columns of
    the kernels are i, f, g and o, in this order. The carry is (c, h).

    Source: Hochreiter & Schmidhuber (1997), Neural Computation 9(8); Gers et al. (2000); the bias: Jozefowicz et al. (2015).
    """

    num_gates: ClassVar[int] = 4
    gates_of_sum: ClassVar[bool] = True

    @nn.nowrap
    def bias_init(self, usual: Initializer) -> Initializer:
        def start(key: RandomKey, shape: tuple[int, ...], dtype: Any) -> Array:
            of_forget_gate = slice(self.hidden_size, 2 * self.hidden_size)
            return usual(key, shape, dtype).at[of_forget_gate].add(1)

        return start

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        c, _ = carry
        # All gates at once, with s(x) = tanh(x / 2) / 2 + 1 / 2: one by one, jax 0.10 computes number by number.
        is_g = jnp.arange(4 * self.hidden_size) // self.hidden_size == 2
        factor, offset = (
            jnp.broadcast_to(jnp.where(is_g, *pair).astype(px.dtype), px.shape) for pair in ((1.0, 0.5), (0.0, 0.5))
        )
        i, f, g, o = jnp.split(factor * tanh(factor * (px + ph)) + offset, 4, axis=-1)
        c = f * c + i * g
        return c, o * tanh(c)

    @nn.nowrap
    def hidden(self, carry: Carry) -> Float[Array, "*streams hidden"]:
        _, h = carry
        return h

    @nn.nowrap
    def initialize_carry(self, rng: RandomKey, input_shape: tuple[int, ...]) -> Carry:
        start = super().initialize_carry
        c_key, h_key = jax.random.split(rng)
        return start(c_key, input_shape), start(h_key, input_shape)


def _per_gate(initializer: Initializer, num_gates: int) -> Initializer:
    """Draw the square matrix of each gate separately, so that each can be orthogonal."""
    if num_gates == 1:
        return initializer

    def start(key: RandomKey, shape: tuple[int, int], dtype: Any) -> Array:
        draw = jax.vmap(lambda key: initializer(key, (shape[0], shape[0]), dtype), out_axes=1)  # compiles once for all gates
        return draw(jax.random.split(key, num_gates)).reshape(shape)

    return start

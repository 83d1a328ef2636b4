"""Recurrent cells as Flax Linen modules, and the initial values that the literature gives them.

Every cell is two products and one elementwise function,

    carry' = gates(carry, project(inputs), recur(hidden(carry)))

because only `recur` and `gates` depend on the step before: whatever trains over blocks of text takes `project` out of the
loop. Inputs are character ids, whose product as one-hot vectors is the gather of one row, or the outputs of a layer below.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import constant, lecun_normal, normal, orthogonal, zeros
from jaxtyping import Array, Float

from jaxrnn.activations import sigmoid, tanh
from jaxrnn.types import Carry, Inputs, RandomKey

Activation = Callable[[Array], Array]
Initializer = Callable[..., Array]  # (key, shape, dtype) -> values, as in `jax.nn.initializers`
ACTIVATIONS: dict[str, Activation] = {"sigmoid": sigmoid, "tanh": tanh, "relu": nn.relu}


class Initialisation(NamedTuple):
    """Where the weights start. Those of a layer depend on its fan-in."""

    weights: Callable[[int], Initializer]
    recurrent: Callable[[int], Initializer]  # of one gate, (hidden, hidden)
    bias: Callable[[int], Initializer] | None  # None: layers have no biases at all
    carry: Initializer


def _uniform_within(fan_in: int) -> Initializer:
    bound = fan_in**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def _deviation_of_a_tenth(fan_in: int) -> Initializer:
    del fan_in
    return normal(0.1)


INITIALISATIONS: dict[str, Initialisation] = {
    # What torch.nn.Linear does, biases included, and the course's initial state.
    "pytorch": Initialisation(_uniform_within, _uniform_within, _uniform_within, carry=normal(0.1)),
    # Mikolov et al. (2010): no biases, "random Gaussian noise", initial state 0.1. The paper says variance 0.1; the
    # authors' own program draws with a standard deviation of 0.1, which is what trains.
    "mikolov": Initialisation(_deviation_of_a_tenth, _deviation_of_a_tenth, bias=None, carry=constant(0.1)),
    # What Flax's own cells do: recurrent products that neither shrink nor stretch a state (Saxe et al., 2014).
    "orthogonal": Initialisation(lambda fan_in: lecun_normal(), lambda fan_in: orthogonal(), lambda fan_in: zeros, carry=zeros),
}


class Cell(nn.RNNCellBase):
    """What all cells here share; each of them adds its gates.

    Weights are stored as (inputs, gates * hidden): a row of `input_kernel` is what one character does.
    """

    input_size: int  # characters of the vocabulary, or units of the layer below
    hidden_size: int
    initialisation: Initialisation = INITIALISATIONS["pytorch"]

    num_gates: ClassVar[int] = 1
    gates_of_sum: ClassVar[bool] = False  # whether `gates` looks at px + ph only, so that both have one derivative

    def setup(self) -> None:
        # The paper feeds one layer with input and state side by side: both count in the fan-in.
        start, fan_in, width = self.initialisation, self.input_size + self.hidden_size, self.num_gates * self.hidden_size
        recurrent = _gate_by_gate(start.recurrent(fan_in), self.num_gates)
        self.input_kernel = self.param("input_kernel", start.weights(fan_in), (self.input_size, width), jnp.float32)
        self.recurrent_kernel = self.param("recurrent_kernel", recurrent, (self.hidden_size, width), jnp.float32)
        self.bias = self.param("bias", self.start_of_bias(start.bias(fan_in)), (width,), jnp.float32) if start.bias else None

    @nn.nowrap
    def start_of_bias(self, usual: Initializer) -> Initializer:
        """Initial values of the bias of all gates."""
        return usual

    def project(self, inputs: Inputs) -> Float[Array, "*streams gates"]:
        """The input's part of the pre-activations: W_x x_t + b."""
        are_ids = jnp.issubdtype(inputs.dtype, jnp.integer)
        product = self.input_kernel[inputs] if are_ids else inputs @ self.input_kernel
        return product if self.bias is None else product + jnp.broadcast_to(self.bias, product.shape)

    def recur(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        """The state's part of the pre-activations: W_h h_{t-1}."""
        return h @ self.recurrent_kernel

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        """The new carry from the old one and the two parts of the pre-activations: elementwise, without weights."""
        raise AttributeError(f"{type(self).__name__} has no gates")

    @nn.nowrap
    def hidden(self, carry: Carry) -> Float[Array, "*streams hidden"]:
        """The part of the carry that other layers and the next step see."""
        return carry

    def __call__(self, carry: Carry, inputs: Inputs) -> tuple[Carry, Float[Array, "*streams hidden"]]:
        carry = self.gates(carry, self.project(inputs), self.recur(self.hidden(carry)))
        return carry, self.hidden(carry)

    @nn.nowrap
    def initialize_carry(self, rng: RandomKey, input_shape: tuple[int, ...]) -> Carry:
        """The carry before the first character; `input_shape` is that of the streams: () for one, (B,) for B of them."""
        return self.initialisation.carry(rng, (*input_shape, self.hidden_size), jnp.float32)

    @property
    def num_feature_axes(self) -> int:
        """An id has no axis of features."""
        return 0


class Elman(Cell):
    """Simple recurrent network: h_t = f(W_x x_t + W_h h_{t-1} + b).

    Source: Elman (1990), Cognitive Science 14(2); Mikolov et al. (2010), Interspeech, eq. 1-3.
    """

    activation: Activation = sigmoid

    gates_of_sum: ClassVar[bool] = True

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        del carry  # an Elman network has no gate that keeps part of its state
        return self.activation(px + ph)


class GRU(Cell):
    """Gated recurrent unit, the reset gate behind the recurrent product, as in cuDNN, PyTorch and Flax.

    r = s(W_r x + U_r h), z = s(W_z x + U_z h), n = tanh(W_n x + r (U_n h + b)), h' = (1 - z) n + z h; the columns of the
    kernels are those of r, z and n.

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
        product = super().recur(h)
        if self.recurrent_bias is None:
            return product
        bias = jnp.pad(self.recurrent_bias, (2 * self.hidden_size, 0))  # of n only: those of r and z are in `project`
        return product + jnp.broadcast_to(bias, product.shape)

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        (rx, zx, nx), (rh, zh, nh) = jnp.split(px, 3, axis=-1), jnp.split(ph, 3, axis=-1)
        r, z = sigmoid(rx + rh), sigmoid(zx + zh)
        n = tanh(nx + r * nh)
        return n + z * (carry - n)


class LSTM(Cell):
    """Long short-term memory with a forget gate, whose bias starts at 1.

    i, f, o = s(W x + U h + b), g = tanh(W_g x + U_g h + b_g), c' = f c + i g, h' = o tanh(c'); the columns of the kernels are
    those of i, f, g and o. The carry is (c, h).

    Source: Hochreiter & Schmidhuber (1997), Neural Computation 9(8); Gers et al. (2000); the bias: Jozefowicz et al. (2015).
    """

    num_gates: ClassVar[int] = 4
    gates_of_sum: ClassVar[bool] = True

    @nn.nowrap
    def start_of_bias(self, usual: Initializer) -> Initializer:
        def start(key: RandomKey, shape: tuple[int, ...], dtype: Any) -> Array:
            of_forget_gate = slice(self.hidden_size, 2 * self.hidden_size)
            return usual(key, shape, dtype).at[of_forget_gate].add(1)

        return start

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        c, _ = carry
        i, f, g, o = jnp.split(px + ph, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return c, sigmoid(o) * tanh(c)

    @nn.nowrap
    def hidden(self, carry: Carry) -> Float[Array, "*streams hidden"]:
        _, h = carry
        return h

    @nn.nowrap
    def initialize_carry(self, rng: RandomKey, input_shape: tuple[int, ...]) -> Carry:
        start = super().initialize_carry
        c_key, h_key = jax.random.split(rng)
        return start(c_key, input_shape), start(h_key, input_shape)


CELLS: dict[str, type[Cell]] = {"elman": Elman, "gru": GRU, "lstm": LSTM}


def _gate_by_gate(initializer: Initializer, num_gates: int) -> Initializer:
    """Draws the square matrix of each gate by itself: only then can it be orthogonal."""
    if num_gates == 1:
        return initializer

    def start(key: RandomKey, shape: tuple[int, int], dtype: Any) -> Array:
        keys, hidden = jax.random.split(key, num_gates), shape[0]
        return jnp.concatenate([initializer(each, (hidden, hidden), dtype) for each in keys], axis=1)

    return start

"""What all recurrent cells share, as a Flax Linen module, and the initial values that the literature gives them.

Every cell is two products and one elementwise function,

    carry' = gates(carry, project(inputs), recur(hidden(carry)))

because only `recur` and `gates` depend on the step before: whatever trains over blocks of text takes `project` out of the
loop. Inputs are character ids, whose product as one-hot vectors is the gather of one row, or the outputs of a layer below.

The columns of all weights belong to units: column j to unit j modulo the number of units. So do the numbers of a carry. Rules
that follow each unit by itself rely on it (`blocks.py`).
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import constant, lecun_normal, normal, orthogonal, zeros
from jaxtyping import Array, Float

from jaxrnn.array_types import Carry, Inputs, RandomKey
from jaxrnn.models.activations import sigmoid, tanh

Tree = TypeVar("Tree")  # of arrays
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


def _normal_tenth(fan_in: int) -> Initializer:
    del fan_in
    return normal(0.1)


INITIALISATIONS: dict[str, Initialisation] = {
    # What torch.nn.Linear does, biases included, and the course's initial state.
    "pytorch": Initialisation(_uniform_within, _uniform_within, _uniform_within, carry=normal(0.1)),
    # Mikolov et al. (2010): no biases, "random Gaussian noise", initial state 0.1. The paper says variance 0.1; the
    # authors' own program draws with a standard deviation of 0.1, which is what trains.
    "mikolov": Initialisation(_normal_tenth, _normal_tenth, bias=None, carry=constant(0.1)),
    # What Flax's own cells do: recurrent products that neither shrink nor stretch a state (Saxe et al., 2014).
    "orthogonal": Initialisation(lambda fan_in: lecun_normal(), lambda fan_in: orthogonal(), lambda fan_in: zeros, carry=zeros),
}


def barrier(numbers: Tree) -> Tree:
    """The same numbers; they, and their cotangents on the way back, are computed before anything that needs them.

    XLA would compute the derivatives of a GRU's gates anew for each weight: a step then takes four times as long.
    """
    return jax.lax.optimization_barrier(numbers)


class Cell(nn.RNNCellBase):
    """What all cells here share; each of them adds its gates.

    Weights are stored as (inputs, gates * hidden): a row of `input_kernel` is what one character does. How the state acts on
    itself differs: in `DenseCell` each unit reaches all others, in the diagonal cells itself alone.
    """

    input_size: int  # characters of the vocabulary, or units of the layer below
    hidden_size: int
    initialisation: Initialisation = INITIALISATIONS["pytorch"]

    num_gates: ClassVar[int] = 1  # of which each unit has a column
    has_bias: ClassVar[bool] = True  # if the initialisation gives any
    gates_of_sum: ClassVar[bool] = False  # whether `gates` looks at px + ph only, so that both have one derivative

    def setup(self) -> None:
        # The paper feeds one layer with input and state side by side: both count in the fan-in.
        start, fan_in, width = self.initialisation, self.input_size + self.hidden_size, self.num_gates * self.hidden_size
        self.input_kernel = self.param("input_kernel", start.weights(fan_in), (self.input_size, width), jnp.float32)
        self.set_up_recurrence()
        bias = self.bias_init(start.bias(fan_in)) if start.bias and self.has_bias else None
        self.bias = self.param("bias", bias, (width,), jnp.float32) if bias else None

    @nn.nowrap
    def bias_init(self, usual: Initializer) -> Initializer:
        """Initial values of the bias of all gates."""
        return usual

    def set_up_recurrence(self) -> None:
        """The weights with which the state acts on itself."""
        raise NotImplementedError(f"{type(self).__name__} has no recurrence")

    def project(self, inputs: Inputs) -> Float[Array, "*streams gates"]:
        """The input's part of the pre-activations: W_x x_t + b."""
        are_ids = jnp.issubdtype(inputs.dtype, jnp.integer)
        product = self.input_kernel[inputs] if are_ids else inputs @ self.input_kernel
        return product if self.bias is None else product + jnp.broadcast_to(self.bias, product.shape)

    def recur(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        """The state's part of the pre-activations: W_h h_{t-1}."""
        raise NotImplementedError(f"{type(self).__name__} has no recurrence")

    def recur_diagonal(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        """What of `recur` each unit gives to itself; all of it in a diagonal cell."""
        return self.recur(h)

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        """The new carry from the old one and the two parts of the pre-activations: elementwise, without weights."""
        raise NotImplementedError(f"{type(self).__name__} has no gates")

    @nn.nowrap
    def hidden(self, carry: Carry) -> Float[Array, "*streams hidden"]:
        """The part of the carry that the next step sees: linear in it."""
        return carry

    def output(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams hidden"]:
        """What other layers and the readout see of it."""
        return h

    def __call__(self, carry: Carry, inputs: Inputs) -> tuple[Carry, Float[Array, "*streams hidden"]]:
        ph = self.recur(self.hidden(carry))
        carry = self.gates(carry, self.project(inputs), ph if self.gates_of_sum else barrier(ph))
        return carry, self.output(self.hidden(carry))

    @nn.nowrap
    def initialize_carry(self, rng: RandomKey, input_shape: tuple[int, ...]) -> Carry:
        """The carry before the first character; `input_shape` is that of the streams: () for one, (B,) for B of them."""
        return self.initialisation.carry(rng, (*input_shape, self.hidden_size), jnp.float32)

    @property
    def num_feature_axes(self) -> int:
        """An id has no axis of features."""
        return 0

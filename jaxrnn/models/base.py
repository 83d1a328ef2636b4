"""The base class of recurrent cells, as a Flax Linen module, and initialisations from the literature.

Every cell is two products and one elementwise function,

    carry' = gates(carry, project(inputs), recur(hidden(carry)))

because only `recur` and `gates` depend on the previous step: training over blocks of text takes `project` out of the loop.
Inputs are character ids, for which the product with a one-hot vector is a row gather, or the outputs of the layer below.

Column j of any weight array belongs to unit j modulo the number of units, and so do the numbers of a carry. Rules that track
each unit separately rely on it (`rules/_unitwise.py`).
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import constant, lecun_normal, normal, orthogonal, zeros
from jaxtyping import Array, Float

from jaxrnn.data.array_types import Carry, Inputs, RandomKey
from jaxrnn.models.activations import sigmoid, tanh
from jaxrnn.models.products import product

Tree = TypeVar("Tree")  # of arrays
Activation = Callable[[Array], Array]
Initializer = Callable[..., Array]  # (key, shape, dtype) -> values, as in `jax.nn.initializers`
ACTIVATIONS: dict[str, Activation] = {"sigmoid": sigmoid, "tanh": tanh, "relu": nn.relu}


class Initialisation(NamedTuple):
    """Initial values of weights, biases and carry; weights and biases depend on the fan-in of a layer."""

    weights: Callable[[int], Initializer]
    recurrent: Callable[[int], Initializer]  # for one gate, (hidden, hidden)
    bias: Callable[[int], Initializer] | None  # None: layers have no biases
    carry: Initializer


def _uniform_within(fan_in: int) -> Initializer:
    bound = fan_in**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def _normal_tenth(fan_in: int) -> Initializer:
    del fan_in
    return normal(0.1)


INITIALISATIONS: dict[str, Initialisation] = {
    # Like torch.nn.Linear, including biases, with the course's initial state.
    "pytorch": Initialisation(_uniform_within, _uniform_within, _uniform_within, carry=normal(0.1)),
    # Mikolov et al. (2010): no biases, "random Gaussian noise", initial state 0.1. The paper says variance 0.1; the
    # authors' own program draws with a standard deviation of 0.1, which is what trains.
    "mikolov": Initialisation(_normal_tenth, _normal_tenth, bias=None, carry=constant(0.1)),
    # Like Flax's own cells: recurrent products preserve the norm of a state (Saxe et al., 2014).
    "orthogonal": Initialisation(lambda fan_in: lecun_normal(), lambda fan_in: orthogonal(), lambda fan_in: zeros, carry=zeros),
}


def barrier(numbers: Tree) -> Tree:
    """Make XLA compute these numbers, and their cotangents, only once, before anything that needs them.

    XLA would recompute the derivatives of a GRU's gates for each weight, which makes a step four times slower.
    """
    return jax.lax.optimization_barrier(numbers)


class Cell(nn.RNNCellBase):
    """Base class of our cells; a subclass adds its recurrence and gates.

    Weights are stored as (inputs, gates * hidden): row i of `input_kernel` is the effect of character i. In a `DenseCell` each
    unit reaches all units, in a diagonal cell only itself.
    """

    input_size: int  # characters of the vocabulary, or units of the layer below
    hidden_size: int
    initialisation: Initialisation = INITIALISATIONS["pytorch"]

    num_gates: ClassVar[int] = 1  # columns per unit
    has_bias: ClassVar[bool] = True  # if the initialisation has any
    gates_of_sum: ClassVar[bool] = False  # whether `gates` uses only px + ph, so that both have the same derivative

    def setup(self) -> None:
        # The paper concatenates input and state, so both count in the fan-in.
        start, fan_in, width = self.initialisation, self.input_size + self.hidden_size, self.num_gates * self.hidden_size
        self.input_kernel = self.param("input_kernel", start.weights(fan_in), (self.input_size, width), jnp.float32)
        self.set_up_recurrence()
        bias = self.bias_init(start.bias(fan_in)) if start.bias and self.has_bias else None
        self.bias = self.param("bias", bias, (width,), jnp.float32) if bias else None

    @nn.nowrap
    def bias_init(self, usual: Initializer) -> Initializer:
        """Return the initializer of the bias of all gates."""
        return usual

    def set_up_recurrence(self) -> None:
        """Create the recurrent weights."""
        raise NotImplementedError(f"{type(self).__name__} has no recurrence")

    def project(self, inputs: Inputs) -> Float[Array, "*streams gates"]:
        """Compute the input's part of the pre-activations, W_x x_t + b."""
        are_ids = jnp.issubdtype(inputs.dtype, jnp.integer)
        px = self.input_kernel[inputs] if are_ids else product(inputs, self.input_kernel)
        return px if self.bias is None else px + jnp.broadcast_to(self.bias, px.shape)

    def recur(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        """Compute the state's part of the pre-activations, W_h h_{t-1}."""
        raise NotImplementedError(f"{type(self).__name__} has no recurrence")

    def recur_diagonal(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams gates"]:
        """Compute the part of `recur` from each unit to itself; all of it in a diagonal cell."""
        return self.recur(h)

    @nn.nowrap
    def gates(self, carry: Carry, px: Float[Array, "*streams gates"], ph: Float[Array, "*streams gates"]) -> Carry:
        """Compute the new carry from the old one and both parts of the pre-activations, elementwise and without weights."""
        raise NotImplementedError(f"{type(self).__name__} has no gates")

    @nn.nowrap
    def hidden(self, carry: Carry) -> Float[Array, "*streams hidden"]:
        """Return the part of the carry that `recur` uses; it must be linear in the carry."""
        return carry

    def output(self, h: Float[Array, "*streams hidden"]) -> Float[Array, "*streams hidden"]:
        """Compute from the hidden state what the next layer and the readout see."""
        return h

    def __call__(self, carry: Carry, inputs: Inputs) -> tuple[Carry, Float[Array, "*streams hidden"]]:
        ph = self.recur(self.hidden(carry))
        carry = self.gates(carry, self.project(inputs), ph if self.gates_of_sum else barrier(ph))
        return carry, self.output(self.hidden(carry))

    @nn.nowrap
    def initialize_carry(self, rng: RandomKey, input_shape: tuple[int, ...]) -> Carry:
        """Draw the initial carry; `input_shape` is the shape of the streams: () for one, (B,) for B streams."""
        return self.initialisation.carry(rng, (*input_shape, self.hidden_size), jnp.float32)

    @property
    def num_feature_axes(self) -> int:
        """Return 0, because an id has no feature axis."""
        return 0

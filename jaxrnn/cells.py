"""Recurrent cells as Flax Linen modules, and the initial values that the literature gives them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn.initializers import constant, normal
from jaxtyping import Array, Float

from jaxrnn.types import Carry, Ids, RandomKey

Activation = Callable[[Array], Array]
Initializer = Callable[..., Array]  # (key, shape, dtype) -> values, as in `jax.nn.initializers`
ACTIVATIONS: dict[str, Activation] = {"sigmoid": nn.sigmoid, "tanh": nn.tanh, "relu": nn.relu}


class Initialisation(NamedTuple):
    """Where the weights start. `weights` takes the fan-in of a layer and returns a Flax initializer."""

    weights: Callable[[int], Initializer]
    biases: bool  # whether layers have biases at all; they start like the weights
    carry: Initializer


def _uniform_within(fan_in: int) -> Initializer:
    bound = fan_in**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


INITIALISATIONS: dict[str, Initialisation] = {
    # What torch.nn.Linear does, biases included, and the course's initial state.
    "pytorch": Initialisation(_uniform_within, biases=True, carry=normal(0.1)),
    # Mikolov et al. (2010): no biases, "random Gaussian noise", initial state 0.1. The paper says variance 0.1; the
    # authors' own program draws with a standard deviation of 0.1, which is what trains.
    "mikolov": Initialisation(lambda fan_in: normal(0.1), biases=False, carry=constant(0.1)),
}


class Elman(nn.RNNCellBase):
    """Simple recurrent network: h_t = f(W_x[x_t] + W_h h_{t-1} + b).

    Its inputs are character ids: the product of W_x with a one-hot vector is the gather of one row. The carry, h, is also
    the output. The step is written as `gates(carry, project(ids), recur(carry))`, because only `recur` and `gates` depend
    on the step before: whatever trains over blocks of text may take `project` out of the loop.

    Source: Elman (1990), Cognitive Science 14(2); Mikolov et al. (2010), Interspeech, eq. 1-3.
    """

    vocab_size: int
    hidden_size: int
    activation: Activation = nn.sigmoid
    initialisation: Initialisation = INITIALISATIONS["pytorch"]

    def setup(self) -> None:
        # The paper feeds one layer with input and state side by side: both count in the fan-in.
        weights = self.initialisation.weights(self.vocab_size + self.hidden_size)
        self.input_kernel = self.param("input_kernel", weights, (self.vocab_size, self.hidden_size), jnp.float32)
        self.recurrent_kernel = self.param("recurrent_kernel", weights, (self.hidden_size, self.hidden_size), jnp.float32)
        self.bias = self.param("bias", weights, (self.hidden_size,), jnp.float32) if self.initialisation.biases else None

    def project(self, ids: Ids) -> Float[Array, "*streams hidden"]:
        """The input's part of the pre-activation: W_x[x_t] + b."""
        rows = self.input_kernel[ids]
        return rows if self.bias is None else rows + jnp.broadcast_to(self.bias, rows.shape)

    def recur(self, carry: Float[Array, "*streams hidden"]) -> Float[Array, "*streams hidden"]:
        """The state's part of the pre-activation: W_h h_{t-1}."""
        return carry @ self.recurrent_kernel

    def gates(
        self, carry: Float[Array, "*streams hidden"], px: Float[Array, "*streams hidden"], ph: Float[Array, "*streams hidden"]
    ) -> Float[Array, "*streams hidden"]:
        """The new carry from the old one and the two parts of the pre-activation."""
        del carry  # an Elman network has no gate that keeps part of its state
        return self.activation(px + ph)

    def __call__(self, carry: Carry, inputs: Ids) -> tuple[Carry, Float[Array, "*streams hidden"]]:
        h = self.gates(carry, self.project(inputs), self.recur(carry))
        return h, h

    @nn.nowrap
    def initialize_carry(self, rng: RandomKey, input_shape: tuple[int, ...]) -> Float[Array, "*streams hidden"]:
        """The state before the first character; `input_shape` is that of the ids: () for one stream, (B,) for B streams."""
        return self.initialisation.carry(rng, (*input_shape, self.hidden_size), jnp.float32)

    @property
    def num_feature_axes(self) -> int:
        """An id has no axis of features."""
        return 0

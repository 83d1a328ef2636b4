"""A language model as three pure functions: input layer, cell, readout; and its loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from jaxrnn import cells
from jaxrnn.errors import InputError
from jaxrnn.types import Carry, Ids, Logits, Params, RandomKey


class Model(NamedTuple):
    """The only view that the rest of the code has of Flax."""

    init: Callable[[RandomKey], Params]
    initial_carry: Callable[[RandomKey, tuple[int, ...]], Carry]  # () for one stream, (B,) for B streams
    step: Callable[[Params, Carry, Ids], tuple[Carry, Logits]]  # one character of every stream


def elman(vocab_size: int, hidden_size: int = 128, activation: str = "sigmoid", initialisation: str = "pytorch") -> Model:
    """The course's network: an Elman cell and a linear readout, over one-hot characters.

    Args:
      vocab_size, hidden_size: numbers of characters and of hidden units.
      activation: a name in `cells.ACTIVATIONS`.
      initialisation: a name in `cells.INITIALISATIONS`.
    Raises:
      InputError: a number under 1, or an unknown name.
    """
    if min(vocab_size, hidden_size) < 1 or activation not in cells.ACTIVATIONS or initialisation not in cells.INITIALISATIONS:
        raise InputError(f"no network of {vocab_size} characters, {hidden_size} units, {activation!r} and {initialisation!r}")
    start = cells.INITIALISATIONS[initialisation]
    cell = cells.Elman(vocab_size, hidden_size, cells.ACTIVATIONS[activation], start)
    return _model(LanguageModel(cell, Readout(vocab_size, hidden_size, start)), cell)


def nats(logits: Logits, y: Ids) -> Float[Array, ""]:
    """Cross entropy of the next characters `y`, in nats per character, mean over the streams."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


class Readout(nn.Module):
    """logits = W_o h + c.

    W_o is stored as (vocab, hidden), one row a character: measured 1.3 to 1.6 times as fast as its transpose.
    """

    vocab_size: int
    hidden_size: int
    initialisation: cells.Initialisation

    @nn.compact
    def __call__(self, h: Float[Array, "*streams hidden"]) -> Logits:
        weights = self.initialisation.weights(self.hidden_size)
        kernel = self.param("kernel", weights, (self.vocab_size, self.hidden_size), jnp.float32)
        # The product over both last axes: h @ kernel.T would copy the kernel first, which doubles the time of a step.
        logits = jax.lax.dot_general(h, kernel, (((h.ndim - 1,), (1,)), ((), ())))
        if not self.initialisation.biases:
            return logits
        return logits + jnp.broadcast_to(self.param("bias", weights, (self.vocab_size,), jnp.float32), logits.shape)


class LanguageModel(nn.Module):
    """A cell and a readout of its output."""

    cell: nn.RNNCellBase
    readout: nn.Module

    def __call__(self, carry: Carry, ids: Ids) -> tuple[Carry, Logits]:
        carry, h = self.cell(carry, ids)
        return carry, self.readout(h)


def _model(module: nn.Module, cell: nn.RNNCellBase) -> Model:
    def init(key: RandomKey) -> Params:
        any_carry = cell.initialize_carry(jax.random.key(0), ())  # its values do not matter, only its shape
        return module.init(key, any_carry, jnp.int32(0))["params"]

    def step(params: Params, carry: Carry, ids: Ids) -> tuple[Carry, Logits]:
        carry_and_logits: Any = module.apply({"params": params}, carry, ids)
        return carry_and_logits

    return Model(init, cell.initialize_carry, step)

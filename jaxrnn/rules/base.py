"""What an online gradient rule is: the shape of Optax's transformations, one level further down."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from jaxrnn.array_types import Block, Carry, Ids, Losses, Memory, Params, RandomKey
from jaxrnn.rules import _influence
from jaxrnn.rules._influence import LocalGradient, Theta


class Gradient(NamedTuple):
    """What a rule gives back for the `length` characters that it read."""

    grads: Params
    carry: Carry
    memory: Memory
    losses: Losses  # f32[length]: each character scored before the update


class Rule(NamedTuple):
    """How a gradient is obtained while reading. Both functions are pure."""

    length: int  # characters per update: 1 for every online rule
    init: Callable[[Params, Carry, RandomKey], Memory]  # also how the memory is reset together with the carry
    gradient: Callable[[Params, Memory, Carry, Block, Block], Gradient]  # x, y: i32[length, *streams]; all streams at once


def influence_rule(
    name: str,
    shapes: Callable[[Params, Carry], PyTree],
    local: Callable[[Params, Carry, Block, Block], LocalGradient],
    follow: Callable[[Params, Any, Carry, Carry, Ids], tuple[Theta, Any]],
    max_bytes: int,
) -> Rule:
    """A rule of length 1 that keeps some form of J: its gradient is g + J^T delta.

    Args:
      name: by which an error speaks of it.
      shapes: (params, carry) -> those of its memory.
      local: (params, carry, x, y) -> g and delta, as `influence.local_gradient`.
      follow: (params, memory, delta, carry, x) -> J^T delta, and the memory one step on.
      max_bytes: that the memory may take, else its `init` raises `InputError`.
    """

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        del key
        return _influence.zero_memory(shapes(params, carry), max_bytes, name)

    def gradient(params: Params, memory: Memory, carry: Carry, x: Block, y: Block) -> Gradient:
        memory, carry = jax.lax.stop_gradient((memory, carry))
        here = local(params, carry, x, y)
        correction, after = follow(params, memory, here.delta, carry, x[0])
        return Gradient(_influence.add_correction(here.grads, correction), here.carry, after, here.losses)

    return Rule(1, init, gradient)

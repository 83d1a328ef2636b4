"""What an online gradient rule is: the shape of Optax's transformations, one level further down."""

from collections.abc import Callable
from typing import NamedTuple

from jaxrnn.types import Block, Carry, Losses, Memory, Params, RandomKey


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

"""Exact gradients while reading, cheaply, where each unit's state reaches that unit alone."""

import jax

from jaxrnn import blocks, influence
from jaxrnn.blocks import Blocks
from jaxrnn.model import Model
from jaxrnn.rules.base import Gradient, Rule
from jaxrnn.types import Block, Carry, Memory, Params, RandomKey


def rtrl_diagonal(model: Model, max_bytes: int = influence.MOST_BYTES) -> Rule:
    """Exact gradient, as that of `rtrl`, for one layer of units that reach themselves alone: IndRNN and LRU cells.

    A weight then moves the unit that it drives, and no other, for ever: E <- I + B E is all of J.

    Args:
      max_bytes: that the memory may take.
    Returns:
      A Rule of length 1. Memory: E, 4 B S P bytes for B streams, S states of a unit (2 of an LRU, else 1) and P weights that
      reach the carry; time O(S^2 P).
    Raises:
      InputError: for another cell, several layers or a learned embedding, of which it would not be exact; and by its `init`,
        if E would take more than `max_bytes`.
    Source: Mozer (1989), Complex Systems 3(4), eq. 4; Zucchet et al. (2023), NeurIPS.
    """
    paths = blocks.paths_of_layers(model)
    blocks.check_units(model, paths, "rtrl_diagonal")
    blocks.check_diagonal(model, paths, "rtrl_diagonal")
    follow = blocks.follow(blocks.steps_of(model, paths, diagonal=True), paths)

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        del key
        return influence.zeros(blocks.shapes(params, carry, paths), max_bytes, "rtrl_diagonal")

    def gradient(params: Params, memory: Blocks, carry: Carry, x: Block, y: Block) -> Gradient:
        memory, carry = jax.lax.stop_gradient((memory, carry))
        here = influence.local(model, params, carry, x, y)
        correction, after = follow(params, memory, here.delta, carry, x[0])
        return Gradient(influence.corrected(here.grads, correction), here.carry, after, here.losses)

    return Rule(1, init, gradient)

"""Exact gradients while reading, cheaply, where each unit's state reaches that unit alone."""

import functools

from jaxrnn import blocks, influence
from jaxrnn.model import Model
from jaxrnn.rules.base import Rule, following


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

    shapes = functools.partial(blocks.shapes, paths=paths)
    return following("rtrl_diagonal", shapes, functools.partial(influence.local, model), follow, max_bytes)

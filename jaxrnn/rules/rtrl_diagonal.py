"""Cheap exact online gradients for diagonal recurrences."""

import functools

from jaxrnn.models.model import Model
from jaxrnn.rules import _influence, _unit_checks, _unitwise
from jaxrnn.rules.base import Rule, influence_rule


def rtrl_diagonal(model: Model, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Exact gradient, equal to `rtrl`, for one layer with a diagonal recurrence: IndRNN and LRU cells.

    In such a layer a weight never affects any unit but the one that it drives, so ``E <- I + B E`` is all of J.

    Args:
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is E, 4 B S P bytes for B streams, S states per unit (2 for an LRU, else 1) and P weights
      that reach the carry; time O(S^2 P).
    Raises:
      InputError: another cell, several layers or a learned embedding, for which it would not be exact; or, from its `init`, if
        E would take more than `max_bytes`.
    Source: Mozer (1989), Complex Systems 3(4), eq. 4; Zucchet et al. (2023), NeurIPS.
    """
    paths = _unitwise.layer_paths(model)
    _unit_checks.check_units(model, paths, "rtrl_diagonal")
    _unit_checks.check_diagonal(model, paths, "rtrl_diagonal")
    follow = _unitwise.follow_units(model, _unitwise.unit_steps(model, paths, diagonal=True), paths, "E")

    shapes = functools.partial(_unitwise.memory_shapes, model, paths=paths)
    return influence_rule("rtrl_diagonal", model, shapes, _influence.local_gradient, follow, max_bytes)

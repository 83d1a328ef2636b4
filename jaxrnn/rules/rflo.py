"""Random feedback local online learning (RFLO) with exact feedback: gradients through what each unit keeps of its state."""

import functools

from jaxrnn.errors import InputError
from jaxrnn.models.model import Model, check_model
from jaxrnn.rules import _carry_error, _influence, _unit_checks, _unitwise
from jaxrnn.rules.base import Rule, influence_rule


def rflo(model: Model, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Gradient through what the gates keep, ignoring all paths through recurrent weights.

    ``E <- I + B E``, with ``B = dcarry'/dcarry`` at constant recurrent products: 1 - a for a leaky unit, z for a GRU, f for the
    c of an LSTM (like the eligibility traces of e-prop). Units whose gates keep nothing have B = 0: for Elman, IndRNN and LRU
    cells the rule equals `one_step`. A unit's error is its exact gradient at this character through the gates, not random
    feedback. Layers are tracked separately, and a learned embedding gets the gradient of `one_step`.

    Args:
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is E, 4 B S P bytes for B streams, S states per unit and P weights of the layers that
      reach their carry; time O(S^2 P).
    Raises:
      InputError: a foreign cell, whose gates and recurrence cannot be separated; a weight that drives several units; or, from
        its `init`, if E would take more than `max_bytes`.
    Source: Murray (2019), eLife 8; the author's code (murray-lab/rflo-learning) computes the same E for leaky units. For gates:
      Bellec et al. (2020), Nature Communications 11, eq. 13-14 (e-prop).
    """
    check_model(model)
    if not model.layers:
        raise InputError("rflo needs a network of jaxrnn's own cells; try snap1")
    paths = _unitwise.layer_paths(model)
    _unit_checks.check_units(model, paths, "rflo")
    follow = _unitwise.follow_units(model, _unitwise.steps_by_layer(model, paths, _unitwise.through_gates), paths)

    shapes = functools.partial(_unitwise.memory_shapes, model, paths=paths)
    return influence_rule("rflo", model, shapes, _carry_error.layers_gradient, follow, max_bytes)

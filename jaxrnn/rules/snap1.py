"""SnAp-1: gradients through each unit's own past."""

import functools

from jaxrnn.models.model import Model
from jaxrnn.rules import _carry_error, _influence, _unit_checks, _unitwise
from jaxrnn.rules.base import Rule, influence_rule


def snap1(model: Model, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """SnAp-1, unit by unit: `rtrl` with only the influence of each weight on the unit that it drives.

    ``J~_t = M * (I_t + D_t J~_{t-1})``, with a mask M that is 1 from a weight to its own unit; the gradient is
    ``(dL_t/dh_t) J~_t``. Weights that act after h_t, such as the readout's, get their ordinary gradient. It is exact for
    diagonal recurrences, as in IndRNN and LRU cells.

    For one layer of units with one state each, over one-hot characters, this is SnAp-1 as published, and `snap_n` with n = 1.
    The paper masks each number of the state by itself; here a unit is all of its states, so J~ keeps more for an LSTM (c and h)
    and an LRU (both parts of a complex number). Layers are tracked separately, so J~ keeps less: past influence on layers
    above is ignored, and a learned embedding gets the gradient of `one_step`.

    Args:
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is J~ without its zeros, 4 B S P bytes for B streams, S states per unit (2 for an LSTM or
      LRU, else 1) and P weights of the layers that reach their carry; time O(S^2 P).
    Raises:
      InputError: a foreign cell with a weight that drives several units, or whose output is not computed from its new
        carry; or, from its `init`, if J~ would take more than `max_bytes`.
    Source: Menick et al. (2020), arXiv:2006.07232, section 3; layers as in Zucchet et al. (2023), NeurIPS.
    """
    paths = _unitwise.layer_paths(model)
    _unit_checks.check_units(model, paths, "snap1")
    _carry_error.check_outputs(model, "snap1")
    local = _carry_error.layers_gradient if model.layers else _carry_error.carry_gradient
    follow = _unitwise.follow_units(model, _unitwise.unit_steps(model, paths), paths, "I + B E" if model.layers else "B E")

    shapes = functools.partial(_unitwise.memory_shapes, model, paths=paths)
    return influence_rule("snap1", model, shapes, local, follow, max_bytes)

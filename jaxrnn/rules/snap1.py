"""Gradients through each unit's own past, after one exact step back."""

import functools

from jaxrnn.models.model import Model
from jaxrnn.rules import _influence, _unitwise
from jaxrnn.rules.base import Rule, influence_rule


def snap1(model: Model, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Gradient of `rtrl` with J replaced by E: each weight's influence on the unit that it drives, and on no other.

    E <- I + B E, unit by unit, where B is the part of D that leads from a unit to itself; grads = g + E^T delta. It is exact
    where units reach themselves alone, as in IndRNN and LRU cells.

    This is not SnAp-1 of Menick et al. (2020), which uses the masked influence of the current step, dL_t/dh_t . E_t. Here
    delta = dL_t/dh_{t-1} goes back through all of D_t: one exact step, and the mask only before that. All states of a unit,
    as c and h of an LSTM, are followed, where the paper keeps the pattern of I, which is less for such cells.

    Each layer is followed by itself: what it did to layers above in the past is left out, and a learned embedding gets the
    gradient of `one_step`.

    Args:
      max_bytes: that the memory may take.
    Returns:
      A Rule of length 1. Memory: E, 4 B S P bytes for B streams, S states of a unit (2 of an LSTM or LRU, else 1) and P weights
      of the layers that reach their carry; time O(S^2 P).
    Raises:
      InputError: a foreign cell with a weight that drives more than one unit; and by its `init`, if E would take more than
        `max_bytes`.
    Source: the mask is that of Menick et al. (2020), arXiv:2006.07232; layers as in Zucchet et al. (2023), NeurIPS.
    """
    paths = _unitwise.layer_paths(model)
    _unitwise.check_units(model, paths, "snap1")
    follow = _unitwise.follow_units(_unitwise.unit_steps(model, paths), paths)

    shapes = functools.partial(_unitwise.memory_shapes, model, paths=paths)
    return influence_rule("snap1", shapes, functools.partial(_influence.local_gradient, model), follow, max_bytes)

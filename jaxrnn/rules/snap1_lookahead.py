"""Gradients through each unit's own past, after one exact step back."""

import functools

from jaxrnn.models.model import Model
from jaxrnn.rules import _influence, _unit_checks, _unitwise
from jaxrnn.rules.base import Rule, influence_rule


def snap1_lookahead(model: Model, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Gradient of `rtrl` with only the influence of each weight on the unit that it drives, after one exact step back.

    ``J~_t = M * (I_t + D_t J~_{t-1})`` as in `snap1`, but the gradient is ``g_t + J~_{t-1}^T delta_t``, where
    ``delta_t = dL_t/dh_{t-1}`` goes back through all of D_t: one exact step, and the mask only before that. It looks one step
    beyond the mask, hence the name. It is exact for diagonal recurrences, as in IndRNN and LRU cells.

    Layers are tracked separately: past influence on layers above is ignored, and a learned embedding gets the gradient of
    `one_step`.

    Args:
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is J~ without its zeros, 4 B S P bytes for B streams, S states per unit (2 for an LSTM or
      LRU, else 1) and P weights of the layers that reach their carry; time O(S^2 P).
    Raises:
      InputError: a foreign cell with a weight that drives several units; or, from its `init`, if J~ would take more than
        `max_bytes`.
    Source: this library; mask from Menick et al. (2020), arXiv:2006.07232; layers as in Zucchet et al. (2023), NeurIPS.
    """
    paths = _unitwise.layer_paths(model)
    _unit_checks.check_units(model, paths, "snap1_lookahead")
    follow = _unitwise.follow_units(model, _unitwise.unit_steps(model, paths), paths, "E")

    shapes = functools.partial(_unitwise.memory_shapes, model, paths=paths)
    return influence_rule("snap1_lookahead", model, shapes, _influence.local_gradient, follow, max_bytes)

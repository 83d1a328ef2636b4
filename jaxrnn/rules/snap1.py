"""Gradients through each unit's own past, after one exact step back."""

import functools

from jaxrnn.models.model import Model
from jaxrnn.rules import _influence, _unitwise
from jaxrnn.rules.base import Rule, influence_rule


def snap1(model: Model, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Gradient of `rtrl` with J replaced by E: the influence of each weight on the unit that it drives.

    ``E <- I + B E``, unit by unit, where B is the part of D from a unit to itself; ``grads = g + E^T delta``. It is exact for
    diagonal recurrences, as in IndRNN and LRU cells.

    This is not SnAp-1 of Menick et al. (2020), which uses the masked influence of the current step, ``dL_t/dh_t . E_t``. Here
    ``delta = dL_t/dh_{t-1}`` goes back through all of ``D_t``: one exact step, and the mask only before that. All states of a
    unit, such as c and h of an LSTM, are tracked; the paper keeps the pattern of I, which is smaller for such cells.

    Layers are tracked separately: past influence on layers above is ignored, and a learned embedding gets the gradient of
    `one_step`.

    Args:
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is E, 4 B S P bytes for B streams, S states per unit (2 for an LSTM or LRU, else 1) and P
      weights of the layers that reach their carry; time O(S^2 P).
    Raises:
      InputError: a foreign cell with a weight that drives several units; or, from its `init`, if E would take more than
        `max_bytes`.
    Source: the mask is that of Menick et al. (2020), arXiv:2006.07232; layers as in Zucchet et al. (2023), NeurIPS.
    """
    paths = _unitwise.layer_paths(model)
    _unitwise.check_units(model, paths, "snap1")
    follow = _unitwise.follow_units(_unitwise.unit_steps(model, paths), paths)

    shapes = functools.partial(_unitwise.memory_shapes, model, paths=paths)
    return influence_rule("snap1", shapes, functools.partial(_influence.local_gradient, model), follow, max_bytes)

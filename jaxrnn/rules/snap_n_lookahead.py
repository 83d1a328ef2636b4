"""Gradients through the influences that weights can have within n steps, after one exact step back."""

from jaxrnn.models.model import Model
from jaxrnn.rules import _influence, _reach
from jaxrnn.rules.base import Rule, influence_rule


def snap_n_lookahead(model: Model, length: int, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Gradient of `rtrl` with J masked to the entries that a weight can reach within n steps.

    ``J~_t = M_n * (I_t + D_t J~_{t-1})`` as in `snap_n`, but the gradient is ``g_t + J~_{t-1}^T delta_t``, where
    ``delta_t = dL_t/dh_{t-1}`` goes back through all of D_t: one exact step, and the mask only before that. It looks one step
    beyond the mask, hence the name. Where the mask loses nothing, both rules equal `rtrl`.

    Args:
      length: the number of steps, n.
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is J~, 4 B U P bytes, and the mask, a constant of the program. Time as in `rtrl`.
    Raises:
      InputError: `length` is under 1; J~ would take more than `max_bytes` for one stream or, from its `init`, for all streams.
    Source: this library; mask from Menick et al. (2020), arXiv:2006.07232.
    """
    reach = _reach.make_reach(model, length, max_bytes, "snap_n_lookahead")
    return influence_rule(
        "snap_n_lookahead", model, reach.shapes, _influence.local_gradient, _reach.follow_before(model, reach), max_bytes
    )

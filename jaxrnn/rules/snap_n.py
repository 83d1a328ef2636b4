"""SnAp-n: gradients through the influences that weights can have within n steps."""

from jaxrnn.models.model import Model
from jaxrnn.rules import _carry_error, _influence, _reach
from jaxrnn.rules.base import Rule, influence_rule


def snap_n(model: Model, length: int, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """SnAp-n: `rtrl` with an influence matrix that keeps only what a weight can reach within n steps.

    ``J~_t = M_n * (I_t + D_t J~_{t-1})``, with a mask M_n that is 1 where a weight can reach an entry of the state within n
    steps; the gradient is ``(dL_t/dh_t) J~_t``. Weights that act after h_t, such as the readout's, get their ordinary gradient.
    Where the mask loses nothing, the rule equals `rtrl`: for dense cells in any number of layers from n = 2 on, for IndRNN
    cells from n = 1 on. `snap1` is cheaper than n = 1, but it masks unit by unit, and each layer by itself.

    Args:
      length: the number of steps, n.
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is J~, 4 B U P bytes, and the mask, a constant of the program. Time as in `rtrl`.
    Raises:
      InputError: `length` is under 1; the output of a foreign cell is not computed from its new carry; J~ would take more
        than `max_bytes` for one stream or, from its `init`, for all streams.
    Source: Menick et al. (2020), arXiv:2006.07232, section 3.
    """
    _carry_error.check_outputs(model, "snap_n")
    reach = _reach.make_reach(model, length, max_bytes, "snap_n")
    return influence_rule(
        "snap_n", model, reach.shapes, _carry_error.carry_gradient, _reach.follow_after(model, reach), max_bytes
    )

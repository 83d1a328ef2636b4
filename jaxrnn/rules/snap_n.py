"""Gradients through the influences that weights can have within n steps, after one exact step back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from jaxrnn.data.array_types import Carry, Ids, Params
from jaxrnn.errors import InputError
from jaxrnn.models.model import Model, num_characters
from jaxrnn.rules import _influence
from jaxrnn.rules._influence import Theta
from jaxrnn.rules.base import Rule, influence_rule


def snap_n(model: Model, length: int, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Gradient of `rtrl` with J masked to the entries that a weight can reach within n steps.

    ``J <- mask (I + D J)``; ``grads = g + J^T delta``. For dense cells, even in several layers, the mask is full at n = 2, and
    the rule equals `rtrl`; for diagonal cells in several layers it is not full. `snap1` is cheaper than n = 1, and keeps more
    for cells with several states per unit.

    Where the mask is not full this is not SnAp-n of Menick et al. (2020), which uses the masked influence of the current step,
    ``dL_t/dh_t . J_t``. Here ``delta = dL_t/dh_{t-1}`` goes back through all of ``D_t``: one exact step, and the mask only
    before that.

    Args:
      length: the number of steps, n.
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is J, 4 B U P bytes, and the mask, a constant of the program. Time as in `rtrl`.
    Raises:
      InputError: `length` is under 1; J would take more than `max_bytes` for one stream or, from its `init`, for all streams.
    Source: the mask is that of Menick et al. (2020), arXiv:2006.07232.
    """
    if length < 1:
        raise InputError(f"length is {length}; snap_n needs 1 step or more")
    names = _influence.recurrent_paths(model)
    shapes = functools.partial(_influence.influence_shapes, model, names=names)
    # The mask is as large as the memory of one stream: check for room before making it.
    jax.eval_shape(
        lambda *of_stream: _influence.zero_memory(shapes(*of_stream), max_bytes, "snap_n"), *_influence.model_shapes(model)
    )
    mask = _reachable_mask(model, names, length)

    def push(params: Params, memory: Theta, carry: Carry, x: Ids) -> Theta:
        after = _influence.propagate(model, params, memory, carry, x)
        return {name: jnp.where(mask[name], J, jnp.zeros_like(J)) for name, J in after.items()}

    return influence_rule(
        "snap_n", shapes, functools.partial(_influence.local_gradient, model), _influence.follow_influence(push), max_bytes
    )


def _reachable_mask(model: Model, names: tuple[str, ...], length: int) -> dict[str, Bool[np.ndarray, "..."]]:
    """Compute which numbers of the carry each weight can reach within `length` steps, for any input."""
    (params, carry), reached, onward = _influence.make_probe(model), {}, np.zeros(())
    jacobians = jax.jit(lambda x: _influence.jacobians(model, params, carry, x, names))
    with jax.enable_x64(False):  # like the probe
        for x in range(num_characters(model)):
            immediate, D = jax.tree.map(np.asarray, jacobians(jnp.int32(x)))
            reached = {name: reached.get(name, False) | (immediate[name] != 0) for name in names}
            onward = onward + np.abs(D)
    first = reached
    for _ in range(length - 1):
        reached = {name: first[name] | (np.tensordot(onward, reached[name].astype(np.float32), 1) > 0) for name in names}
    return reached

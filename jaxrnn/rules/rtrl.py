"""Exact online gradients: real-time recurrent learning."""

import functools

from jaxrnn.models.model import Model
from jaxrnn.rules import _influence
from jaxrnn.rules.base import Rule, influence_rule


def rtrl(model: Model, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Exact gradient by real-time recurrent learning, for any cell and any number of layers.

    ``J <- dcarry'/dtheta + (dcarry'/dcarry) J``; ``grads = g + J^T delta``. At fixed weights the gradients sum to those of full
    backpropagation through time; while the weights change, J lags slightly behind them.

    Args:
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is J, 4 B U P bytes for B streams, U numbers in the carry of all layers and P weights
      that reach it; time O(U^2 P) per character, U^4 for an Elman network.
    Raises:
      InputError: from its `init`, if J would take more than `max_bytes`.
    Source: Williams & Zipser (1989), Neural Computation 1(2).
    """
    names = _influence.recurrent_paths(model)
    follow = _influence.follow_influence(model, functools.partial(_influence.propagate, model))
    shapes = functools.partial(_influence.influence_shapes, model, names=names)
    return influence_rule("rtrl", model, shapes, _influence.local_gradient, follow, max_bytes)

"""Exact gradients while reading: real-time recurrent learning."""

import functools

from jaxrnn.models.model import Model
from jaxrnn.rules import _influence
from jaxrnn.rules.base import Rule, influence_rule


def rtrl(model: Model, max_bytes: int = _influence.MAX_MEMORY_BYTES) -> Rule:
    """Exact gradient by real-time recurrent learning, for any cell and any number of layers.

    J <- dcarry'/dtheta + (dcarry'/dcarry) J; grads = g + J^T delta. The gradients of a text, summed, are those of full
    backpropagation through time at fixed weights; while they change, J is that of weights a little older.

    Args:
      max_bytes: that the memory may take.
    Returns:
      A Rule of length 1. Memory: J, 4 B U P bytes for B streams, U numbers in the carry of all layers and P weights that reach
      it; time O(U^2 P) for each character, U^4 for an Elman network.
    Raises:
      InputError: by its `init`, if J would take more than `max_bytes`.
    Source: Williams & Zipser (1989), Neural Computation 1(2).
    """
    names = _influence.recurrent_paths(model)
    follow = _influence.follow_influence(functools.partial(_influence.propagate, model))
    shapes = functools.partial(_influence.influence_shapes, model, names=names)
    return influence_rule("rtrl", shapes, functools.partial(_influence.local_gradient, model), follow, max_bytes)

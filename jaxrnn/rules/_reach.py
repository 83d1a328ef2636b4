"""The influences that weights can have within n steps: the mask of SnAp-n, and influence matrices that are masked by it."""

import functools
import itertools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxrnn.data.array_types import Carry, Inputs, Params
from jaxrnn.errors import InputError, is_whole
from jaxrnn.models.model import Model, streams_of
from jaxrnn.rules import _influence, _probes
from jaxrnn.rules._carry_parts import Parts
from jaxrnn.rules._influence import Shapes, Theta


class Reach(NamedTuple):
    """What weights can reach, for one model and number of steps."""

    mask: dict[str, Bool[np.ndarray, "..."]]  # for each weight array: [units, *weight shape]
    shapes: Callable[[Params, Carry], Shapes]  # of J~


def make_reach(model: Model, length: int, max_bytes: int, rule: str) -> Reach:
    """Find what weights can reach within `length` steps; raise `InputError` if that is under 1, or J~ would be too large."""
    if not is_whole(length, 1):
        raise InputError(f"length is {length!r}; {rule} needs 1 step or more, a whole number")
    length = operator.index(length)
    names = _influence.recurrent_paths(model)
    shapes = functools.partial(_influence.influence_shapes, model, names=names)
    # The mask is as large as the memory of one stream: check for room before making it.
    jax.eval_shape(
        lambda *of_stream: _influence.zero_memory(shapes(*of_stream), max_bytes, rule), *_influence.model_shapes(model)
    )
    return Reach(_reachable_mask(model, names, length, rule), shapes)


def follow_before(model: Model, reach: Reach) -> Callable[..., tuple[Theta, Theta]]:
    """Make a function (params, J~, delta, carry, x) -> (J~^T delta, next J~)."""
    return _influence.follow_influence(model, lambda *given: _push(model, reach, *given)[0])


def follow_after(model: Model, reach: Reach) -> Callable[..., tuple[Theta, Theta]]:
    """Make a function (params, J~, error, carry, x) -> ((next J~ - I)^T error, next J~), for the error of the next carry."""

    def follow(params: Params, memory: Theta, error: Parts, carry: Carry, x: Inputs) -> tuple[Theta, Theta]:
        streams = streams_of(model, x)
        after, more = _influence.over_streams(functools.partial(_push, model, reach), streams)(params, memory, carry, x)
        return _influence.vjp_through(more, error, streams), after

    return follow


def _push(model: Model, reach: Reach, params: Params, memory: Theta, carry: Carry, x: Inputs) -> tuple[Theta, Theta]:
    """Compute the next J~ = M * (I + D J~), and J~ - I, for one stream."""
    immediate, onward = _influence.jacobians(model, params, carry, x, memory)
    after, more = {}, {}
    for name, J in memory.items():
        pushed, now = jnp.tensordot(onward.astype(J.dtype), J, 1), immediate[name]
        after[name] = jnp.where(reach.mask[name], now + pushed, jnp.zeros_like(J))
        more[name] = jnp.where(reach.mask[name], pushed, -now)
    return after, more


def _reachable_mask(model: Model, names: tuple[str, ...], length: int, rule: str) -> dict[str, Bool[np.ndarray, "..."]]:
    """Compute which numbers of the carry each weight can reach within `length` steps, for any input."""
    if not names:  # no weight reaches the carry, if there is one
        return {}
    first, onward = {}, np.zeros((), bool)

    @jax.jit
    def reach_at(params: Params, carry: Carry, x: Inputs) -> tuple[Array, dict[str, Array], Array]:
        immediate, D = _influence.jacobians(model, params, carry, x, names)
        is_finite = jnp.array([jnp.isfinite(leaf).all() for leaf in (*immediate.values(), D)]).all()
        return is_finite, {name: leaf != 0 for name, leaf in immediate.items()}, D != 0

    with _probes.concretely():
        for probe, x in itertools.product(_probes.make_probes(model), _probes.inputs_to_probe(model)):
            is_finite, here, through = jax.tree.map(np.asarray, reach_at(*probe, x))
            if is_finite:
                first, onward = {name: first.get(name, False) | here[name] for name in names}, onward | through
    if not first:
        raise InputError(f"{rule} found no finite derivative of this cell at any of its probes; try rtrl")
    reached = first
    for _ in range(length - 1):
        further = {name: np.tensordot(onward.astype(np.float32), reached[name].astype(np.float32), 1) for name in names}
        reached = {name: first[name] | (further[name] > 0) for name in names}
    return reached

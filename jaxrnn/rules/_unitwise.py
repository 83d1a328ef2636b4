"""The influence of each weight on its own unit alone: as many numbers as weights, where all of J has units times as many.

A unit is what lies at one place of all leaves of a cell's carry: c and h at one place of an LSTM are one unit of two states. Of
J_t = I + D J_{t-1} the blocks E[s] keep what a weight does to state s of the unit that it drives, and B[s][r] is the part of D
that leads from state r of a unit to its state s:

    E[s] <- I[s] + sum_r B[s][r] E[r]

A weight's unit is its last axis modulo the number of units. Each layer is followed by itself: what its weights do to the states
of layers above, and what an embedding did to any state, is left out. All functions are of one stream.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrnn.array_types import Carry, Ids, Inputs, Params
from jaxrnn.errors import InputError
from jaxrnn.models.base import barrier
from jaxrnn.models.model import Layer, Model, layer_names, split_carry
from jaxrnn.rules import _influence
from jaxrnn.rules._influence import Shapes, Theta

Units: TypeAlias = Float[Array, " units"]  # a number for each unit
Blocks: TypeAlias = tuple[tuple[Theta, ...], ...]  # E of each layer and state
TOLERANCE = 1e-3  # of the greatest number; float32 is wrong by less, one more unit makes a difference of about 1


class Step(NamedTuple):
    """What one step does to the states of one layer."""

    immediate: Sequence[Theta]  # I[s]
    within: Sequence[Sequence[Units]]  # B[s][r]


Steps = Callable[[Params, Carry, Ids], Sequence[Step]]  # of all layers, at one character
Follow = Callable[[Params, Blocks, Carry, Carry, Ids], tuple[Theta, Blocks]]


def follow_units(steps: Steps, paths: Sequence[Sequence[str]]) -> Follow:
    """(params, E, delta, carry, x) -> the correction E^T delta of the gradient, and E one step on."""

    def one_on(params: Params, memory: Blocks, delta: Carry, carry: Carry, x: Ids) -> tuple[Theta, Blocks]:
        correction, after = {}, []
        layers = zip(memory, split_carry(delta, len(paths)), steps(params, carry, x), strict=True)
        for E, of_delta, (immediate, within) in layers:
            correction |= _weighted_sum(E, jax.tree.leaves(of_delta))
            pushed = [_weighted_sum(E, of_state) for of_state in within]
            after.append(tuple(jax.tree.map(jnp.add, *each) for each in zip(immediate, pushed, strict=True)))
        return correction, tuple(after)

    def of_streams(params: Params, memory: Blocks, delta: Carry, carry: Carry, x: Ids) -> tuple[Theta, Blocks]:
        correction, after = _influence.over_streams(one_on, x)(params, memory, delta, carry, x)
        return jax.tree.map(lambda leaf: leaf.sum(0), correction) if x.ndim else correction, after

    return of_streams


def layer_paths(model: Model) -> tuple[tuple[str, ...], ...]:
    """The weights of each layer that reach its carry. Those of an embedding belong to no layer; a foreign cell is one layer."""
    if not model.layers:
        return (_influence.recurrent_paths(model),)
    number = len(model.layers)

    def of_layer(place: int, name: str) -> tuple[str, ...]:
        found = _influence.recurrent_paths(model, lambda carry: split_carry(carry, number)[place])
        return tuple(path for path in found if path.startswith(f"{name}/"))

    return tuple(of_layer(*layer) for layer in enumerate(layer_names(number)))


def memory_shapes(model: Model, params: Params, carry: Carry, paths: Sequence[Sequence[str]]) -> tuple[tuple[Shapes, ...], ...]:
    """Shapes of the memory E: [*streams, *shape of the weights] for each layer, state and weights."""
    streams = _influence.carry_streams_shape(model, carry)

    def of_layer(theta: Theta, carry: Carry) -> tuple[Shapes, ...]:
        one = {path: jax.ShapeDtypeStruct((*streams, *leaf.shape), leaf.dtype) for path, leaf in theta.items()}
        return tuple(one for _ in jax.tree.leaves(carry))

    layers = zip(paths, split_carry(carry, len(paths)), strict=True)
    return tuple(of_layer(_influence.select_weights(params, of_paths), before) for of_paths, before in layers)


def unit_steps(model: Model, paths: Sequence[Sequence[str]], diagonal: bool = False) -> Steps:
    """The way that suits the model.

    Args:
      diagonal: a unit's state reaches that unit alone, which makes B of a foreign cell cheap.
    """
    return steps_by_layer(model, paths, through_unit) if model.layers else steps_by_jacobian(model, paths[0], diagonal)


def steps_by_layer(model: Model, paths: Sequence[Sequence[str]], pullback: Callable[..., Carry]) -> Steps:
    """For cells that come apart: elementwise derivatives of their gates, and their diagonal recurrence.

    Args:
      pullback: how a unit reaches itself: `through_unit`, or without its weights `through_gates`.
    """

    def steps(params: Params, carry: Carry, x: Ids) -> Sequence[Step]:
        inputs, found = model.embed(params, x), []
        for layer, of_layer, before in zip(model.layers, paths, split_carry(carry, len(paths)), strict=True):
            step, inputs = _layer_step(layer, params, of_layer, before, inputs, pullback)
            found.append(step)
        return found

    return steps


def through_unit(layer: Layer, params: Params, before: Carry, dbefore: Carry, dph: Array) -> Carry:
    """The cotangent of a unit's states through its gates and its own recurrent weights."""
    _, vjp = jax.vjp(lambda carry: layer.recur_diagonal(params, layer.hidden(carry)), before)
    return jax.tree.map(jnp.add, dbefore, vjp(dph)[0])


def through_gates(layer: Layer, params: Params, before: Carry, dbefore: Carry, dph: Array) -> Carry:
    """The cotangent of a unit's states through what its gates keep of them."""
    del layer, params, before, dph
    return dbefore


def _layer_step(
    layer: Layer, params: Params, paths: Sequence[str], before: Carry, inputs: Inputs, pullback: Callable[..., Carry]
) -> tuple[Step, Array]:
    of_layer = params[layer.name]

    def products(theta: Theta) -> tuple[Array, Array]:
        weights = _influence.replace_weights(params, theta)[layer.name]
        return layer.project(weights, inputs), layer.recur(weights, layer.hidden(before))

    (px, ph), products_vjp = jax.vjp(products, _influence.select_weights(params, paths))
    after, gates_vjp = jax.vjp(layer.gates, before, px, ph)
    immediate, within = [], []
    for ones in _leaf_indicators(after):
        dbefore, dpx, dph = barrier(gates_vjp(ones))
        immediate.append(products_vjp((dpx, dph))[0])
        within.append(jax.tree.leaves(pullback(layer, of_layer, before, dbefore, dph)))
    return Step(immediate, within), layer.output(of_layer, layer.hidden(after))


def steps_by_jacobian(model: Model, paths: Sequence[str], diagonal: bool) -> Steps:
    """For any cell: B from as many derivatives of the whole step as there are numbers in the carry, or states of a unit."""

    def steps(params: Params, carry: Carry, x: Ids) -> Sequence[Step]:
        def step(theta: Theta, carry: Carry) -> Carry:
            return model.step(_influence.replace_weights(params, theta), carry, x)[0]

        theta = _influence.select_weights(params, paths)
        _, vjp = jax.vjp(lambda theta: step(theta, carry), theta)
        _, onward = jax.linearize(lambda carry: step(theta, carry), carry)
        ones = _leaf_indicators(carry)
        columns = [_own_states(onward, each, diagonal) for each in ones]
        return [Step([vjp(each)[0] for each in ones], list(zip(*columns, strict=True)))]

    return steps


def _own_states(onward: Callable[[Carry], Carry], ones: Carry, diagonal: bool) -> list[Units]:
    """What the states of each unit have from one of its states before, by the leaf that is 1."""
    if diagonal:
        return jax.tree.leaves(onward(ones))
    each_unit = jax.tree.map(lambda leaf: jnp.diag(leaf), ones)
    return [jnp.diagonal(leaf) for leaf in jax.tree.leaves(jax.vmap(onward)(each_unit))]


def check_units(model: Model, paths: Sequence[Sequence[str]], rule: str) -> None:
    """Raises `InputError` unless each weight of a foreign cell drives the unit that its last axis says, and no other."""
    if model.layers:
        return  # so are ours, as `cell.py` says

    @jax.jit
    def differences(params: Params, carry: Carry, factors: Carry) -> Array:
        theta = _influence.select_weights(params, paths[0])
        _, vjp = jax.vjp(lambda theta: model.step(_influence.replace_weights(params, theta), carry, jnp.int32(0))[0], theta)
        of_each = []
        for ones in _leaf_indicators(carry):
            weighted, plain = vjp(jax.tree.map(jnp.multiply, ones, factors))[0], vjp(ones)[0]
            expected = _weighted_sum([plain], jax.tree.leaves(factors)[:1])
            of_each += [_difference(weighted[path], expected[path]) for path in paths[0]]
        return jnp.stack(of_each).reshape(-1, len(paths[0])).max(0)

    params, carry = _influence.model_shapes(model)
    leaves = jax.tree.leaves(carry)
    if any(leaf.ndim != 1 for leaf in leaves):
        found = ", ".join(str(leaf.shape) for leaf in leaves)
        raise InputError(f"{rule} needs a carry of vectors, with a number for each unit, and there are {found}; try rtrl")
    widths = sorted({leaf.shape[-1] for leaf in leaves})
    if len(widths) > 1:
        raise InputError(f"{rule} needs as many numbers in each array of the carry, and there are {widths}; try rtrl")
    theta = _influence.select_weights(params, paths[0])
    unfit = [path for path, leaf in theta.items() if leaf.ndim == 0 or leaf.shape[-1] % widths[0]]
    if theta and not unfit:
        apart = _measure_at_probe(model, differences)
        unfit = [path for path, difference in zip(theta, apart, strict=True) if difference > TOLERANCE]
    if unfit:
        raise InputError(f"{rule} follows each weight to one unit, and those of {unfit[0]!r} drive more than one; try rtrl")


def check_diagonal(model: Model, paths: Sequence[Sequence[str]], rule: str) -> None:
    """Raises `InputError` unless there is one layer, nothing below it learns, and a unit's state reaches that unit alone."""
    if len(paths) > 1 or len(paths[0]) < len(_influence.recurrent_paths(model)):
        raise InputError(f"{rule} is exact for one layer over one-hot characters: set --num-layers 1 and --embedding-size 0")

    @jax.jit
    def difference(params: Params, carry: Carry, factors: Carry) -> Array:
        _, onward = jax.linearize(lambda carry: model.step(params, carry, jnp.int32(0))[0], carry)
        found = []
        for ones in _leaf_indicators(carry):
            weighted, plain = onward(jax.tree.map(jnp.multiply, ones, factors)), onward(ones)
            found += jax.tree.leaves(jax.tree.map(lambda a, b, factor: _difference(a, b * factor), weighted, plain, factors))
        return jnp.stack(found).max()

    if _measure_at_probe(model, difference) > TOLERANCE:
        raise InputError(f"{rule} needs units that reach themselves alone, as those of --cell indrnn or lru; try snap1 or rtrl")


def _measure_at_probe(model: Model, difference: Callable[[Params, Carry, Carry], Array]) -> Array:
    """At weights and a carry where no derivative is 0 by chance, for factors that differ, the same for a unit's states."""
    params, carry = _influence.make_probe(model)
    width = jax.tree.leaves(carry)[0].shape[-1]
    factors = np.random.default_rng(0).permutation(np.linspace(1, 2, width))
    of_each_leaf = jax.tree.map(lambda leaf: jnp.asarray(factors[: leaf.shape[-1]], leaf.dtype), carry)
    with jax.enable_x64(False):  # as in `influence.model_shapes`
        return difference(params, carry, of_each_leaf)


def _difference(a: Array, b: Array) -> Array:
    return jnp.abs(a - b).max() / (jnp.abs(b).max() + jnp.finfo(b.dtype).tiny)


def _weighted_sum(blocks: Sequence[Theta], factors: Sequence[Units]) -> Theta:
    """sum_s of factors[s] times blocks[s], each weight with the factor of its unit."""

    def of(path: str) -> Array:
        terms = [_scale_units(factor, E[path]) for factor, E in zip(factors, blocks, strict=True)]
        return sum(terms[1:], start=terms[0])

    return {path: of(path) for path in blocks[0]}


def _scale_units(factor: Units, weights: Array) -> Array:
    # Taken by an index and not tiled: XLA computes a tiled factor at each weight, with a division, eight times as slowly.
    unit = jnp.arange(weights.shape[-1]) % factor.size
    return weights * jnp.broadcast_to(factor[unit], weights.shape)


def _leaf_indicators(carry: Carry) -> list[Carry]:
    """For each leaf a carry in which it is 1, and all else 0."""
    leaves, structure = jax.tree.flatten(carry)
    each = [[jnp.full_like(leaf, place == number) for place, leaf in enumerate(leaves)] for number in range(len(leaves))]
    return [jax.tree.unflatten(structure, leaves) for leaves in each]

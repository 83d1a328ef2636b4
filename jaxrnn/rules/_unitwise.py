"""The influence of each weight on its own unit only: one number per weight and state, where J has one per weight and unit.

A unit is one index into all leaves of a cell's carry: c and h of an LSTM at one index are one unit with two states. Of
J_t = I + D J_{t-1}, E[s] keeps the influence of each weight on state s of the unit that it drives, and B[s][r] is the part of D
from state r of a unit to its state s:

    E[s] <- I[s] + sum_r B[s][r] E[r]

A weight's unit is the index on its last axis modulo the number of units. Each layer is tracked separately: the influence of its
weights on layers above, and that of an embedding on any state, is ignored. Functions act on one stream unless they say so.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrnn.data.array_types import Carry, Inputs, Outputs, Params
from jaxrnn.models.base import barrier
from jaxrnn.models.documents import restart_carry, split_marks
from jaxrnn.models.model import Layer, Model, join_carries, split_carry, streams_of
from jaxrnn.rules import _influence
from jaxrnn.rules._carry_parts import Parts, carry_streams_shape, real_parts, wider_type
from jaxrnn.rules._influence import Shapes, Theta

Units: TypeAlias = Float[Array, " units"]  # one number per unit
Blocks: TypeAlias = tuple[tuple[Theta, ...], ...]  # E for each layer and state


class LayerStep(NamedTuple):
    """The effect of one step on the states of one layer."""

    immediate: Sequence[Theta]  # I[s]
    within: Sequence[Sequence[Units]]  # B[s][r]


Steps = Callable[[Params, Carry, Inputs], Sequence[LayerStep]]  # for all layers, at one character
Weighed: TypeAlias = Literal["E", "B E", "I + B E"]
Follow = Callable[[Params, Blocks, Parts, Carry, Inputs], tuple[Theta, Blocks]]


def follow_units(model: Model, steps: Steps, paths: Sequence[Sequence[str]], weigh: Weighed = "I + B E") -> Follow:
    """Make a function (params, E, delta, carry, x) -> (gradient, next E), over all streams.

    Args:
      weigh: the matrix that is multiplied by delta. For "E", delta is the gradient with respect to the carry before the
        character; for "B E" and "I + B E", after it. With "I + B E" the gradient needs no outer products of its own, so an
        update is up to 1.25 times as fast (128 units, two CPU cores).
    """

    def one_on(params: Params, memory: Blocks, delta: Parts, carry: Carry, x: Inputs) -> tuple[Theta, Blocks]:
        gradient, after = {}, []
        layers = zip(memory, split_carry(delta, len(paths)), steps(params, carry, x), strict=True)
        for E, of_delta, (immediate, within) in layers:
            kept = [weighted_sum(E, of_state) for of_state in within]
            new = tuple(jax.tree.map(_add_to, *each) for each in zip(immediate, kept, strict=True))
            gradient |= weighted_sum({"E": E, "B E": kept, "I + B E": new}[weigh], jax.tree.leaves(of_delta))
            after.append(new)
        return gradient, tuple(after)

    def of_streams(params: Params, memory: Blocks, delta: Parts, carry: Carry, x: Inputs) -> tuple[Theta, Blocks]:
        streams = streams_of(model, x)
        gradient, after = _influence.over_streams(one_on, streams)(params, memory, delta, carry, x)
        return jax.tree.map(lambda leaf: leaf.sum(0), gradient) if streams else gradient, after

    return of_streams


def layer_paths(model: Model) -> tuple[tuple[str, ...], ...]:
    """Find the weights of each layer that reach its carry. An embedding belongs to no layer; a foreign cell is one layer."""
    if not model.layers:
        return (_influence.recurrent_paths(model),)
    number = len(model.layers)

    def of_layer(place: int, layer: Layer) -> tuple[str, ...]:
        found = _influence.recurrent_paths(model, lambda carry: split_carry(carry, number)[place])
        return tuple(path for path in found if path.startswith(f"{layer.name}/"))

    return tuple(of_layer(*layer) for layer in enumerate(model.layers))


def memory_shapes(model: Model, params: Params, carry: Carry, paths: Sequence[Sequence[str]]) -> tuple[tuple[Shapes, ...], ...]:
    """Compute the shapes of E: ``[*streams, *weight shape]`` for each layer, state and weight array."""
    streams = carry_streams_shape(model, carry)

    def of_layer(theta: Theta, carry: Carry) -> tuple[Shapes, ...]:
        def of_state(state: Array) -> Shapes:
            return {
                path: jax.ShapeDtypeStruct((*streams, *leaf.shape), wider_type(leaf, state)) for path, leaf in theta.items()
            }

        return tuple(map(of_state, jax.tree.leaves(real_parts(carry))))

    layers = zip(paths, split_carry(carry, len(paths)), strict=True)
    return tuple(of_layer(_influence.select_weights(params, of_paths), before) for of_paths, before in layers)


def unit_steps(model: Model, paths: Sequence[Sequence[str]], diagonal: bool = False) -> Steps:
    """Choose how to compute the steps of a model.

    Args:
      diagonal: each unit's state reaches only that unit, which makes B of a foreign cell cheap.
    """
    return steps_by_layer(model, paths, through_unit) if model.layers else steps_by_jacobian(model, paths[0], diagonal)


def steps_by_layer(model: Model, paths: Sequence[Sequence[str]], pullback: Callable[..., Carry]) -> Steps:
    """Compute steps from elementwise derivatives of the gates and the diagonal recurrence of each layer.

    Args:
      pullback: how a unit reaches itself: `through_unit`, or without its recurrent weights `through_gates`.
    """

    def steps(params: Params, carry: Carry, x: Inputs) -> Sequence[LayerStep]:
        inputs, found, (_, starts) = model.embed(params, x), [], split_marks(model, x)
        carries = split_carry(restart_carry(carry, starts), len(paths))
        for layer, of_layer, before in zip(model.layers, paths, carries, strict=True):
            step, inputs = _layer_step(layer, params, of_layer, before, inputs, pullback)
            found.append(step._replace(within=restart_carry(step.within, starts)))
        return found

    return steps


def layered_step(
    model: Model, params: Params, carry: Carry, x: Inputs, shift: Carry | None = None, apart: bool = False
) -> tuple[Carry, Outputs]:
    """Take one step of all streams. What the weights of a layer do to its own carry is not differentiated.

    Args:
      shift: is added to each layer's carry after the step, before it is read from there.
      apart: stop the gradient from the next layer or the readout to a layer's carry.
    """
    number, inputs, carries, (_, starts) = len(model.layers), model.embed(params, x), [], split_marks(model, x)
    for place, (layer, before) in enumerate(zip(model.layers, split_carry(restart_carry(carry, starts), number), strict=True)):
        constant = jax.lax.stop_gradient(params[layer.name])
        ph = layer.recur(constant, layer.hidden(before))
        after = layer.gates(before, layer.project(constant, inputs), ph if layer.gates_of_sum else barrier(ph))
        if shift is not None:
            after = jax.tree.map(jnp.add, after, split_carry(shift, number)[place])
        carries.append(after)
        h = layer.hidden(after)
        inputs = layer.output(params[layer.name], jax.lax.stop_gradient(h) if apart else h)
    return join_carries(carries), model.read_out(params, inputs)


def through_unit(layer: Layer, params: Params, before: Carry, dbefore: Carry, dph: Array) -> Carry:
    """Pull a cotangent back through a unit's gates and its own recurrent weights."""
    _, vjp = jax.vjp(lambda carry: layer.recur_diagonal(params, layer.hidden(carry)), before)
    return jax.tree.map(jnp.add, dbefore, vjp(dph)[0])


def through_gates(layer: Layer, params: Params, before: Carry, dbefore: Carry, dph: Array) -> Carry:
    """Pull a cotangent back through a unit's gates only."""
    del layer, params, before, dph
    return dbefore


def _layer_step(
    layer: Layer, params: Params, paths: Sequence[str], before: Carry, inputs: Inputs, pullback: Callable[..., Carry]
) -> tuple[LayerStep, Array]:
    of_layer = params[layer.name]

    def products(theta: Theta) -> tuple[Array, Array]:
        weights = _influence.replace_weights(params, theta)[layer.name]
        return layer.project(weights, inputs), layer.recur(weights, layer.hidden(before))

    (px, ph), products_vjp = jax.vjp(products, _influence.select_weights(params, paths))
    after, gates_vjp = jax.vjp(layer.gates, before, px, ph)
    immediate, within = [], []
    for ones in leaf_indicators(after):
        dbefore, dpx, dph = barrier(gates_vjp(ones))
        immediate.append(products_vjp((dpx, dph))[0])
        within.append(jax.tree.leaves(pullback(layer, of_layer, before, dbefore, dph)))
    return LayerStep(immediate, within), layer.output(of_layer, layer.hidden(after))


def steps_by_jacobian(model: Model, paths: Sequence[str], diagonal: bool) -> Steps:
    """Compute steps of any cell: one derivative of the whole step per number in the carry, or per state if diagonal."""

    def steps(params: Params, carry: Carry, x: Inputs) -> Sequence[LayerStep]:
        step, before = _influence.step_parts(model, params, carry, x), real_parts(carry)
        theta = _influence.select_weights(params, paths)
        _, vjp = jax.vjp(lambda theta: step(theta, before), theta)
        _, onward = jax.linearize(lambda before: step(theta, before), before)
        ones = leaf_indicators(before)
        columns = [_own_states(onward, each, diagonal) for each in ones]
        return [LayerStep([vjp(each)[0] for each in ones], list(zip(*columns, strict=True)))]

    return steps


def _own_states(onward: Callable[[Parts], Parts], ones: Parts, diagonal: bool) -> list[Units]:
    """Compute the derivatives of each unit's states with respect to its previous state in the leaf where `ones` is 1."""
    if diagonal:
        return jax.tree.leaves(onward(ones))
    each_unit = jax.tree.map(lambda leaf: jnp.diag(leaf), ones)
    return [jnp.diagonal(leaf) for leaf in jax.tree.leaves(jax.vmap(onward)(each_unit))]


def weighted_sum(blocks: Sequence[Theta], factors: Sequence[Units]) -> Theta:
    """Compute the sum over s of factors[s] times blocks[s], each weight with the factor of its unit."""
    if not blocks:
        return {}
    widths = {(leaf.shape[-1], leaf.dtype) for E in blocks for leaf in E.values()}
    columns = [{width: _repeat_units(factor, *width) for width in widths} for factor in factors]

    def of(path: str) -> Array:
        leaves = [E[path] for E in blocks]
        terms = [
            leaf * jnp.broadcast_to(of_columns[leaf.shape[-1], leaf.dtype], leaf.shape)
            for of_columns, leaf in zip(columns, leaves, strict=True)
        ]
        return sum(terms[1:], start=terms[0])

    return {path: of(path) for path in blocks[0]}


def _repeat_units(factor: Units, width: int, dtype: Any) -> Float[Array, " columns"]:
    """Compute the factor of each column, in a form that XLA computes once, not again for every weight."""
    repeats, factor = width // factor.size, factor.astype(dtype)
    if repeats == 1:
        return factor
    if repeats == 2:  # an LRU: by index, because XLA would compute two joined factors for every weight, up to five times slower
        return factor[jnp.arange(width) % factor.size]
    return barrier(jnp.concatenate([factor] * repeats))  # 5 % faster than by index; `jnp.tile` would be four times slower


def _add_to(immediate: Array, pushed: Array) -> Array:
    return immediate.astype(pushed.dtype) + pushed


def leaf_indicators(parts: Parts) -> list[Parts]:
    """Make one carry per array, with ones in that array and zeros elsewhere."""
    leaves, structure = jax.tree.flatten(parts)
    each = [[jnp.full_like(leaf, place == number) for place, leaf in enumerate(leaves)] for number in range(len(leaves))]
    return [jax.tree.unflatten(structure, leaves) for leaves in each]

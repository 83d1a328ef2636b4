"""The influence of weights on the carry, which online rules propagate forward and pull gradients back through.

With J_t = d carry_t / d theta, the gradient of the loss at one character is

    g + J_{t-1}^T delta,    g = dl_t / d theta with carry_{t-1} a constant,    delta = dl_t / d carry_{t-1}

and J_t = I + D J_{t-1}, with I = dcarry_t / dtheta at a constant carry_{t-1}, and D = dcarry_t / dcarry_{t-1}. `one_step` is g.
theta is a dict of the weights that reach the carry, by path ("cell/bias"); the readout's weights do not. J accumulates steps
that were taken with earlier weights, so it is exact only while the weights do not change.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, Float, PyTree

from jaxrnn.data.array_types import Block, Carry, Ids, Losses, Params
from jaxrnn.errors import InputError
from jaxrnn.models.losses import nats
from jaxrnn.models.model import Model

Theta: TypeAlias = dict[str, Array]  # weights that reach the carry, or one value for each of them
Shapes: TypeAlias = dict[str, jax.ShapeDtypeStruct]
CarryVector: TypeAlias = Float[Array, " units"]  # the carry of one stream, all layers, as one vector
MAX_MEMORY_BYTES = 2**31  # default limit of a rule's memory
ADVICE = "use fewer units or streams, a smaller vocabulary, or another rule"


class LocalGradient(NamedTuple):
    """Result of one reverse pass over one character."""

    grads: Params  # g, for all weights
    delta: Carry
    carry: Carry
    losses: Losses


def local_gradient(model: Model, params: Params, carry: Carry, x: Block, y: Block) -> LocalGradient:
    """Differentiate the loss at one character with respect to the weights and the carry before it."""

    def loss(params: Params, carry: Carry) -> tuple[Array, Carry]:
        new_carry, logits = model.step(params, carry, x[0])
        return nats(logits, y[0]), new_carry

    derivative = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (value, new_carry), (grads, delta) = derivative(params, jax.lax.stop_gradient(carry))
    return LocalGradient(grads, delta, new_carry, value[None])


def recurrent_paths(model: Model, part: Callable[[Carry], Carry] = lambda carry: carry) -> tuple[str, ...]:
    """Find the paths of the weights that reach the carry, or a part of it, from the jaxpr of one step."""
    params, carry = model_shapes(model)
    x = jax.ShapeDtypeStruct((), jnp.int32)
    with jax.enable_x64(False):  # as in `model_shapes`
        program = jax.make_jaxpr(lambda *arguments: part(model.step(*arguments)[0]))(params, carry, x).jaxpr
    _, reaching = dce_jaxpr(program, [True] * len(program.outvars))  # one flag per input
    leaves, _ = jax.tree.flatten_with_path(params)
    return tuple(_name(path) for (path, _), reaches in zip(leaves, reaching, strict=False) if reaches)


def model_shapes(model: Model) -> tuple[PyTree, PyTree]:
    """Compute the 32-bit shapes of the weights and of the carry of one stream."""
    with jax.enable_x64(False):
        return jax.eval_shape(lambda key: (model.init(key), model.initial_carry(key, ())), jax.random.key(0))


def select_weights(params: PyTree, names: Iterable[str]) -> dict[str, Any]:
    """Select the weights with these paths."""
    leaves, _ = jax.tree.flatten_with_path(params)
    by_name = {_name(path): leaf for path, leaf in leaves}
    return {name: by_name[name] for name in names}


def replace_weights(params: Params, theta: Theta) -> Params:
    """Return the weights with some of them replaced, by path."""
    return jax.tree.map_with_path(lambda path, leaf: theta.get(_name(path), leaf), params)


def add_correction(grads: Params, correction: Theta) -> Params:
    """Compute g + J^T delta."""
    return replace_weights(grads, {name: here + correction[name] for name, here in select_weights(grads, correction).items()})


def flatten_carry(carry: Carry, num_axes: int = 0) -> Float[Array, "*streams units"]:
    """Flatten a carry into one vector per stream; `num_axes` is the number of streams axes, 0 or 1."""
    return jnp.concatenate([leaf.reshape(*leaf.shape[:num_axes], -1) for leaf in jax.tree.leaves(carry)], axis=-1)


def unflatten_carry(carry: Carry, vector: Float[Array, "*streams units"]) -> Carry:
    """Split a vector per stream into leaves with the structure of `carry`."""
    leaves, structure = jax.tree.flatten(carry)
    sizes = [math.prod(leaf.shape[vector.ndim - 1 :]) for leaf in leaves]
    parts = jnp.split(vector, list(itertools.accumulate(sizes))[:-1], axis=-1)
    return jax.tree.unflatten(structure, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def flat_step(model: Model, params: Params, form: Carry, x: Ids) -> Callable[[Theta, CarryVector], CarryVector]:
    """Make a function (theta, carry) -> carry after one character x, on flat carries; other weights come from `params`."""
    return lambda theta, before: flatten_carry(model.step(replace_weights(params, theta), unflatten_carry(form, before), x)[0])


def influence_shapes(model: Model, params: Params, carry: Carry, names: Iterable[str]) -> Shapes:
    """Compute the shapes of J: ``[*streams, units, *weight shape]`` for each weight array."""
    streams = carry_streams_shape(model, carry)
    before = (*streams, jax.eval_shape(lambda carry: flatten_carry(carry, len(streams)), carry).shape[-1])
    theta = select_weights(params, names)
    return {name: jax.ShapeDtypeStruct((*before, *leaf.shape), leaf.dtype) for name, leaf in theta.items()}


def vjp_through(memory: Theta, delta: Carry, num_axes: int = 0) -> Theta:
    """Compute J^T delta, summed over streams."""
    d = flatten_carry(delta, num_axes)
    return {name: jnp.tensordot(d, J, d.ndim) for name, J in memory.items()}


def propagate(model: Model, params: Params, memory: Theta, carry: Carry, x: Ids) -> Theta:
    """Compute I + D J for one stream."""
    immediate, onward = jacobians(model, params, carry, x, memory)
    return {name: immediate[name] + jnp.tensordot(onward, J, 1) for name, J in memory.items()}


def follow_influence(push: Callable[..., Theta]) -> Callable[[Params, Theta, Carry, Carry, Ids], tuple[Theta, Theta]]:
    """Make a function (params, J, delta, carry, x) -> (J^T delta, next J) from `push`, (params, J, carry, x) -> next J."""
    return lambda params, memory, delta, carry, x: (
        vjp_through(memory, delta, x.ndim),
        over_streams(push, x)(params, memory, carry, x),
    )


def jacobians(
    model: Model, params: Params, carry: Carry, x: Ids, names: Iterable[str]
) -> tuple[Theta, Float[Array, "units units"]]:
    """Compute I and D for one stream."""
    step = flat_step(model, params, carry, x)
    return jax.jacrev(step, argnums=(0, 1))(select_weights(params, names), flatten_carry(carry))


def make_probe(model: Model) -> tuple[Params, Carry]:
    """Make weights and a carry at which no derivative is 0 by chance, to find dependencies."""
    rng = np.random.default_rng(0)

    def positive(leaf: jax.ShapeDtypeStruct) -> Array:  # positive: rectified units are on; small: none is saturated
        return jnp.asarray(rng.uniform(0.5, 1, leaf.shape) / max((1, *leaf.shape)), leaf.dtype)

    return jax.tree.map(positive, model_shapes(model))


def over_streams(function: Callable[..., Any], x: Ids) -> Callable[..., Any]:
    """Map a function ``(params, *one_stream)`` over the streams, which share the weights."""
    if x.ndim == 0:
        return function
    return lambda params, *of_streams: jax.vmap(function, (None, *[0] * len(of_streams)))(params, *of_streams)


def carry_streams_shape(model: Model, carry: Carry) -> tuple[int, ...]:
    """Return the streams axis of a carry, () or (B,), by comparing it with the model's carry of one stream."""
    of_one = jax.eval_shape(lambda key: model.initial_carry(key, ()), jax.random.key(0))
    leaves = zip(jax.tree.leaves(carry), jax.tree.leaves(of_one), strict=True)
    return next((leaf.shape[: leaf.ndim - one.ndim] for leaf, one in leaves), ())


def zero_memory(memory: PyTree, most_bytes: int, rule: str, advice: str = ADVICE) -> Any:
    """Allocate zeros of these shapes.

    Raises:
      InputError: more than `most_bytes` would be needed; nothing is allocated then.
    """
    size = count_bytes(memory)
    if size > most_bytes:
        raise InputError(f"{rule} needs {format_bytes(size)} of memory; the limit is {format_bytes(most_bytes)}: {advice}")
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), memory)


def count_bytes(memory: PyTree) -> int:
    """Count the bytes of arrays or shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(memory))


def format_bytes(size: int) -> str:
    """Format a number of bytes with its unit."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")

"""The influence of weights on the carry, which online rules propagate forward and pull gradients back through.

With J_t = d carry_t / d theta, the gradient of the loss at one character is

    g + J_{t-1}^T delta,    g = dl_t / d theta with carry_{t-1} a constant,    delta = dl_t / d carry_{t-1}

and J_t = I + D J_{t-1}, with I = dcarry_t / dtheta at a constant carry_{t-1}, and D = dcarry_t / dcarry_{t-1}. `one_step` is g.
theta is a dict of the weights that reach the carry, by path ("cell/bias"); the readout's weights do not. J accumulates steps
that were taken with earlier weights, so it is exact only while the weights do not change.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, Float, Int, PyTree

from jaxrnn.data.array_types import Carry, InputBlock, Inputs, Losses, Params, Targets
from jaxrnn.errors import InputError, is_number
from jaxrnn.models.losses import Loss, score_step
from jaxrnn.models.model import Model, check_model, check_weights, input_shape, step_shapes, streams_of
from jaxrnn.rules._carry_parts import (
    Parts,
    carry_streams_shape,
    flatten_parts,
    real_parts,
    unflatten_parts,
    wider_type,
    with_parts,
)

Theta: TypeAlias = dict[str, Array]  # weights that reach the carry, or one value for each of them
Shapes: TypeAlias = dict[str, jax.ShapeDtypeStruct]
MAX_MEMORY_BYTES = 2**31  # default limit of a rule's memory
ADVICE = "use fewer units or streams, a smaller vocabulary, or another rule"


class LocalGradient(NamedTuple):
    """Result of one reverse pass over one character."""

    grads: Params  # g, for all weights
    delta: Parts
    carry: Carry
    losses: Losses
    asked: Int[Array, " length"] | None


def local_gradient(model: Model, params: Params, carry: Carry, x: InputBlock, y: Targets, loss: Loss) -> LocalGradient:
    """Differentiate the loss at one character with respect to the weights and the carry before it."""

    def score(params: Params, parts: Parts) -> tuple[Array, tuple]:
        after, outputs = model.step(params, with_parts(carry, parts), x[0])
        found = score_step(loss, outputs, first(x, y), streams_of(model, x[0]))
        return found.mean, (after, found)

    carry = jax.lax.stop_gradient(carry)
    (grads, delta), (after, found) = jax.grad(score, argnums=(0, 1), has_aux=True)(params, real_parts(carry))
    return LocalGradient(grads, delta, after, found.losses, found.asked)


def first(x: InputBlock, y: Targets) -> Targets:
    """Take the targets of a block of one character.

    Raises:
      InputError: the block has more.
    """
    for leaf in jax.tree.leaves((x, y)):
        if leaf.shape[:1] != (1,):
            raise InputError(f"the block has shape {leaf.shape}; this rule reads one character at a time: (1, ...)")
    return jax.tree.map(lambda leaf: leaf[0], y)


def recurrent_paths(model: Model, part: Callable[[Carry], Carry] = lambda carry: carry) -> tuple[str, ...]:
    """Find the paths of the weights that reach the carry, or a part of it, from the jaxpr of one step."""
    check_model(model)
    params, carry = model_shapes(model)
    with jax.enable_x64(False):  # as in `model_shapes`
        step_shapes(model, params, carry, input_shape(model), types=False)
        step = jax.make_jaxpr(lambda *given: real_parts(part(model.step(*given)[0])))
        program = step(params, carry, input_shape(model)).jaxpr
    _, reaching = dce_jaxpr(program, [True] * len(program.outvars))  # one flag per input
    names = [_name(path) for path, _ in jax.tree.flatten_with_path(params)[0]]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"two arrays of weights have the path {doubled[0]!r}; give one another name")
    return tuple(name for name, reaches in zip(names, reaching, strict=False) if reaches)


def model_shapes(model: Model) -> tuple[PyTree, PyTree]:
    """Compute the 32-bit shapes of the weights and of the carry of one stream."""
    with jax.enable_x64(False):
        params, carry = jax.eval_shape(lambda key: (model.init(key), model.initial_carry(key, ())), jax.random.key(0))
    check_weights(params)
    return params, carry


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
    here = select_weights(grads, correction)
    return replace_weights(grads, {name: leaf + correction[name].astype(leaf.dtype) for name, leaf in here.items()})


def step_parts(model: Model, params: Params, carry: Carry, x: Inputs) -> Callable[[Theta, Parts], Parts]:
    """Make a function (theta, parts of the carry) -> those after x; other weights and numbers are those given."""
    return lambda theta, before: real_parts(model.step(replace_weights(params, theta), with_parts(carry, before), x)[0])


def flat_step(model: Model, params: Params, carry: Carry, x: Inputs) -> Callable[[Theta, Array], Array]:
    """Make the function `step_parts` of one stream on flat carries."""
    step, form = step_parts(model, params, carry, x), real_parts(carry)
    return lambda theta, before: flatten_parts(step(theta, unflatten_parts(form, before)))


def influence_shapes(model: Model, params: Params, carry: Carry, names: Iterable[str]) -> Shapes:
    """Compute the shapes of J: ``[*streams, units, *weight shape]`` for each weight array."""
    streams = carry_streams_shape(model, carry)
    before = jax.eval_shape(lambda carry: flatten_parts(real_parts(carry), streams), carry)
    theta = select_weights(params, names)
    return {name: jax.ShapeDtypeStruct((*before.shape, *leaf.shape), wider_type(before, leaf)) for name, leaf in theta.items()}


def vjp_through(memory: Theta, delta: Parts, streams: tuple[int, ...]) -> Theta:
    """Compute J^T delta, summed over streams."""
    d = flatten_parts(delta, streams)
    return {name: jnp.tensordot(d.astype(J.dtype), J, d.ndim) for name, J in memory.items()}


def propagate(model: Model, params: Params, memory: Theta, carry: Carry, x: Inputs) -> Theta:
    """Compute I + D J for one stream."""
    immediate, onward = jacobians(model, params, carry, x, memory)
    return {name: immediate[name] + jnp.tensordot(onward.astype(J.dtype), J, 1) for name, J in memory.items()}


def follow_influence(
    model: Model, push: Callable[..., Theta]
) -> Callable[[Params, Theta, Parts, Carry, Inputs], tuple[Theta, Theta]]:
    """Make a function (params, J, delta, carry, x) -> (J^T delta, next J) from `push`, (params, J, carry, x) -> next J."""
    return lambda params, memory, delta, carry, x: (
        vjp_through(memory, delta, streams_of(model, x)),
        over_streams(push, streams_of(model, x))(params, memory, carry, x),
    )


def jacobians(
    model: Model, params: Params, carry: Carry, x: Inputs, names: Iterable[str]
) -> tuple[Theta, Float[Array, "units units"]]:
    """Compute I and D for one stream, in the types of its J and of its flat carry."""
    step, theta, before = flat_step(model, params, carry, x), select_weights(params, names), flatten_parts(real_parts(carry))
    immediate, onward = jax.jacrev(step, argnums=(0, 1))(theta, before)
    return {name: leaf.astype(wider_type(before, theta[name])) for name, leaf in immediate.items()}, onward


def over_streams(function: Callable[..., Any], streams: tuple[int, ...]) -> Callable[..., Any]:
    """Map a function ``(params, *one_stream)`` over the streams, which share the weights."""
    if not streams:
        return function
    return lambda params, *of_streams: jax.vmap(function, (None, *[0] * len(of_streams)))(params, *of_streams)


def zero_memory(memory: PyTree, most_bytes: int, rule: str, advice: str = ADVICE) -> Any:
    """Allocate zeros of these shapes.

    Raises:
      InputError: more than `most_bytes` would be needed; nothing is allocated then.
    """
    if not is_number(most_bytes, 0):
        raise InputError(f"max_bytes is {most_bytes!r}; it must be a number of bytes, 0 or more")
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

"""Losses: functions of a model's outputs and targets that return one number per stream. Updates minimize their mean."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxrnn.data.array_types import Ids, Logits, Losses, Outputs, Targets
from jaxrnn.errors import InputError, check_function, describe_kind, is_array


class Masked(NamedTuple):
    """Losses of which only some count."""

    losses: Float[Array, "*streams"]
    asked: Bool[Array, "*streams"]  #: whether this stream's loss counts


Loss: TypeAlias = Callable[[Outputs, Targets], Float[Array, "*streams"] | Masked]  # (outputs, y), at one step


class Score(NamedTuple):
    """Losses of one or several steps."""

    mean: Float[Array, ""]  # over all steps and streams that count; its gradient is what an update follows
    losses: Losses  # at each step, the mean over the streams that count; 0 if none does
    asked: Int[Array, " length"] | None  # number of streams whose loss counts, at each step; None = all


def nats(logits: Logits, y: Ids) -> Float[Array, "*streams"]:
    """Compute the cross entropy of the next character in each stream, in nats.

    Args:
      logits: ``f32[*streams, vocab]``.
      y: ids, ``i32[*streams]``.
    Raises:
      InputError: `y` does not hold one integer for each row of logits.
    """
    if not is_array(logits):
        raise InputError(f"the model returns {describe_kind(logits)}; nats needs logits: give online a loss of your own")
    if not is_array(y):
        hint = "for targets (y, asked), the loss is masked(nats)" if isinstance(y, tuple | list) else "it needs an array of ids"
        raise InputError(f"the targets of nats are {describe_kind(y)}; {hint}")
    if not jnp.issubdtype(y.dtype, jnp.integer) or y.shape != logits.shape[:-1]:
        raise InputError(
            f"nats needs one id per row of logits: logits {logits.shape} need ids {logits.shape[:-1]}, not "
            f"{y.dtype}{list(y.shape)}; for other targets, give online a loss of your own"
        )
    return optax.softmax_cross_entropy_with_integer_labels(_widen(logits), y)


def masked(loss: Callable[[Outputs, Targets], Float[Array, "*streams"]]) -> Loss:
    """Apply a loss mask: the new loss takes targets ``(y, asked)``; `asked`, ``bool[*streams]``, says which losses count.

    If no stream is asked, `online` changes neither the weights nor the optimizer's state; carry and memory advance.
    Targets that do not count may be anything, even NaN.
    """
    check_loss(loss)
    return functools.partial(_loss_where_asked, loss)


def _loss_where_asked(loss: Callable[[Outputs, Targets], Array], outputs: Outputs, y: Targets) -> Masked:
    if not isinstance(y, tuple | list) or len(y) != 2 or not is_array(y[1]):
        raise InputError(f"a masked loss takes targets (y, asked), not {_describe(y)}; asked is bool, one per stream")
    targets, asked = y

    def asked_only(leaf: Array) -> Array:  # so that a NaN in the derivative of a loss that does not count goes no further
        if leaf.shape[: asked.ndim] != asked.shape:
            raise InputError(
                f"the loss mask has shape {asked.shape}; for outputs {leaf.shape}, it must have one bool per stream"
            )
        shape = (*asked.shape, *[1] * (leaf.ndim - asked.ndim))
        return jnp.where(asked.reshape(shape), leaf, jax.lax.stop_gradient(leaf))

    return Masked(loss(jax.tree.map(asked_only, outputs), targets), asked)


def check_loss(loss: Any) -> None:
    """Raise `InputError` unless this may be a loss: a function."""
    if loss is masked:
        raise InputError("masked makes a loss from another: give online loss=masked(nats)")
    check_function("the loss", loss, "outputs", "y", returns="one number per stream")


def unmasked(loss: Loss) -> Loss | None:
    """Return the loss that `masked` made this one from; None for other losses."""
    if isinstance(loss, functools.partial) and loss.func is _loss_where_asked:
        return loss.args[0]
    return None


def score_step(loss: Loss, outputs: Outputs, y: Targets, streams: tuple[int, ...]) -> Score:
    """Score the outputs of one step.

    Raises:
      InputError: the loss does not return one real number per stream.
    """
    losses, asked = _apart(loss(outputs, y), streams)
    if asked is None:
        mean = losses.mean()
        return Score(mean, mean[None], None)
    mean = _mean_of_asked(losses, asked)
    return Score(mean, mean[None], asked.sum(dtype=jnp.int32)[None])


def score_block(loss: Loss, outputs: Outputs, y: Targets, streams: tuple[int, ...]) -> Score:
    """Score the outputs of a block, in arrays of ``[length, *streams, ...]``; errors are those of `score_step`."""
    losses, asked = _apart(jax.vmap(loss)(outputs, y), streams, 1)
    if asked is None:
        of_steps = losses.mean(tuple(range(1, losses.ndim)))
        return Score(of_steps.mean(), of_steps, None)
    of_steps = jax.vmap(_mean_of_asked)(losses, asked)
    return Score(_mean_of_asked(losses, asked), of_steps, asked.sum(tuple(range(1, asked.ndim)), dtype=jnp.int32))


def _describe(y: Any) -> str:
    if isinstance(y, tuple | list):
        return f"({', '.join(map(_describe, y))})"
    return "an array" if is_array(y) else describe_kind(y)


def _mean_of_asked(losses: Array, asked: Array) -> Array:
    number = jnp.maximum(asked.sum(), 1).astype(losses.dtype)
    return jnp.where(asked, losses, jnp.zeros_like(losses)).sum() / number


def _apart(found: Array | Masked, streams: tuple[int, ...], num_axes: int = 0) -> tuple[Array, Array | None]:
    """Take what a loss returned apart, and check it; `num_axes` axes of steps come first."""
    losses, asked = found if isinstance(found, Masked) else (found, None)
    for name, array in (("losses", losses), ("a mask", asked)):
        if array is None and name == "a mask":
            continue
        if not isinstance(array, jax.Array | np.ndarray | np.generic):
            raise InputError(f"the loss returns {describe_kind(array)}; it must return an array with one number per stream")
        if array.shape[num_axes:] != streams:
            wanted = f"one number per stream, shape {streams}" if streams else "one number, shape ()"
            raise InputError(f"the loss returns {name} of shape {array.shape[num_axes:]}; it must return {wanted}")
    if not jnp.issubdtype(losses.dtype, jnp.floating):
        raise InputError(f"the loss returns dtype {losses.dtype}; it must return floats")
    if asked is not None and asked.dtype != jnp.bool_:
        raise InputError(
            f"the loss mask has dtype {asked.dtype}; it must be bool (to weight losses, multiply them inside the loss)"
        )
    return _widen(losses), asked


def _widen(numbers: Array) -> Array:
    """Convert 16-bit floats, which are too coarse for losses, to float32."""
    return numbers.astype(np.promote_types(numbers.dtype, np.float32))

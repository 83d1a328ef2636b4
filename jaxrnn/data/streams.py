"""Split ids into time-major parallel streams, and slice the block that an update reads."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from jaxrnn.data.array_types import InputBlock, Stream, Targets
from jaxrnn.data.documents import unmark
from jaxrnn.errors import InputError, check_whole, describe_kind, is_array, is_whole, pluralize


class Pairs(NamedTuple):
    """Inputs with a target for each step. (In a text, the target is the next character.)"""

    x: Array | np.ndarray  #: ``[time, *streams]`` ids, or ``[time, *streams, inputs]`` vectors
    y: Targets  #: what the loss takes; each array starts with the same time axis


AnyStream: TypeAlias = Stream | Pairs


def to_streams(ids: Integer[np.ndarray, " characters"], num_streams: int = 1) -> Integer[np.ndarray, " time *streams"]:
    """Cut a text into `num_streams` equal contiguous parts that are read in parallel.

    Each part ends with the first character of the next one, so that every character except the first is predicted once
    (up to num_streams - 1 characters at the end of the text are dropped).

    Returns:
      [time + 1] for one stream (no streams axis; a view), else [time + 1, num_streams], of the type of the ids. Row t is the
      input at time t, row t + 1 its target.
    Raises:
      InputError: `num_streams` is under 1, or a stream would have no character to predict.
    """
    if not is_whole(num_streams, 1):
        raise InputError(f"the number of streams is {num_streams!r}; it must be a whole number, 1 or more")
    if not isinstance(ids, np.ndarray | jax.Array):
        raise InputError(f"the ids are {describe_kind(ids)}; they must be an array")
    if ids.ndim != 1:
        raise InputError(f"the ids have shape {ids.shape}; they must have one axis, [characters]")
    length = (len(ids) - 1) // num_streams
    if length < 1:
        most = f", or at most {pluralize(len(ids) - 1, 'stream')}" if 2 <= len(ids) <= num_streams else ""
        raise InputError(
            f"{len(ids)} characters are too few for {num_streams} streams: at least {num_streams + 1} are needed{most}"
        )
    if num_streams == 1:
        return ids
    stream = np.empty((length + 1, num_streams), ids.dtype)
    stream[:length] = ids[: length * num_streams].reshape(num_streams, length).T
    stream[length] = ids[length : length * num_streams + 1 : length]
    return stream


def count_updates(stream: Integer[Array | np.ndarray, " time *streams"] | Pairs, length: int) -> int:
    """Count the updates of `length` characters in one pass over the streams."""
    check_whole(1, length=length)
    if not isinstance(stream, Pairs) and not is_array(stream):
        raise InputError(f"the stream is {describe_kind(stream)}; it must be an array or Pairs(x, y)")
    if not isinstance(stream, Pairs):
        return (stream.shape[0] - 1) // length
    if not all(getattr(leaf, "ndim", 0) for leaf in jax.tree.leaves(stream)):
        raise InputError("x and y of Pairs must be arrays that start with the time axis")
    times = {leaf.shape[0] for leaf in jax.tree.leaves(stream)}
    if len(times) > 1:
        raise InputError(
            f"the arrays of Pairs have {' and '.join(map(str, sorted(times)))} steps; x and y must have the same time axis"
        )
    return stream.x.shape[0] // length


def read_block(stream: AnyStream, step: Int[Array, ""], length: int) -> tuple[InputBlock, Targets]:
    """Slice the inputs of update number `step`, and their targets.

    Args:
      stream: ids of any integer type, ``[time + 1, *streams]``, with marks where documents begin (`data.documents`); or
        `Pairs`.
    Returns:
      Inputs and targets, ``i32[length, *streams]`` each, the targets one character later; only the inputs have marks. For
      `Pairs`, slices of both.
    """
    start = (step % count_updates(stream, length)) * length
    if isinstance(stream, Pairs):
        x, y = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, length), tuple(stream))
        return x.astype(jnp.int32) if jnp.issubdtype(x.dtype, jnp.integer) else x, y
    x, y = (jax.lax.dynamic_slice_in_dim(stream, start + shift, length) for shift in (0, 1))
    return x.astype(jnp.int32), unmark(y).astype(jnp.int32)

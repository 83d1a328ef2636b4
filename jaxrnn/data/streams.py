"""Split ids into time-major parallel streams, and slice the block that an update reads."""

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxrnn.array_types import Block, Stream
from jaxrnn.errors import InputError, pluralize


def to_streams(ids: Int[np.ndarray, " characters"], num_streams: int = 1) -> Int[np.ndarray, " time *streams"]:
    """Cut a text into `num_streams` equal contiguous parts that are read in parallel.

    Each part ends with the first character of the next one, so that every character except the first is predicted once
    (up to num_streams - 1 characters at the end of the text are dropped).

    Returns:
      i32[time + 1] for one stream (no streams axis), else i32[time + 1, num_streams]. Row t is the input at time t, row t + 1
      its target.
    Raises:
      InputError: `num_streams` is under 1, or a stream would have no character to predict.
    """
    length = (len(ids) - 1) // num_streams if num_streams >= 1 else 0
    if length < 1:
        most = f", or at most {pluralize(len(ids) - 1, 'stream')}" if 2 <= len(ids) <= num_streams else ""
        least = max(num_streams, 1) + 1
        raise InputError(f"{len(ids)} characters are too few for {num_streams} streams: at least {least} are needed{most}")
    if num_streams == 1:
        return ids
    starts = length * np.arange(num_streams)
    return ids[starts[None, :] + np.arange(length + 1)[:, None]]


def count_updates(stream: Int[Array | np.ndarray, " time *streams"], length: int) -> int:
    """Count the updates of `length` characters in one pass over the streams."""
    return (stream.shape[0] - 1) // length


def read_block(stream: Stream, step: Int[Array, ""], length: int) -> tuple[Block, Block]:
    """Slice the inputs of update number `step` and their targets, one character later: i32[length, *streams] each."""
    start = (step % count_updates(stream, length)) * length
    x, y = (jax.lax.dynamic_slice_in_dim(stream, start + shift, length) for shift in (0, 1))
    return x, y

"""Ids -> time-major streams, and which part of them an update reads: a pure function of the step number."""

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxrnn.array_types import Block, Stream
from jaxrnn.errors import InputError, pluralize


def to_streams(ids: Int[np.ndarray, " characters"], num_streams: int = 1) -> Int[np.ndarray, " time *streams"]:
    """Lays a text out as `num_streams` equal contiguous parts, read side by side.

    Each part ends with the first character of the next one, so that every character but the text's first is predicted once
    (up to num_streams - 1 characters at the end of the text are left over).

    Returns:
      i32[time + 1] for one stream, without a streams axis; else i32[time + 1, num_streams]. Row t is read at time t and
      row t + 1 is what is to be predicted.
    Raises:
      InputError: no stream, or fewer than one character for each stream to predict.
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


def updates_per_epoch(stream: Int[Array | np.ndarray, " time *streams"], length: int) -> int:
    """How many updates of `length` characters one reading of the streams gives."""
    return (stream.shape[0] - 1) // length


def read_block(stream: Stream, step: Int[Array, ""], length: int) -> tuple[Block, Block]:
    """What update number `step` reads: the characters and, one further on, those to predict; both i32[length, *streams]."""
    start = (step % updates_per_epoch(stream, length)) * length
    x, y = (jax.lax.dynamic_slice_in_dim(stream, start + shift, length) for shift in (0, 1))
    return x, y

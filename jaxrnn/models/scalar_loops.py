"""Loops over single numbers, which XLA on a CPU compiles to one piece of machine code instead of a call per operation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Int


def as_one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a pure function of arrays as one to compile as a whole; the numbers are the same.

    An operation of its own takes XLA some 50 ns beside the operation itself, which is most of the time if it is on a few
    numbers: thirty times as long for counts. XLA does this by itself only for loops that touch hardly any memory. Elsewhere
    than on a CPU nothing is marked. Each argument must be used for a result that is used, or the compiler of JAX 0.10 ends the
    process.
    """
    compiled = jax.jit(function)

    def call(*arguments: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*arguments)
        with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
            return compiled(*arguments)

    return call


def get_row(rows: Array, *at: Int[Array, ""]) -> Array:
    """Read one row; all that is not single numbers would be slow."""
    start = (*at, *[jnp.int32(0)] * (rows.ndim - len(at)))
    return jax.lax.dynamic_slice(rows, start, (*[1] * len(at), *rows.shape[len(at) :])).reshape(rows.shape[len(at) :])


def put_row(rows: Array, row: Array, at: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_update_slice(rows, row[None], (at, *[jnp.int32(0)] * (rows.ndim - 1)))

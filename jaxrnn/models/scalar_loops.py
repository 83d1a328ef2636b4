"""Loops over single numbers, which XLA on a CPU compiles to one piece of machine code instead of a call per operation.

A GPU would launch a kernel for each operation, which is a thousand times slower, so programs run such loops on the host.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Int

Tree = TypeVar("Tree")  # of arrays


def as_one_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a pure function of arrays as one to compile as a whole; the numbers are the same.

    Each separate operation costs XLA some 50 ns of overhead, which is most of the time if it works on a few numbers: counts
    would take thirty times as long. On its own, XLA does this only for loops that touch hardly any memory. On other devices
    than a CPU nothing is marked. The compiler of JAX 0.10 crashes if an argument is not used for a result that is used, or if
    it splits an operation over the cores, which `training.drivers.compiler_options(one_core=True)` prevents.
    """
    compiled = jax.jit(function)

    def call(*arguments: Any) -> Any:
        if first_device().platform != "cpu":
            return function(*arguments)
        with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
            return compiled(*arguments)

    return call


@contextlib.contextmanager
def on_host() -> Iterator[None]:
    """Compute on the CPU inside this context, even if the first device is another one; move arrays there with `to_host`."""
    if first_device().platform == "cpu":
        yield
        return
    with jax.default_device(host_device()):
        yield


def to_host(tree: Tree) -> Tree:
    """Move arrays to the CPU; on a machine without another device they stay where they are."""
    return tree if jax.default_backend() == "cpu" else jax.device_put(tree, host_device())


def host_device() -> Any:
    """Return the CPU, or the first device if JAX is configured without a CPU."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return first_device()


def first_device() -> Any:
    """Return the device on which JAX computes by default."""
    chosen = getattr(jax.config, "jax_default_device", None)  # a device, or the name of a platform
    return jax.devices(chosen)[0] if chosen is None or isinstance(chosen, str) else chosen


def get_row(rows: Array, *at: Int[Array, ""]) -> Array:
    """Read one row with a dynamic slice, which stays fast inside such a loop."""
    start = (*at, *[jnp.int32(0)] * (rows.ndim - len(at)))
    return jax.lax.dynamic_slice(rows, start, (*[1] * len(at), *rows.shape[len(at) :])).reshape(rows.shape[len(at) :])


def put_row(rows: Array, row: Array, at: Int[Array, ""]) -> Array:
    return jax.lax.dynamic_update_slice(rows, row[None], (at, *[jnp.int32(0)] * (rows.ndim - 1)))

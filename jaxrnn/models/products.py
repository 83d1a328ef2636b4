"""Products of states with weights: in the precision of their arrays, or with factors rounded to bfloat16."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_rounds = contextvars.ContextVar("rounds", default=False)


def product(a: Float[Array, "*leading inner"], kernel: Float[Array, "rows columns"], axis: int = 0) -> Float[Array, "..."]:
    """Compute the sums over i of ``a[..., i] kernel[i, j]``, or of ``a[..., i] kernel[j, i]`` if `axis` is 1.

    Inside `rounding`, the factors of a float32 product and of both its derivatives are rounded to bfloat16; sums and results
    stay float32. A rounded product has derivatives in reverse mode only.
    """
    if _rounds.get() and a.dtype == kernel.dtype == jnp.float32:
        return _rounded(axis, a, kernel)
    return jax.lax.dot_general(a, kernel, (((a.ndim - 1,), (axis,)), ((), ())))


@contextlib.contextmanager
def rounding() -> Iterator[None]:
    """Round factors to bfloat16 in all products that are traced inside this context.

    JAX's own setting is ignored on a CPU. It is set all the same, because JAX remembers what it has traced by its settings.
    """
    before = _rounds.set(True)
    try:
        with jax.default_matmul_precision("bfloat16"):
            yield
    finally:
        _rounds.reset(before)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded(axis: int, a: Array, kernel: Array) -> Array:
    return _multiply(a, kernel, (a.ndim - 1,), (axis,))


def _forward(axis: int, a: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _rounded(axis, a, kernel), (a, kernel)


def _backward(axis: int, factors: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    a, kernel = factors
    leading = tuple(range(a.ndim - 1))
    left, right = (a, g) if axis == 0 else (g, a)
    # Summed over all leading axes as they are: of flattened arrays, XLA on a CPU would make a float32 product.
    return _multiply(g, kernel, (g.ndim - 1,), (1 - axis,)), _multiply(left, right, leading, leading)


_rounded.defvjp(_forward, _backward)


def _multiply(a: Array, b: Array, a_axes: tuple[int, ...], b_axes: tuple[int, ...]) -> Array:
    """Round two arrays and sum their products over these axes, in float32."""
    a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    return jax.lax.dot_general(a, b, ((a_axes, b_axes), ((), ())), preferred_element_type=jnp.float32)

"""Products of states with weights: in the precision of their arrays, or with factors rounded to bfloat16."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

BFLOAT16 = "bfloat16"  # as a value of `jax.default_matmul_precision`


def product(a: Float[Array, "*leading inner"], kernel: Float[Array, "rows columns"], axis: int = 0) -> Float[Array, "..."]:
    """Compute the sums over i of ``a[..., i] kernel[i, j]``, or of ``a[..., i] kernel[j, i]`` if `axis` is 1.

    Inside `jax.default_matmul_precision("bfloat16")`, the factors of a float32 product and of both its derivatives are rounded
    to bfloat16, on every device; sums and results stay float32. By itself, JAX ignores that setting on a CPU. A rounded product
    has derivatives in reverse mode only.
    """
    setting = jax.config.values["jax_default_matmul_precision"]
    if setting == BFLOAT16 and a.dtype == kernel.dtype == jnp.float32:
        return _rounded(axis, a, kernel)
    return jax.lax.dot_general(a, kernel, (((a.ndim - 1,), (axis,)), ((), ())))


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

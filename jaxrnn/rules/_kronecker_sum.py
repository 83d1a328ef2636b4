"""Sums of Kronecker products, and how to drop a term without bias."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from jaxrnn.models.scalar_loops import first_device

LeftDecomposition: TypeAlias = tuple[Array, Array]  # singular vectors ``[rows, values]``, singular values


class KroneckerSum(NamedTuple):
    """A matrix as a sum of products, ``sum_i left_i (x) right_i``."""

    left: Float[Array, "*streams rank rows"]
    right: Float[Array, "*streams rank units columns"]


def drop_term(terms: KroneckerSum, signs: Float[Array, " terms"]) -> KroneckerSum:
    """Replace a sum of r + 1 terms by a random sum of r terms that has the same mean and the least variance.

    In orthonormal bases of both sides the sum is a diagonal of singular values. The largest are kept as they are. The other q,
    whose sum is s, become ``s / (q - 1) S (1 - z z^T) S``, for a diagonal S of random signs and a unit vector z with ``z_i^2 =
    1 - (q - 1) sigma_i / s``: a matrix of rank q - 1 with the same diagonal, and a mean of zero elsewhere.

    Source: Benzing et al. (2019), ICML, arXiv:1902.03993, "optimal Kronecker-sum approximation".
    """
    count = len(terms.left)
    U, sigma = _decompose(terms.left, terms.right.reshape(count, -1))
    eps = jnp.finfo(sigma.dtype).eps
    if len(sigma) == count:  # values at rounding level are dropped: mixed in, they add noise of the size of their square roots
        sigma = jnp.where(sigma > 10 * count * eps * sigma[0], sigma, 0)
    else:  # nothing is mixed: U spans everything, and the sum is kept whatever the values, which only balance its factors
        sigma = jnp.maximum(sigma, eps * sigma[0])
    # Rounding errors decide the sign of a pair of singular vectors: fix it, so that left vectors lie on one side of a plane.
    side = jnp.where(jnp.cos(jnp.arange(len(U), dtype=sigma.dtype)) @ U < 0, -1, 1)
    mixing = _mixing(sigma, signs * side.astype(signs.dtype)) if len(sigma) == count else _keep_all(sigma, count)
    # The right singular vectors are V = right^T left U / sigma. Only their mix is computed, as they are long.
    scaled = mixing / jnp.where(sigma > 0, sigma, 1)[:, None]
    of_terms = jnp.linalg.multi_dot([terms.left, U, scaled], precision="highest")  # a GPU's rounding would be divided by sigma
    right = jnp.einsum("tk,tuc->kuc", of_terms, terms.right, precision="highest")
    return KroneckerSum(jnp.matmul(U, mixing, precision="highest").T, right)


def _decompose_one(left: Float[Array, "terms rows"], right: Float[Array, "terms others"]) -> LeftDecomposition:
    """Compute the left singular vectors and the singular values of ``left^T right``."""
    basis, left_part = jnp.linalg.qr(left.T)
    right_part = jnp.linalg.qr(right.T, mode="r")
    turn, sigma, _ = jnp.linalg.svd(jnp.matmul(left_part, right_part.T, precision="highest"), full_matrices=False)
    return jnp.matmul(basis, turn, precision="highest"), sigma


_decompose = custom_vmap(_decompose_one)


@_decompose.def_vmap
def _decompose_each(
    size: int, is_batched: list[bool], left: Array, right: Array
) -> tuple[LeftDecomposition, tuple[bool, bool]]:
    """Decompose several products: on a CPU one after another, as LAPACK does itself.

    Given all of them at once, LAPACK can hang in jaxlib before 0.11.2, which waits for its threads in one of them.
    """
    left, right = (
        each if batched else jnp.broadcast_to(each, (size, *each.shape))
        for each, batched in zip((left, right), is_batched, strict=True)
    )

    if first_device().platform != "cpu":
        return jax.vmap(_decompose_one)(left, right), (True, True)

    def advance(loop: tuple[Array, LeftDecomposition]) -> tuple[Array, LeftDecomposition]:
        number, found = loop
        new = _decompose(left[number], right[number])
        return number + 1, jax.tree.map(lambda room, one: room.at[number].set(one), found, new)

    room = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), jax.eval_shape(_decompose, left[0], right[0]))
    _, found = jax.lax.while_loop(lambda loop: loop[0] < size, advance, (jnp.int32(0), room))
    return found, (True, True)


def _mixing(sigma: Float[Array, " terms"], signs: Float[Array, " terms"]) -> Float[Array, "terms kept"]:
    """Compute X of one column less than rows, where the mean of X X^T over the signs is diag(sigma)."""
    count, places = len(sigma), jnp.arange(len(sigma))
    eye, last = jnp.eye(count, dtype=sigma.dtype), (places == count - 1).astype(sigma.dtype)
    sums, following = jnp.cumsum(sigma[::-1])[::-1], (count - 1 - places).astype(sigma.dtype)
    first = jnp.argmax((following * sigma <= sums) & (places < count - 1) | (places == count - 2))  # of those that are mixed
    is_mixed, s, following = places >= first, sums[first], following[first]  # q - 1 of these follow
    mixed = jnp.where(is_mixed, sigma, 0)
    rest = (1 - eye) @ mixed - (following - 1) * mixed  # s - (q - 1) sigma, where cancellation would cost half the digits
    z = jnp.where(s > 0, jnp.sqrt(jnp.where(is_mixed, jnp.maximum(rest, 0), 0) / jnp.where(s > 0, s, 1)), last)
    # A reflection that takes the last axis to -z: its other columns span what is orthogonal to z, and leave what is kept alone.
    w = z + last
    columns = (eye - 2 * jnp.outer(w, w) / (w @ w))[:, :-1]
    scale = jnp.sqrt(jnp.where(is_mixed, s / following, sigma))[:-1]
    return jnp.where(is_mixed, signs.astype(sigma.dtype), 1)[:, None] * columns * scale[None]


def _keep_all(sigma: Float[Array, " values"], count: int) -> Float[Array, "values kept"]:
    """Compute X for fewer values than terms: a side with few dimensions has no more terms."""
    return jnp.pad(jnp.diag(jnp.sqrt(sigma)), ((0, 0), (0, count - 1 - len(sigma))))

"""RTRL with a sum of Kronecker products for the influence matrix: unbiased, with less noise than `uoro`."""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrnn.data.array_types import Carry, InputBlock, Inputs, Memory, Params, RandomKey, Targets
from jaxrnn.errors import InputError, check_function, is_whole
from jaxrnn.models.documents import restart_carry, split_marks
from jaxrnn.models.losses import Loss, nats
from jaxrnn.models.model import Model, streams_of
from jaxrnn.rules import _influence
from jaxrnn.rules._carry_parts import carry_streams_shape, flatten_parts, real_parts, wider_type
from jaxrnn.rules._influence import Theta
from jaxrnn.rules._kronecker_sum import KroneckerSum, drop_term
from jaxrnn.rules._products import Product, StepFactors, cut_rows, derivatives, find_products, num_columns, num_rows
from jaxrnn.rules._signs import Signs, rademacher
from jaxrnn.rules.base import Gradient, Rule


class Sums(NamedTuple):
    """The influence of the weights of each product; key and count determine the random signs."""

    key: RandomKey
    num_read: Int[Array, ""]  # i32
    of_products: tuple[KroneckerSum, ...]


def rtrl_kronecker(
    model: Model, rank: int = 4, signs: Signs = rademacher, max_bytes: int = _influence.MAX_MEMORY_BYTES
) -> Rule:
    """Unbiased estimate of the gradient of `rtrl` from a sum of Kronecker products.

    In one step the weights W of a product ``W^T a`` influence the carry by ``I = a (x) F``. So J is a sum of such terms, one
    for each step, of which the rule keeps r: ``J = sum_i u_i (x) A_i``. After a step, ``a (x) F + sum_i u_i (x) D A_i`` has one
    term more. It is replaced by a random sum of r terms, the one of least variance whose mean is the same. The
    gradients of the first r + 1 characters are exact, and all of them if r is at least the number of rows of W.

    Args:
      rank: r, the number of terms. Time and memory grow with it, and the variance falls. KF-RTRL has one.
      signs: (key, num_read, shape) -> +1 and -1; a test enumerates them.
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is a key, a count and, for each product with R rows and C columns, 4 B r (U C + R) bytes
      for B streams and U numbers in the carry; time O(r U^2 C), so r U^3 for an Elman network.
    Raises:
      InputError: the network has other cells than elman, leaky, gru or lstm; `rank` is under 1; or, from its `init`, if the
        memory would take more than `max_bytes`.
    Source: Benzing et al. (2019), ICML, arXiv:1902.03993; with one term: Mujika et al. (2018), NeurIPS, arXiv:1805.10842.
    """
    if not is_whole(rank, 1):
        raise InputError(f"rank is {rank!r}; it must be a whole number, 1 or more")
    check_function("signs", signs, "key", "num_read", "shape", returns="+1 and -1")
    return _with_sums(model, find_products(model, "rtrl_kronecker"), operator.index(rank), signs, max_bytes)


def _with_sums(model: Model, products: tuple[Product, ...], rank: int, signs: Signs, max_bytes: int) -> Rule:
    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        shapes = _memory_shapes(model, products, rank, params, carry)
        return Sums(key, jnp.int32(0), _influence.zero_memory(shapes, max_bytes, "rtrl_kronecker"))

    def correct(params: Params, sums: tuple[KroneckerSum, ...], delta: Array) -> Theta:
        found = {}
        for product, (left, right) in zip(products, sums, strict=True):
            found |= cut_rows(product, params, left.T @ jnp.tensordot(right, delta.astype(right.dtype), ((1,), (0,))))
        return found

    def push(params: Params, sums: tuple[KroneckerSum, ...], nu: Array, carry: Carry, x: Inputs) -> tuple[KroneckerSum, ...]:
        if not products:  # no weight reaches the carry, if there is one
            return ()
        factors, onward = derivatives(model, products, params, carry, x)
        return tuple(_push_sum(*each, onward) for each in zip(sums, factors, nu, strict=True))

    def gradient(params: Params, memory: Sums, carry: Carry, x: InputBlock, y: Targets, loss: Loss = nats) -> Gradient:
        key, num_read, sums = memory
        sums, carry = jax.lax.stop_gradient((sums, carry))
        here, streams = _influence.local_gradient(model, params, carry, x, y, loss), streams_of(model, x[0])
        correction = _influence.over_streams(correct, streams)(params, sums, flatten_parts(here.delta, streams))
        correction = jax.tree.map(lambda leaf: leaf.sum(0), correction) if streams else correction
        sums = restart_carry(sums, split_marks(model, x[0])[1])  # D is 0 there, but the bases would keep a trace of the rows
        nu = signs(key, num_read, (*streams, len(products), rank + 1))
        sums = _influence.over_streams(push, streams)(params, sums, nu, carry, x[0])
        grads = _influence.add_correction(here.grads, correction)
        return Gradient(grads, here.carry, Sums(key, num_read + 1, sums), here.losses, here.asked)

    return Rule(1, init, gradient, model)


def _push_sum(terms: KroneckerSum, factors: StepFactors, nu: Array, onward: Float[Array, "units units"]) -> KroneckerSum:
    """Compute I + D J, and drop a term."""
    pushed = jnp.einsum("uv,rvc->ruc", onward.astype(terms.right.dtype), terms.right)
    left, right = jnp.concatenate([terms.left, factors.seen[None]]), jnp.concatenate([pushed, factors.reach[None]])
    return drop_term(KroneckerSum(left, right), nu)


def _memory_shapes(
    model: Model, products: tuple[Product, ...], rank: int, params: Params, carry: Carry
) -> tuple[KroneckerSum, ...]:
    streams = carry_streams_shape(model, carry)
    before = jax.eval_shape(lambda carry: flatten_parts(real_parts(carry), streams), carry)
    dtype = wider_type(before)

    def of_product(product: Product) -> KroneckerSum:
        left = jax.ShapeDtypeStruct((*streams, rank, num_rows(product, params)), dtype)
        right = jax.ShapeDtypeStruct((*streams, rank, before.shape[-1], num_columns(product, params)), dtype)
        return KroneckerSum(left, right)  # pyright: ignore[reportArgumentType]

    return tuple(map(of_product, products))

"""The numbers of a carry that have derivatives: as a tree of real arrays, and as one vector per stream.

Arrays of integers, such as counts, have none. A complex number is two real ones.
"""

import functools
import itertools
import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxrnn.data.array_types import Carry
from jaxrnn.errors import InputError
from jaxrnn.models.model import Model

Parts: TypeAlias = PyTree[Float[Array, "..."]]  # of a carry: None in place of integers, (real, imaginary) of complex numbers
CarryVector: TypeAlias = Float[Array, "*streams units"]


def real_parts(carry: Carry) -> Parts:
    """Take from a carry what has derivatives."""
    return jax.tree.map(_real_parts, carry)


def with_parts(carry: Carry, parts: Parts) -> Carry:
    """Put parts back into a carry, whose integers stay as they are."""
    return jax.tree.map(lambda leaf, part: leaf if part is None else _join(leaf, part), carry, parts, is_leaf=_is_none)


def flatten_parts(parts: Parts, streams: tuple[int, ...] = ()) -> CarryVector:
    """Flatten parts into one vector per stream, of float32 or whatever wider type they have."""
    leaves = jax.tree.leaves(parts)
    dtype = _widest(leaves)
    vectors = [leaf.reshape(*streams, -1).astype(dtype) for leaf in leaves]
    return jnp.concatenate(vectors, axis=-1) if vectors else jnp.zeros((*streams, 0), dtype)


def unflatten_parts(parts: Parts, vector: CarryVector) -> Parts:
    """Split a vector per stream into arrays of the structure, shapes and types of `parts`."""
    leaves, structure = jax.tree.flatten(parts)
    sizes = [math.prod(leaf.shape[vector.ndim - 1 :]) for leaf in leaves]
    split = jnp.split(vector, list(itertools.accumulate(sizes))[:-1], axis=-1) if leaves else []
    whole = [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(split, leaves, strict=True)]
    return jax.tree.unflatten(structure, whole)


def wider_type(*arrays: Any) -> np.dtype:
    """Return the type in which to add up influences of weights on these arrays: float32, or float64 if one of them has it."""
    return _widest(arrays)


def carry_streams_shape(model: Model, carry: Carry) -> tuple[int, ...]:
    """Return the streams axis of a carry, () or (B,), by comparing it with the model's carry of one stream.

    Raises:
      InputError: its arrays do not agree, or are not those of this model.
    """
    of_one = jax.eval_shape(lambda key: model.initial_carry(key, ()), jax.random.key(0))
    if jax.tree.structure(of_one) != jax.tree.structure(carry):
        raise InputError(f"the carry is {jax.tree.structure(carry)}; that of the model is {jax.tree.structure(of_one)}")
    given, expected = ([leaf.shape for leaf in jax.tree.leaves(each)] for each in (carry, of_one))
    found = {shape[: len(shape) - len(one)] for shape, one in zip(given, expected, strict=True)} or {()}
    streams = max(found, key=len)
    if len(found) > 1 or [(*streams, *one) for one in expected] != given or len(streams) > 1:
        raise InputError(
            f"the carry's arrays have shapes {_listed(given)}; for one stream they must be {_listed(expected)}; for "
            "B streams, each needs one extra leading axis of size B"
        )
    return streams


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


def _real_parts(leaf: Any) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        return leaf.real, leaf.imag
    return leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else None


def _join(leaf: Any, part: Any) -> Any:
    return jax.lax.complex(*part) if isinstance(part, tuple) else part


def _is_none(thing: Any) -> bool:
    return thing is None


def _widest(arrays: Any) -> np.dtype:
    return functools.reduce(np.promote_types, [array.dtype for array in arrays], np.dtype(np.float32))

"""Weights, carries and inputs at which derivatives are taken, to find what depends on what."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrnn.data.array_types import Carry, Params
from jaxrnn.errors import InputError
from jaxrnn.models.model import Model, input_shape
from jaxrnn.rules._influence import model_shapes

FOR_NUMBERS, FOR_COUNTS = 4, 32  # probes of a cell that is not ours; more if its carry holds integers or booleans


def make_probes(model: Model) -> list[tuple[Params, Carry]]:
    """Make weights and carries of one stream at which no derivative is 0 by chance.

    One is enough for the cells of jaxrnn itself. Any other cell may choose between values, by their size or by what it has
    counted, so it gets several: real numbers of both signs, booleans of both kinds, and integers from those of its initial
    carry on.
    """
    shapes, rng = model_shapes(model), np.random.default_rng(0)
    counts = any(not jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(shapes))
    number = 1 if model.layers and model.fits_one_kernel else FOR_COUNTS if counts else FOR_NUMBERS
    with concretely():
        initial = model.initial_carry(jax.random.key(0), ()) if counts else shapes[1]
        return [_draw(shapes[0], shapes[1], initial, rng, place) for place in range(number)]


def inputs_to_probe(model: Model) -> list[Array]:
    """Make inputs of one stream that show all dependencies: each character, or some vectors.

    Raises:
      InputError: the model reads ids, but does not state how many there are.
    """
    if model.inputs:
        with concretely():
            vectors = np.random.default_rng(1).normal(size=(4, model.inputs))
            return [jnp.asarray(vector, input_shape(model).dtype) for vector in vectors]
    if not model.vocab_size:
        raise InputError("this rule tries every id that a model can read; state their number: model._replace(vocab_size=...)")
    with concretely():
        return [jnp.int32(x) for x in range(model.vocab_size)]


@contextlib.contextmanager
def concretely() -> Iterator[None]:
    """Compute with 32-bit values, as in `model_shapes`, even if JAX is tracing a function that makes a rule."""
    with jax.enable_x64(False), jax.ensure_compile_time_eval():
        yield


def _draw(params: Any, carry: Any, initial: Any, rng: np.random.Generator, place: int) -> tuple[Params, Carry]:
    def real(shape: tuple[int, ...]) -> Any:
        if place == 0:  # positive: rectified units are on; small: none is saturated
            return rng.uniform(0.5, 1, shape) / max((1, *shape))
        return rng.normal(0, 1, shape) / math.sqrt(max((1, *shape)))

    def draw(leaf: jax.ShapeDtypeStruct, initially: Any) -> Array:
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            return jnp.asarray(real(leaf.shape) + 1j * real(leaf.shape), leaf.dtype)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(real(leaf.shape), leaf.dtype)
        if jnp.issubdtype(leaf.dtype, jnp.bool_):
            return jnp.asarray(rng.integers(0, 2, leaf.shape), leaf.dtype)
        is_count = jnp.issubdtype(leaf.dtype, jnp.integer)  # otherwise it is a key
        return initially + jnp.asarray(place, leaf.dtype) if is_count else initially

    return jax.tree.map(draw, params, params), jax.tree.map(draw, carry, initial)

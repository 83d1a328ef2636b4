"""Check that a model fits the rules that track each unit by itself (`_unitwise`), by its derivatives at probes."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params
from jaxtyping import Array

from jaxrnn.data.array_types import Carry, Inputs, Params
from jaxrnn.errors import InputError
from jaxrnn.models.model import Model, input_shape, split_carry
from jaxrnn.rules import _influence, _probes, _unitwise
from jaxrnn.rules._carry_parts import Parts, real_parts

# Relative; rounding errors are smaller, and a second unit makes a difference of about 1. The second is for 16-bit numbers.
TOLERANCE, COARSE_TOLERANCE = 1e-3, 0.05


def check_units(model: Model, paths: Sequence[Sequence[str]], rule: str) -> None:
    """Raise `InputError` unless each weight drives only the unit, of its own layer, that its last axis gives."""
    if model.layers and model.fits_one_kernel:
        return  # the cells of jaxrnn itself do, see `models/base.py`; those derived from its base class may not
    params, carry = _influence.model_shapes(model)
    leaves = jax.tree.leaves(jax.eval_shape(real_parts, carry))
    if any(leaf.ndim != 1 for leaf in leaves):
        found = ", ".join(str(leaf.shape) for leaf in leaves)
        raise InputError(f"{rule} needs a carry of vectors, with one number per unit; its arrays are {found}; try rtrl")
    widths = sorted({leaf.shape[-1] for leaf in leaves})
    if widths == [0]:
        raise InputError(f"{rule} needs a carry of at least one unit; this one is empty")
    if len(widths) > 1:
        raise InputError(f"{rule} needs carry arrays of equal width; these are {widths} wide; try rtrl")
    theta = _influence.select_weights(params, itertools.chain(*paths))
    unfit = [path for path, leaf in theta.items() if leaf.ndim == 0 or leaf.shape[-1] % widths[0]]
    if theta and not unfit:
        apart, tolerance = _measure_at_probes(model, _compare_units(model, paths)), _tolerance(model)
        unfit = [
            path for path, difference in zip(theta, np.broadcast_to(apart, len(theta)), strict=True) if difference > tolerance
        ]
    if unfit:
        raise InputError(f"{rule} needs weights that each drive one unit; those of {unfit[0]!r} drive several; try rtrl")


def _compare_units(model: Model, paths: Sequence[Sequence[str]]) -> Callable[[Params, Carry, Parts, Inputs], Array]:
    """Make a function that measures, for each weight array, how far it is from driving one unit of its layer."""

    @jax.jit
    def differences(params: Params, carry: Carry, factors: Parts, x: Inputs) -> Array:
        theta, before = _influence.select_weights(params, itertools.chain(*paths)), real_parts(carry)
        step, found = _influence.step_parts(model, params, carry, x), {path: [] for path in theta}
        _, vjp = jax.vjp(lambda theta: step(theta, before), theta)
        layers = zip(paths, split_carry(before, len(paths)), strict=True)
        owners = [of_layer for of_layer, states in layers for _ in jax.tree.leaves(states)]
        for ones, of_layer in zip(_unitwise.leaf_indicators(before), owners, strict=True):
            weighted, plain = vjp(jax.tree.map(jnp.multiply, ones, factors))[0], vjp(ones)[0]
            expected = _unitwise.weighted_sum([{path: plain[path] for path in of_layer}], jax.tree.leaves(factors)[:1])
            for path in of_layer:
                found[path].append(_difference(weighted[path], expected[path]))
        return jnp.stack([jnp.stack(of_each).max() for of_each in found.values()])

    return differences


def check_diagonal(model: Model, paths: Sequence[Sequence[str]], rule: str) -> None:
    """Raise `InputError` unless there is one layer, no embedding, and each unit's state reaches only that unit."""
    if len(paths) > 1 or len(paths[0]) < len(_influence.recurrent_paths(model)):
        raise InputError(
            f"{rule} is exact only for one layer without an embedding: set num_layers=1 and embedding_size=0, or try rtrl"
        )

    @jax.jit
    def difference(params: Params, carry: Carry, factors: Parts, x: Inputs) -> Array:
        step, before = _influence.step_parts(model, params, carry, x), real_parts(carry)
        _, onward = jax.linearize(lambda before: step({}, before), before)
        found = []
        for ones in _unitwise.leaf_indicators(before):
            weighted, plain = onward(jax.tree.map(jnp.multiply, ones, factors)), onward(ones)
            found += jax.tree.leaves(jax.tree.map(lambda a, b, factor: _difference(a, b * factor), weighted, plain, factors))
        return jnp.stack(found).max()

    has_carry = bool(jax.tree.leaves(_influence.model_shapes(model)[1]))
    if has_carry and _measure_at_probes(model, difference) > _tolerance(model):
        raise InputError(f"{rule} needs a diagonal recurrence, as in the cells indrnn and lru; try snap1 or rtrl")


def _measure_at_probes(model: Model, difference: Callable[[Params, Carry, Parts, Inputs], Array]) -> np.ndarray:
    """Evaluate `difference` at the probes, with factors that differ between units but not between states of a unit.

    Returns:
      The largest value over all probes and inputs where it is finite, infinite if it is nowhere; a foreign cell may violate the
      requirement at only some of them.
    """
    found, inputs = [], _probes.inputs_to_probe(model)[: 1 if model.layers else None]
    with _probes.concretely():
        for (params, carry), x in itertools.product(_probes.make_probes(model), inputs):
            before = real_parts(carry)
            width = max((leaf.shape[-1] for leaf in jax.tree.leaves(before)), default=0)
            factors = np.random.default_rng(0).permutation(np.linspace(1, 2, width) * (-1) ** np.arange(width))
            of_each_leaf = jax.tree.map(lambda leaf, factors=factors: jnp.asarray(factors, leaf.dtype), before)
            measured = np.asarray(difference(params, carry, of_each_leaf, x))
            found += [measured] if np.isfinite(measured).all() else []
    return np.asarray(np.max(found, axis=0) if found else np.inf)


def _tolerance(model: Model) -> float:
    """Choose a tolerance for the coarsest numbers that a step computes with."""
    with jax.enable_x64(False):
        program = jax.make_jaxpr(model.step)(*_influence.model_shapes(model), input_shape(model)).jaxpr
    return COARSE_TOLERANCE if _computes_coarsely(program) else TOLERANCE


def _computes_coarsely(program: Any) -> bool:
    computed = (var.aval.dtype for eqn in program.eqns for var in eqn.outvars)
    if any(jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4 for dtype in computed):
        return True
    return any(_computes_coarsely(inner) for eqn in program.eqns for inner in jaxprs_in_params(eqn.params))


def _difference(a: Array, b: Array) -> Array:
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jnp.abs(a - b).max() / (jnp.abs(b).max() + jnp.finfo(b.dtype).tiny)

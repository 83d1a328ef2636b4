"""The influence of weights in one step as Kronecker products, for networks whose weights are matrices that multiply vectors.

If z = W^T a, and the weights W reach the carry through z alone, their immediate influence is I = a (x) F, with F = dcarry'/dz:
rows + units * columns numbers instead of units * rows * columns. A bias is a row of W that sees a 1.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrnn.data.array_types import Carry, Inputs, Params
from jaxrnn.errors import InputError
from jaxrnn.models.base import barrier
from jaxrnn.models.documents import restart_carry, split_marks
from jaxrnn.models.model import Model, join_carries, split_carry
from jaxrnn.rules import _influence, _probes
from jaxrnn.rules._carry_parts import flatten_parts, real_parts, unflatten_parts, with_parts
from jaxrnn.rules._influence import Theta

TOLERANCE = 1e-3  # relative; rounding errors are smaller, and weights that act in another way make a difference of about 1
INPUT, RECURRENT = ("input_kernel", "bias"), ("recurrent_kernel", "recurrent_bias")
Product = tuple[str, ...]  # paths of the weights of one product, which are W's rows, one below the other


class StepFactors(NamedTuple):
    """The immediate influence of the weights of one product."""

    seen: Float[Array, " rows"]  # a
    reach: Float[Array, "units columns"]  # F


def find_products(model: Model, rule: str) -> tuple[Product, ...]:
    """Find the products of a network of dense cells: an embedding, and for each layer one for its inputs and one for its state.

    Where the gates depend only on the sum of both, they are one product.

    Raises:
      InputError: some weights that reach the carry belong to none of them.
    """
    paths, products = _influence.recurrent_paths(model), []
    products.append(tuple(path for path in paths if path == "embedding/kernel"))
    for layer in model.layers:
        parts = [[path for name in names if (path := f"{layer.name}/{name}") in paths] for names in (INPUT, RECURRENT)]
        products += [tuple(parts[0] + parts[1])] if layer.gates_of_sum else map(tuple, parts)
    products = tuple(filter(None, products))
    others = set(paths) - {path for product in products for path in product}
    if others or not _fits(model, products):
        named = f", not {sorted(others)[0]!r}" if others and model.layers else ""
        raise InputError(
            f"{rule} needs a network of elman, leaky, gru or lstm cells, as network makes it, whose weights are matrices that "
            f"multiply the input or the state{named}; try uoro or rtrl"
        )
    return products


def derivatives(
    model: Model, products: Sequence[Product], params: Params, carry: Carry, x: Inputs
) -> tuple[list[StepFactors], Float[Array, "units units"]]:
    """Compute the factors of I for each product, and D, for one stream."""
    parts = real_parts(carry)
    before = flatten_parts(parts)
    shifts = {product: jnp.zeros(num_columns(product, params), before.dtype) for product in products}

    def step(before: Array, shifts: dict[Product, Array]) -> tuple[Array, dict[str, Array]]:
        after, seen = _shifted_step(model, params, with_parts(carry, unflatten_parts(parts, before)), x, shifts)
        return flatten_parts(real_parts(after)), seen

    (onward, reach), seen = jax.jacrev(step, argnums=(0, 1), has_aux=True)(before, shifts)
    ones = jnp.ones(1, before.dtype)
    rows = {product: jnp.concatenate([seen.get(path, ones).astype(before.dtype) for path in product]) for product in products}
    return [StepFactors(rows[product], reach[product]) for product in products], onward


def cut_rows(product: Product, params: Params, matrix: Float[Array, "rows columns"]) -> Theta:
    """Cut a matrix into values for the weights of a product."""
    theta, first, found = _influence.select_weights(params, product), 0, {}
    for path, leaf in theta.items():
        rows = leaf.shape[0] if leaf.ndim == 2 else 1
        # The recurrent bias of a GRU belongs to its last gate.
        found[path] = matrix[first : first + rows, matrix.shape[1] - leaf.shape[-1] :].reshape(leaf.shape)
        first += rows
    return found


def num_rows(product: Product, params: Params) -> int:
    """Count the rows of W."""
    return sum(leaf.shape[0] if leaf.ndim == 2 else 1 for leaf in _influence.select_weights(params, product).values())


def num_columns(product: Product, params: Params) -> int:
    """Count the columns of W."""
    return max(leaf.shape[-1] for leaf in _influence.select_weights(params, product).values())


def _shifted_step(
    model: Model, params: Params, carry: Carry, x: Inputs, shifts: dict[Product, Array]
) -> tuple[Carry, dict[str, Array]]:
    """Take one step with a shift added to each product.

    Returns:
      The next carry, and what each kernel multiplies.
    """
    ids, starts = split_marks(model, x)
    of_path = {path: shift for product, shift in shifts.items() for path in product}
    inputs, seen, carries = model.embed(params, x), {}, []
    if "embedding/kernel" in of_path:
        seen["embedding/kernel"] = jax.nn.one_hot(ids, model.vocab_size)
        inputs = _add(inputs, of_path["embedding/kernel"])
    before = split_carry(restart_carry(carry, starts), len(model.layers))
    for layer, of_layer in zip(model.layers, before, strict=True):
        weights, h = params[layer.name], layer.hidden(of_layer)
        into, from_state = f"{layer.name}/input_kernel", f"{layer.name}/recurrent_kernel"
        are_ids = jnp.issubdtype(inputs.dtype, jnp.integer)
        seen |= {into: jax.nn.one_hot(inputs, model.vocab_size) if are_ids else inputs, from_state: h}
        px, ph = layer.project(weights, inputs), layer.recur(weights, h)
        px = _add(px, of_path[into]) if into in of_path else px
        if not layer.gates_of_sum:
            ph = barrier(_add(ph, of_path[from_state]) if from_state in of_path else ph)
        carries.append(layer.gates(of_layer, px, ph))
        inputs = layer.output(weights, layer.hidden(carries[-1]))
    return join_carries(carries), seen


def _add(values: Array, shift: Array) -> Array:
    return values + shift.astype(values.dtype)


def _fits(model: Model, products: Sequence[Product]) -> bool:
    """Compare I with its factors at the probes, as seen by one random error of the carry."""
    if not model.layers or not products:
        return not model.layers and not _influence.recurrent_paths(model)

    @jax.jit  # operation by operation, each would be compiled: five seconds
    def compare(params: Params, carry: Carry, x: Inputs, error: Array) -> tuple[list[Theta], Theta]:
        before = flatten_parts(real_parts(carry))
        theta = _influence.select_weights(params, [path for product in products for path in product])
        _, vjp = jax.vjp(lambda theta: _influence.flat_step(model, params, carry, x)(theta, before), theta)
        factors, _ = derivatives(model, products, params, carry, x)
        found = [
            cut_rows(product, params, jnp.outer(seen, error @ reach))
            for product, (seen, reach) in zip(products, factors, strict=True)
        ]
        return found, vjp(error)[0]

    with _probes.concretely():
        probes, x = _probes.make_probes(model), _probes.inputs_to_probe(model)[0]
        factors, _ = jax.eval_shape(functools.partial(derivatives, model, products), *probes[0], x)
        if any(seen.shape[0] != num_rows(product, probes[0][0]) for product, (seen, _) in zip(products, factors, strict=True)):
            return False
        for params, carry in probes:
            of_carry = flatten_parts(real_parts(carry))
            error = jnp.asarray(np.random.default_rng(0).normal(size=of_carry.shape), of_carry.dtype)
            found, expected = compare(params, carry, x, error)
            if not all(_are_close(of_path, expected[path]) for of in found for path, of_path in of.items()):
                return False
    return True


def _are_close(a: Array, b: Array) -> bool:
    return bool(jnp.abs(a - b).max() <= TOLERANCE * jnp.abs(b).max())

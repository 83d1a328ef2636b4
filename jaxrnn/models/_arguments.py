"""Check the arguments of functions that make networks (`models.network`), so that a mistake is an error of one sentence."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx
from flax.errors import InvalidRngError

from jaxrnn.data.array_types import RandomKey
from jaxrnn.errors import InputError, check_known, describe_kind, is_array, is_whole
from jaxrnn.models.base import INITIALISATIONS, Cell
from jaxrnn.models.cells import CELLS, CellKind
from jaxrnn.models.model import Model


def check_sizes(least: int = 1, **sizes: Any) -> None:
    """Raise `InputError` unless these are whole numbers of at least `least`."""
    for name, size in sizes.items():
        if not is_whole(size, least):
            raise InputError(f"no network can be made with {name}={size!r}; it must be a whole number, {least} or more")


def find_kind(cell: Any) -> CellKind:
    """Find the entry of a cell by its name; an entry is itself."""
    if isinstance(cell, CellKind):
        return cell
    if not isinstance(cell, str):
        hint = "with_nnx_cell" if isinstance(cell, nnx.Module) else "with_cell"
        raise InputError(f"the cell is {describe_kind(cell)}; network takes a name or a CellKind: for a cell, use {hint}")
    check_known("cell", cell, CELLS)
    return CELLS[cell]


def check_embedding(embedding_size: int, hidden_size: int, inputs: int, tied_readout: bool) -> None:
    """Raise `InputError` if there can be no embedding, or if it is too wide or narrow for the readout to share."""
    if inputs and embedding_size:
        sizes = f"inputs is {inputs} and embedding_size {embedding_size}"
        raise InputError(f"{sizes}; vectors cannot have an embedding: set embedding_size=0")
    if tied_readout and embedding_size != hidden_size:
        raise InputError(f"a tied readout needs an embedding as wide as the hidden layer, {hidden_size}, not {embedding_size}")


def check_cell(cell: Any, vocab_size: int, hidden_size: int, initialisation: str, inputs: int) -> None:
    """Raise `InputError` unless this is a flax.linen cell whose output is `hidden_size` wide."""
    if not isinstance(cell, nn.RNNCellBase):
        hint = "call the class with its size" if isinstance(cell, type) else "for one of flax.nnx, use with_nnx_cell"
        raise InputError(
            f"the cell is {describe_kind(cell)}; it must be a flax.linen cell, such as GRUCell(features=128): {hint}"
        )
    check_sizes(vocab_size=vocab_size, hidden_size=hidden_size)
    check_sizes(0, inputs=inputs)
    check_known("initialisation", initialisation, INITIALISATIONS)

    size = inputs or vocab_size

    def start(key: RandomKey) -> tuple[Any, Any]:
        carry = cell.initialize_carry(key, () if isinstance(cell, Cell) else (size,))
        return carry, cell.init(key, carry, jnp.zeros(size, jnp.float32))

    with jax.enable_x64(False):  # weights are float32 in any case
        carry, variables = jax.eval_shape(start, jax.random.key(0))
        if others := sorted(set(variables) - {"params"}):
            raise InputError(f"this cell keeps variables beside its weights, {others[0]!r}; let it keep them in its carry")
        try:
            found = jax.eval_shape(cell.apply, variables, carry, jax.ShapeDtypeStruct((size,), jnp.float32))
        except InvalidRngError:
            raise InputError("this cell draws random numbers, as dropout does; a step must be a pure function") from None
    output: Any = found[1] if isinstance(found, tuple) and len(found) == 2 else found
    if not is_array(output):
        raise InputError(f"the output of this cell is {describe_kind(output)}; it must return (carry, output), arrays both")
    if output.shape != (hidden_size,):
        raise InputError(f"the output of this cell has shape {output.shape}, which does not fit hidden_size={hidden_size}")


def check_nnx_factory(factory: Any, input_size: int, hidden_size: int) -> None:
    """Raise `InputError` unless this makes recurrent cells of flax.nnx."""
    wanted = "a function (in_features, hidden_size, rngs=...) that returns a cell of flax.nnx, such as the class nnx.GRUCell"
    if not callable(factory) or isinstance(factory, nnx.Module):
        raise InputError(f"the cell is {describe_kind(factory)}; it must be {wanted}")
    try:
        made = nnx.eval_shape(lambda: factory(input_size, hidden_size, rngs=nnx.Rngs(0)))
    except TypeError as error:
        raise InputError(f"the cell cannot be made ({error}); it must be {wanted}") from error
    if not isinstance(made, nnx.Module) or not hasattr(made, "initialize_carry"):
        raise InputError(f"the cell returns {describe_kind(made)}; it must be {wanted}")


def check_own_model(kind: CellKind, model: Any, vocab_size: int, settings: list[str]) -> Model:
    """Check a model made by a user's function, which takes no `settings`, because it makes the whole model itself."""
    if settings:
        raise InputError(f"{settings[0]} is given, but {kind.title} makes the whole model itself: leave it out")
    if not isinstance(model, Model):
        raise InputError(f"{kind.title} returns {describe_kind(model)}; it must return a jaxrnn.Model")
    return model if model.vocab_size else model._replace(vocab_size=vocab_size)

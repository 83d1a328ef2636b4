"""Models that start anew wherever a document begins, which a mark on an id says (`data.documents`)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

from jaxrnn.data.array_types import Carry, Ids, Logits, Params
from jaxrnn.data.documents import has_marks, unmark
from jaxrnn.errors import InputError
from jaxrnn.models.counts import CountModel, Counts
from jaxrnn.models.model import Model, check_model


def with_documents(model: Model) -> Model:
    """Make a model whose carry starts anew before it reads an id with a mark.

    No derivative passes through a mark, so every rule that differentiates `Model.step` forgets what came before it, too.

    The new carry is zeros. That of a model without layers is the initial carry of one stream, drawn with key 0, because only
    the model knows what it may be. Weights stay the same, and ids without marks are read as before.

    Raises:
      InputError: this is not a model, or it reads vectors instead of ids.
    """
    check_model(model)
    if model.reads_marks:
        return model
    if model.inputs:
        raise InputError("documents are marked by the sign of an id, but this model reads vectors")

    def step(params: Params, carry: Carry, ids: Ids) -> tuple[Carry, Logits]:
        new = None if model.layers else model.initial_carry(jax.random.key(0), ())  # the same for all streams
        return model.step(params, restart_carry(carry, ids < 0, new), unmark(ids))

    return model._replace(
        step=step,
        embed=lambda params, ids: model.embed(params, unmark(ids)),
        reads_marks=True,
        step_of_layers=step if model.layers else None,
    )


def for_ids(model: Model, *ids: Integer[np.ndarray, "..."]) -> Model:
    """Return the model that reads these ids: `with_documents` if any of them has a mark, else the model itself."""
    return with_documents(model) if any(map(has_marks, ids)) else model


def check_unmarked(ids: Integer[np.ndarray, "..."]) -> None:
    """Raise `InputError` if ids for a model that reads no marks have some."""
    if has_marks(ids):
        raise InputError(
            "these ids have marks where documents begin, which the model does not read; use with_documents, or correct the ids "
            "below 0"
        )


def split_marks(model: Model, ids: Array) -> tuple[Array, Bool[Array, "..."] | None]:
    """Return ids without marks, and which had one; None for a model that reads no marks, whose ids, or vectors, have none."""
    return (unmark(ids), ids < 0) if model.reads_marks else (ids, None)


def restart_carry(carry: Any, starts: Bool[Array, "..."] | None, new: Any = None) -> Any:
    """Replace a carry, or anything of its form, in the streams where a document begins.

    Args:
      starts: where it does, ``[*streams]``, or the first axes of all arrays; None = nowhere.
      new: what replaces it in each stream, of one stream; None = zeros.
    """
    if starts is None:
        return carry

    def restart(leaf: Array, of_new: Array) -> Array:
        of_new = of_new if of_new.dtype == leaf.dtype else of_new.astype(leaf.dtype)  # a random key has no `astype`
        each = starts.reshape(*starts.shape, *[1] * (leaf.ndim - starts.ndim))
        return jnp.where(each, jnp.broadcast_to(of_new, leaf.shape), leaf)

    return jax.tree.map(restart, carry, jax.tree.map(jnp.zeros_like, carry) if new is None else new)


def restart_contexts(model: CountModel, state: Counts, read: Int[Array, ""]) -> Counts:
    """If the character that was just counted has a mark, make it the only one in the contexts."""

    def restart(loop: tuple[Array, Counts]) -> tuple[Array, Counts]:
        return jnp.bool_(False), model.advance(model.restart(loop[1]), unmark(read))

    # A loop of at most one step, as a branch would copy the trees.
    return jax.lax.while_loop(lambda loop: loop[0], restart, (read < 0, state))[1]

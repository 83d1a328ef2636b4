"""Check that what a learner is given fits it, so that a mistake is an error of one sentence before anything is learned.

Shapes and types are known when an update is traced; the values of ids only on the host, where a driver takes in a stream.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jaxrnn.data.array_types import Carry, InputBlock, Targets
from jaxrnn.data.documents import has_marks, unmark
from jaxrnn.data.streams import AnyStream, Pairs
from jaxrnn.errors import InputError, describe_kind, pluralize
from jaxrnn.models.documents import check_unmarked
from jaxrnn.models.losses import Loss, nats
from jaxrnn.models.model import Model, check_model, num_characters
from jaxrnn.rules import Rule
from jaxrnn.rules._carry_parts import carry_streams_shape


def check_parts(model: Any, rule: Any, optimizer: Any, streams: Any) -> None:
    """Raise `InputError` unless these are what `online` takes."""
    check_model(model)
    check_rule(rule)
    if not isinstance(optimizer, optax.GradientTransformation):
        hint = f": call {optimizer.__name__}(learning_rate) first" if hasattr(optimizer, "__name__") else ""
        raise InputError(f"the optimizer is {describe_kind(optimizer)}; it must be an optax.GradientTransformation{hint}")
    check_streams(streams)


def check_rule(rule: Any) -> None:
    """Raise `InputError` unless this is a `Rule`."""
    if not isinstance(rule, Rule):
        hint = f": call {rule.__name__}(model) first" if hasattr(rule, "__name__") else ""
        raise InputError(f"the rule is {describe_kind(rule)}; it must be a jaxrnn.Rule{hint}")


def check_streams(streams: Any) -> None:
    """Raise `InputError` unless `streams` is () or (B,)."""
    fits = isinstance(streams, tuple) and len(streams) <= 1 and all(isinstance(size, int) and size >= 1 for size in streams)
    if not fits:
        raise InputError(f"streams is {streams!r}; it must be () for one stream, or (B,) for B of them")


def check_carry(model: Model, streams: tuple[int, ...], carry: Carry) -> None:
    """Raise `InputError` unless this is a carry of the model for these streams."""
    found = carry_streams_shape(model, carry)
    if found != streams and jax.tree.leaves(carry):
        raise InputError(
            f"the carry is for streams={found}, but the learner has streams={streams}; use this learner's init or begin"
        )


def check_block(model: Model, length: int, streams: tuple[int, ...], carry: Carry, x: InputBlock, y: Targets) -> None:
    """Raise `InputError` unless shapes and types of an update's arguments are those of its learner."""
    _check_type(model, x)
    expected = (length, *streams, *((model.inputs,) if model.inputs else ()))
    if x.shape != expected:
        raise InputError(f"x has shape {x.shape}; an update of this learner reads {expected}")
    times = {leaf.shape[:1] for leaf in jax.tree.leaves(y)}
    if times - {(length,)}:
        found = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(y))
        raise InputError(f"y has shape {found}; each of its arrays must start with an axis of {pluralize(length, 'step')}")
    check_carry(model, streams, carry)


def check_aux(aux: Any) -> Any:
    """Return what a rule reports; raise `InputError` unless it consists of numbers and arrays of them."""
    for leaf in jax.tree.leaves(aux):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
            raise InputError(f"the rule's aux holds {describe_kind(leaf)}; it must hold arrays and numbers only")
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise InputError("the rule's aux holds a random key; let it report jax.random.key_data(key)")
    return aux


def check_stream(model: Model, length: int, streams: tuple[int, ...], loss: Loss, stream: AnyStream) -> None:
    """Raise `InputError` unless a learner can read this stream: long enough, of its shape, and of characters that it knows."""
    x = stream.x if isinstance(stream, Pairs) else stream
    _check_type(model, x)
    expected = (*streams, *((model.inputs,) if model.inputs else ()))
    if x.shape[1:] != expected:
        remedy = "reshape it, or give online other streams or the model other inputs"
        raise InputError(
            f"the stream has shape {x.shape}; this learner reads ({', '.join(('time', *map(str, expected)))}): {remedy}"
        )
    least = length if isinstance(stream, Pairs) else length + 1
    if x.shape[0] < least:
        raise InputError(f"the stream has {pluralize(x.shape[0], 'step')}; an update of {length} needs at least {least}")
    _check_values(model, x)
    if loss is nats and isinstance(stream, Pairs) and isinstance(stream.y, jax.Array | np.ndarray):
        _check_ids(stream.y, num_characters(model), "target")


def _check_type(model: Model, x: Any) -> None:
    if not hasattr(x, "dtype") or not hasattr(x, "shape"):
        raise InputError(f"the input is {describe_kind(x)}; it must be an array")
    if model.inputs and not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"the input has dtype {x.dtype}; this model reads float vectors of size {model.inputs}")
    if not model.inputs and not jnp.issubdtype(x.dtype, jnp.integer):
        raise InputError(f"the input has dtype {x.dtype}; this model reads integer ids (for vectors, make it with inputs=...)")


def _check_values(model: Model, x: Any) -> None:
    if not model.inputs and model.vocab_size:
        _check_ids(x, model.vocab_size, "input", model.reads_marks)
    elif model.inputs and (values := _on_host(x)) is not None and not np.isfinite(values).all():
        raise InputError("the stream holds NaN or infinity; remove or replace such values")


def _check_ids(ids: Any, vocab_size: int, name: str, may_be_marked: bool = False) -> None:
    values = _on_host(ids)
    if values is None or not values.size:
        return
    if not may_be_marked and has_marks(values) and (unmark(values) < vocab_size).all() and name == "input":
        check_unmarked(values)
    plain = unmark(values) if may_be_marked else values
    lowest, highest = int(plain.min()), int(plain.max())
    if lowest < 0 or highest >= vocab_size:
        wrong = lowest if lowest < 0 else highest
        raise InputError(f"the stream holds the {name} {wrong}; the model knows ids 0 to {vocab_size - 1}")


def _on_host(array: Any) -> np.ndarray | None:
    """Return the values of an array; None for a shape, a tracer, or an array that is spread over processes."""
    if isinstance(array, np.ndarray):
        return array
    known = isinstance(array, jax.Array) and not isinstance(array, Tracer) and array.is_fully_addressable
    return np.asarray(array) if known else None

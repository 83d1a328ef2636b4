"""Check that what a learner is given fits it, so that a mistake is an error of one sentence before anything is learned.

Shapes and types are known when an update is traced; the values of ids only on the host, where a driver takes in a stream.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jaxrnn.data.array_types import Carry, InputBlock, Params, Targets
from jaxrnn.data.documents import unmark
from jaxrnn.data.streams import AnyStream, Pairs
from jaxrnn.errors import InputError, check_function, check_whole, describe_kind, is_array, is_whole, pluralize
from jaxrnn.models.counts import CountModel
from jaxrnn.models.documents import check_unmarked
from jaxrnn.models.losses import Loss, check_loss, nats, unmasked
from jaxrnn.models.model import Model, check_model, check_weights, num_characters, step_shapes
from jaxrnn.rules import Gradient, Rule
from jaxrnn.rules._carry_parts import carry_streams_shape


def check_parts(model: Any, rule: Any, optimizer: Any, streams: Any, loss: Any, test_params: Any) -> None:
    """Raise `InputError` unless these are what `online` takes."""
    check_model(model)
    check_rule(rule)
    if rule.model not in (None, model):
        raise InputError("the rule was made for another model; make it with the one that online gets")
    if not isinstance(optimizer, optax.GradientTransformation):
        hint = f": call {optimizer.__name__}(learning_rate) first" if hasattr(optimizer, "__name__") else ""
        raise InputError(f"the optimizer is {describe_kind(optimizer)}; it must be an optax.GradientTransformation{hint}")
    check_streams(streams)
    check_loss(loss)
    check_function("test_params", test_params, "opt_state", "params", returns="weights")


def check_members(model: Any, length: Any, optimizers: Any, counts: Any) -> None:
    """Raise `InputError` unless networks with these optimizers, and these counts, can read a text together."""
    check_model(model)
    check_whole(1, length=length)
    for name, members, kind, wanted in (
        ("optimizers", optimizers, optax.GradientTransformation | None, "an optax.GradientTransformation, or None"),
        ("counts", counts, CountModel, "what count_model returns"),
    ):
        if type(members) is not tuple:
            raise InputError(f"{name} is {describe_kind(members)}; it must be a tuple")
        if others := [each for each in members if not isinstance(each, kind)]:
            raise InputError(f"{name} holds {describe_kind(others[0])}; each must be {wanted}")
    if not optimizers and not counts:
        raise InputError("there are neither networks nor counts; give at least one optimizer or one CountModel")
    for each in counts:
        if each.vocab_size != (known := num_characters(model)):
            raise InputError(f"the counts are of {pluralize(each.vocab_size, 'character')}, but the model knows {known:,}")


def check_rule(rule: Any) -> None:
    """Raise `InputError` unless this is a `Rule` of functions."""
    if not isinstance(rule, Rule):
        hint = f": call {rule.__name__}(model) first" if hasattr(rule, "__name__") else ""
        raise InputError(f"the rule is {describe_kind(rule)}; it must be a jaxrnn.Rule{hint}")
    if not is_whole(rule.length, 1):
        raise InputError(f"the rule's length is {rule.length!r}; it must be 1 or more, a whole number")
    check_function("the rule's init", rule.init, "params", "carry", "key", returns="memory")
    check_function(
        "the rule's gradient", rule.gradient, "params", "memory", "carry", "x", "y", returns="a Gradient", may_take=("loss",)
    )


def check_streams(streams: Any) -> None:
    """Raise `InputError` unless `streams` is () or (B,)."""
    fits = isinstance(streams, tuple) and len(streams) <= 1 and all(is_whole(size, 1) for size in streams)
    if not fits:
        raise InputError(f"streams is {streams!r}; it must be () for one stream, or (B,) for B of them")


def check_carry(model: Model, streams: tuple[int, ...], carry: Carry) -> None:
    """Raise `InputError` unless this is a carry of the model for these streams."""
    for leaf in jax.tree.leaves(carry):
        if not is_array(leaf):
            raise InputError(f"the carry holds {describe_kind(leaf)}; it must hold arrays only, such as jnp.int32(0)")
    found = carry_streams_shape(model, carry)
    if found != streams and jax.tree.leaves(carry):
        raise InputError(
            f"the carry is for streams={found}, but the learner has streams={streams}; use this learner's init or begin"
        )


def check_begun(model: Model, streams: tuple[int, ...], params: Params, carry: Carry) -> None:
    """Raise `InputError` unless a learner can begin with these weights and this carry."""
    check_weights(params)
    check_carry(model, streams, carry)


def check_block(
    model: Model, length: int, streams: tuple[int, ...], state: Any, expected_state: Any, x: InputBlock, y: Targets
) -> None:
    """Raise `InputError` unless shapes and types of an update's arguments are those of its learner."""
    if not isinstance(state, type(expected_state)):
        raise InputError(f"the state is {describe_kind(state)}; begin with the learner's init or begin")
    _check_type(model, x)
    expected = (length, *streams, *((model.inputs,) if model.inputs else ()))
    if x.shape != expected:
        raise InputError(f"x has shape {x.shape}; an update of this learner reads {expected}")
    for leaf in jax.tree.leaves(y):
        if not is_array(leaf):
            raise InputError(f"y holds {describe_kind(leaf)}; it must hold arrays only")
    times = {leaf.shape[:1] for leaf in jax.tree.leaves(y)}
    if times - {(length,)}:
        found = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(y))
        raise InputError(f"y has shape {found}; each of its arrays must start with an axis of {pluralize(length, 'step')}")
    check_carry(model, streams, state.carry)
    _check_state(expected_state, state)
    step_shapes(model, state.params, state.carry, x[0])


def _check_state(expected: Any, state: Any) -> None:
    """Raise `InputError` unless a state has the structure and shapes of the learner's own."""
    for name, of_learner, given in zip(expected._fields, expected, state, strict=True):
        if _form(of_learner) != _form(given):
            of = {"params": "weights are", "opt_state": "optimizer's state is", "memory": "memory is"}.get(name, f"{name} is")
            raise InputError(f"the state's {of} not of this learner; begin with its init or begin")


def check_gradient(length: int, state: Any, found: Any) -> None:
    """Raise `InputError` unless a rule returns what an update needs, of the same form as the state before it."""
    if not isinstance(found, Gradient):
        raise InputError(f"the rule's gradient returns {describe_kind(found)}; it must return a jaxrnn.rules.Gradient")
    if np.shape(found.losses) != (length,):
        raise InputError(f"the rule returns losses of shape {np.shape(found.losses)}; for its length it must be ({length},)")
    if _form(found.grads) != _form(state.params):
        raise InputError("the rule's grads do not have the form of the weights; it must return one gradient for each")
    for name, before, after in (("carry", state.carry, found.carry), ("memory", state.memory, found.memory)):
        if _form(before, types=True) != _form(after, types=True):
            raise InputError(f"the rule returns a {name} of another form than it was given; shapes and types must stay")


def _form(tree: Any, types: bool = False) -> Any:
    """Return structure and shapes of a tree, and the types if they count."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(np.shape(leaf), getattr(leaf, "dtype", None) if types else None) for leaf in leaves]


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
    if model.inputs and x is stream:
        raise InputError("this model reads vectors, so it needs targets beside them: give it Pairs(x, y)")
    expected = (*streams, *((model.inputs,) if model.inputs else ()))
    if not x.shape or x.shape[1:] != expected:
        remedy = "reshape it, or give online other streams or the model other inputs"
        raise InputError(
            f"the stream has shape {x.shape}; this learner reads ({', '.join(('time', *map(str, expected)))}): {remedy}"
        )
    least = length if isinstance(stream, Pairs) else length + 1
    if x.shape[0] < least:
        raise InputError(f"the stream has {pluralize(x.shape[0], 'step')}; an update of {length} needs at least {least}")
    if isinstance(stream, Pairs):
        _check_values(model, x, model.vocab_size)
        _check_targets(model, loss, stream.y)
    else:  # its ids are also the targets
        _check_values(model, x, model.vocab_size or (num_characters(model) if loss is nats else 0))


def _check_type(model: Model, x: Any) -> None:
    if not is_array(x):
        raise InputError(f"the input is {describe_kind(x)}; it must be an array")
    if model.inputs and not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"the input has dtype {x.dtype}; this model reads float vectors of size {model.inputs}")
    if not model.inputs and not jnp.issubdtype(x.dtype, jnp.integer):
        raise InputError(f"the input has dtype {x.dtype}; this model reads integer ids (for vectors, make it with inputs=...)")


def _check_values(model: Model, x: Any, vocab_size: int) -> None:
    if not model.inputs:
        _check_ids(x, vocab_size, "input", model.reads_marks)
    elif (values := _on_host(x)) is not None and not np.isfinite(values).all():
        raise InputError("the stream holds NaN or infinity; remove or replace such values")


def _check_targets(model: Model, loss: Loss, y: Any) -> None:
    """Check the ids that `nats` scores, by itself or where a mask asks for them."""
    if loss is nats and isinstance(y, jax.Array | np.ndarray):
        _check_ids(y, num_characters(model), "target")
    if unmasked(loss) is nats and isinstance(y, tuple | list) and len(y) == 2:
        ids, asked = map(_on_host, y)  # None: not known here
        if ids is not None and asked is not None and asked.dtype == np.bool_ and asked.shape == ids.shape:
            _check_ids(ids[asked], num_characters(model), "target")


def _check_ids(ids: Any, vocab_size: int, name: str, may_be_marked: bool = False) -> None:
    """Raise `InputError` unless ids are below `vocab_size` (0: it is not known), and no marks unless they may have some."""
    values = _on_host(ids)
    if values is None or not values.size or not np.issubdtype(values.dtype, np.integer):
        return
    plain = unmark(values) if may_be_marked else values
    lowest, highest = int(plain.min()), int(plain.max())
    if lowest < 0 and name == "input" and (not vocab_size or int(unmark(values).max()) < vocab_size):
        check_unmarked(values)
    if lowest < 0 or highest >= vocab_size > 0:
        wrong = lowest if lowest < 0 else highest
        raise InputError(f"the stream holds the {name} {wrong}; the model knows ids 0 to {vocab_size - 1}")


def _on_host(array: Any) -> np.ndarray | None:
    """Return the values of an array; None for a shape, a tracer, or an array that is spread over processes."""
    if isinstance(array, np.ndarray):
        return array
    known = isinstance(array, jax.Array) and not isinstance(array, Tracer) and array.is_fully_addressable
    return np.asarray(array) if known else None

"""Meters: measurements of a rule's gradient, computed inside the update and so at the driver's speed.

`measured` adds meters to a rule. The new rule computes the same gradients and reports in `Gradient.aux` what its meters read;
`online(..., has_aux=True)` returns that with the losses. Without meters, nothing is added to the compiled program.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxrnn.data.array_types import Carry, InputBlock, Memory, Params, RandomKey, Targets
from jaxrnn.errors import InputError, check_function, describe_kind, is_array, pluralize
from jaxrnn.models.losses import Loss, nats
from jaxrnn.models.model import Model
from jaxrnn.rules import Gradient, Rule, loss_argument
from jaxrnn.rules._carry_parts import real_parts, wider_type
from jaxrnn.training.checks import check_rule

Part = Callable[[Params], PyTree[Array]]  # (gradient) -> the part of it to measure


class Reading(NamedTuple):
    """What a meter sees of one update."""

    params: Params  #: before the update
    carry: Carry  #: before the update
    x: InputBlock
    y: Targets
    loss: Loss
    found: Gradient  #: result of the rule that is measured
    model: Model | None = None  #: the one that this rule was made for, if it says


class Meter(NamedTuple):
    """Something to measure at each update: two pure functions."""

    init: Callable[[Params, Carry, RandomKey], Memory]  #: (params, carry, key) -> the meter's own memory; () for none
    read: Callable[[Memory, Reading], tuple[Any, Memory]]  #: (memory, reading) -> any PyTree of arrays, next memory


class Measured(NamedTuple):
    """Memory of a rule with meters."""

    of_rule: Memory
    of_meters: dict[str, Memory]


def measured(rule: Rule, /, **meters: Meter) -> Rule:
    """Make the rule with meters.

    Args:
      meters: by name, such as ``norm=gradient_norm()``.
    Returns:
      A Rule with the same gradients. Its `Gradient.aux` is a dict of what each meter reads, by name; if the rule itself reports
      something, that is in the dict as "rule".
    Raises:
      InputError: `rule` is not a rule, a meter is not a meter, or one has the name rule.
    """
    check_rule(rule)
    for name, meter in meters.items():
        if not isinstance(meter, Meter):
            raise InputError(f"the meter {name} is {describe_kind(meter)}; it must be a Meter, such as {name}=gradient_norm()")
        check_function(f"the init of the meter {name}", meter.init, "params", "carry", "key", returns="memory")
        check_function(f"the read of the meter {name}", meter.read, "memory", "reading", returns="(what it read, memory)")
    if "rule" in meters:
        raise InputError("no meter can have the name rule, under which the rule itself reports; choose another name")

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        of_meters = {
            name: meter.init(params, carry, jax.random.fold_in(key, number))
            for number, (name, meter) in enumerate(meters.items())
        }
        return Measured(rule.init(params, carry, key), of_meters)

    @functools.wraps(rule.gradient)  # whether it takes a loss is seen from its signature
    def gradient(params: Params, memory: Measured, carry: Carry, x: InputBlock, y: Targets, loss: Loss = nats) -> Gradient:
        found = rule.gradient(params, memory.of_rule, carry, x, y, **loss_argument(rule, loss))
        reading = Reading(params, carry, x, y, loss, found, rule.model)
        read = {name: _read(name, meter, memory.of_meters[name], reading) for name, meter in meters.items()}
        of_rule = {"rule": found.aux} if jax.tree.leaves(found.aux) else {}
        after = Measured(found.memory, {name: later for name, (_, later) in read.items()})
        return found._replace(memory=after, aux=of_rule | {name: value for name, (value, _) in read.items()})

    return rule._replace(init=init, gradient=gradient)


def cosine_to(reference: Rule, part: Part = lambda grads: grads) -> Meter:
    """Measure the cosine of the angle between the rule's gradient and that of another rule, such as `rtrl`.

    The reference computes its gradient at the same weights, carry and characters, with a memory of its own; only the measured
    rule's gradient is learned from. The cosine is NaN where one of the gradients is zero, as where no loss counts.

    Args:
      reference: a rule of the same length for the same model.
      part: the weights to compare, such as ``operator.itemgetter("cell")``. The readout's gradient, which most rules share,
        can dominate the cosine.
    """
    check_rule(reference)
    check_function("part", part, "grads", returns="a part of them")

    def read(memory: Memory, reading: Reading) -> tuple[Float[Array, ""], Memory]:
        params, carry, x, y, loss, found, model = reading
        if len(x) != reference.length:
            raise InputError(
                f"the measured rule reads {pluralize(len(x), 'character')} per update, its reference {reference.length}; make "
                "them equal"
            )
        if None not in (model, reference.model) and model != reference.model:
            raise InputError("the measured rule and its reference were made for different models; make both with the same one")
        other = reference.gradient(params, memory, carry, x, y, **loss_argument(reference, loss))
        return _cosine(_widen(_take(part, found.grads)), _widen(_take(part, other.grads))), other.memory

    return Meter(reference.init, read)


def gradient_norm(part: Part = lambda grads: grads) -> Meter:
    """Measure the norm of the gradient, or of a part of it, before the optimizer gets it."""
    check_function("part", part, "grads", returns="a part of them")
    return _meter_of(lambda found: _norm(_take(part, found.grads)))


def memory_norm() -> Meter:
    """Measure the norm of all real numbers in the rule's memory after the update, over all streams.

    For `rtrl` that is the norm of J. Other rules keep a part of J, factors of it, or past carries and inputs: compare the norms
    of one rule only.
    """
    return _meter_of(lambda found: _norm(real_parts(found.memory)))


def _read(name: str, meter: Meter, memory: Memory, reading: Reading) -> tuple[Any, Memory]:
    found = meter.read(memory, reading)
    if not isinstance(found, tuple) or len(found) != 2:
        raise InputError(f"the read of the meter {name} returns {describe_kind(found)}; it must return (what it read, memory)")
    return found


def _take(part: Part, grads: Params) -> PyTree[Array]:
    """Take a part of a gradient."""
    try:
        taken = part(grads)
    except (LookupError, AttributeError) as error:
        holds = f"a dict of {', '.join(map(str, grads))}" if isinstance(grads, dict) else describe_kind(grads)
        raise InputError(f"the gradient has no such part ({type(error).__name__}: {error}); it is {holds}") from error
    if others := [leaf for leaf in jax.tree.leaves(taken) if not is_array(leaf)]:
        raise InputError(f"the part of the gradient holds {describe_kind(others[0])}; it must hold arrays of weights")
    return taken


def _meter_of(measure: Callable[[Gradient], Array]) -> Meter:
    """Make a meter without memory from a function of the rule's result."""
    return Meter(lambda params, carry, key: (), lambda memory, reading: (measure(reading.found), memory))


def _cosine(a: PyTree[Array], b: PyTree[Array]) -> Float[Array, ""]:
    if not jax.tree.leaves(a):
        raise InputError("the part of the gradient to compare is empty; it must hold arrays of weights")
    a, b = _scaled(a), _scaled(b)
    return jnp.asarray(optax.tree.vdot(a, b)) / (_norm(a) * _norm(b))


def _scaled(tree: PyTree[Array]) -> PyTree[Array]:
    """Divide by the largest number, so that squares neither vanish nor overflow; zeros become NaN."""
    most = functools.reduce(jnp.maximum, [jnp.abs(leaf).max(initial=0) for leaf in jax.tree.leaves(tree)])
    return jax.tree.map(lambda leaf: leaf / most.astype(leaf.dtype), tree)


def _norm(tree: PyTree[Array]) -> Float[Array, ""]:
    return jnp.asarray(optax.tree.norm(_widen(tree))) if jax.tree.leaves(tree) else jnp.float32(0)


def _widen(tree: PyTree[Array]) -> PyTree[Array]:
    """Widen 16-bit floats, whose squares would overflow or vanish."""
    return jax.tree.map(lambda leaf: leaf.astype(wider_type(leaf)), tree)

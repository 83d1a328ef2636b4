"""The interface of online gradient rules: a NamedTuple of pure functions, as in Optax."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Int, PyTree

from jaxrnn.data.array_types import Carry, InputBlock, Inputs, Losses, Memory, Params, RandomKey, Targets
from jaxrnn.errors import InputError, describe_kind, pluralize
from jaxrnn.models.cells import CELLS
from jaxrnn.models.losses import Loss, nats
from jaxrnn.models.model import Model
from jaxrnn.models.network import network
from jaxrnn.models.products import rounding
from jaxrnn.models.scalar_loops import first_device
from jaxrnn.rules import _influence
from jaxrnn.rules._carry_parts import Parts
from jaxrnn.rules._influence import LocalGradient, Theta


class Gradient(NamedTuple):
    """Result of a rule for the `length` characters that it read."""

    grads: Params  #: gradient of the mean loss, averaged over streams
    carry: Carry  #: after these characters
    memory: Memory  #: after these characters
    losses: Losses  #: ``f32[length]``, nats per character or what the loss returns, each scored before the update
    asked: Int[Array, " length"] | None = (
        None  #: number of streams whose loss counts, at each step (`losses.masked`); None = all
    )
    #: anything else that the rule reports; `online(..., has_aux=True)` returns it. Numbers, not whole gradients: drivers keep
    #: it on the device for up to 1,000 updates, or `updates_per_call`
    aux: PyTree[Array] = ()


class Rule(NamedTuple):
    """An online gradient rule: how many characters it reads per update, and two pure functions."""

    length: int  #: characters per update; of the built-in rules only bptt reads more than 1
    init: Callable[[Params, Carry, RandomKey], Memory]  #: (params, carry, key) -> new memory, also whenever the carry is reset
    #: (params, memory, carry, x, y, loss=nats) -> Gradient, for all streams at once; x and y are ``i32[length, *streams]``,
    #: or what the model and the loss take in their place
    gradient: Callable[..., Gradient]
    model: Model | None = None  #: the only model that it works for; None = not stated


class RuleKind(NamedTuple):
    """A rule, and what settings need to know about it."""

    make: Callable[..., Rule]  # (model), plus `length` and `dropout` if its signature has them
    in_blocks: bool | None = False  # whether an update reads `length` characters, not one; None: make the rule to find out
    is_noisy: bool = False  # if so, SGD needs a tenth of the rate


def takes_parameter(function: Callable[..., Any], name: str) -> bool:
    """Return whether a function has a parameter of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some functions written in C
        return False


def rule_kind(thing: Any) -> RuleKind | None:
    """Make the registry entry of a function (model, ...) -> Rule; None for anything else."""
    if isinstance(thing, RuleKind):
        return thing
    return RuleKind(thing, in_blocks=None) if _can_make(thing) else None


def _can_make(function: Any) -> bool:
    with contextlib.suppress(TypeError, ValueError):
        inspect.signature(function).bind(None, **{name: 1 for name in ("length", "dropout") if takes_parameter(function, name)})
        return True
    return False


@functools.lru_cache
def rule_length(kind: RuleKind, length: int) -> int:
    """Return `Rule.length` for this length; where the entry does not say, make the rule for small networks to find out."""
    if kind.in_blocks is not None:
        return length if kind.in_blocks else 1
    for cell in CELLS:
        with contextlib.suppress(Exception):  # it may need another kind of network; `make_rule` reports what is wrong
            return _call_factory(kind, network(cell, 2, 2), length, 0.0).length
    return 1


def make_rule(kind: RuleKind, model: Model, length: int = 1, dropout: float = 0.0) -> Rule:
    """Make a rule for a model, leaving out a length and dropout that it does not take.

    Raises:
      InputError: the result is not a rule, or reads another number of characters per update than its entry says.
    """
    if not isinstance(kind, RuleKind):
        raise InputError(
            f"the rule is {describe_kind(kind)}; make_rule takes an entry, such as RULES['rtrl'] or RuleKind(rtrl)"
        )
    rule, name = _call_factory(kind, model, length, dropout), getattr(kind.make, "__name__", "of your own")
    if not isinstance(rule, Rule):
        raise InputError(f"the rule {name} returns {describe_kind(rule)}; it must return a jaxrnn.Rule")
    expected = rule_length(kind, length)
    if rule.length != expected:
        remedy = "it must be RuleKind(make, in_blocks=True)" if kind.in_blocks is None else "correct in_blocks of its RuleKind"
        reads = f"reads {pluralize(rule.length, 'character')} per update, where {expected:,} would be expected"
        raise InputError(f"the rule {name} {reads}; {remedy}")
    return rule


def with_precision(rule: Rule, precision: str) -> Rule:
    """Make the rule with another precision of its matrix products; sums and gradients stay as they are.

    Args:
      precision: a value of `jax.default_matmul_precision`. JAX ignores "bfloat16" on a CPU and takes it for TensorFloat-32 on a
        GPU; on both, this function rounds the factors of the products of jaxrnn's own cells, and the rule must differentiate in
        reverse only, like `bptt`.
    Raises:
      InputError: there is no such precision.
    """
    try:
        with jax.default_matmul_precision(precision):
            pass
    except ValueError:
        raise InputError(f"no precision {precision!r}; use one of jax.default_matmul_precision, such as 'float32'") from None
    rounds = precision == "bfloat16" and first_device().platform != "tpu"

    @functools.wraps(rule.gradient)  # whether it takes a loss is seen from its signature
    def gradient(*arguments: Any, **named: Any) -> Gradient:
        with rounding() if rounds else jax.default_matmul_precision(precision):
            return rule.gradient(*arguments, **named)

    return rule._replace(gradient=gradient)


def _call_factory(kind: RuleKind, model: Model, length: int, dropout: float) -> Any:
    wanted = {"length": length, "dropout": dropout}
    return kind.make(model, **{name: value for name, value in wanted.items() if takes_parameter(kind.make, name)})


def loss_argument(rule: Rule, loss: Loss) -> dict[str, Loss]:
    """Make the keyword argument that gives a rule its loss; a rule of one's own need not take one.

    Raises:
      InputError: it takes none, and this loss is not `nats`.
    """
    parameters = inspect.signature(rule.gradient).parameters
    is_required = "loss" in parameters and parameters["loss"].default is inspect.Parameter.empty
    if loss is nats and not is_required:
        return {}
    if "loss" not in parameters and not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        raise InputError("this rule's `gradient` takes no `loss`, so it works only with nats; add an argument loss=nats to it")
    return {"loss": loss}


def influence_rule(
    name: str,
    model: Model,
    shapes: Callable[[Params, Carry], PyTree],
    local: Callable[[Model, Params, Carry, InputBlock, Targets, Loss], LocalGradient],
    follow: Callable[[Params, Any, Parts, Carry, Inputs], tuple[Theta, Any]],
    max_bytes: int,
) -> Rule:
    """Make a rule of length 1 with the gradient g + J^T delta from some approximation of J.

    Args:
      name: the rule's name, for error messages.
      model: the model that it is for.
      shapes: (params, carry) -> the shapes of its memory.
      local: (model, params, carry, x, y, loss) -> g and delta, like `_influence.local_gradient`.
      follow: (params, memory, delta, carry, x) -> (J^T delta, next memory).
      max_bytes: the memory's limit; beyond it `init` raises `InputError`.
    """

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        del key
        return _influence.zero_memory(shapes(params, carry), max_bytes, name)

    def gradient(params: Params, memory: Memory, carry: Carry, x: InputBlock, y: Targets, loss: Loss = nats) -> Gradient:
        memory, carry = jax.lax.stop_gradient((memory, carry))
        here = local(model, params, carry, x, y, loss)
        correction, after = follow(params, memory, here.delta, carry, x[0])
        grads = _influence.add_correction(here.grads, correction)
        return Gradient(grads, here.carry, after, here.losses, here.asked)

    return Rule(1, init, gradient, model)

"""Combine model, rule and optimizer into a learner: how a state starts, and the pure update that the caller jits."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jaxtyping import Array, Int

from jaxrnn.data.array_types import Carry, InputBlock, LossColumns, Losses, Memory, Params, RandomKey, Targets
from jaxrnn.data.streams import AnyStream
from jaxrnn.errors import InputError, describe_kind, is_array
from jaxrnn.models.losses import Loss, check_loss, nats, score_step
from jaxrnn.models.model import Model, check_model
from jaxrnn.rules import Gradient, Rule, loss_argument
from jaxrnn.training.checks import check_aux, check_begun, check_block, check_gradient, check_parts, check_stream, check_streams
from jaxrnn.training.optimizers import schedule_free_params

Tree = TypeVar("Tree")  # of arrays
Update = Callable[["State", InputBlock, Targets], tuple["State", Any]]  # losses, or `WithAux`


class State(NamedTuple):
    """Everything that training needs to continue: arrays only, no functions."""

    step: Int[Array, ""]  #: updates since `init` or `restart`, i32; the position in the stream follows from it
    params: Params  #: weights
    opt_state: optax.OptState  #: the optimizer's state, with the learning rate
    carry: Carry  #: recurrent state, in arrays of ``[*streams, ...]``
    memory: Memory  #: what the rule carries between updates; () for none


class WithAux(NamedTuple):
    """What an update returns beside its state with `online(..., has_aux=True)`."""

    losses: LossColumns
    aux: Any  #: `Gradient.aux` of this update; from a driver, its arrays are ``[num_updates, ...]``


class Learner(NamedTuple):
    """The pure functions of online learning."""

    length: int  #: characters per update
    init: Callable[[RandomKey], State]  #: (key) -> a state with new weights
    begin: Callable[[Params, RandomKey], State]  #: (params, key) -> a state with these weights and everything else new
    #: (state, key) -> a state with new carry and memory, at step 0, for another pass or another text
    restart: Callable[[State, RandomKey], State]
    #: (state, x, y) -> (state, losses), or (state, `WithAux`) if it has aux; x and y are ``i32[length, *streams]``, or what
    #: model and loss take in their place; jit it, and donate the state
    update: Update
    test_params: Callable[[State], Params] = operator.attrgetter("params")  #: (state) -> the weights to test with
    check: Callable[[AnyStream], None] = lambda stream: None  #: (stream) -> None; raises `InputError` if it cannot be read
    has_aux: bool = False  #: whether its update returns `WithAux`


def online(
    model: Model,
    rule: Rule,
    optimizer: optax.GradientTransformation,
    streams: tuple[int, ...] = (),
    test_params: Callable[[optax.OptState, Params], Params] = schedule_free_params,
    loss: Loss = nats,
    has_aux: bool = False,
) -> Learner:
    """Make a learner that updates its weights after every `rule.length` characters.

    Args:
      optimizer: any Optax transformation; it gets the loss as `value` and the gradient as `grad` if it takes them.
      streams: () for one stream, (B,) for B parallel streams, whose gradients are averaged.
      test_params: (opt_state, params) -> the weights to test with, if they are not the ones being trained.
      loss: (outputs, y) -> one number per stream, at one step; with `losses.masked`, only where asked for.
      has_aux: whether an update also returns what the rule reports (`Gradient.aux`), such as meters (`training.meters`).
    Returns:
      A Learner; its update returns ``f32[rule.length]``, the mean loss of the streams at each step, before the update.
    Raises:
      InputError: an argument is of another type, or the rule's `gradient` takes no `loss` and this one is not `nats`.
    """
    check_parts(model, rule, optimizer, streams, loss, test_params)
    accepting, named = optax.with_extra_args_support(optimizer), loss_argument(rule, loss)

    def begin(params: Params, key: RandomKey) -> State:
        carry_key, memory_key = jax.random.split(typed_key(key))
        carry = model.initial_carry(carry_key, streams)
        check_begun(model, streams, params, carry)
        memory = rule.init(params, carry, memory_key)
        return copy_arrays(State(jnp.int32(0), params, optimizer.init(params), carry, memory))

    def restart(state: State, key: RandomKey) -> State:
        return begin(check_state(state).params, key)._replace(opt_state=copy_arrays(state.opt_state))

    def update(state: State, x: InputBlock, y: Targets) -> tuple[State, Losses | WithAux]:
        check_block(model, rule.length, streams, state, expected_state(), x, y)
        found = rule.gradient(state.params, state.memory, state.carry, x, y, **named)
        check_gradient(rule.length, state, found)
        results = WithAux(found.losses, check_aux(found.aux)) if has_aux else found.losses
        return State(state.step + 1, *_learn(accepting, state, found), found.carry, found.memory), results

    init, check = make_init(model, begin), make_check(model, rule.length, streams, loss)
    expected_state = shapes_of_states(init)
    return Learner(rule.length, init, begin, restart, update, lambda s: test_params(s.opt_state, s.params), check, has_aux)


def reader(model: Model, streams: tuple[int, ...] = (), loss: Loss = nats) -> Learner:
    """Make a learner with frozen weights: its update changes only the carry.

    With the same key it starts from the same carry as `online`.
    """

    check_model(model)
    check_streams(streams)
    check_loss(loss)

    def begin(params: Params, key: RandomKey) -> State:
        carry_key, _ = jax.random.split(typed_key(key))
        return copy_arrays(State(jnp.int32(0), params, (), model.initial_carry(carry_key, streams), ()))

    def restart(state: State, key: RandomKey) -> State:
        return begin(check_state(state).params, key)

    def update(state: State, x: InputBlock, y: Targets) -> tuple[State, Losses]:
        check_block(model, 1, streams, state, expected_state(), x, y)
        carry, outputs = model.step(state.params, state.carry, x[0])
        found = score_step(loss, outputs, jax.tree.map(operator.itemgetter(0), y), streams)
        return state._replace(step=state.step + 1, carry=carry), found.losses

    init, check = make_init(model, begin), make_check(model, 1, streams, loss)
    expected_state = shapes_of_states(init)
    return Learner(1, init, begin, restart, update, check=check)


def make_check(model: Model, length: int, streams: tuple[int, ...] = (), loss: Loss = nats) -> Callable[[AnyStream], None]:
    """Make a function that raises `InputError` if a learner cannot read a stream."""
    return functools.partial(check_stream, model, length, streams, loss)


def make_init(model: Model, begin: Callable[[Params, RandomKey], State]) -> Callable[[RandomKey], State]:
    """Make a function that draws new weights and begins with them."""

    def init(key: RandomKey) -> State:
        params_key, begin_key = jax.random.split(typed_key(key))
        return begin(model.init(params_key), begin_key)

    return init


def typed_key(key: Any) -> RandomKey:
    """Return a random key as a typed one, which rules keep in their memory.

    Raises:
      InputError: this is not a single random key, typed (`jax.random.key`) or raw (`jax.random.PRNGKey`).
    """
    if not is_array(key):
        raise InputError(f"the key is {describe_kind(key)}; make one with jax.random.key(0)")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and not key.shape:
        return key
    raw = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    if (key.dtype, key.shape) != (raw.dtype, raw.shape):
        raise InputError(f"the key is {key.dtype}{list(key.shape)}; it must be a single one, such as jax.random.key(0)")
    return jax.random.wrap_key_data(key)


def check_state(state: Any) -> State:
    """Return the state; raise `InputError` unless it is a `State` whose arrays still exist."""
    if not isinstance(state, State):
        raise InputError(f"the state is {describe_kind(state)}; begin with the learner's init or begin")
    arrays = [leaf for leaf in jax.tree.leaves(state) if isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)]
    if any(leaf.is_deleted() for leaf in arrays):
        raise InputError("this state was overwritten: a driver reuses its arrays; continue with the state that it returned")
    return state


def check_learner(learner: Any) -> None:
    """Raise `InputError` unless this is a `Learner`."""
    if not isinstance(learner, Learner):
        raise InputError(f"the learner is {describe_kind(learner)}; it must be a jaxrnn.Learner, such as online(...) returns")


def copy_arrays(state: Tree) -> Tree:
    """Copy arrays that are used elsewhere, too, before a driver overwrites them; on one device this compiles nothing."""
    leaves = jax.tree.leaves(state)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return jax.tree.map(jnp.copy, state)
    shared_out = any(isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1 for leaf in leaves)
    return _copy_program(state) if shared_out else jax.tree.map(lambda leaf: jax.device_put(leaf, may_alias=False), state)


@jax.jit
def _copy_program(state: Tree) -> Tree:
    return jax.tree.map(jnp.copy, state)


def shapes_of_states(init: Callable[[RandomKey], State]) -> Callable[[], State]:
    """Make a function that computes the shapes of what `init` returns, once."""
    return functools.cache(lambda: jax.eval_shape(lambda: init(jax.random.key(0))))


def _learn(optimizer: optax.GradientTransformationExtraArgs, state: State, found: Gradient) -> tuple[Params, optax.OptState]:
    """Compute the next weights and state of the optimizer; where nothing is asked for, they stay as they are."""
    losses, asked = found.losses, found.asked
    if asked is None:
        value = losses.mean()
    else:
        weights = asked.astype(losses.dtype)
        value = (losses * weights).sum() / jnp.maximum(weights.sum(), 1)
    try:
        updates, opt_state = optimizer.update(found.grads, state.opt_state, state.params, value=value, grad=found.grads)
    except TypeError as error:
        if "required keyword-only argument" not in str(error):
            raise
        raise InputError(f"the optimizer needs more than the gradient and the loss, as a line search does: {error}") from error
    learned = optax.apply_updates(state.params, updates), opt_state
    if asked is None:
        return learned
    # A gradient of 0 is not enough: momentum and weight decay would move the weights.
    return jax.tree.map(lambda new, old: jnp.where(asked.sum() > 0, new, old), learned, (state.params, state.opt_state))

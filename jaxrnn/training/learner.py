"""Combine model, rule and optimizer into a learner: how a state starts, and the pure update that the caller jits."""

import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from jaxrnn.data.array_types import Block, Carry, LossColumns, Losses, Memory, Params, RandomKey
from jaxrnn.models.losses import nats
from jaxrnn.models.model import Model
from jaxrnn.rules import Rule
from jaxrnn.training.optimizers import schedule_free_params

Update = Callable[["State", Block, Block], tuple["State", LossColumns]]


class State(NamedTuple):
    """Everything that training needs to continue: arrays only, no functions."""

    step: Int[Array, ""]  #: updates so far, i32; the position in the text follows from it
    params: Params  #: weights
    opt_state: optax.OptState  #: the optimizer's state, with the learning rate
    carry: Carry  #: recurrent state, in arrays of ``[*streams, ...]``
    memory: Memory  #: what the rule carries between updates; () for none


class Learner(NamedTuple):
    """The pure functions of online learning."""

    length: int  #: characters per update
    init: Callable[[RandomKey], State]  #: (key) -> a state with new weights
    begin: Callable[[Params, RandomKey], State]  #: (params, key) -> a state with these weights and everything else new
    restart: Callable[[State, RandomKey], State]  #: (state, key) -> a state with new carry and memory, for a new pass
    update: Update  #: (state, x, y) -> (state, losses); x, y are ``i32[length, *streams]``; jit it, and donate the state
    test_params: Callable[[State], Params] = operator.attrgetter("params")  #: (state) -> the weights to test with


def online(
    model: Model,
    rule: Rule,
    optimizer: optax.GradientTransformation,
    streams: tuple[int, ...] = (),
    test_params: Callable[[optax.OptState, Params], Params] = schedule_free_params,
) -> Learner:
    """Make a learner that updates its weights after every `rule.length` characters.

    Args:
      optimizer: any Optax transformation; it gets the loss as `value` and the gradient as `grad` if it takes them.
      streams: () for one stream, (B,) for B parallel streams, whose gradients are averaged.
      test_params: (opt_state, params) -> the weights to test with, if they are not the ones being trained.
    Returns:
      A Learner; its update returns ``f32[rule.length]`` nats per character, each scored before the update.
    """
    accepting = optax.with_extra_args_support(optimizer)

    def begin(params: Params, key: RandomKey) -> State:
        carry_key, memory_key = jax.random.split(key)
        carry = model.initial_carry(carry_key, streams)
        return State(jnp.int32(0), params, optimizer.init(params), carry, rule.init(params, carry, memory_key))

    def restart(state: State, key: RandomKey) -> State:
        fresh = begin(state.params, key)
        return state._replace(carry=fresh.carry, memory=fresh.memory)

    def update(state: State, x: Block, y: Block) -> tuple[State, Losses]:
        step, params, opt_state, carry, memory = state
        grads, carry, memory, losses = rule.gradient(params, memory, carry, x, y)
        updates, opt_state = accepting.update(grads, opt_state, params, value=losses.mean(), grad=grads)
        return State(step + 1, optax.apply_updates(params, updates), opt_state, carry, memory), losses

    def to_test(state: State) -> Params:
        return test_params(state.opt_state, state.params)

    return Learner(rule.length, make_init(model, begin), begin, restart, update, to_test)


def reader(model: Model, streams: tuple[int, ...] = ()) -> Learner:
    """Make a learner with frozen weights: its update changes only the carry.

    With the same key it starts from the same carry as `online`.
    """

    def begin(params: Params, key: RandomKey) -> State:
        carry_key, _ = jax.random.split(key)
        return State(jnp.int32(0), params, (), model.initial_carry(carry_key, streams), ())

    def restart(state: State, key: RandomKey) -> State:
        return state._replace(carry=begin(state.params, key).carry)

    def update(state: State, x: Block, y: Block) -> tuple[State, Losses]:
        carry, logits = model.step(state.params, state.carry, x[0])
        return state._replace(step=state.step + 1, carry=carry), nats(logits, y[0])[None]

    return Learner(1, make_init(model, begin), begin, restart, update)


def make_init(model: Model, begin: Callable[[Params, RandomKey], State]) -> Callable[[RandomKey], State]:
    """Make a function that draws new weights and begins with them."""

    def init(key: RandomKey) -> State:
        params_key, begin_key = jax.random.split(key)
        return begin(model.init(params_key), begin_key)

    return init

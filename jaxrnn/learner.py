"""Model + rule + optimizer = a learner: how a state starts, and the pure update that the caller jits."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from jaxrnn.model import Model
from jaxrnn.rules import Rule
from jaxrnn.types import Block, Carry, Losses, Memory, Params, RandomKey

Update = Callable[["State", Block, Block], tuple["State", Losses]]


class State(NamedTuple):
    """Everything that a run needs to go on: arrays only, no functions."""

    step: Int[Array, ""]  # updates so far, i32; the position in the text follows from it
    params: Params
    opt_state: optax.OptState
    carry: Carry
    memory: Memory


class Learner(NamedTuple):
    """All functions are pure."""

    length: int  # characters that one update reads
    init: Callable[[RandomKey], State]
    restart: Callable[[State, RandomKey], State]  # the text begins anew: carry drawn, memory reset, all else kept
    update: Update  # x, y: i32[length, *streams]; jit it and donate the state


def online(model: Model, rule: Rule, optimizer: optax.GradientTransformation, streams: tuple[int, ...] = ()) -> Learner:
    """A learner that updates its weights after every `rule.length` characters.

    Args:
      streams: () for one stream, (B,) for B parallel streams, whose gradients are averaged.
    """

    def init(key: RandomKey) -> State:
        params_key, carry_key, memory_key = jax.random.split(key, 3)
        params, carry = model.init(params_key), model.initial_carry(carry_key, streams)
        memory = rule.init(params, carry, memory_key)
        return State(jnp.int32(0), params, optimizer.init(params), carry, memory)

    def restart(state: State, key: RandomKey) -> State:
        carry_key, memory_key = jax.random.split(key)
        carry = model.initial_carry(carry_key, streams)
        return state._replace(carry=carry, memory=rule.init(state.params, carry, memory_key))

    def update(state: State, x: Block, y: Block) -> tuple[State, Losses]:
        step, params, opt_state, carry, memory = state
        grads, carry, memory, losses = rule.gradient(params, memory, carry, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return State(step + 1, optax.apply_updates(params, updates), opt_state, carry, memory), losses

    return Learner(rule.length, init, restart, update)

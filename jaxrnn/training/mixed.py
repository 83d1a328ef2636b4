"""Networks and counts that read a text together, in one pass, and the mixtures of what they predict.

The networks are the same one, learning on at several rates or not at all. Everything is a `Learner`, so that the drivers run it
and its state is arrays only. Each character is scored by all before anything learns from it: a network from a whole block
at once, the weights of the mixtures from a few characters, counts from each one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxrnn.array_types import Block, Carry, Params, RandomKey
from jaxrnn.models.counts import CountModel, Counts
from jaxrnn.models.mixture import Mixture, learn_mixture, start_mixture
from jaxrnn.models.model import Model, nats, num_characters
from jaxrnn.rules.bptt import Read, block_reader
from jaxrnn.training.learner import Learner, State, make_init

MOST_MIXED_AT_ONCE = 16  # characters between two steps of the mixtures' weights: as good as after each one, and faster


class Together(NamedTuple):
    """What the members need besides networks: the memory of a `State`."""

    counts: tuple[Counts, ...]
    mixture: Mixture  # of networks, of counts, and of all
    started: Array  # whether counts have read the first character, which nothing predicts


class Columns(NamedTuple):
    """Nats of each member at each character: the losses of an update, by column."""

    networks: Float[Array | np.ndarray, "time networks"]
    counts: Float[Array | np.ndarray, "time counts"]
    of_networks: Float[Array | np.ndarray, " time"]  # their mixture
    of_counts: Float[Array | np.ndarray, " time"]
    of_all: Float[Array | np.ndarray, " time"]


def mixed(
    model: Model,
    length: int,
    optimizers: tuple[optax.GradientTransformation | None, ...],
    counts: tuple[CountModel, ...],
) -> Learner:
    """Make a learner whose members read together.

    Args:
      length: characters in a block, after which networks learn by backpropagation through it.
      optimizers: one for each network; None = its weights stay as they are.
    Returns:
      A Learner for one stream. Its state's params, opt_state and carry are tuples, one entry for each network; begin takes the
      params with which all of them start, and restart keeps what was counted. Its losses are f32[length, columns], which
      `columns` names.
    """
    read = _one_character_reader(model) if length == 1 else block_reader(model)

    def begin(params: Params, key: RandomKey) -> State:
        return begin_with(model, optimizers, tuple(each.init() for each in counts), params, key)

    def restart(state: State, key: RandomKey) -> State:
        carry_key, _ = jax.random.split(key)
        carries = tuple(model.initial_carry(carry_key, ()) for _ in optimizers)
        anew = tuple(each.restart(of) for each, of in zip(counts, state.memory.counts, strict=True))
        return state._replace(carry=carries, memory=state.memory._replace(counts=anew, started=jnp.bool_(False)))

    def update(state: State, x: Block, y: Block) -> tuple[State, Float[Array, "length columns"]]:
        step, params, opt_states, carries, memory = state
        opt_states: Any = opt_states  # a tuple here
        members = zip(optimizers, params, opt_states, carries, strict=True)
        done = [_read_member(read, x, y, *member) for member in members]
        params, opt_states, carries, losses, log_ps = zip(*done, strict=True)
        memory, others = _read_together(counts, memory, x, y, jnp.stack(log_ps, axis=1))
        all_losses = jnp.concatenate([jnp.stack(losses, axis=1), others], axis=1)
        return State(step + 1, params, opt_states, carries, memory), all_losses

    return Learner(length, make_init(model, begin), begin, restart, update)


def begin_with(
    model: Model,
    optimizers: tuple[optax.GradientTransformation | None, ...],
    counts: tuple[Counts, ...],
    params: Params,
    key: RandomKey,
) -> State:
    """Begin with the same weights for all networks, and with what was counted before, which is not copied."""
    carry_key, _ = jax.random.split(key)
    states = tuple(() if optimizer is None else optimizer.init(params) for optimizer in optimizers)
    is_network = np.arange(len(optimizers) + len(counts)) < len(optimizers)
    groups = np.stack([is_network, ~is_network, is_network | ~is_network])
    memory = Together(counts, start_mixture(groups, num_characters(model)), jnp.bool_(False))
    carries = tuple(model.initial_carry(carry_key, ()) for _ in optimizers)
    return State(jnp.int32(0), tuple(params for _ in optimizers), states, carries, memory)


def columns(losses: Float[Array | np.ndarray, "time columns"], num_networks: int) -> Columns:
    """Name the columns of the losses of a mixed learner."""
    return Columns(losses[:, :num_networks], losses[:, num_networks:-3], *losses[:, -3:].T)


def _read_member(
    read: Read,
    x: Block,
    y: Block,
    optimizer: optax.GradientTransformation | None,
    params: Params,
    opt_state: Any,
    carry: Carry,
) -> tuple:
    """Read a block with one network; learn afterwards by the update of `bptt`, or of `one_step`, if it has an optimizer."""
    if optimizer is None:
        carry, logits = read(params, carry, x, None)
        return params, (), carry, jax.vmap(nats)(logits, y), jax.nn.log_softmax(logits)

    def loss(params: Params) -> tuple[Array, tuple]:
        after, logits = read(params, jax.lax.stop_gradient(carry), x, None)
        losses = jax.vmap(nats)(logits, y)
        return losses.mean(), (after, losses, logits)

    (value, (carry, losses, logits)), grads = jax.value_and_grad(loss, has_aux=True)(params)
    accepting = optax.with_extra_args_support(optimizer)
    updates, opt_state = accepting.update(grads, opt_state, params, value=value, grad=grads)
    return optax.apply_updates(params, updates), opt_state, carry, losses, jax.nn.log_softmax(logits)


def _one_character_reader(model: Model) -> Read:
    def read(params: Params, carry: Carry, x: Block, key: RandomKey | None) -> tuple[Carry, Array]:
        carry, logits = model.step(params, carry, x[0])
        return carry, logits[None]

    return read


def _read_together(
    models: tuple[CountModel, ...], memory: Together, x: Block, y: Block, of_networks: Float[Array, "length networks vocab"]
) -> tuple[Together, Float[Array, "length others"]]:
    """Count a block, and mix what all have predicted."""
    counted, of_counts = _count_block(models, _count_first(models, memory, x), y)
    log_ps = jnp.concatenate([of_networks, jnp.log(of_counts)], axis=1)
    mixture, of_mixtures = _mix_block(memory.mixture, log_ps, x, y)
    nats = -jnp.take_along_axis(jnp.log(of_counts), y[:, None, None], axis=2)[:, :, 0]
    return Together(counted, mixture, jnp.bool_(True)), jnp.concatenate([nats, of_mixtures], axis=1)


def _mix_block(
    mixture: Mixture, log_ps: Float[Array, "length models vocab"], x: Block, y: Block
) -> tuple[Mixture, Float[Array, "length mixtures"]]:
    """Mix a block in pieces: weights that learned only after a long block would take steps that are too long."""
    (length,) = y.shape
    piece = max(size for size in range(1, MOST_MIXED_AT_ONCE + 1) if length % size == 0)
    if piece == length:
        return learn_mixture(mixture, log_ps, x, y)

    def read(loop: tuple) -> tuple:
        start, mixture, losses = loop
        parts = (jax.lax.dynamic_slice_in_dim(each, start, piece) for each in (log_ps, x, y))
        mixture, of_piece = learn_mixture(mixture, *parts)
        return start + piece, mixture, jax.lax.dynamic_update_slice_in_dim(losses, of_piece, start, axis=0)

    losses = jnp.zeros((length, mixture.weights.shape[0]), jnp.float32)
    _, mixture, losses = jax.lax.while_loop(lambda loop: loop[0] < length, read, (jnp.int32(0), mixture, losses))
    return mixture, losses


def _count_block(
    models: tuple[CountModel, ...], counts: tuple[Counts, ...], y: Block
) -> tuple[tuple[Counts, ...], Float[Array, "length counts vocab"]]:
    """Count each character, and keep the probabilities of all characters before."""
    (length,) = y.shape

    def read(loop: tuple) -> tuple:
        t, counts, ps = loop
        known = [model.read(state, y[t]) for model, state in zip(models, counts, strict=True)]
        return t + 1, tuple(state for state, _ in known), ps.at[t].set(jnp.stack([p for _, p in known]))

    vocab = jax.eval_shape(lambda: models[0].predict(counts[0]))
    start = (jnp.int32(0), counts, jnp.zeros((length, len(models), *vocab.shape), jnp.float32))
    _, counts, ps = jax.lax.while_loop(lambda loop: loop[0] < length, read, start)
    return counts, ps


def _count_first(models: tuple[CountModel, ...], memory: Together, x: Block) -> tuple[Counts, ...]:
    """Count the first character of a text, which nothing predicts: a loop of one step, as a branch would copy the trees."""

    def count(loop: tuple) -> tuple:
        learned = [model.learn(state, x[0])[0] for model, state in zip(models, loop[1], strict=True)]
        return jnp.bool_(True), tuple(learned)

    _, counts = jax.lax.while_loop(lambda loop: ~loop[0], count, (memory.started, memory.counts))
    return counts

"""Networks and counts that read a text together, in one pass, and the mixtures of what they predict.

The networks are copies of one network, each learning at a rate of its own or not at all. The whole is a `Learner`, so that the
drivers can run it, and its state is arrays only. All score a character before any learns from it: a network learns from a whole
block at once, counts and the weights of the mixtures from each character.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from jaxrnn.data.array_types import Block, Carry, Losses, Params, RandomKey
from jaxrnn.errors import InputError
from jaxrnn.models.binary_code import make_code
from jaxrnn.models.counts import CountModel, Counts, Evidence
from jaxrnn.models.decisions import Known
from jaxrnn.models.documents import restart_contexts, split_marks
from jaxrnn.models.losses import nats
from jaxrnn.models.mixture import Mixture, MixtureModel, mixture_model
from jaxrnn.models.model import Model, num_characters
from jaxrnn.models.scalar_loops import as_one_kernel, put_row
from jaxrnn.rules.bptt import Read, block_reader
from jaxrnn.training.checks import check_members
from jaxrnn.training.learner import Learner, State, copy_arrays, make_check, make_init, typed_key
from jaxrnn.training.optimizers import schedule_free_params
from jaxrnn.training.replay import Past, Replay, remember, replay_loss, start_past


class Together(NamedTuple):
    """What reading together needs besides networks: the memory of a `State`."""

    counts: tuple[Counts, ...]
    mixture: Mixture  # mixtures of networks, of counts, and of all; only one if there are only networks or only counts
    started: Bool[Array, ""]  # whether counts have read the first character, which is not predicted
    past: Past | None = None  # the text read so far, if it is replayed


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
    replay: Replay | None = None,
) -> Learner:
    """Make a learner whose networks and counts read together.

    Args:
      length: characters in a block; after each one the networks learn by backpropagation through it.
      optimizers: one for each network; None = its weights stay fixed; () = no network.
      counts: () = networks only.
      replay: how many earlier passages the networks also learn from with each block; None = none.
    Returns:
      A Learner for one stream. In its state, params, opt_state and carry are tuples with one entry per network; `begin` takes
      the params with which all of them start, and `restart` keeps what was counted. Its losses are f32[length, columns];
      `columns` names them.
    Raises:
      InputError: an argument is of another type, counts are of another vocabulary, or there are neither networks nor counts.
    """
    check_members(model, length, optimizers, counts)
    read = _one_character_reader(model) if length == 1 else block_reader(model)
    mixture = make_mixture(num_characters(model), len(optimizers), counts)

    def begin(params: Params, key: RandomKey) -> State:
        past = start_past(replay, typed_key(key), model.reads_marks) if replay else None
        memory = Together(tuple(each.init() for each in counts), mixture.init(), jnp.bool_(False), past)
        return copy_arrays(begin_with(model, optimizers, memory, params, typed_key(key)))

    def restart(state: State, key: RandomKey) -> State:
        carries = _begin_carries(model, len(optimizers), typed_key(key))
        return _check_kind(state)._replace(step=jnp.int32(0), carry=carries, memory=_restart_counts(counts, state.memory))

    def update(state: State, x: Block, y: Block) -> tuple[State, Float[Array, "length columns"]]:
        step, params, opt_states, carries, memory = _check_kind(state)
        members = zip(optimizers, params, opt_states, carries, strict=True)
        more = partial(replay_loss, model, read, replay, memory.past) if replay else None
        done = [_read_member(read, more, x, y, *member) for member in members]
        params, opt_states, carries, losses, log_ps = zip(*done, strict=True) if done else ((),) * 5
        memory, others = _read_together(model, mixture, counts, memory, x, y, _stack(log_ps, length, num_characters(model)))
        all_losses = jnp.concatenate([*(each[:, None] for each in losses), others], axis=1)
        return State(step + 1, params, opt_states, carries, memory), all_losses

    return Learner(length, make_init(model, begin), begin, restart, update, check=make_check(model, length))


def online_with_counts(
    model: Model,
    length: int,
    optimizer: optax.GradientTransformation,
    counts: tuple[CountModel, ...],
    test_params: Callable[[optax.OptState, Params], Params] = schedule_free_params,
    replay: Replay | None = None,
) -> Learner:
    """Make a learner of one network whose losses are those of its mixture with counts, f32[length].

    Its state is like that of `training.learner.online`, with counts and mixture as memory.

    Args:
      replay: how many earlier passages each update also learns from; None = none.
    Raises:
      InputError: as `mixed` does, or `optimizer` is none.
    """
    if optimizer is None:
        raise InputError("the optimizer is nothing; it must be an optax.GradientTransformation")
    both = mixed(model, length, (optimizer,), counts, replay)

    def single(state: Any) -> State:
        return state._replace(params=state.params[0], opt_state=state.opt_state[0], carry=state.carry[0])

    def several(state: State) -> State:
        _check_kind(state)
        return state._replace(params=(state.params,), opt_state=(state.opt_state,), carry=(state.carry,))

    def begin(params: Params, key: RandomKey) -> State:
        return single(both.begin(params, key))

    def restart(state: State, key: RandomKey) -> State:
        return single(both.restart(several(state), key))

    def update(state: State, x: Block, y: Block) -> tuple[State, Losses]:
        state, losses = both.update(several(state), x, y)
        return single(state), losses[:, -1]  # of all

    def to_test(state: State) -> Params:
        return test_params(state.opt_state, state.params)

    return Learner(length, make_init(model, begin), begin, restart, update, to_test, both.check)


def make_mixture(vocab_size: int, num_networks: int, counts: tuple[CountModel, ...]) -> MixtureModel:
    """Make the mixtures of networks, of counts, and of all; only one if there are only networks or only counts."""
    is_network = np.arange(num_networks + len(counts)) < num_networks
    groups = np.stack([is_network, ~is_network, is_network | ~is_network])
    both = is_network.any() and not is_network.all()
    num_contexts = tuple(each.num_contexts for each in counts)
    return mixture_model(make_code(vocab_size), num_contexts, groups if both else groups[2:])


def begin_with(
    model: Model,
    optimizers: tuple[optax.GradientTransformation | None, ...],
    memory: Together,
    params: Params,
    key: RandomKey,
) -> State:
    """Begin with the same weights for all networks, and with what was counted before, which is not copied."""
    states = tuple(() if optimizer is None else optimizer.init(params) for optimizer in optimizers)
    carries = _begin_carries(model, len(optimizers), key)
    memory = memory._replace(started=jnp.bool_(False))
    return State(jnp.int32(0), tuple(params for _ in optimizers), states, carries, memory)


def _begin_carries(model: Model, num_networks: int, key: RandomKey) -> tuple[Carry, ...]:
    carry_key, _ = jax.random.split(key)
    return tuple(model.initial_carry(carry_key, ()) for _ in range(num_networks))


def columns(losses: Float[Array | np.ndarray, "time columns"], num_networks: int, num_counts: int) -> Columns:
    """Name the columns of the losses of a mixed learner; without networks, or without counts, their mixture is that of all."""
    num_members = num_networks + num_counts
    of_mixtures = losses[:, num_members:].T
    of_networks, of_counts, of_all = of_mixtures if len(of_mixtures) == 3 else (of_mixtures[0],) * 3
    return Columns(losses[:, :num_networks], losses[:, num_networks:num_members], of_networks, of_counts, of_all)


def _check_kind(state: Any) -> Any:
    """Return the state, whose parts are tuples; raise `InputError` unless it is one of such a learner."""
    if not isinstance(state, State) or not isinstance(state.memory, Together):
        raise InputError("the state is not of a learner with counts; begin with this learner's init or begin")
    return state


def _restart_counts(counts: tuple[CountModel, ...], memory: Together) -> Together:
    """Keep what was counted, and forget the last characters."""
    anew = tuple(each.restart(of) for each, of in zip(counts, memory.counts, strict=True))
    return memory._replace(counts=anew, started=jnp.bool_(False))


def _read_member(
    read: Read,
    more: Callable[[Params], Array] | None,
    x: Block,
    y: Block,
    optimizer: optax.GradientTransformation | None,
    params: Params,
    opt_state: Any,
    carry: Carry,
) -> tuple:
    """Read a block with one network; if it has an optimizer, learn afterwards by the update of `bptt` or `one_step`.

    Args:
      more: params -> another loss to learn from, too.
    """
    if optimizer is None:
        carry, logits = read(params, carry, x, None)
        return params, (), carry, nats(logits, y), jax.nn.log_softmax(logits)

    def loss(params: Params) -> tuple[Array, tuple]:
        after, logits = read(params, jax.lax.stop_gradient(carry), x, None)
        losses = nats(logits, y)
        return losses.mean() + (0.0 if more is None else more(params)), (after, losses, logits)

    (value, (carry, losses, logits)), grads = jax.value_and_grad(loss, has_aux=True)(params)
    accepting = optax.with_extra_args_support(optimizer)
    updates, opt_state = accepting.update(grads, opt_state, params, value=value, grad=grads)
    return optax.apply_updates(params, updates), opt_state, carry, losses, jax.nn.log_softmax(logits)


def _stack(
    log_ps: tuple[Float[Array, "length vocab"], ...], length: int, vocab_size: int
) -> Float[Array, "length networks vocab"]:
    return jnp.stack(log_ps, axis=1) if log_ps else jnp.zeros((length, 0, vocab_size), jnp.float32)


def _one_character_reader(model: Model) -> Read:
    def read(params: Params, carry: Carry, x: Block, key: RandomKey | None) -> tuple[Carry, Array]:
        carry, logits = model.step(params, carry, x[0])
        return carry, logits[None]

    return read


def _read_together(
    model: Model,
    mixture: MixtureModel,
    models: tuple[CountModel, ...],
    memory: Together,
    x: Block,
    y: Block,
    of_networks: Float[Array, "length networks vocab"],
) -> tuple[Together, Float[Array, "length others"]]:
    """Count a block, and mix the predictions of all members."""
    vocab_size = of_networks.shape[2]
    counting = as_one_kernel(partial(_count_block, model, models, vocab_size))
    counted, known = counting(memory.counts, memory.started, x, y)
    nats = -jnp.take_along_axis(known.log_ps, y[:, None, None], axis=2)[:, :, 0]
    together = known._replace(log_ps=jnp.concatenate([of_networks, known.log_ps], axis=1))
    mixed, of_mixtures = mixture.learn(memory.mixture, together, split_marks(model, x)[0], y)
    past = None if memory.past is None else remember(memory.past, x)
    return Together(counted, mixed, jnp.bool_(True), past), jnp.concatenate([nats, of_mixtures], axis=1)


def _count_block(
    model: Model,
    models: tuple[CountModel, ...],
    vocab_size: int,
    counts: tuple[Counts, ...],
    started: Bool[Array, ""],
    x: Block,
    y: Block,
) -> tuple[tuple[Counts, ...], Known]:
    """Count each character, and keep what was known before it; at the start, also count the character that is not predicted."""
    (length,), agreed = y.shape, make_code(vocab_size).bits.shape[1] + 1
    first, _ = split_marks(model, x[0])

    def count_first(loop: tuple) -> tuple:  # a loop of one step, as a branch would copy the trees
        return jnp.bool_(True), tuple(each.learn(state, first)[0] for each, state in zip(models, loop[1], strict=True))

    def read(loop: tuple) -> tuple:
        t, counts, found = loop
        if model.reads_marks:
            counts = tuple(restart_contexts(each, state, x[t]) for each, state in zip(models, counts, strict=True))
        read = [each.read(state, y[t]) for each, state in zip(models, counts, strict=True)]
        found = tuple(jax.tree.map(partial(put_row, at=t), kept, new) for kept, (_, new) in zip(found, read, strict=True))
        return t + 1, tuple(state for state, _ in read), found

    _, counts = jax.lax.while_loop(lambda loop: ~loop[0], count_first, (started, counts))
    shapes = [((length, vocab_size), (length, each.num_contexts, agreed), (length, each.num_contexts)) for each in models]
    dtypes = (jnp.float32, jnp.int32, jnp.int32)
    none = tuple(Evidence(*map(jnp.zeros, of_model, dtypes)) for of_model in shapes)
    _, counts, found = jax.lax.while_loop(lambda loop: loop[0] < length, read, (jnp.int32(0), counts, none))
    none_counts = Known(*map(jnp.zeros, ((length, 0, vocab_size), (length, 0, agreed), (length, 0)), dtypes))
    of_each = [none_counts, *(Known(jnp.log(each.p)[:, None], each.agreeing, each.last) for each in found)]
    return counts, jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *of_each)

"""Score a text as it comes: some characters in, their losses out at once, and the same learning however the text is cut.

A learner that reads blocks learns from a block only when it is complete. The characters of a block that is still open are
scored at once all the same, with the weights from before the block, as they will be when it is complete.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Integer

from jaxrnn.data.array_types import Block, LossColumns, Params, RandomKey
from jaxrnn.data.documents import unmark
from jaxrnn.errors import InputError
from jaxrnn.models.model import Model, num_characters
from jaxrnn.models.scalar_loops import on_host
from jaxrnn.rules.bptt import block_reader
from jaxrnn.scoring import counting, together
from jaxrnn.scoring.evaluation import DynamicSettings, dynamic_rule, read_padded
from jaxrnn.training import learner as learners
from jaxrnn.training import mixed
from jaxrnn.training.drivers import compiler_options, fast_driver, update_once
from jaxrnn.training.learner import Learner, State, copy_arrays
from jaxrnn.training.optimizers import OptimizerKind, make_optimizer

CHARACTERS_PER_CALL = 8_192
DIVERGED_SUM = 1e30  # nats; takes the place of a sum that is not finite
NUM_EXPECTED = 5  # characters that are named as expected


class Scorer(NamedTuple):
    """A learner that scores a stream, and what its losses and weights mean."""

    learner: Learner
    begin: Callable[[Params, RandomKey], State]  # (params, key) -> a state of its own, which reading may overwrite
    # The loss of each character, among the columns of an update's losses; and those of the networks that learn.
    nats_of: Callable[[Float[np.ndarray, "time ..."]], Float[np.ndarray, " time"]]
    of_networks: Callable[[Float[np.ndarray, "time ..."]], Float[np.ndarray, "time networks"]]
    network: int | None  # the first network that learns, of several; None: there is only one network
    uses_host: bool = False  # whether all of it runs on the host's CPU, see `models.scalar_loops`


class Stream(NamedTuple):
    """The position in a stream. Reading on overwrites its arrays."""

    state: State  # after the last complete block
    unread: Int[np.ndarray, " unread"]  # the last character before the open block, and the characters of the block so far


class Expected(NamedTuple):
    """What the network expected in the place of each character, the most likely ones first."""

    ids: Int[np.ndarray, "time most"]
    p: Float[np.ndarray, "time most"]


class Scored(NamedTuple):
    """The scores of the characters that were read."""

    nats: Float[np.ndarray, " time"]  # each before anything learned from it
    of_networks: Float[np.ndarray, "time networks"]  # nats of each network that learns
    expected: Expected | None = None


Read = Callable[[Stream, Integer[np.ndarray, " time"]], tuple[Stream, Scored]]


def frozen_scorer(model: Model) -> Scorer:
    """Score with fixed weights."""
    return _single(learners.reader(model), learns=False)


def learning_scorer(model: Model, how: DynamicSettings, optimizer: OptimizerKind | None = None) -> Scorer:
    """Score by dynamic evaluation; with several rates, the copies that learn at them are mixed with the frozen model.

    Args:
      optimizer: the optimizer that `how` names, if it is not in `OPTIMIZERS`.
    """
    if len(how.rates) == 1:
        learning = make_optimizer(optimizer or how.optimizer, how.rates[0])
        return _single(learners.online(model, dynamic_rule(model, how.length), learning))
    reader = together.make_reader(model, how, (), optimizer)

    def begin(params: Params, key: RandomKey) -> State:
        return counting.separate(reader.begin(None, params, key, None))

    def nats_of(losses: Float[np.ndarray, "time columns"]) -> Float[np.ndarray, " time"]:
        return np.asarray(mixed.columns(losses, reader.num_networks, 0).of_networks)

    def of_networks(losses: Float[np.ndarray, "time columns"]) -> Float[np.ndarray, "time networks"]:
        return losses[:, 1 : reader.num_networks]

    return Scorer(reader.learner, begin, nats_of, of_networks, network=1, uses_host=True)


def resuming_scorer(learner: Learner, state: State) -> Scorer:
    """Score with the learner of a run that goes on learning from where its training ended, with all that it counted.

    Args:
      state: the run's; it is copied.
    Raises:
      InputError: the learner's update returns more than losses.
    """
    if learner.has_aux:
        raise InputError("this learner also returns what its rule reports; make it without has_aux to score with it")
    return _single(learner)._replace(
        begin=lambda params, key: counting.separate(learner.restart(copy_arrays(state), key)),
        uses_host=True,
    )


def start_stream(scorer: Scorer, params: Params, key: RandomKey, first: int) -> Stream:
    """Begin a stream after one character, which is read but not scored."""
    with _on(scorer):
        return Stream(scorer.begin(params, key), np.array([first], np.int32))


def start_document(stream: Stream, newline: int | None) -> Stream:
    """Mark that a document begins: the model, which must read marks, starts anew, and reads a newline before it.

    Args:
      newline: its id; None if the model does not know it, which then reads the last character before the document.
    """
    unread = stream.unread.copy()
    unread[-1] = ~(int(unmark(unread)[-1]) if newline is None else newline)
    return stream._replace(unread=unread)


def learned_params(scorer: Scorer, stream: Stream, of_networks: Sequence[float]) -> Params:
    """Return the weights that have been learned; of several networks, those of the one that has predicted the stream best.

    If all of them have diverged, these are the weights that do not learn.

    Args:
      of_networks: nats of each network that learns.
    """
    params = stream.state.params
    if scorer.network is None:
        return params
    best = int(np.argmin(of_networks))
    return params[scorer.network + best if of_networks[best] < DIVERGED_SUM else 0]


def make_read(scorer: Scorer, model: Model | None = None) -> Read:
    """Make the function that reads on: (stream, ids) -> the stream after them, and their scores.

    Args:
      model: the network, to say also what it expected, which takes about twice the time; None = do not.
    """
    learner = scorer.learner if model is None else _with_expectations(scorer, model)
    length, per_call = learner.length, max(1, CHARACTERS_PER_CALL // learner.length)
    no_losses = np.zeros((0, *_columns_shape(learner)), np.float32)
    next_update = update_once(learner)
    # The state after an open block is dropped. Without it XLA computes only the losses, but not where one kernel computes both.
    end = 0 if scorer.uses_host else 1
    with _on(scorer):
        drive, options = fast_driver(learner, per_call), compiler_options()
    score_open = jax.jit(
        lambda state, block: next_update(state._replace(step=jnp.int32(0)), block)[end:], compiler_options=options
    )

    def read(stream: Stream, ids: Integer[np.ndarray, " time"]) -> tuple[Stream, Scored]:
        unread = np.concatenate([stream.unread, ids]).astype(np.int32)
        complete = (len(unread) - 1) // length * length
        with _on(scorer):
            state, losses = read_padded(drive, stream.state, unread[: complete + 1], per_call, length)
            last = unread[complete:]
            block = np.pad(last, (0, length + 1 - len(last)))
            of_open = np.asarray(score_open(state, jnp.asarray(block))[-1])[: len(last) - 1] if len(last) > 1 else no_losses
        losses = np.concatenate([losses if complete else no_losses, of_open])[len(stream.unread) - 1 :]
        state = state._replace(step=jnp.int32(0))  # it counts within a call
        return Stream(state, last), _name_columns(scorer, losses, 0 if model is None else _num_expected(model))

    return read


def _single(learner: Learner, learns: bool = True) -> Scorer:
    def begin(params: Params, key: RandomKey) -> State:
        return copy_arrays(learner.begin(params, key))

    def of_networks(losses: Float[np.ndarray, " time"]) -> Float[np.ndarray, "time networks"]:
        return losses[:, None][:, : int(learns)]

    return Scorer(learner, begin, lambda losses: losses, of_networks, network=None)


def _num_expected(model: Model) -> int:
    return min(NUM_EXPECTED, num_characters(model))


def _with_expectations(scorer: Scorer, model: Model) -> Learner:
    """Add what the network expected to the losses of a learner: columns of ids, and of their probabilities."""
    learner, read, which = scorer.learner, block_reader(model), scorer.network

    def update(state: State, x: Block, y: Block) -> tuple[State, LossColumns]:
        params, carry = (state.params, state.carry) if which is None else (state.params[which], state.carry[which])
        _, logits = read(params, carry, x, None)
        p, ids = jax.lax.top_k(jax.nn.softmax(logits), _num_expected(model))
        state, losses = learner.update(state, x, y)
        return state, jnp.concatenate([losses.reshape(len(x), -1), ids.astype(p.dtype), p], axis=1)

    return learner._replace(update=update)


def _name_columns(scorer: Scorer, losses: Float[np.ndarray, "time ..."], num_expected: int) -> Scored:
    if not num_expected:
        return Scored(scorer.nats_of(losses), scorer.of_networks(losses))
    own, ids, p = np.split(losses, [-2 * num_expected, -num_expected], axis=1)
    own = own[:, 0] if scorer.network is None else own
    return Scored(scorer.nats_of(own), scorer.of_networks(own), Expected(ids.astype(np.int32), p))


def _columns_shape(learner: Learner) -> tuple[int, ...]:
    """Return the shape of the losses of one character."""
    state = jax.eval_shape(learner.init, jax.random.key(0))
    block = jax.ShapeDtypeStruct((learner.length,), jnp.int32)
    return jax.eval_shape(learner.update, state, block, block)[1].shape[1:]


def _on(scorer: Scorer) -> contextlib.AbstractContextManager:
    return on_host() if scorer.uses_host else contextlib.nullcontext()

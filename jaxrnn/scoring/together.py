"""Read a text with network and counts together: how well each of them, and their mixtures, predict it.

All of this runs on the host's CPU, even on a machine with a GPU: see `models.scalar_loops`.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from jaxrnn.data.array_types import Params, RandomKey
from jaxrnn.data.documents import has_marks, unmark
from jaxrnn.models.counts import CountModel, Counts, count_model
from jaxrnn.models.documents import check_unmarked, for_ids, restart_contexts
from jaxrnn.models.model import Model, num_characters
from jaxrnn.models.scalar_loops import host_device, on_host, to_host
from jaxrnn.scoring.evaluation import UPDATES_PER_CALL, DynamicSettings, Evaluation, rate_evaluation, read_padded
from jaxrnn.training import mixed, optimizers
from jaxrnn.training.drivers import compiler_options, copy_arrays, fast_driver
from jaxrnn.training.learner import Learner, State
from jaxrnn.training.mixed import Columns, Together
from jaxrnn.training.optimizers import OptimizerKind

WORDS = 4  # the longest word context: this word and three before it. Added to characters, 0.005 nats better on Molière.
# Nodes of a tree: enough for any short text; longer ones repeat themselves. 96 MiB at most. The 1.7 million characters of
# Molière need 2.4 and 3.0 million nodes.
SHORT, NODES_OF_SHORT, NODES_OF_LONG, MOST_NODES = 100_000, 9, 3, 3 << 20
# Characters to count before the text that is scored, the last ones: only a text without repetitions fills a tree.
MOST_COUNTED = 2_000_000
# Of these, the last ones, from which counts learn what they are worth; how many are read per call; and the size of a block.
MOST_MIXED, MIXED_PER_CALL, LENGTH = 300_000, 16_000, 16
LEAST_MIXED = 70_000  # the least, however little time there is: on a text as short as the comedy, speed must not matter

NATS_TO_TRUST = 0.2  # how much better network or counts must be to get almost three quarters of the initial weight


class Scores(NamedTuple):
    """Nats per character of a text, each character scored before anything learns from it."""

    num_characters: int  # scored characters
    frozen_nats: float  # the network as it is
    dynamic_nats: float  # the network that goes on learning; with several rates, their mixture
    counts_nats: float  # counts of characters and of words, mixed
    mixed_nats: float  # network and counts


class Before(NamedTuple):
    """What was counted before a text is read."""

    memory: Together
    nats: float  # loss of the counts, per character, over the last half of what they mixed; infinite if they mixed nothing


class Reader(NamedTuple):
    """A learner that reads with network and counts, and what it needs to begin."""

    num_networks: int
    num_counts: int
    learner: Learner
    begin: Callable[[Before | None, Params, RandomKey, float | None], State]  # see `read_on`
    reads_marks: bool = False  # `Model.reads_marks`


def make_counts(characters: str, num_characters: int, nodes_of_long: float = NODES_OF_LONG) -> tuple[CountModel, ...]:
    """Make the two models that count: one by the last characters, one by the last words.

    Args:
      characters: the vocabulary; a word is what stands between characters that are neither letters nor digits.
      num_characters: how many characters will be counted, which determines the memory.
      nodes_of_long: nodes of each tree for each character beyond the first 100,000.
    """
    needed = NODES_OF_SHORT * min(num_characters, SHORT) + nodes_of_long * max(0, num_characters - SHORT)
    nodes = min(MOST_NODES, int(needed)) + len(characters) + 2
    ends_word = np.array([not character.isalnum() for character in characters])
    return (count_model(len(characters), capacity=nodes), count_model(len(characters), WORDS, nodes, begins=ends_word))


def make_reader(
    model: Model, how: DynamicSettings | None, counts: tuple[CountModel, ...], optimizer: OptimizerKind | None = None
) -> Reader:
    """Make a reader with the frozen network, a copy that learns at each rate of dynamic evaluation, and counts.

    Args:
      how: None = no network, counts alone.
      optimizer: the optimizer that `how` names, if it is not in `OPTIMIZERS`.
    """
    learning = tuple(optimizers.make_optimizer(optimizer or how.optimizer, rate) for rate in how.rates) if how else ()
    networks = (None, *learning) if how else ()
    mixture = mixed.make_mixture(num_characters(model), len(networks), counts)

    def begin(before: Before | None, params: Params, key: RandomKey, nats: float | None) -> State:
        before = before or read_before(model, counts, np.zeros(0, np.int32))
        share = _share_of_network(nats, min(before.nats, math.log(num_characters(model))))
        memory = before.memory._replace(mixture=jax.jit(mixture.join)(before.memory.mixture, jnp.float32(share)))
        return mixed.begin_with(model, networks, memory, to_host(params), to_host(key))

    return Reader(
        num_networks=len(networks),
        num_counts=len(counts),
        learner=mixed.mixed(model, how.length if how else LENGTH, networks, counts),
        begin=begin,
        reads_marks=model.reads_marks,
    )


@on_host()
def read_before(
    model: Model,
    counts: tuple[CountModel, ...],
    ids: Integer[np.ndarray, " characters"],
    most_mixed: int = MOST_MIXED,
    seconds: float = math.inf,
) -> Before:
    """Count a text; from its last characters also learn what the counts are worth, which takes several times as long.

    Args:
      most_mixed: the number of these last characters, at most.
      seconds: the time for them, beyond the first `LEAST_MIXED`; when it is up, the rest of the text is only counted.
    """
    model, size = for_ids(model, ids), min(most_mixed, len(ids) - 1) // LENGTH * LENGTH
    mixture = jax.jit(mixed.make_mixture(num_characters(model), 0, counts).init)()
    count, last = make_counter(counts), len(ids) - max(0, size) - 1
    if size <= 0:
        return Before(Together(count(_plant(counts), ids), mixture, jnp.bool_(False)), math.inf)
    memory = Together(count(_plant(counts), ids[:last]), mixture, jnp.bool_(False))
    state, updates = separate(State(jnp.int32(0), (), (), (), memory)), MIXED_PER_CALL // LENGTH
    drive, until = fast_driver(mixed.mixed(model, LENGTH, (), counts), updates), time.perf_counter() + seconds
    first, nats = last, np.zeros(0, np.float32)
    while last < len(ids) - 1 and (last - first < LEAST_MIXED or time.perf_counter() < until):
        state, losses = read_padded(drive, state, ids[last : last + MIXED_PER_CALL + 1], updates, LENGTH)
        nats = np.concatenate([nats, mixed.columns(losses, 0, len(counts)).of_counts])
        last = min(last + MIXED_PER_CALL, len(ids) - 1)
    memory = state.memory
    # Mixing has counted everything up to and including `last`; if nothing was mixed, that character is not counted yet.
    counted = memory.counts
    if memory.started and ids[last] < 0:  # read as a target, which has no mark
        counted = tuple(_begin_document(*each, unmark(ids[last])) for each in zip(counts, counted, strict=True))
    memory = memory._replace(counts=count(counted, ids[last + int(memory.started) :]))
    return Before(memory, float(nats[len(nats) // 2 :].mean()) if nats.size else math.inf)


def _begin_document(model: CountModel, state: Counts, read: np.integer) -> Counts:
    """Make the character that was just counted the only one in the contexts."""
    contexts = jax.jit(lambda state, y: model.advance(model.restart(state), y).contexts)(state, jnp.int32(read))
    return state._replace(contexts=contexts)


def make_counter(
    models: tuple[CountModel, ...],
) -> Callable[[tuple[Counts, ...], Integer[np.ndarray, " characters"]], tuple[Counts, ...]]:
    """Make a function that counts a text; the counts that it is given are overwritten."""

    def count(model: CountModel, marked: bool, state: Counts, ids: Array, length: Array) -> Counts:
        def learn(loop: tuple[Array, Counts]) -> tuple[Array, Counts]:
            read = ids[loop[0]].astype(jnp.int32)
            if not marked:
                return loop[0] + 1, model.learn(loop[1], read)[0]
            return loop[0] + 1, restart_contexts(model, model.learn(loop[1], unmark(read))[0], read)

        return jax.lax.while_loop(lambda loop: loop[0] < length, learn, (jnp.int32(0), state))[1]

    @functools.cache
    def programs(marked: bool) -> list[Callable[..., Counts]]:
        how = {"donate_argnums": 0, "compiler_options": compiler_options()}
        return [jax.jit(functools.partial(count, model, marked), **how) for model in models]

    def count_all(states: tuple[Counts, ...], ids: Integer[np.ndarray, " characters"]) -> tuple[Counts, ...]:
        if not len(ids):
            return states
        text, length = jnp.asarray(ids), jnp.int32(len(ids))
        return tuple(program(state, text, length) for program, state in zip(programs(has_marks(ids)), states, strict=True))

    return count_all


def read_on(
    reader: Reader,
    params: Params,
    before: Before | None,
    ids: Integer[np.ndarray, " scored"],
    key: RandomKey,
    nats: float | None = None,
) -> Iterator[Columns]:
    """Read a text once, and yield the nats of each character but the first, piece by piece.

    Args:
      before: what was counted in the text before this one (`read_before`); it is overwritten. None = nothing.
      nats: the network's loss per character on such a text: the better it is than that of the counts, the larger is the
        network's initial share of the mixture. None = not known.
    """
    length, members = reader.learner.length, (reader.num_networks, reader.num_counts)
    updates = max(1, UPDATES_PER_CALL // 10 // length)
    if not reader.reads_marks:
        check_unmarked(ids)
    with on_host():
        state = separate(reader.begin(before, params, key, nats))
        drive = fast_driver(reader.learner, updates)
    for start in range(0, len(ids) - 1, updates * length):
        with on_host():  # not around the `yield`: the caller may use another device meanwhile
            state, losses = read_padded(drive, state, ids[start : start + updates * length + 1], updates, length)
        yield mixed.columns(losses, *members)


def dynamic_evaluation(model: Model, how: DynamicSettings, optimizer: OptimizerKind | None = None) -> Evaluation:
    """Make a dynamic evaluation; with several rates, these and the frozen model are mixed as they read.

    Args:
      optimizer: the optimizer that `how` names, if it is not in `OPTIMIZERS`.
    Returns:
      A function (params, ids, key) -> nats at each character of the text but the first.
    """
    if len(how.rates) == 1:
        read = rate_evaluation(model, how, optimizer)
        return lambda params, ids, key: read(params, ids, key, how.rates[0])
    reader = make_reader(model, how, (), optimizer)

    def evaluate(params: Params, ids: Integer[np.ndarray, " characters"], key: RandomKey) -> Float[np.ndarray, " read"]:
        return np.concatenate([piece.of_networks for piece in read_on(reader, params, None, ids, key)])

    return evaluate


@on_host()
def learn_to_mix(
    model: Model,
    params: Params,
    counts: tuple[CountModel, ...],
    before: Before,
    ids: Integer[np.ndarray, " characters"],
    key: RandomKey,
) -> Together:
    """Read a text with the frozen network and counts; return the counts and the weights of the mixture that they learned.

    Args:
      before: what was counted in the text before this one (`read_before`); it is overwritten.
    """
    mixture = jax.jit(mixed.make_mixture(num_characters(model), 1, counts).join)(before.memory.mixture, jnp.float32(0.5))
    learner = mixed.mixed(for_ids(model, ids), 1, (None,), counts)
    memory = before.memory._replace(mixture=mixture)
    state = separate(mixed.begin_with(model, (None,), memory, to_host(params), to_host(key)))
    return read_padded(fast_driver(learner, MIXED_PER_CALL // 10), state, ids, MIXED_PER_CALL // 10, 1)[0].memory


def _share_of_network(nats: float | None, counts_nats: float) -> float:
    """Compute the network's share of the initial weight: half if network and counts predict equally well, or if unknown."""
    if nats is None or math.isnan(nats):
        return 0.5
    advantage = (counts_nats - nats) / NATS_TO_TRUST
    return 0.01 + 0.98 / (1 + math.exp(-max(-50.0, min(50.0, advantage))))


def _plant(counts: tuple[CountModel, ...]) -> tuple[Counts, ...]:
    """Make empty trees in compiled code, which needs only half the memory."""
    return jax.jit(lambda: tuple(each.init() for each in counts))()


def separate(state: State) -> State:
    """Copy the weights for each network, because a driver overwrites them; the trees are too large to copy."""
    own, counts = copy_arrays(state._replace(memory=state.memory._replace(counts=()))), state.memory.counts
    # All on one explicit device: otherwise arrays would be bound to one only by the first call, and the second would recompile.
    return jax.device_put(own._replace(memory=own.memory._replace(counts=counts)), host_device())


def mean_scores(pieces: list[Columns]) -> Scores:
    """Average the losses that `read_on` has yielded."""
    frozen, dynamic, counts, together = (
        np.concatenate([column(piece) for piece in pieces])
        for column in (
            lambda piece: piece.networks[:, 0],
            # A single rate is the network itself, which a mixture with the frozen one would change.
            lambda piece: piece.networks[:, 1] if piece.networks.shape[1] == 2 else piece.of_networks,
            lambda piece: piece.of_counts,
            lambda piece: piece.of_all,
        )
    )
    means = (float(losses.mean(dtype=np.float64)) for losses in (frozen, dynamic, counts, together))
    return Scores(len(frozen), *means)

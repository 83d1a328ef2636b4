"""Count a text before another one is scored: how often each character followed each context, and what that is worth.

All of this runs on the host's CPU, even on a machine with a GPU: see `models.scalar_loops`.
"""

import functools
import math
import time
from collections.abc import Callable, Generator
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from jaxrnn.data.documents import has_marks, unmark
from jaxrnn.models.counts import CountModel, Counts, count_model
from jaxrnn.models.documents import for_ids, restart_contexts
from jaxrnn.models.model import Model, num_characters
from jaxrnn.models.scalar_loops import host_device, on_host
from jaxrnn.scoring.evaluation import read_padded
from jaxrnn.training import mixed
from jaxrnn.training.drivers import compiler_options, fast_driver
from jaxrnn.training.learner import State, copy_arrays
from jaxrnn.training.mixed import Together

WORDS = 4  # the longest word context: this word and three before it. Added to characters, 0.005 nats better on Molière.
# Nodes of a tree: enough for any short text; longer ones repeat themselves. 96 MiB at most. The 1.7 million characters of
# Molière need 2.4 and 3.0 million nodes.
SHORT, NODES_OF_SHORT, NODES_OF_LONG, MOST_NODES = 100_000, 9, 3, 3 << 20
# Characters to count before the text that is scored, the last ones: only a text without repetitions fills a tree.
MOST_COUNTED = 2_000_000
# Of these, the last ones, from which counts learn what they are worth; how many are read per call; and the size of a block.
MOST_MIXED, MIXED_PER_CALL, LENGTH = 300_000, 16_000, 16
COUNTED_PER_CALL = 100_000  # characters, where they are only counted
LEAST_MIXED = 70_000  # the least, however little time there is: on a text as short as the comedy, speed must not matter

Returned = TypeVar("Returned")
# (counts, ids) -> counts
Counter: TypeAlias = Callable[[tuple[Counts, ...], Integer[np.ndarray, " characters"]], tuple[Counts, ...]]


class Before(NamedTuple):
    """What was counted before a text is read."""

    memory: Together
    nats: float  # loss of the counts, per character, over the last half of what they mixed; infinite if they mixed nothing


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
    return run_to_end(read_before_in_pieces(model, counts, ids, most_mixed, seconds))


def read_before_in_pieces(
    model: Model,
    counts: tuple[CountModel, ...],
    ids: Integer[np.ndarray, " _"],
    most_mixed: int,
    seconds: float,
) -> Generator[None, None, Before]:
    """Do what `read_before` does, and pause after each piece of less than a second; run it inside `on_host`."""
    model, size = for_ids(model, ids), min(most_mixed, len(ids) - 1) // LENGTH * LENGTH
    memory = Together(_plant(counts), jax.jit(mixed.make_mixture(num_characters(model), 0, counts).init)(), jnp.bool_(False))
    count, first = make_counter(counts), len(ids) - size - 1 if size > 0 else len(ids)
    memory = yield from _count(count, memory, ids[:first])
    if size <= 0:
        return Before(memory, math.inf)
    state, updates = separate(State(jnp.int32(0), (), (), (), memory)), MIXED_PER_CALL // LENGTH
    drive, until = fast_driver(mixed.mixed(model, LENGTH, (), counts), updates), time.perf_counter() + seconds
    last, nats = first, np.zeros(0, np.float32)
    while last < len(ids) - 1 and (last - first < LEAST_MIXED or time.perf_counter() < until):
        state, losses = read_padded(drive, state, ids[last : last + MIXED_PER_CALL + 1], updates, LENGTH)
        nats = np.concatenate([nats, mixed.columns(losses, 0, len(counts)).of_counts])
        last = min(last + MIXED_PER_CALL, len(ids) - 1)
        yield
    memory = state.memory
    # Mixing has counted everything up to and including `last`; if nothing was mixed, that character is not counted yet.
    if memory.started and ids[last] < 0:  # read as a target, which has no mark
        began = tuple(_begin_document(*each, unmark(ids[last])) for each in zip(counts, memory.counts, strict=True))
        memory = memory._replace(counts=began)
    memory = yield from _count(count, memory, ids[last + int(memory.started) :])
    return Before(memory, float(nats[len(nats) // 2 :].mean()) if nats.size else math.inf)


def make_counter(models: tuple[CountModel, ...]) -> Counter:
    """Make a function that counts a text of up to `COUNTED_PER_CALL` characters; it overwrites the counts that it is given."""

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
        text, length = np.zeros(COUNTED_PER_CALL, np.int32), jnp.int32(len(ids))  # one program for texts of any length
        text[: len(ids)] = ids
        by_model = zip(programs(has_marks(ids)), states, strict=True)
        return tuple(program(state, jnp.asarray(text), length) for program, state in by_model)

    return count_all


def run_to_end(reading: Generator[object, None, Returned]) -> Returned:
    """Read to the end without pausing, and return what was found."""
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value


def separate(state: State) -> State:
    """Copy the weights for each network, because a driver overwrites them; the trees are too large to copy."""
    own, counts = copy_arrays(state._replace(memory=state.memory._replace(counts=()))), state.memory.counts
    # All on one explicit device: otherwise arrays would be bound to one only by the first call, and the second would recompile.
    return jax.device_put(own._replace(memory=own.memory._replace(counts=counts)), host_device())


def _count(count: Counter, memory: Together, ids: Integer[np.ndarray, " _"]) -> Generator[None, None, Together]:
    """Count a text in pieces; the counts that are given are overwritten."""
    for start in range(0, len(ids), COUNTED_PER_CALL):
        memory = memory._replace(counts=count(memory.counts, ids[start : start + COUNTED_PER_CALL]))
        yield
    return memory


def _begin_document(model: CountModel, state: Counts, read: np.integer) -> Counts:
    """Make the character that was just counted the only one in the contexts."""
    contexts = jax.jit(lambda state, y: model.advance(model.restart(state), y).contexts)(state, jnp.int32(read))
    return state._replace(contexts=contexts)


def _plant(counts: tuple[CountModel, ...]) -> tuple[Counts, ...]:
    """Make empty trees in compiled code, which needs only half the memory."""
    return jax.jit(lambda: tuple(each.init() for each in counts))()

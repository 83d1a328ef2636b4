"""Read a log with network and counts that learn while they read, or no longer, and score its lines."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.data.array_types import Block, Losses, RandomKey
from jaxrnn.data.vocabulary import Vocabulary, look_up
from jaxrnn.models.counts import CountModel, Counts
from jaxrnn.models.model import Model
from jaxrnn.models.network import network
from jaxrnn.scoring import pieces
from jaxrnn.scoring.counting import make_counts, separate
from jaxrnn.scoring.evaluation import frozen_evaluation, read_padded
from jaxrnn.training import mixed
from jaxrnn.training.drivers import fast_driver
from jaxrnn.training.learner import Learner, State, reader
from jaxrnn.training.mixed import Columns
from jaxrnn.training.optimizers import make_optimizer

KNOWN = Vocabulary("\n" + "".join(map(chr, range(32, 127))))
CELL, HIDDEN_SIZE, LENGTH, RATE = "gru", 64, 16, 0.0005  # learns by Adam after blocks of 16 characters
PER_CALL = 160_000  # characters
# A well-formed time stamp at the start of a line: 2026-03-02 14:05:59, Mar 02 14:05:59 or [02/Mar/2026:14:05:59.250].
TIME = r"\d\d:\d\d:\d\d"
TIME_STAMP = re.compile(
    rf"^(?:\d{{4}}-\d\d-\d\d {TIME}|[A-Z][a-z]{{2}} \d\d {TIME}|\[\d\d/[A-Z][a-z]{{2}}/\d{{4}}:{TIME}\.\d{{3}}\])"
)


class Models(NamedTuple):
    """A network, and counts of characters and of words."""

    network: Model
    counts: tuple[CountModel, ...]


def make_models(num_characters: int, hidden_size: int = HIDDEN_SIZE) -> Models:
    """Make the models for a log of this size."""
    characters = KNOWN.characters
    return Models(network(CELL, len(characters), hidden_size), make_counts(characters, num_characters))


def encode(lines: list[str]) -> np.ndarray:
    """Encode a line end, and then each line with its line end; -1 = not known."""
    return look_up(KNOWN, "\n".join(["", *lines, ""]))


def read_learning(models: Models, ids: np.ndarray) -> tuple[State, Columns]:
    """Read with new weights and empty counts, which learn.

    Returns:
      What they learned, and nats of all characters but the first.
    """
    learner = mixed.mixed(models.network, LENGTH, (make_optimizer("adam", RATE),), models.counts)
    state = separate(learner.init(jax.random.key(0)))
    updates = PER_CALL // LENGTH
    state, losses = read_padded(fast_driver(learner, updates), state, ids, updates, LENGTH)
    return state, mixed.columns(losses, 1, len(models.counts))


def read_untrained(models: Models, ids: np.ndarray) -> np.ndarray:
    """Read with random weights. Returns nats of all characters but the first."""
    return frozen_evaluation(models.network)(models.network.init(jax.random.key(0)), ids, jax.random.key(1))


def read_burnt_in(models: Models, ids: np.ndarray, num_learned: int) -> np.ndarray:
    """Read with network and counts of characters that learn no more after the first characters, mixed in equal parts.

    Returns:
      Nats of all characters but the first, those that were learned from included.
    """
    num_learned = num_learned // LENGTH * LENGTH  # the network learns from whole blocks
    learned, nats = read_learning(models, ids[: num_learned + 1])
    carry, counts, key = learned.carry[0], learned.memory.counts[0], jax.random.key(1)
    network, counting = reader(models.network), frozen_counts(models.counts[0])
    begun = (network, network.begin(learned.params[0], key)._replace(carry=carry)), (counting, counting.begin(counts, key))
    of_network, of_counts = (
        read_padded(fast_driver(learner, PER_CALL), state, ids[num_learned:], PER_CALL, 1)[1] for learner, state in begun
    )
    return np.concatenate([nats.of_all, np.log(2) - np.logaddexp(-of_network, -of_counts)])


def frozen_counts(model: CountModel) -> Learner:
    """Make a learner that does not learn: its memory is counts, which predict but are not added to."""

    def begin(counts: Counts, key: RandomKey) -> State:
        del key
        return State(jnp.int32(0), (), (), (), counts)

    def init(key: RandomKey) -> State:
        return begin(model.init(), key)

    def restart(state: State, key: RandomKey) -> State:
        del key
        return state._replace(memory=model.restart(state.memory))

    def update(state: State, x: Block, y: Block) -> tuple[State, Losses]:
        del x  # it was the y before
        loss = -jnp.log(model.predict(state.memory)[y])
        return state._replace(step=state.step + 1, memory=model.advance(state.memory, y[0])), loss

    return Learner(1, init, begin, restart, update)


def score_lines(lines: list[str], nats: np.ndarray, ignored: re.Pattern[str] | None = None) -> np.ndarray:
    """Sum up, for each line, what its characters cost beyond `EXPECTED_NATS`, as `jaxrnn.score` does.

    Args:
      nats: of each known character but the first; the others are charged.
      ignored: what costs nothing in a line.
    """
    text, known = "\n".join([*lines, ""]), encode(lines)[1:] >= 0
    charged = np.full(len(text), pieces.UNKNOWN_NATS, np.float32)
    charged[known] = nats
    scored, _ = pieces.cut("line", "", pieces.Pending(), pieces.ScoredText(text, charged), ignored)
    return np.array([piece.excess for piece in scored])

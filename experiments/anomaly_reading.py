"""Read a log with network and counts, and score its lines."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrnn.array_types import Carry, Params
from jaxrnn.models import interpolation
from jaxrnn.models.counts import CountModel, Counts, count_model
from jaxrnn.models.model import Model, elman
from jaxrnn.rules import one_step
from jaxrnn.scoring.evaluation import UPDATES_PER_CALL, DynamicSettings, rate_evaluation, read_padded
from jaxrnn.training.drivers import compiler_options, copy_arrays, fast_driver
from jaxrnn.training.learner import online
from jaxrnn.training.optimizers import make_optimizer

VOCABULARY = "\n" + "".join(map(chr, range(32, 127)))
UNKNOWN_NATS = math.log(1_112_064)  # all characters of Unicode alike
RATE, ORDER, NODES = 0.02, 8, 3 << 20  # of SGD; of the counts: characters in the longest context, nodes of the tree
PIECES = 128  # a log that nothing is learned from can be read in pieces, side by side
ABOVE = 4.0  # nats: what a character must cost to count; a hexadecimal digit that nobody can know costs 2.8


class Text(NamedTuple):
    """A log as ids: a line end, then each line with its line end."""

    ids: np.ndarray  # i32; -1 = not in the vocabulary
    lengths: np.ndarray  # characters of each line, with its line end


class Models(NamedTuple):
    """A network with new weights, and empty counts."""

    network: Model
    params: Params
    counts: CountModel


def encode(lines: list[str]) -> Text:
    """Encode lines."""
    table = np.full(0x110000, -1, np.int32)
    table[[ord(character) for character in VOCABULARY]] = np.arange(len(VOCABULARY))
    codes = np.frombuffer("\n".join(["", *lines, ""]).encode("utf-32-le"), np.uint32)
    return Text(table[codes], np.array([len(line) + 1 for line in lines]))


def make_models(hidden_size: int = 128, nodes: int = NODES) -> Models:
    """Make the course's network, and counts."""
    network = elman(len(VOCABULARY), hidden_size)
    return Models(network, network.init(jax.random.key(0)), count_model(len(VOCABULARY), ORDER, nodes))


def score_lines(nats: np.ndarray, text: Text, above: float = ABOVE) -> np.ndarray:
    """Sum up, for each line, what its characters cost beyond `above` nats; unknown ones cost `UNKNOWN_NATS`.

    Args:
      nats: of each known character but the first.
    """
    return total_lines(np.maximum(all_nats(nats, text) - above, 0), text)


def all_nats(nats: np.ndarray, text: Text) -> np.ndarray:
    """Charge unknown characters, which no model has read: nats of each character but the first line end."""
    known = text.ids[1:] >= 0
    charged = np.full(len(known), UNKNOWN_NATS)
    charged[known] = nats
    return charged


def total_lines(values: np.ndarray, text: Text) -> np.ndarray:
    """Sum up a value of each character over each line."""
    return np.add.reduceat(values, np.cumsum(text.lengths) - text.lengths)


def mix(*members: np.ndarray) -> np.ndarray:
    """Mix predictions in equal parts."""
    return interpolation.interpolate(np.stack(members), np.full(len(members), 1 / len(members)))


def read_learning(models: Models, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read while learning. Returns the nats of the network and of the counts at each character but the first."""
    read = rate_evaluation(models.network, DynamicSettings("sgd", (RATE,), 1))
    of_network = read(models.params, ids, jax.random.key(1), RATE)
    return of_network, read_counts(models.counts, jax.jit(models.counts.init)(), ids, True)[1]


def read_frozen(
    models: Models, ids: np.ndarray, num_learned: int, with_counts: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a log with the weights and counts that its first characters have taught.

    Returns:
      Nats of the network and of the counts at each character but the first.
    """
    params, counts, key = models.params, jax.jit(models.counts.init)(), jax.random.key(1)
    before = ids[:num_learned]
    if num_learned:
        learner = online(models.network, one_step(models.network), make_optimizer("sgd", RATE))
        state = copy_arrays(learner.begin(models.params, key))  # a driver overwrites it
        params = read_padded(fast_driver(learner, UPDATES_PER_CALL), state, before, UPDATES_PER_CALL, 1)[0].params
        counts, _ = read_counts(models.counts, counts, before, True)
    of_counts = read_counts(models.counts, counts, ids, False)[1] if with_counts else None
    return _read_pieces(models.network, params, ids), of_counts


def _read_pieces(model: Model, params: Params, ids: np.ndarray, num_pieces: int = PIECES) -> np.ndarray:
    """Read with frozen weights: pieces side by side, each from a new carry. Returns nats at each character but the first."""
    size = -(-(len(ids) - 1) // num_pieces)
    filled = np.zeros(num_pieces * size + 1, np.int32)
    filled[: len(ids)] = ids
    streams = np.concatenate([filled[:-1].reshape(num_pieces, size).T, filled[size::size][None]])  # i32[size + 1, pieces]
    carry = model.initial_carry(jax.random.key(1), (num_pieces,))

    @jax.jit
    def read(params: Params, streams: jax.Array, carry: Carry) -> jax.Array:
        def step(loop: tuple) -> tuple:
            t, carry, losses = loop
            carry, logits = model.step(params, carry, streams[t])
            of_step = optax.softmax_cross_entropy_with_integer_labels(logits, streams[t + 1])
            return t + 1, carry, losses.at[t].set(of_step)

        nothing = (jnp.int32(0), carry, jnp.zeros((size, num_pieces), jnp.float32))
        return jax.lax.while_loop(lambda loop: loop[0] < size, step, nothing)[2]

    return np.asarray(read(params, jnp.asarray(streams), carry)).T.ravel()[: len(ids) - 1]


def read_counts(model: CountModel, counts: Counts, ids: np.ndarray, learns: bool) -> tuple[Counts, np.ndarray]:
    """Read with counts, which are overwritten. Returns them, and nats at each character but the first."""
    counts, nats = _counting(model, learns)(counts, jnp.asarray(ids))
    return counts, np.asarray(nats)[1:]


@functools.cache
def _counting(model: CountModel, learns: bool) -> Callable[[Counts, jax.Array], tuple[Counts, jax.Array]]:
    def read(counts: Counts, text: jax.Array) -> tuple[Counts, jax.Array]:
        def step(loop: tuple) -> tuple:
            t, counts, losses = loop
            if learns:
                counts, probability = model.learn(counts, text[t])
            else:
                probability, counts = model.predict(counts)[text[t]], model.advance(counts, text[t])
            return t + 1, counts, losses.at[t].set(-jnp.log(probability))

        nothing = (jnp.int32(0), model.restart(counts), jnp.zeros(text.shape, jnp.float32))
        return jax.lax.while_loop(lambda loop: loop[0] < len(text), step, nothing)[1:]

    return jax.jit(read, donate_argnums=0, compiler_options=compiler_options())

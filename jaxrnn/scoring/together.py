"""Read a text with network and counts together: how well each of them, and their mixtures, predict it.

All of this runs on the host's CPU, even on a machine with a GPU: see `models.scalar_loops`.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from jaxrnn.data.array_types import Params, RandomKey
from jaxrnn.models.counts import CountModel
from jaxrnn.models.documents import check_unmarked, for_ids
from jaxrnn.models.model import Model, num_characters
from jaxrnn.models.scalar_loops import on_host, to_host
from jaxrnn.scoring.counting import LENGTH, MIXED_PER_CALL, Before, read_before, separate
from jaxrnn.scoring.evaluation import UPDATES_PER_CALL, DynamicSettings, Evaluation, rate_evaluation, read_padded
from jaxrnn.training import mixed, optimizers
from jaxrnn.training.drivers import Driver, fast_driver
from jaxrnn.training.learner import Learner, State
from jaxrnn.training.mixed import Columns, Together
from jaxrnn.training.optimizers import OptimizerKind

NATS_TO_TRUST = 0.2  # how much better network or counts must be to get almost three quarters of the initial weight


class Scores(NamedTuple):
    """Nats per character of a text, each character scored before anything learns from it."""

    num_characters: int  # scored characters
    frozen_nats: float  # the network as it is
    dynamic_nats: float  # the network that goes on learning; with several rates, their mixture
    counts_nats: float  # counts of characters and of words, mixed
    mixed_nats: float  # network and counts


class Reader(NamedTuple):
    """A learner that reads with network and counts, and what it needs to begin."""

    num_networks: int
    num_counts: int
    learner: Learner
    drive: Driver
    updates: int  # per call of the driver
    begin: Callable[[Before | None, Params, RandomKey, float | None], State]  # see `read_on`
    reads_marks: bool = False  # `Model.reads_marks`


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

    learner = mixed.mixed(model, how.length if how else LENGTH, networks, counts)
    updates = max(1, UPDATES_PER_CALL // 10 // learner.length)
    with on_host():
        drive = fast_driver(learner, updates)
    return Reader(
        num_networks=len(networks),
        num_counts=len(counts),
        learner=learner,
        drive=drive,
        updates=updates,
        begin=begin,
        reads_marks=model.reads_marks,
    )


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
    updates, length, members = reader.updates, reader.learner.length, (reader.num_networks, reader.num_counts)
    if not reader.reads_marks:
        check_unmarked(ids)
    with on_host():
        state = separate(reader.begin(before, params, key, nats))
    for start in range(0, len(ids) - 1, updates * length):
        with on_host():  # not around the `yield`: the caller may use another device meanwhile
            state, losses = read_padded(reader.drive, state, ids[start : start + updates * length + 1], updates, length)
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

"""Evaluate how well a model predicts a text, with frozen weights or while it keeps learning (dynamic evaluation)."""

import math
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from jaxrnn.data.array_types import Params, RandomKey
from jaxrnn.data.streams import to_streams
from jaxrnn.models import interpolation
from jaxrnn.models.documents import check_unmarked, for_ids
from jaxrnn.models.model import Model
from jaxrnn.rules import Rule, bptt, one_step
from jaxrnn.training import optimizers
from jaxrnn.training.drivers import Driver, fast_driver
from jaxrnn.training.learner import Learner, State, copy_arrays, online, reader
from jaxrnn.training.optimizers import OptimizerKind

UPDATES_PER_CALL = 10_000
MAX_TRIAL_CHARACTERS = 6_000  # on which optimizer and rates are chosen: seven readings, a few seconds for gru
CHARACTERS_PER_PIECE = 20_000  # between two looks at the clock
DIVERGED_NATS = 1e3  # a loss that no model has unless it has diverged; a mixture takes it for that of one that has
CANDIDATES = {name: kind.dynamic_rates for name, kind in optimizers.OPTIMIZERS.items() if kind.dynamic_rates}
Evaluation = Callable[[Params, Integer[np.ndarray, " characters"], RandomKey], Float[np.ndarray, " read"]]


def frozen_evaluation(model: Model, num_streams: int = 1) -> Evaluation:
    """Make an evaluation with frozen weights.

    Args:
      num_streams: read equal parts of the text in parallel, as in training, which is faster; losses are averaged over them.
    Returns:
      A function (params, ids, key) -> nats at each character of the text but the first. The text is read once, from an initial
      carry drawn with the key. The compiled program is kept, so one function serves for many params.
    """
    read = _evaluation(reader(model, () if num_streams == 1 else (num_streams,)), model.reads_marks)
    return lambda params, ids, key: read(params, to_streams(ids, num_streams), key)


def frozen_pieces(
    model: Model, params: Params, streams: Integer[np.ndarray, " characters *streams"], key: RandomKey
) -> Iterator[Float[np.ndarray, " read"]]:
    """Read streams once with frozen weights, and yield the losses piece by piece, averaged over the streams."""
    learner, num_streams = reader(for_ids(model, streams), streams.shape[1:]), int(np.prod(streams.shape[1:]))
    updates = max(1, CHARACTERS_PER_PIECE // num_streams)
    drive, state = fast_driver(learner, updates), copy_arrays(learner.begin(params, key))
    for start in range(0, len(streams) - 1, updates):
        state, losses = read_padded(drive, state, streams[start : start + updates + 1], updates, 1)
        yield losses


class DynamicSettings(NamedTuple):
    """Settings of dynamic evaluation."""

    optimizer: str
    rates: tuple[float, ...]  # several: one copy of the model learns at each rate, and they are mixed with the frozen model
    length: int  # characters in a block


def choose_dynamic(
    model: Model,
    params: Params,
    ids: Integer[np.ndarray, " characters"],
    key: RandomKey,
    length: int,
    most: int = MAX_TRIAL_CHARACTERS,
    names: Collection[str] | None = None,
) -> tuple[DynamicSettings, float]:
    """Choose the best of the `CANDIDATES` on a text; also return its nats per character.

    For each optimizer, every rate is tried alone, and then a mixture of all of them: a later text may differ more or less from
    the training text, and need a higher or lower rate. The loss on this text is no test result: the choice was made on it.

    Args:
      length: characters in a block; 1 = an update after each character.
      most: characters to read, the last ones of the text.
      names: the optimizers to try, each of which has to be compiled; None = all candidates.
    """
    recent, found, model = ids[-most:], [], for_ids(model, ids)
    fixed = frozen_evaluation(model)(params, recent, key)
    for name in names or CANDIDATES:
        rates = CANDIDATES[name]
        tried = rate_evaluation(model, DynamicSettings(name, rates, length))
        members = [tried(params, recent, key, rate) for rate in rates]
        found += [
            (DynamicSettings(name, (rate,), length), mean_nats(losses)) for rate, losses in zip(rates, members, strict=True)
        ]
        found.append((DynamicSettings(name, rates, length), mean_nats(mix_losses([fixed, *members]))))
    return min(found, key=lambda candidate: math.inf if math.isnan(candidate[1]) else candidate[1])


def mean_nats(losses: Float[np.ndarray, " time"]) -> float:
    """Average losses in float64, because a float32 sum over a million losses loses digits."""
    return float(losses.mean(dtype=np.float64))


def mix_losses(members: list[Float[np.ndarray, " read"]]) -> Float[np.ndarray, " read"]:
    """Mix the losses of several models as `mix_online` does; a diverged one, whose loss is NaN, gets almost no weight."""
    return interpolation.mix_online(np.nan_to_num(np.stack(members), nan=DIVERGED_NATS, posinf=DIVERGED_NATS))


def rate_evaluation(
    model: Model, how: DynamicSettings, optimizer: OptimizerKind | None = None
) -> Callable[..., Float[np.ndarray, " read"]]:
    """Make a dynamic evaluation, a function (params, ids, key, rate) -> nats at each character, compiled once for all rates.

    Each character is scored BEFORE the update on it, or on its block. `params` are not changed.

    Source: Mikolov et al. (2010), Interspeech, section 3 ("dynamic models"); in blocks: Krause et al. (2018), ICML.
    """
    learning = optimizers.make_optimizer(optimizer or how.optimizer, how.rates[0])
    return _evaluation(online(model, dynamic_rule(model, how.length), learning), model.reads_marks)


def describe_dynamic(how: DynamicSettings) -> str:
    """Describe the settings in words."""
    *others, last = [f"{rate:g}" for rate in how.rates]
    rates = f"rates {', '.join(others)} and {last}, mixed with the frozen model" if others else f"rate {last}"
    return f"{how.optimizer} at {rates}" + (f", after blocks of {how.length}" if how.length > 1 else "")


def dynamic_rule(model: Model, length: int) -> Rule:
    """Return the rule of dynamic evaluation, in blocks of this length."""
    return one_step(model) if length == 1 else bptt(model, length)


def _evaluation(learner: Learner, reads_marks: bool = False) -> Callable[..., Float[np.ndarray, " read"]]:
    most = max(1, UPDATES_PER_CALL // learner.length)
    drive = fast_driver(learner, most)

    def losses(
        params: Params, ids: Integer[np.ndarray, " characters *streams"], key: RandomKey, rate: float | None = None
    ) -> Float[np.ndarray, " read"]:
        if not reads_marks:
            check_unmarked(ids)
        state = copy_arrays(learner.begin(params, key))  # a driver overwrites the state it is given
        if rate is not None:
            state = state._replace(opt_state=optimizers.with_learning_rate(state.opt_state, rate))
        return read_padded(drive, state, ids, most, learner.length)[1]

    return losses


def read_padded(
    drive: Driver, state: State, ids: Integer[np.ndarray, " characters *streams"], most_updates: int, length: int
) -> tuple[State, Float[np.ndarray, "read ..."]]:
    """Read a text in pieces of one size, because a driver is recompiled for every new size.

    Returns:
      The state, and the losses of all characters but the first. If the text does not fill the last block, the state has also
      read the zeros that fill it. The losses do not depend on them: they are computed with the weights from before the block.
    """
    read, size = [], most_updates * length
    for start in range(0, len(ids) - 1, size):
        piece = ids[start : start + size + 1]  # starts with the last character of the piece before
        filled = np.zeros((size + 1, *ids.shape[1:]), np.int32)  # one program for ids of any type
        filled[: len(piece)] = piece
        num_updates = -(-(len(piece) - 1) // length)
        state, losses = drive(state._replace(step=jnp.int32(0)), jnp.asarray(filled), num_updates)
        read.append(losses[: len(piece) - 1])
    return state, np.concatenate(read) if read else np.zeros(0, np.float32)

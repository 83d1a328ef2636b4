"""Test a model on the parts of its text, within a time or a number of characters."""

import math
import time
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxrnn.config import build
from jaxrnn.config.build import Data
from jaxrnn.config.settings import Config
from jaxrnn.data import automaton
from jaxrnn.data.array_types import Params
from jaxrnn.data.streams import to_streams
from jaxrnn.errors import InputError, pluralize
from jaxrnn.models.documents import for_ids
from jaxrnn.models.model import Model
from jaxrnn.runs.ahead import Ahead, count_before_heldout, fixed_dynamic, make_reader
from jaxrnn.runs.events import Testing
from jaxrnn.runs.limits import LEAST_HELDOUT, TRAIN_SHARE, TestLimits, most_within
from jaxrnn.runtime.memory import return_freed_memory
from jaxrnn.scoring import counting, evaluation, together
from jaxrnn.scoring.evaluation import DynamicSettings, choose_dynamic, mean_nats
from jaxrnn.scoring.together import Scores
from jaxrnn.training.mixed import Columns
from jaxrnn.training.progress import FinalNumbers

TRIED_PER_SECOND = 200  # a rough speed, to know beforehand what there is time for
# Characters of the training part that are tested however little time there is, so that a text as short as the comedy is always
# tested to its end.
LEAST_CHARACTERS = 100_000
# With fewer seconds for the test there is time for the candidates of only one optimizer, the one that wins most often: for the
# other, another program would have to be compiled.
SECONDS_FOR_ALL, IN_A_HURRY = 20.0, ("adam",)
MOST_TRAINED = 4_000_000  # the last characters of the training part, from which those to test are taken


class Result(NamedTuple):
    """Result of a test. Losses in nats per character."""

    train_nats: float
    train_characters: int  # number that were read for it
    counted_characters: int  # number that counts had read before the held-out part, the last ones of the text before it
    scores: Scores  # of the held-out part
    dynamic: DynamicSettings


def resolve_dynamic(
    config: Config, data: Data | None, model: Model, params: Params, seconds: float = math.inf
) -> DynamicSettings:
    """Resolve the settings of dynamic evaluation; `auto` means to choose on the validation part.

    Args:
      seconds: the time for the whole test.
    """
    settings, fixed = config.evaluation, fixed_dynamic(config)
    if fixed is not None:
        return fixed
    if data is None or not data.validation.size:
        raise InputError("--dynamic auto chooses a rate on the validation part of the run's text, which has none; give a rate")
    key = build.make_keys(config.run.seed).evaluation
    most = most_within(evaluation.MAX_TRIAL_CHARACTERS, seconds, TRIED_PER_SECOND)
    names = None if seconds >= SECONDS_FOR_ALL else IN_A_HURRY
    return choose_dynamic(model, params, data.validation, key, settings.dynamic_length, most, names)[0]


def measure(
    config: Config,
    data: Data,
    model: Model,
    params: Params,
    how: DynamicSettings | None,
    limits: TestLimits,
    expected_nats: float | None = None,
    ahead: Ahead | None = None,
) -> Generator[Testing, None, Result]:
    """Test on the training part, weights frozen, and on the held-out part, read once by network and counts together.

    Args:
      how: the settings of dynamic evaluation; None = resolve them from `config`.
      expected_nats: the network's loss on such text, if it is known, such as its validation loss.
      ahead: a thread that counts.
    """
    begun, key = time.perf_counter(), build.make_keys(config.run.seed).evaluation
    model = for_ids(model, data.train, data.validation, data.heldout)
    how = how or resolve_dynamic(config, data, model, params, limits.seconds)
    num_streams, until = config.learning.num_streams, time.perf_counter() + TRAIN_SHARE * limits.seconds
    trained = to_streams(data.train[-MOST_TRAINED:], num_streams)
    trained = trained[: -(-limits.characters // num_streams) + 1] if limits.characters else trained
    read = evaluation.frozen_pieces(model, params, trained, key)
    train = np.concatenate((yield from _read_until(read, until, "training text", len(trained) - 1, num_streams)))
    return_freed_memory()  # of what was compiled for the choice above, because the trees of counts need as much
    yield Testing("counting", 0, 0)
    counted = count_before_heldout(config, data, model, limits, ahead)
    made = counted.reader if how == fixed_dynamic(config) else None
    reader = made or make_reader(model, how, counted.counts)
    heldout = data.heldout[: limits.characters + 1] if limits.characters else data.heldout
    return_freed_memory()
    read = together.read_on(reader, params, counted.before, heldout, key, expected_nats)
    of_heldout = yield from _read_until(read, begun + limits.seconds, "held-out text", len(heldout) - 1, least=LEAST_HELDOUT)
    return Result(mean_nats(train), len(train) * num_streams, counted.num_characters, together.mean_scores(of_heldout), how)


def describe_extent(result: Result) -> dict[str, int]:
    """Return how many characters a result covers, under the names that the metrics use."""
    return {
        "heldout_characters": result.scores.num_characters,
        "train_characters": result.train_characters,
        "counted_characters": result.counted_characters,
    }


def describe_parts(num_streams: int, data: Data, result: Result) -> dict[str, str]:
    """Say which characters each number covers, by the number's name, where it does not cover all."""
    train, heldout = result.train_characters, result.scores.num_characters
    found = {}
    if train < len(data.train) - 2 * num_streams:
        found["train_nats"] = f"; {train:,} of its {len(data.train):,} characters"
    if heldout < len(data.heldout) - 1:
        names = [name for name in FinalNumbers._fields if name.startswith("heldout")]
        found |= dict.fromkeys(names, f"; its first {pluralize(heldout, 'character')}")
    counted, before = result.counted_characters, len(data.train) + len(data.validation)
    if counted < before:
        counts = "heldout_counts_nats"
        found[counts] = f"{found.get(counts, '')}; counted before: the last {counted:,} of {before:,} characters"
    return found


def score(
    config: Config,
    characters: str,
    model: Model,
    params: Params,
    ids: np.ndarray,
    how: DynamicSettings,
    expected_nats: float | None = None,
) -> Generator[Testing, None, Scores]:
    """Score another text, of which nothing was read before.

    Args:
      expected_nats: the network's loss on text like that on which it was trained, if it is known.
    """
    counts = counting.make_counts(characters, len(ids))
    reader = make_reader(for_ids(model, ids), how, counts)
    key = build.make_keys(config.run.seed).evaluation
    pieces = together.read_on(reader, params, None, ids, key, expected_nats)
    read = yield from _read_until(pieces, math.inf, "text", len(ids) - 1)
    return together.mean_scores(read)


def _read_until(
    pieces: Iterator[Columns] | Iterator[Float[np.ndarray, " read"]],
    until: float,
    part: str,
    num_losses: int,
    num_streams: int = 1,  # each loss is a mean over these
    least: int = LEAST_CHARACTERS,
) -> Generator[Testing, None, list]:
    """Read pieces of a part until time is up."""
    read, num_read = [], 0
    for piece in pieces:
        read.append(piece)
        num_read += len(piece.of_all if isinstance(piece, Columns) else piece) * num_streams
        yield Testing(part, num_read, num_losses * num_streams)
        if time.perf_counter() > until and num_read >= least:
            break
    return read


def source_nats(data: Data, num_characters: int) -> float | None:
    """Compute the loss of the source itself on the first predicted characters of the held-out part, in nats per character.

    None if the text has no known source.
    """
    if data.text is None or data.source is None:
        return None
    losses = automaton.source_losses(data.source, data.text)
    return mean_nats(losses[len(losses) - len(data.heldout) + 1 :][:num_characters])

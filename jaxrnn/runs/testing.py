"""Test a model on the parts of its text, within a time or a number of characters."""

import math
import time
from collections.abc import Generator, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from jaxrnn.config import build, parts
from jaxrnn.config.build import Data
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.data import automaton
from jaxrnn.data.array_types import Params
from jaxrnn.data.splitting import Parts, before_heldout
from jaxrnn.data.streams import to_streams
from jaxrnn.errors import InputError, pluralize
from jaxrnn.models.documents import for_ids
from jaxrnn.models.model import Model
from jaxrnn.runs.events import Testing
from jaxrnn.runtime.memory import return_freed_memory
from jaxrnn.scoring import evaluation, together
from jaxrnn.scoring.evaluation import DynamicSettings, choose_dynamic, mean_nats
from jaxrnn.scoring.together import Scores
from jaxrnn.training.mixed import Columns
from jaxrnn.training.progress import FinalNumbers

# Largest shares of the time for testing: for the training part, for counting, and for learning what counts are worth.
TRAIN_SHARE, COUNT_SHARE, MIX_SHARE = 0.1, 0.2, 0.2
# Rough speeds, to know beforehand what there is time for.
COUNTED_PER_SECOND, MIXED_PER_SECOND, TESTED_PER_SECOND, TRIED_PER_SECOND = 200_000, 40_000, 10_000, 200
# Characters of the training and of the held-out part that are tested however little time there is, so that a text as short as
# the comedy is always tested to its end.
LEAST_CHARACTERS, LEAST_HELDOUT = 100_000, 8_000
NODES_OF_LONG = 1.5  # for each character that is counted beyond the first 100,000: enough for novels, plays and code
# With fewer seconds for the test there is time for the candidates of only one optimizer, the one that wins most often: for the
# other, another program would have to be compiled.
SECONDS_FOR_ALL, IN_A_HURRY = 20.0, ("adam",)
MOST_TRAINED = 4_000_000  # the last characters of the training part, from which those to test are taken

Found = TypeVar("Found", "Result", Scores)


class TestLimits(NamedTuple):
    """How much to test: whichever limit is reached first ends the test."""

    characters: int = 0  # of the held-out text, and of the training text; 0 = all
    seconds: float = math.inf


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
    settings = config.evaluation
    if settings.dynamic != AUTO:
        return DynamicSettings(settings.dynamic_optimizer, (settings.dynamic_rate,), settings.dynamic_length)
    if data is None or not data.validation.size:
        raise InputError("--dynamic auto chooses a rate on the validation part of the run's text, which has none; give a rate")
    key = build.make_keys(config.run.seed).evaluation
    most = _most(evaluation.MAX_TRIAL_CHARACTERS, seconds, TRIED_PER_SECOND)
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
) -> Generator[Testing, None, Result]:
    """Test on the training part, weights frozen, and on the held-out part, read once by network and counts together.

    Args:
      how: the settings of dynamic evaluation; None = resolve them from `config`.
      expected_nats: the network's loss on such text, if it is known, such as its validation loss.
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
    most = _most(together.MOST_COUNTED, COUNT_SHARE * limits.seconds, COUNTED_PER_SECOND)
    before = before_heldout(Parts(data.train, data.validation, data.heldout), data.pieces, most)
    heldout = data.heldout[: limits.characters + 1] if limits.characters else data.heldout
    to_read = _most(len(heldout), limits.seconds, TESTED_PER_SECOND)
    counts = together.make_counts(data.vocabulary.characters, len(before) + to_read, NODES_OF_LONG)
    reader = together.make_reader(model, how, counts, parts.find_optimizer(how.optimizer))
    most_mixed = _most(together.MOST_MIXED, MIX_SHARE * limits.seconds, MIXED_PER_SECOND)
    counted = together.read_before(model, counts, before, most_mixed, MIX_SHARE * limits.seconds)
    return_freed_memory()
    read = together.read_on(reader, params, counted, heldout, key, expected_nats)
    of_heldout = yield from _read_until(read, begun + limits.seconds, "held-out text", len(heldout) - 1, least=LEAST_HELDOUT)
    return Result(mean_nats(train), len(train) * num_streams, len(before), together.mean_scores(of_heldout), how)


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
    counts = together.make_counts(characters, len(ids))
    reader = together.make_reader(for_ids(model, ids), how, counts, parts.find_optimizer(how.optimizer))
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


def _most(characters: int, seconds: float, per_second: int) -> int:
    """Limit a number of characters to those for which there is time, but not below the least."""
    return characters if seconds == math.inf else min(characters, max(LEAST_HELDOUT, int(seconds * per_second)))


def source_nats(data: Data, num_characters: int) -> float | None:
    """Compute the loss of the source itself on the first predicted characters of the held-out part, in nats per character.

    None if the text has no known source.
    """
    if data.text is None or data.source is None:
        return None
    losses = automaton.source_losses(data.source, data.text)
    return mean_nats(losses[len(losses) - len(data.heldout) + 1 :][:num_characters])


def run_to_end(measuring: Generator[Testing, None, Found]) -> Found:
    """Run a test without showing its progress."""
    while True:
        try:
            next(measuring)
        except StopIteration as end:
            return end.value

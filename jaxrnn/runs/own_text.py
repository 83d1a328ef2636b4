"""Read the text that a run was trained on again, and mix the network with counts of it."""

import numpy as np

from jaxrnn.config import build, parts
from jaxrnn.config.build import Data
from jaxrnn.config.settings import Config
from jaxrnn.data import vocabulary
from jaxrnn.data.array_types import Params
from jaxrnn.data.documents import unmark
from jaxrnn.data.files import quote_names
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.models.mixed_model import MixedParams, mixed_model
from jaxrnn.models.model import Model
from jaxrnn.models.scalar_loops import to_host
from jaxrnn.scoring import counting, together
from jaxrnn.scoring.novelty import Segment
from jaxrnn.storage.checkpoint import SavedRun
from jaxrnn.training.mixed import make_mixture

MOST_JOINED = 20_000  # characters from which the mixture learns its weights, at most


def load_own_data(config: Config, known: Vocabulary, sha256: str, remedy: str, if_changed: str) -> Data:
    """Read and split the text that a run was trained on.

    Args:
      known: the run's vocabulary.
      sha256: SHA-256 of the characters that the run used.
      remedy: for the message if the text is missing: what else the user can do.
      if_changed: for the message if the text has changed.
    Raises:
      InputError: the text is missing, cannot be read, or has changed.
    """
    missing = parts.find_missing(config.text.text)
    if missing:
        raise InputError(f"the text of this run is no longer at {missing!r}; put it back, or {remedy}")
    try:
        used = build.read_used_text(config, known)
    except InputError as error:
        raise InputError(f"the text of this run: {error}; put it back, or {remedy}") from None
    if used.coded.sha256 != sha256:
        raise InputError(f"the text {quote_names(config.text.text)} is not the one that this run was trained on, {if_changed}")
    return build.split_data(config, used, known)


def training_segments(data: Data) -> list[Segment]:
    """Return the training part as text, without the validation pieces that it is spread around, each segment with its line."""
    segments, line, num_trained, num_validated = [], 1, 0, 0
    train, validation = unmark(data.train), unmark(data.validation)
    for start, end in [*data.pieces, (data.num_used - len(data.heldout),) * 2]:
        begin, num_trained = num_trained, start - num_validated
        trained = vocabulary.decode(data.vocabulary, train[begin:num_trained])
        segments.append(Segment(trained, line))
        validated = vocabulary.decode(data.vocabulary, validation[num_validated : num_validated + end - start])
        num_validated += end - start
        line += trained.count("\n") + validated.count("\n")
    return [segment for segment in segments if segment.text]


def mix_as_learned(run: SavedRun, params: Params) -> tuple[Model, MixedParams]:
    """Mix the network of a run with the counts that it was trained with, using the weights that it learned."""
    memory, characters = run.snapshot.state.memory, run.vocabulary.characters
    counts = build.build_counts(run.config, characters, run.about["text"]["characters"])
    mixture = make_mixture(len(characters), 1, counts)
    params = MixedParams(params, memory.counts, memory.mixture)
    return mixed_model(run.model, counts, mixture), to_host(params)


def mix_with_counts(run: SavedRun, params: Params, data: Data) -> tuple[Model, MixedParams]:
    """Count the text of a run, and mix the counts with its network; the weights are learned on the validation part.

    Without a validation part they are learned on the end of the training part. Of the two only the network knows that text, so
    it gets more weight than it deserves.
    """
    counted, mixed = np.concatenate([data.train, data.validation[:-MOST_JOINED]]), data.validation[-MOST_JOINED:]
    if not mixed.size:
        cut = len(data.train) - min(MOST_JOINED, len(data.train) // 10)
        counted, mixed = data.train[:cut], data.train[cut:]
    counts = counting.make_counts(run.vocabulary.characters, len(counted) + len(mixed))
    key = build.make_keys(run.config.run.seed).evaluation
    before = counting.read_before(run.model, counts, counted[-counting.MOST_COUNTED :])
    memory = together.learn_to_mix(run.model, params, counts, before, mixed, key)
    mixture = make_mixture(len(run.vocabulary.characters), 1, counts)
    return mixed_model(run.model, counts, mixture), MixedParams(to_host(params), memory.counts, memory.mixture)

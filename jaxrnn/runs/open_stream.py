"""Begin to score a stream with the model of a run: choose how it learns, and where it starts."""

from typing import Literal, NamedTuple

from jaxrnn.config import build
from jaxrnn.config.scorers import Learning, build_resuming_scorer, build_scorer
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.data import vocabulary
from jaxrnn.data.array_types import Params
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.models.documents import with_documents
from jaxrnn.models.model import Model
from jaxrnn.runs import testing
from jaxrnn.runs.loaded import read_dynamic
from jaxrnn.scoring import stream
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.scoring.sampling import default_prompt
from jaxrnn.scoring.stream import Scorer, Stream
from jaxrnn.storage import checkpoint
from jaxrnn.storage.checkpoint import SavedRun, WeightsChoice
from jaxrnn.storage.streams import Extent
from jaxrnn.training.learner import State

Learn = float | Literal["off", "auto"]


def choose_learning(
    config: Config, learn: Learn, tested: DynamicSettings | None, model: Model, params: Params, flag: str = "learn"
) -> Learning:
    """Choose how a model learns from a stream.

    Args:
      learn: "off" = with fixed weights; a learning rate = by dynamic evaluation at this rate; "auto" = as in the run's final
        test, or as in its training, if that was together with counts.
      tested: how the network learned in the run's final test; None if it was not tested.
      flag: how errors call `learn`.
    Raises:
      InputError: it is not one of these, or the run was not tested.
    """
    settings = config.evaluation
    if learn == "off":
        return Learning()
    if learn == AUTO and config.learning.counts and config.learning.schedule != "cosine":  # whose rate has ended at 0
        return Learning(goes_on=True)
    if learn == AUTO:
        if tested is None and settings.dynamic == AUTO:
            raise InputError(f"{flag} is 'auto', but this run has not been tested, so no rate was chosen; give a learning rate")
        return Learning(tested or testing.resolve_dynamic(config, None, model, params))
    if isinstance(learn, str | bool):
        raise InputError(f"{flag} is {learn!r}; it must be 'off', 'auto' or a learning rate")
    if not 1e-30 < learn < 1e30:
        raise InputError(f"{flag} is {learn}; a learning rate must be over 0 and finite")
    return Learning(DynamicSettings(settings.dynamic_optimizer, (learn,), settings.dynamic_length))


def make_scorer(
    config: Config, learning: Learning, known: Vocabulary, model: Model, state: State, num_characters: int
) -> Scorer:
    """Make the scorer of a run.

    Args:
      num_characters: length of the text on which the run was trained.
    """
    if learning.goes_on:
        return build_resuming_scorer(config, model, state, known.characters, num_characters)
    return build_scorer(learning, model)


def begin_stream(config: Config, scorer: Scorer, known: Vocabulary, params: Params) -> Stream:
    """Begin a stream after a full stop, as in the course."""
    first = vocabulary.encode(known, default_prompt(known))
    return stream.start_stream(scorer, params, build.make_keys(config.run.seed).evaluation, int(first[0]))


class OpenStream(NamedTuple):
    """A stream of a saved run that can be read."""

    learning: Learning
    scorer: Scorer
    stream: Stream
    extent: Extent  # read before
    model: Model
    is_resumed: bool


def open_stream(run: SavedRun, learn: Learn | None, weights: WeightsChoice = "auto", resets: bool = False) -> OpenStream:
    """Open the stream of a run: the one that it was saved with, if it is to learn as it did, or else a new one.

    Args:
      learn: see `choose_learning`; None = as it was saved, or with fixed weights.
      resets: whether the model starts anew with each document.
    """
    model = with_documents(run.model) if resets else run.model
    params, saved = checkpoint.select_params(run, weights), run.stream
    state, known = run.snapshot.state, run.vocabulary
    if saved and learn in (None, AUTO):
        learning = saved.learning
    else:
        learning = choose_learning(run.config, learn or "off", read_dynamic(run.path, run.config), model, params)
    scorer = make_scorer(run.config, learning, known, model, state, run.about["text"]["characters"])
    if saved and saved.learning == learning and weights == "auto":
        return OpenStream(learning, scorer, saved.stream, saved.extent, model, is_resumed=True)
    return OpenStream(learning, scorer, begin_stream(run.config, scorer, known, params), Extent(), model, is_resumed=False)

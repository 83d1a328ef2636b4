"""Build what scores a stream with the model of a run."""

import dataclasses
from typing import NamedTuple

from jaxrnn.config import build, parts
from jaxrnn.config.settings import Config
from jaxrnn.models.model import Model
from jaxrnn.scoring import stream
from jaxrnn.scoring.evaluation import DynamicSettings, describe_dynamic
from jaxrnn.scoring.stream import Scorer
from jaxrnn.training.learner import State


class Learning(NamedTuple):
    """How a model learns from a stream that it scores."""

    how: DynamicSettings | None = None  # by dynamic evaluation
    goes_on: bool = False  # as in training, by a network that was trained together with counts


OFF = Learning()


def build_scorer(learning: Learning, model: Model) -> Scorer:
    """Build the scorer of a run, unless it goes on as in training."""
    if learning.how is None:
        return stream.frozen_scorer(model)
    return stream.learning_scorer(model, learning.how, parts.find_optimizer(learning.how.optimizer))


def build_resuming_scorer(config: Config, model: Model, state: State, characters: str, num_characters: int) -> Scorer:
    """Build the scorer of a run that goes on as in training, without replay, which would keep all of the stream.

    Args:
      state: the run's.
      characters: its vocabulary.
      num_characters: length of the text on which it was trained.
    """
    kept = dataclasses.replace(config, learning=dataclasses.replace(config.learning, replay=0))
    counts = build.build_counts(config, characters, num_characters)
    return stream.resuming_scorer(build.build_learner(kept, model, counts), without_past(state))


def without_past(state: State) -> State:
    """Drop the text that a run keeps for replay."""
    return state._replace(memory=state.memory._replace(past=None))


def describe_learning(learning: Learning) -> str:
    """Describe in words how a model learns from a stream."""
    if learning.goes_on:
        return "network and counts together, as in training"
    return describe_dynamic(learning.how) if learning.how else "off, weights frozen"

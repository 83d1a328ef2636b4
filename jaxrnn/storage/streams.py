"""Save in a run what its model has learned from a stream, and the position in the stream, to read on exactly from there.

The checkpoint is one like any other, so that the run can be sampled, tested and trained on. Beside its arrays stand those of
the stream, and in its manifest, as `stream`, how the model learns, how much it has read, and the characters of an open block.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn.config import build
from jaxrnn.config.scorers import Learning, build_scorer, without_past
from jaxrnn.config.settings import Config
from jaxrnn.errors import InputError
from jaxrnn.models.model import Model
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.scoring.pieces import Place, Tally
from jaxrnn.scoring.stream import Stream
from jaxrnn.training.learner import State
from jaxrnn.training.optimizers import OPTIMIZERS


class Extent(NamedTuple):
    """How much of a stream was read, and how well it was predicted."""

    num_characters: int = 0
    num_lines: int = 0
    num_unknown: int = 0
    nats: float = 0.0  # of all its characters
    of_networks: tuple[float, ...] = ()  # nats of each network that learns, for the characters that the model knows


class SavedStream(NamedTuple):
    """A stream as it was saved."""

    learning: Learning
    stream: Stream
    extent: Extent
    input_sha256: str = ""  # of the characters of the last input so far
    input_characters: int = 0  # their number
    tally: Tally = Tally()  # of the document that was being read


def stream_to_json(saved: SavedStream) -> dict[str, Any]:
    """Return what the manifest says of a stream."""
    how = saved.learning.how
    return {
        "goes_on": saved.learning.goes_on,
        "dynamic": how and how._asdict(),
        "unread": saved.stream.unread.tolist(),
        "extent": {**saved.extent._asdict(), "of_networks": list(saved.extent.of_networks)},
        "input_sha256": saved.input_sha256,
        "input_characters": saved.input_characters,
        "tally": saved.tally._asdict(),
    }


def learning_from_json(about: Mapping[str, Any], config: Config) -> Learning:
    """Read how a model learns from what the manifest says of a stream.

    Raises:
      InputError: by an optimizer that the settings, which were checked for what they import, do not name.
    """
    how = about["dynamic"]
    if how and how["optimizer"] not in (*OPTIMIZERS, config.evaluation.dynamic_optimizer):
        raise InputError(f"its stream is learned from by {how['optimizer']!r}, which its settings do not name")
    return Learning(how and DynamicSettings(how["optimizer"], tuple(how["rates"]), how["length"]), about["goes_on"])


def stream_arrays(saved: SavedStream) -> State | None:
    """Return the arrays that are saved beside those of the run; None if the run's own state is that of the stream."""
    return None if saved.learning.goes_on else saved.stream.state


def arrays_like(config: Config, model: Model, about: Mapping[str, Any]) -> State | None:
    """Return the shapes of `stream_arrays`, from what the manifest says of a stream."""
    learning = learning_from_json(about, config)
    if learning.goes_on:
        return None
    return jax.eval_shape(build_scorer(learning, model).learner.init, build.make_keys(0).init)


def stream_from_json(config: Config, about: Mapping[str, Any], arrays: State | None, state: State) -> SavedStream:
    """Put a saved stream together.

    Args:
      state: the run's.
    """
    learning = learning_from_json(about, config)
    position = without_past(state) if arrays is None else arrays
    extent = Extent(**{**about["extent"], "of_networks": tuple(about["extent"]["of_networks"])})
    unread = np.array(about["unread"], np.int32)
    tally = Tally(**{**about["tally"], "place": Place(*about["tally"]["place"])})
    stream = Stream(position, unread)
    return SavedStream(learning, stream, extent, about["input_sha256"], about["input_characters"], tally)

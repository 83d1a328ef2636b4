"""Collect everything that stays the same during a run."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from jaxrnn.config import build
from jaxrnn.config.build import Data
from jaxrnn.config.settings import Config
from jaxrnn.data import streams
from jaxrnn.data.array_types import Params, RandomKey, Stream
from jaxrnn.models.documents import for_ids
from jaxrnn.models.model import Model
from jaxrnn.runtime import devices
from jaxrnn.scoring import evaluation
from jaxrnn.training.drivers import Driver, make_driver
from jaxrnn.training.learner import Learner, State
from jaxrnn.training.progress import Progress


class Task(NamedTuple):
    """Everything that stays the same during a run; the functions below compute what follows from it."""

    config: Config
    data: Data
    model: Model
    learner: Learner
    mesh: Mesh | None  # the devices over which the streams are sharded; None for a single one
    stream: Stream
    drive: Driver
    restart: Callable[[State, RandomKey], State]  # at an epoch, with its key
    validate: Callable[[Params], float]  # nats per character of the validation part, weights frozen


def prepare(config: Config, data: Data) -> Task:
    """Build the model, the learner and the driver that the settings name."""
    model, keys = build.build_model(config, data.vocabulary), build.make_keys(config.run.seed)
    model = for_ids(model, data.train, data.validation, data.heldout)
    counts = build.build_counts(config, data.vocabulary.characters, data.num_used)
    learner = build.build_learner(config, model, counts, data.num_used)
    mesh = devices.make_mesh(config)
    stream = devices.shard_stream(streams.to_streams(data.train, config.learning.num_streams), mesh)
    most_updates, losses_of = streams.count_updates(stream, learner.length), evaluation.frozen_evaluation(model)
    return Task(
        config=config,
        data=data,
        model=model,
        learner=learner,
        mesh=mesh,
        stream=stream,
        drive=make_driver(learner, min(config.run.updates_per_call, most_updates)),
        restart=make_restart(learner),
        validate=lambda params: evaluation.mean_nats(losses_of(devices.to_local(params), data.validation, keys.evaluation)),
    )


def make_restart(learner: Learner) -> Callable[[State, RandomKey], State]:
    """Make the function that begins an epoch, which goes on counting updates; it overwrites the state that it is given."""

    def begin_epoch(state: State, key: RandomKey) -> State:
        return learner.restart(state, key)._replace(step=state.step)

    return jax.jit(begin_epoch, donate_argnums=0)


def updates_per_epoch(task: Task) -> int:
    """Count the updates in one reading of the streams."""
    return streams.count_updates(task.stream, task.learner.length)


def characters_per_update(task: Task) -> int:
    """Count the characters that one update reads from all streams."""
    return task.learner.length * task.config.learning.num_streams


def characters_per_epoch(task: Task) -> int:
    """Count the characters that all streams read in a whole epoch."""
    return updates_per_epoch(task) * characters_per_update(task)


def characters_read(task: Task, progress: Progress) -> int:
    """Count the characters that all streams have read in this epoch so far."""
    return (progress.epoch_read or 0) // task.learner.length * characters_per_update(task)


def num_epochs(config: Config) -> int | None:
    """Return the planned number of epochs; None if it is not known."""
    return None if config.learning.schedule == "halving" or config.learning.minutes else config.learning.epochs

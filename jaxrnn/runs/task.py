"""What stays the same while a run goes on."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxrnn.array_types import Params, RandomKey, Stream
from jaxrnn.config import build
from jaxrnn.config.build import Data, Keys
from jaxrnn.config.settings import Config
from jaxrnn.data.streams import to_streams, updates_per_epoch
from jaxrnn.models.model import Model
from jaxrnn.runtime import devices
from jaxrnn.scoring import evaluation
from jaxrnn.training.drivers import Driver, make_driver
from jaxrnn.training.learner import Learner, State
from jaxrnn.training.progress import Progress


class Task(NamedTuple):
    """What stays the same while a run goes on."""

    config: Config
    data: Data
    keys: Keys
    model: Model
    learner: Learner
    mesh: Mesh | None  # the devices that share the streams out; None for a single one
    stream: Stream
    updates_per_epoch: int
    characters_per_update: int  # of all streams
    drive: Driver
    restart: Callable[[State, RandomKey], State]
    validate: Callable[[Params], float]  # nats per character of the validation part, weights frozen
    finite: Callable[[Params], bool]


def prepare(config: Config, data: Data) -> Task:
    """Builds what the settings name."""
    model, keys = build.build_model(config, data.vocabulary), build.make_keys(config.run.seed)
    learner = build.build_learner(config, model)
    mesh = devices.make_mesh(config)
    stream = devices.shard_stream(to_streams(data.train, config.learning.num_streams), mesh)
    num_updates, losses_of = updates_per_epoch(stream, learner.length), evaluation.frozen_evaluation(model)
    return Task(
        config=config,
        data=data,
        keys=keys,
        model=model,
        learner=learner,
        mesh=mesh,
        stream=stream,
        updates_per_epoch=num_updates,
        characters_per_update=learner.length * config.learning.num_streams,
        drive=make_driver(learner, min(config.run.updates_per_call, num_updates)),
        restart=jax.jit(learner.restart, donate_argnums=0),
        validate=lambda params: evaluation.mean_nats(losses_of(devices.to_local(params), data.validation, keys.evaluation)),
        finite=lambda params: all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)),  # less than to compile it
    )


def characters_per_epoch(task: Task) -> int:
    """Characters that all streams read in a whole epoch."""
    return task.updates_per_epoch * task.characters_per_update


def characters_read(task: Task, progress: Progress) -> int:
    """Characters that all streams have read in this epoch so far."""
    return (progress.epoch_read or 0) // task.learner.length * task.characters_per_update


def num_epochs(config: Config) -> int | None:
    """How many epochs there will be, if that can be known."""
    return None if config.learning.schedule == "halving" or config.learning.minutes else config.learning.epochs

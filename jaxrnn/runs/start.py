"""Where a run starts: from random weights, or from those of another run or file, whose vocabulary may grow."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.array_types import Params
from jaxrnn.config import build
from jaxrnn.config.resolve import Given
from jaxrnn.config.settings import Config
from jaxrnn.config.trust import Untrusted, trusted_by
from jaxrnn.console import report
from jaxrnn.data import paths, vocabulary
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.runs.task import Task, updates_per_epoch
from jaxrnn.storage import checkpoint, store, weights
from jaxrnn.storage.manifest import config_from_manifest
from jaxrnn.storage.weights import Weights
from jaxrnn.training.drivers import copy_arrays
from jaxrnn.training.optimizers import with_schedule_length
from jaxrnn.training.progress import Progress, Snapshot, guess_nats


def weights_of(source: Path, trust: Sequence[str] = ()) -> Weights:
    """Those of a run (`checkpoint.select_params`), or in a file made by `jaxrnn.export`; `InputError` if there are none."""
    source = paths.expand_home(source)
    with contextlib.suppress(OSError):  # a name that no file can have
        if source.is_file():
            return weights.read_weights(source, trust)
    run = checkpoint.load_run(source, trust=trust)
    report.warn_of_rejected(run.rejected)
    return Weights(run.config, run.vocabulary, checkpoint.select_params(run))


def origin_settings(given: Given) -> Config | None:
    """The settings of the run or file that a new run is to start from, read without JAX; None without one."""
    source = given.values.get("init_from")
    return config_of(Path(source), trusted_by(given.values)) if source else None


def config_of(source: Path, trust: Sequence[str] = ()) -> Config | None:
    """The settings of a run or file, read without JAX; None if there are none, which `weights_of` then explains.

    Raises:
      Untrusted: they name code that is not trusted.
    """
    try:
        if source.is_file():
            return weights.read_weights_config(source, trust)
        found = (store.read_about(source, number) for number in reversed(store.list_numbers(source)))
        return next((config_from_manifest(about, trust) for about in found if about is not None), None)
    except Untrusted as error:
        raise Untrusted(f"{str(source)!r}: {error}", error.settings) from None
    except (OSError, InputError):
        return None


def check_model(config: Config, origin: Weights) -> None:
    """Raises `InputError`, naming the flag, unless the settings describe the network that the weights are of."""
    for name, value in vars(origin.config.model).items():
        wanted = getattr(config.model, name)
        if wanted != value:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} is {wanted}, and the weights in {config.run.init_from!r} are of a network with {value}")


def first_snapshot(task: Task, origin: Weights | None = None) -> Snapshot:
    """The snapshot from which a run reads its first character."""
    key = build.make_keys(task.config.run.seed).init
    state = jax.jit(task.learner.init)(key)
    if origin is not None:
        params = inherited(state.params, task.data.vocabulary, origin)
        state = jax.jit(task.learner.begin)(params, key)
    if not task.config.learning.minutes:  # else that is known when the speed is
        opt_state = with_schedule_length(state.opt_state, task.config.learning.epochs * updates_per_epoch(task))
        state = state._replace(opt_state=opt_state)
    # Old weights may begin far above a guess, on another text: only their own first window tells where they stand.
    lowest = guess_nats(len(task.data.vocabulary.characters)) if origin is None else math.inf
    return Snapshot(state, copy_arrays(state.params), Progress(lowest_window=lowest))


def inherited(fresh: Params, known: Vocabulary, origin: Weights) -> Params:
    """The weights of `origin` for a vocabulary that holds its own; the rows of characters new to it are those of `fresh`.

    A vocabulary is sorted, so that old rows may have to move: they go with their characters, one with all that are merged.
    """
    rows = vocabulary.class_ids(known)[vocabulary.encode(known, vocabulary.class_representatives(origin.vocabulary))]
    num_known, num_old = len(vocabulary.class_representatives(known)), len(rows)

    def leaf(new: jax.Array, old: jax.Array) -> jax.Array:
        of_characters = new.shape[:1] == (num_known,) and old.shape == (num_old, *new.shape[1:])
        if new.shape == old.shape:
            return jnp.asarray(old)
        if not of_characters:
            raise InputError(f"an array of shape {old.shape} cannot become one of shape {new.shape}")
        return new.at[np.asarray(rows)].set(old)

    return jax.tree.map(leaf, fresh, origin.params)

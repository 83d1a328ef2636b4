"""Make the initial state of a run: random weights, or those of another run or file, whose vocabulary may grow."""

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.config import build
from jaxrnn.config.resolve import Given
from jaxrnn.config.settings import Config
from jaxrnn.config.trust import Untrusted, trusted_by
from jaxrnn.console import report
from jaxrnn.data import paths, vocabulary
from jaxrnn.data.array_types import Params
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.models.scalar_loops import on_host
from jaxrnn.runs.task import Task, updates_per_epoch
from jaxrnn.runtime import devices
from jaxrnn.storage import checkpoint, store, weights
from jaxrnn.storage.manifest import config_from_manifest
from jaxrnn.storage.weights import Weights
from jaxrnn.training.learner import State, copy_arrays
from jaxrnn.training.optimizers import with_schedule_length
from jaxrnn.training.progress import Progress, Snapshot, guess_nats


def load_weights(source: Path, trust: Sequence[str] = ()) -> Weights:
    """Load the weights of a run, or from a file written by `jaxrnn.export`; raise `InputError` if there are none."""
    source = paths.expand_home(source)
    with contextlib.suppress(OSError):  # a name that no file can have
        if source.is_file():
            return weights.read_weights(source, trust)
    run = checkpoint.load_run(source, trust=trust)
    report.warn_of_rejected(run.rejected)
    return Weights(run.config, run.vocabulary, checkpoint.select_params(run))


def origin_settings(given: Given) -> Config | None:
    """Read the settings of the run or file that `--init-from` names, without JAX; None if it names none."""
    source = given.values.get("init_from")
    return read_origin_config(Path(source), trusted_by(given.values)) if source else None


def read_origin_config(source: Path, trust: Sequence[str] = ()) -> Config | None:
    """Read the settings of a run or file without JAX; None if there are none (`load_weights` explains why).

    Raises:
      Untrusted: they name code that is not trusted.
    """
    try:
        if source.is_file():
            return weights.read_weights_config(source, trust)
        found = (store.read_about(source, number) for number in reversed(store.list_numbers(source)))
        return next((config_from_manifest(about, trust) for about in found if about is not None), None)
    except Untrusted as error:
        named = "" if str(source) in str(error) else f"{str(source)!r}: "
        raise Untrusted(f"{named}{error}", error.settings) from None
    except (OSError, InputError):
        return None


def check_model(config: Config, origin: Weights) -> None:
    """Raise `InputError` with the flag unless the settings describe the network of these weights."""
    for name, value in vars(origin.config.model).items():
        wanted = getattr(config.model, name)
        if wanted != value:
            flag = name.replace("_", "-")
            raise InputError(
                f"--{flag} is {wanted}, but the weights in {config.run.init_from!r} belong to a network with {value}"
            )


def first_snapshot(task: Task, origin: Weights | None = None) -> Snapshot:
    """Make the snapshot that a run starts from."""
    key = build.make_keys(task.config.run.seed).init
    init = jax.jit(task.learner.init)
    program = init.lower(key)
    with tracing_loop(task, jax.eval_shape(init, key)):
        state = program.compile()(key)  # by XLA, beside which Python can trace
    if origin is not None:
        params = inherit_params(state.params, task.data.vocabulary, origin)
        state = jax.jit(task.learner.begin)(params, key)
    if not task.config.learning.minutes:  # a timed run is planned once its speed is known
        opt_state = with_schedule_length(state.opt_state, task.config.learning.epochs * updates_per_epoch(task))
        state = state._replace(opt_state=opt_state)
    # On another text, inherited weights may start far worse than a guess: only the first window shows how good they are.
    lowest = guess_nats(len(task.data.vocabulary.characters)) if origin is None else math.inf
    return Snapshot(state, copy_arrays(state.params), Progress(lowest_window=lowest))


@contextlib.contextmanager
def tracing_loop(task: Task, state: State) -> Iterator[None]:
    """Trace the training loop in another thread, while XLA compiles another program here.

    Args:
      state: shapes and types of the first state.
    """

    def trace() -> None:
        with contextlib.suppress(Exception), on_host() if task.config.learning.counts else contextlib.nullcontext():
            begun = jax.eval_shape(task.restart, state, build.make_epoch_key(0, 0))
            task.drive(devices.shard_state(begun, task.mesh), task.stream, 0)  # an error will come again, and be reported

    thread = threading.Thread(target=trace)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def inherit_params(fresh: Params, known: Vocabulary, origin: Weights) -> Params:
    """Copy the weights of `origin` into a larger vocabulary; rows of new characters come from `fresh`.

    Vocabularies are sorted, so rows move with their characters; merged characters share one row.
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

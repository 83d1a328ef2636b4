"""A run's snapshot and what is needed to use it, saved and read back; damaged ones are passed over for older ones."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import jax

from jaxrnn.array_types import Params
from jaxrnn.config import build
from jaxrnn.config.build import Data
from jaxrnn.config.settings import Config
from jaxrnn.data import paths
from jaxrnn.data.vocabulary import Vocabulary, vocabulary_from_json
from jaxrnn.errors import InputError, pluralize
from jaxrnn.models.model import Model
from jaxrnn.storage import store
from jaxrnn.storage.failures import Damaged
from jaxrnn.storage.manifest import (
    FORMAT,
    array_layout,
    check_layout,
    config_from_manifest,
    make_manifest,
    progress_from_manifest,
)
from jaxrnn.storage.store import OpenCheckpoint, Rejected
from jaxrnn.training.progress import Snapshot

WeightsChoice: TypeAlias = Literal["auto", "newest", "best"]


class Run(NamedTuple):
    """A run read back from its folder."""

    path: Path
    number: int  # of the checkpoint
    config: Config
    vocabulary: Vocabulary
    model: Model
    snapshot: Snapshot
    about: Mapping[str, Any]  # all that the checkpoint says, see `manifest.py`
    rejected: tuple[Rejected, ...] = ()  # newer checkpoints that are damaged


def save_checkpoint(
    run_dir: Path, config: Config, data: Data, snapshot: Snapshot, log_sizes: Mapping[str, int] | None = None
) -> None:
    """Writes the snapshot as the run's newest checkpoint; of the older ones all but the last few are then removed.

    Raises:
      store.NotWritten: why it could not be written; what was saved before is as good as ever.
    """
    about = make_manifest(config, data, snapshot, log_sizes or {})
    store.write_checkpoint(run_dir, (snapshot.state, snapshot.best_params), about, keep=config.run.keep_checkpoints)


def load_run(run_dir: Path | str, sharding: jax.sharding.Sharding | None = None) -> Run:
    """The newest checkpoint of a run that is as it was saved; `rejected` tells of those passed over.

    Args:
      sharding: where the arrays go, on whatever devices they were; None = the first device.
    Raises:
      InputError: no run there; saved by another version; all checkpoints damaged.
    """
    run_dir, rejected = paths.expand_home(run_dir), []
    found = list_checkpoints(run_dir)
    for number in reversed(found):
        try:
            return read_checkpoint(run_dir, number, sharding)._replace(rejected=tuple(rejected))
        except Damaged as damaged:
            path = store.checkpoint_path(run_dir, number)
            if path.exists():  # else the run goes on, and has just removed it
                rejected.append(Rejected(path, str(damaged)))
    if not rejected or store.list_numbers(run_dir)[-1:] > found[-1:]:
        return load_run(run_dir, sharding)  # there are newer ones by now
    reasons = "; ".join(f"{path.name}: {reason}" for path, reason in rejected)
    raise InputError(f"every checkpoint of the run in {str(run_dir)!r} is damaged, so that it cannot be used: {reasons}")


def read_checkpoint(run_dir: Path, number: int, sharding: jax.sharding.Sharding | None = None) -> Run:
    """One checkpoint, verified.

    Raises:
      store.Damaged: it is not what was saved.
      InputError: it is, but another version saved it, or it may not be read.
    """
    with store.open_checkpoint(run_dir, number) as saved:
        about = saved.about
        try:
            if about["format"] != FORMAT:
                raise InputError(f"it is of format {about['format']}, and this jaxrnn reads format {FORMAT}")
            config, vocabulary = config_from_manifest(about), vocabulary_from_json(about["vocabulary"])
            model = build.build_model(config, vocabulary)
            snapshot = _snapshot(saved, config, model, sharding)
        except InputError as error:
            raise InputError(f"the run in {str(run_dir)!r} cannot be used: {error}") from None
    return Run(run_dir, number, config, vocabulary, model, snapshot, about)


def list_checkpoints(run_dir: Path) -> list[int]:
    """The numbers of its checkpoints, in the order of saving.

    Raises:
      InputError: no run there.
    """
    found = store.list_numbers(run_dir)
    if store.holds_checkpoint(run_dir):
        return found
    with contextlib.suppress(OSError):  # a name that no file can have
        if run_dir.is_file():
            raise InputError(f"{str(run_dir)!r} is a file and no run's folder; a run starts from a file by train --init-from")
    raise InputError(f"no run in {str(run_dir)!r}: there is no checkpoint in it")


def newest_run(runs_dir: Path = Path("runs")) -> Path:
    """The run that was written to last.

    Raises:
      InputError: there is none.
    """
    runs = [path.parent for path in runs_dir.glob(f"*/{store.FOLDER}") if store.holds_checkpoint(path.parent)]
    if not runs:
        raise InputError(f"no run in the folder {str(runs_dir)!r}; train one first (python -m jaxrnn.train) or name its folder")
    return max(runs, key=lambda run: (run / store.FOLDER).stat().st_mtime)


def select_params(run: Run, which: WeightsChoice = "auto") -> Params:
    """The newest weights of a run, or those of its best epoch; `auto`: the best if they are known from a validation part.

    Raises:
      InputError: no epoch is over.
    """
    if which == "best" and run.snapshot.progress.best_step is None:
        raise InputError(f"no best epoch of the run in {str(run.path)!r} is known: leave --weights out")
    return run.snapshot.best_params if _is_best(run, which) else run.snapshot.state.params


def describe_weights(run: Run, which: WeightsChoice) -> str:
    """Which ones these are."""
    if _is_best(run, which):
        return f"the best, after {pluralize(run.snapshot.progress.best_step or 0, 'update')}"
    return f"the newest, after {pluralize(int(run.snapshot.state.step), 'update')}"


def _is_best(run: Run, which: WeightsChoice) -> bool:
    validated = bool(run.config.text.validation_fraction) and run.snapshot.progress.best_step is not None
    return which == "best" or (which == "auto" and validated)


def _snapshot(saved: OpenCheckpoint, config: Config, model: Model, sharding: jax.sharding.Sharding | None) -> Snapshot:
    start = jax.eval_shape(build.build_learner(config, model).init, build.make_keys(0).init)
    check_layout(array_layout((start, start.params)), saved.about)
    state, best_params = store.read_arrays(saved, (start, start.params), sharding)
    return Snapshot(state, best_params, progress_from_manifest(saved.about))

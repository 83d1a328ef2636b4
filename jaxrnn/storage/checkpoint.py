"""Save and load checkpoints of a run: its snapshot and everything needed to use it. Damaged checkpoints are skipped."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import jax

from jaxrnn.config import build, parts
from jaxrnn.config.build import Data
from jaxrnn.config.settings import Config
from jaxrnn.config.trust import Untrusted
from jaxrnn.data import paths
from jaxrnn.data.array_types import Params
from jaxrnn.data.vocabulary import Vocabulary, vocabulary_from_json
from jaxrnn.errors import InputError, pluralize
from jaxrnn.models.documents import with_documents
from jaxrnn.models.model import Model
from jaxrnn.storage import store, streams
from jaxrnn.storage.failures import Damaged
from jaxrnn.storage.manifest import (
    FORMAT,
    array_layout,
    check_layout,
    config_from_manifest,
    make_manifest,
    package_versions,
    progress_from_manifest,
    progress_to_json,
)
from jaxrnn.storage.store import OpenCheckpoint, Rejected
from jaxrnn.storage.streams import SavedStream
from jaxrnn.training.learner import Learner, State
from jaxrnn.training.progress import Snapshot

WeightsChoice: TypeAlias = Literal["auto", "newest", "best"]


class SavedRun(NamedTuple):
    """A run loaded from its folder."""

    path: Path
    number: int  # of the checkpoint
    config: Config
    vocabulary: Vocabulary
    model: Model
    snapshot: Snapshot
    about: Mapping[str, Any]  # the manifest, see `manifest.py`
    rejected: tuple[Rejected, ...] = ()  # newer checkpoints that are damaged
    stream: SavedStream | None = None  # what it was reading and learning from, see `storage.streams`


def save_checkpoint(
    run_dir: Path, config: Config, data: Data, snapshot: Snapshot, log_sizes: Mapping[str, int] | None = None
) -> None:
    """Write a snapshot as the newest checkpoint of a run, then remove all but the last few.

    Raises:
      store.NotWritten: it could not be written; earlier checkpoints are intact.
    """
    about = make_manifest(config, data, snapshot, log_sizes or {})
    store.write_checkpoint(run_dir, (snapshot.state, snapshot.best_params), about, keep=config.run.keep_checkpoints)


def save_stream(
    run_dir: Path, run: SavedRun, params: Params, saved: SavedStream, log_sizes: Mapping[str, int] | None = None
) -> None:
    """Write a checkpoint of a run that is reading a stream, with the position in the stream.

    Args:
      run: the run with which the stream began.
      params: what its network has learned since.
    Raises:
      store.NotWritten: it could not be written; earlier checkpoints are intact.
    """
    snapshot = _learned_snapshot(run, params, saved)
    beside = streams.stream_arrays(saved)
    arrays = (snapshot.state, snapshot.best_params, *(() if beside is None else (beside,)))
    about = {
        **run.about,
        "versions": package_versions(),
        "progress": progress_to_json(snapshot),
        "log_sizes": dict(log_sizes or {}),
        "arrays": array_layout(arrays),
        "stream": streams.stream_to_json(saved),
    }
    store.write_checkpoint(run_dir, arrays, about, keep=run.config.run.keep_checkpoints)


def load_run(run_dir: Path | str, sharding: jax.sharding.Sharding | None = None, trust: Sequence[str] = ()) -> SavedRun:
    """Load the newest undamaged checkpoint of a run; `rejected` lists those skipped.

    Args:
      sharding: of the restored arrays, whatever devices they were saved on; None = the first device.
      trust: packages whose code the run may import, if its cell, rule, optimizer or text is not one of ours.
    Raises:
      InputError: there is no run, its version is incompatible, or all checkpoints are damaged.
      Untrusted: it names code of another package; nothing was imported.
    """
    run_dir, rejected = paths.expand_home(run_dir), []
    found = list_checkpoints(run_dir)
    for number in reversed(found):
        try:
            return read_checkpoint(run_dir, number, sharding, trust)._replace(rejected=tuple(rejected))
        except Damaged as damaged:
            path = store.checkpoint_path(run_dir, number)
            if path.exists():  # otherwise a running process has just removed it
                rejected.append(Rejected(path, str(damaged)))
    if not rejected or store.list_numbers(run_dir)[-1:] > found[-1:]:
        return load_run(run_dir, sharding, trust)  # newer ones have appeared
    reasons = "; ".join(f"{path.name}: {reason}" for path, reason in rejected)
    raise InputError(f"every checkpoint of the run in {str(run_dir)!r} is damaged: {reasons}")


def read_checkpoint(
    run_dir: Path, number: int, sharding: jax.sharding.Sharding | None = None, trust: Sequence[str] = ()
) -> SavedRun:
    """Read and verify one checkpoint.

    Raises:
      store.Damaged: it differs from what was saved.
      InputError: it is intact but from an incompatible version, or cannot be read.
      Untrusted: it names code that is not trusted.
    """
    with store.open_checkpoint(run_dir, number) as saved:
        about = saved.about
        try:
            if about["format"] != FORMAT:
                raise InputError(f"its format is {about['format']}; this jaxrnn reads format {FORMAT}")
            config, vocabulary = config_from_manifest(about, trust), vocabulary_from_json(about["vocabulary"])
            model = build.build_model(config, vocabulary)
            num_characters = about["text"]["characters"]
            counts = build.build_counts(config, vocabulary.characters, num_characters)
            learner = build.build_learner(config, _as_trained(model, config, about), counts, num_characters)
            beside = streams.arrays_like(config, model, about["stream"]) if "stream" in about else None
            snapshot, stream = _read_arrays(saved, config, learner, beside, sharding)
        except Untrusted as error:
            raise Untrusted(f"the run in {str(run_dir)!r} cannot be used: {error}", error.settings) from None
        except InputError as error:
            raise InputError(f"the run in {str(run_dir)!r} cannot be used: {error}") from None
    return SavedRun(run_dir, number, config, vocabulary, model, snapshot, about, stream=stream)


def list_checkpoints(run_dir: Path) -> list[int]:
    """List the numbers of a run's checkpoints, oldest first.

    Raises:
      InputError: there is no run.
    """
    found = store.list_numbers(run_dir)
    if store.holds_checkpoint(run_dir):
        return found
    with contextlib.suppress(OSError):  # an impossible file name
        if run_dir.is_file():
            raise InputError(f"{str(run_dir)!r} is a file, not the folder of a run; train --init-from starts a run from a file")
    raise InputError(f"no run in {str(run_dir)!r}: it holds no checkpoint")


def newest_run(runs_dir: Path = Path("runs")) -> Path:
    """Find the run that was written to most recently.

    Raises:
      InputError: there are no runs.
    """
    runs = [path.parent for path in runs_dir.glob(f"*/{store.FOLDER}") if store.holds_checkpoint(path.parent)]
    if not runs:
        raise InputError(f"no run in the folder {str(runs_dir)!r}; train one first (python -m jaxrnn.train) or name its folder")
    return max(runs, key=lambda run: (run / store.FOLDER).stat().st_mtime)


def select_params(run: SavedRun, which: WeightsChoice = "auto") -> Params:
    """Select the newest weights of a run, or those of its best epoch; `auto` selects the best if there is a validation part.

    Raises:
      InputError: the best weights are asked for, but no epoch has finished.
    """
    if which == "best" and run.snapshot.progress.best_step is None:
        raise InputError(f"the run in {str(run.path)!r} has no best epoch yet: leave --weights out")
    if _is_best(run, which):
        return run.snapshot.best_params
    state = run.snapshot.state
    return parts.find_optimizer(run.config.learning.optimizer).test_params(state.opt_state, state.params)


def describe_weights(run: SavedRun, which: WeightsChoice) -> str:
    """Describe the selected weights."""
    if _is_best(run, which):
        return f"the best, after {pluralize(run.snapshot.progress.best_step or 0, 'update')}"
    return f"the newest, after {pluralize(int(run.snapshot.state.step), 'update')}"


def _is_best(run: SavedRun, which: WeightsChoice) -> bool:
    validated = bool(run.config.text.validation_fraction) and run.snapshot.progress.best_step is not None
    return which == "best" or (which == "auto" and validated)


def _learned_snapshot(run: SavedRun, params: Params, saved: SavedStream) -> Snapshot:
    """Return the snapshot of a run with what it has learned from a stream; its position in its own text stays."""
    before = run.snapshot.state
    if saved.learning.goes_on:
        learned = saved.stream.state
        state = learned._replace(step=before.step, memory=learned.memory._replace(past=before.memory.past))
        params = parts.find_optimizer(run.config.learning.optimizer).test_params(state.opt_state, state.params)
    else:
        state = before._replace(params=params)
        if parts.find_optimizer(run.config.learning.optimizer).test_params(state.opt_state, params) is not params:
            learner = build.build_learner(run.config, run.model)  # its optimizer keeps an average, which begins anew
            state = state._replace(opt_state=learner.begin(params, build.make_keys(0).init).opt_state)
    return Snapshot(state, params, run.snapshot.progress)


def _as_trained(model: Model, config: Config, about: Mapping[str, Any]) -> Model:
    """Return the model that learned: one that starts anew with each document, if the text has several."""
    return with_documents(model) if config.text.reset and about["text"].get("documents", 1) > 1 else model


def _read_arrays(
    saved: OpenCheckpoint, config: Config, learner: Learner, beside: State | None, sharding: jax.sharding.Sharding | None
) -> tuple[Snapshot, SavedStream | None]:
    """Read the arrays of a run, and those of its stream, which are shaped like `beside`."""
    start, about = jax.eval_shape(learner.init, build.make_keys(0).init), saved.about
    like = (start, start.params, *(() if beside is None else (beside,)))
    check_layout(array_layout(like), about)
    state, best_params, *others = store.read_arrays(saved, like, sharding)
    of_stream = others[0] if others else None
    stream = streams.stream_from_json(config, about["stream"], of_stream, state) if "stream" in about else None
    return Snapshot(state, best_params, progress_from_manifest(about)), stream

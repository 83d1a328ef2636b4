"""A run's snapshot and what is needed to use it, on disk: Orbax for the arrays, JSON for the rest.

Everything is written to `RUN/checkpoints/NUMBER`, numbered in the order of saving. Orbax does not notice changed bytes in the
arrays, so the JSON part carries a SHA-256 over both, which is verified whenever a checkpoint is read. Reading begins with the
newest; one that is damaged is passed over for the one before it.
"""

import contextlib
import errno
import gc
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import PyTree

from jaxrnn import build
from jaxrnn import vocabulary as vocabularies
from jaxrnn.build import Data
from jaxrnn.config import Config
from jaxrnn.errors import InputError
from jaxrnn.learner import State, online
from jaxrnn.manifest import FORMAT, check_layout, digest, layout, manifest, saved_config, saved_progress
from jaxrnn.model import Model
from jaxrnn.progress import Progress, Snapshot, guess_nats
from jaxrnn.quiet import quiet
from jaxrnn.rules import one_step
from jaxrnn.schedule import Schedule
from jaxrnn.types import Params
from jaxrnn.vocabulary import Vocabulary

FOLDER, DAMAGED, TRASH = "checkpoints", "damaged", "trash"


class Rejected(NamedTuple):
    """A checkpoint that was passed over."""

    path: Path
    reason: str


class Run(NamedTuple):
    """A run read back from its folder."""

    path: Path
    number: int  # of the checkpoint
    config: Config
    vocabulary: Vocabulary
    model: Model
    state: State
    best_params: Params  # of the epoch with the lowest validation loss, or online loss where there is no validation part
    progress: Progress
    about: Mapping[str, Any]  # all that the checkpoint says, see `manifest.py`
    rejected: tuple[Rejected, ...] = ()  # newer checkpoints that are damaged


class Damaged(Exception):
    """A checkpoint is not what was saved: how that was noticed."""


class NotWritten(Exception):
    """A checkpoint could not be saved: why."""


def save(run_dir: Path, config: Config, data: Data, snapshot: Snapshot, log_sizes: Mapping[str, int] | None = None) -> None:
    """Writes the snapshot as the run's newest checkpoint; of the older ones all but the last few are then removed.

    Raises:
      NotWritten: why it could not be written; what was saved before is as good as ever.
    """
    about = manifest(config, data, snapshot, log_sizes or {})
    write(run_dir, (snapshot.state, snapshot.best_params), about, keep=config.run.keep_checkpoints)


def write(run_dir: Path, arrays: PyTree, about: Mapping[str, Any], keep: int) -> None:
    """Writes any arrays, and what is to be said about them, as the newest checkpoint; `NotWritten` if that cannot be done."""
    import orbax.checkpoint as ocp  # here, because it takes half a second to import

    saved = {"about": about, "about_sha256": digest((), about), "sha256": digest(arrays, about)}
    args = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(saved))
    remove_leftovers(run_dir)  # of a save that failed
    with quiet():
        try:
            with _manager(run_dir, keep) as manager:
                if not manager.save(max(numbers(run_dir), default=0) + 1, args=args):
                    raise NotWritten("Orbax did not take it")
            remove_leftovers(run_dir)  # what is no longer kept
            return
        except Exception as error:  # Orbax meets a full disk with many kinds of them
            reason = in_words(error)
        gc.collect()  # what it has left unfinished complains when it is collected
    raise NotWritten(reason)


def load(run_dir: Path, sharding: jax.sharding.Sharding | None = None) -> Run:
    """The newest checkpoint of a run that is as it was saved; `rejected` tells of those passed over.

    Args:
      sharding: where the arrays go, on whatever devices they were; None = the first device.
    Raises:
      InputError: no run there; saved by another version; all checkpoints damaged.
    """
    found, rejected = numbers(run_dir), []
    if not found:
        raise InputError(f"no run in {str(run_dir)!r}: there is no checkpoint in it")
    for number in reversed(found):
        try:
            return read(run_dir, number, sharding)._replace(rejected=tuple(rejected))
        except Damaged as damaged:
            if _path(run_dir, number).exists():  # else the run goes on, and has just removed it
                rejected.append(Rejected(_path(run_dir, number), str(damaged)))
    if not rejected or numbers(run_dir)[-1:] > found[-1:]:
        return load(run_dir, sharding)  # there are newer ones by now
    reasons = "; ".join(f"{path.name}: {reason}" for path, reason in rejected)
    raise InputError(f"every checkpoint of the run in {str(run_dir)!r} is damaged, so that it cannot be used: {reasons}")


def weights(run: Run, best: bool) -> Params:
    """The newest weights of a run, or those of its best epoch; `InputError` if none is over."""
    if best and run.progress.best_step is None:
        raise InputError(f"no best epoch of the run in {str(run.path)!r} is known: leave --best out")
    return run.best_params if best else run.state.params


def read(run_dir: Path, number: int, sharding: jax.sharding.Sharding | None = None) -> Run:
    """One checkpoint, verified.

    Raises:
      Damaged: it is not what was saved.
      InputError: it is, but another version saved it, or it may not be read.
    """
    target = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with quiet():
        try:
            with _manager(run_dir, read_only=True) as manager:
                return _verified(manager, run_dir, number, target)
        except (Damaged, MemoryError, jax.errors.JaxRuntimeError):
            raise  # with too little memory what was saved may be good
        except InputError as error:
            raise InputError(f"the run in {str(run_dir)!r} cannot be used: {error}") from None
        except PermissionError as error:
            raise InputError(f"checkpoint {str(_path(run_dir, number))!r} cannot be read: {error.strerror}") from None
        except Exception as error:  # Orbax meets damage with many kinds of them, and many words
            reason = f"it cannot be read ({type(error).__name__})"
        gc.collect()  # what it has left unfinished complains when it is collected
    raise Damaged(reason)


def in_words(error: Exception) -> str:
    """Why something could not be written."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    full = any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "No space left"))
    return "no space left on the disk" if full else str(error).partition("\n")[0][:100] or type(error).__name__


def numbers(run_dir: Path) -> list[int]:
    """The checkpoints that there are, in the order of saving.

    Raises:
      InputError: that cannot be found out, which is not to be taken for none.
    """
    folder = run_dir / FOLDER
    try:
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    except OSError as error:
        none = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
        if none and (error.errno == errno.ENAMETOOLONG or not folder.is_symlink()):
            return []
        raise InputError(f"the checkpoints in {str(folder)!r} cannot be listed: {error.strerror}") from None


def newest(runs_dir: Path = Path("runs")) -> Path:
    """The run that was written to last.

    Raises:
      InputError: there is none.
    """
    runs = {path.parent.parent for path in runs_dir.glob(f"*/{FOLDER}/*") if path.name.isdigit()}
    if not runs:
        raise InputError(f"no run in the folder {str(runs_dir)!r}; train one first (python -m jaxrnn.train) or name its folder")
    return max(runs, key=lambda run: (run / FOLDER).stat().st_mtime)


def remove_leftovers(run_dir: Path) -> None:
    """Removes what a save that was killed or failed has left; for the one process that writes to this run."""
    for path in (run_dir / FOLDER).glob("*"):
        if path.name == TRASH or ".orbax-checkpoint-tmp" in path.name:
            shutil.rmtree(path, ignore_errors=True)


def set_aside(run_dir: Path, rejected: tuple[Rejected, ...]) -> None:
    """Moves damaged checkpoints out of the way, so that they do not count among those that are kept."""
    with contextlib.suppress(OSError):  # on a full disk they stay where they are, and are passed over again
        for path, _ in rejected:
            (run_dir / DAMAGED).mkdir(exist_ok=True)
            shutil.rmtree(run_dir / DAMAGED / path.name, ignore_errors=True)
            path.rename(run_dir / DAMAGED / path.name)


def _path(run_dir: Path, number: int) -> Path:
    return run_dir / FOLDER / str(number)


def _manager(run_dir: Path, keep: int = 1, read_only: bool = False) -> Any:
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=False,
        preservation_policy=ocp.checkpoint_managers.LatestN(keep),
        read_only=read_only,
        # An old checkpoint is renamed before it is removed: killed in between, no half of it is taken for a whole one.
        todelete_subdir=None if read_only else TRASH,
    )
    return ocp.CheckpointManager((run_dir / FOLDER).absolute(), options=options)


def _verified(manager: Any, run_dir: Path, number: int, target: jax.sharding.Sharding) -> Run:
    import orbax.checkpoint as ocp

    saved = manager.restore(number, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
    about = saved["about"]
    if "about_sha256" not in saved:
        return _verified_format_1(manager, run_dir, number, target, saved)
    if digest((), about) != saved["about_sha256"]:
        raise Damaged("the SHA-256 of its metadata is another one than when it was saved")
    # From here on what it says is what was saved: what does not fit is another version's.
    if about["format"] != FORMAT:
        raise InputError(f"it is of format {about['format']}, and this jaxrnn reads formats 1 and {FORMAT}")
    config, vocabulary = saved_config(about), vocabularies.from_json(about["vocabulary"])
    model = build.model(config, vocabulary)
    start = jax.eval_shape(build.learner(config, model).init, build.keys(0).init)
    check_layout(layout((start, start.params)), about)
    state, best_params = restored(manager, number, "arrays", (start, start.params), target, saved)
    return Run(
        path=run_dir,
        number=number,
        config=config,
        vocabulary=vocabulary,
        model=model,
        state=state,
        best_params=best_params,
        progress=saved_progress(about),
        about=about,
    )


def _verified_format_1(
    manager: Any, run_dir: Path, number: int, target: jax.sharding.Sharding, saved: Mapping[str, Any]
) -> Run:
    """A checkpoint of the first format: the rate in the state only if it changed, no best weights, one digest."""
    about = saved["about"]
    if about["format"] != 1:
        raise Damaged("its metadata has no SHA-256")
    try:
        config, vocabulary, schedule = saved_config(about), vocabularies.from_json(about["vocabulary"]), about["schedule"]
    except InputError as error:
        raise Damaged(str(error)) from None
    model = build.model(config, vocabulary)
    sgd = optax.sgd if config.learning.schedule == "constant" else optax.inject_hyperparams(optax.sgd)
    learner = online(model, one_step(model), sgd(learning_rate=config.learning.learning_rate), build.streams(config))
    start = jax.eval_shape(learner.init, build.keys(0).init)
    state = restored(manager, number, "state", start, target, saved)
    return Run(
        path=run_dir,
        number=number,
        config=config,
        vocabulary=vocabulary,
        model=model,
        state=state,
        best_params=state.params,
        progress=Progress(Schedule(**schedule), guess_nats(len(vocabulary.characters)), epochs=about["epochs"]),
        about=about,
    )


def restored(
    manager: Any, number: int, item: str, like: PyTree, target: jax.sharding.Sharding, saved: Mapping[str, Any]
) -> Any:
    """The arrays of a checkpoint in the structure of `like`; `Damaged` if they are not those that were saved."""
    import orbax.checkpoint as ocp

    # Where an array goes is said explicitly: else Orbax wants the devices on which it was saved.
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=target), like)
    arrays = manager.restore(number, args=ocp.args.Composite(**{item: ocp.args.StandardRestore(abstract)}))[item]
    if digest(arrays, saved["about"]) != saved["sha256"]:
        raise Damaged("its SHA-256 is another one than when it was saved")
    return arrays

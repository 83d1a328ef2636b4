"""Store checkpoints in numbered folders: arrays (Orbax) and a manifest (JSON), with SHA-256 over both.

Orbax does not notice changed bytes in the arrays, so the JSON part carries a SHA-256 over itself and one over everything; both
are verified on every read. All that this module knows of a run is its folder: `RUN/checkpoints/NUMBER`, in the order of saving.
"""

import contextlib
import errno
import gc
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from jaxrnn.data import temporary
from jaxrnn.errors import InputError
from jaxrnn.models.scalar_loops import first_device
from jaxrnn.runtime import devices
from jaxrnn.storage import seal
from jaxrnn.storage.failures import Damaged, NotWritten, classify_failure, explain_not_written
from jaxrnn.storage.manifest import hash_arrays
from jaxrnn.storage.quiet import check_disk_space, check_readable, drop_orbax_logs

ITEMS = ("about", "arrays")  # folders in a checkpoint
FOLDER, DAMAGED, TRASH = "checkpoints", "damaged", "trash"
OTHER_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # to try for temporary files
PLAIN_PATH = re.compile(r"([A-Za-z]:)?[\w/. ,+=@~-]*")


class OpenCheckpoint(NamedTuple):
    """A checkpoint that is being read."""

    manager: Any  # Orbax's
    number: int
    about: Mapping[str, Any]
    sha256: str  # over the arrays and the manifest `about`


class Rejected(NamedTuple):
    """A checkpoint that was skipped."""

    path: Path
    reason: str


def write_checkpoint(run_dir: Path, arrays: PyTree, about: Mapping[str, Any], keep: int) -> None:
    """Write a checkpoint as the newest, then remove all but the last few.

    Raises:
      NotWritten: it could not be written; earlier checkpoints are intact.
    """
    import orbax.checkpoint as ocp  # takes half a second to import

    if jax.process_count() == 1:
        arrays = on_one_device(arrays)  # Orbax would compile a program for each shape that is on several
    saved = {"about": about, "about_sha256": hash_arrays((), about), "sha256": hash_arrays(devices.gather(arrays), about)}
    args = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(saved))
    remove_leftovers(run_dir)  # left by a failed save
    with drop_orbax_logs():
        try:
            (run_dir / FOLDER).mkdir(parents=True, exist_ok=True)
            if jax.process_count() == 1:  # with several, the others would wait for one that has no room
                check_disk_space(
                    run_dir / FOLDER, sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + len(json.dumps(saved))
                )
            with _manager(run_dir, keep) as manager:
                number = max(list_numbers(run_dir), default=0) + 1
                if not manager.save(number, args=args):
                    raise NotWritten("Orbax refused to save it")
            if devices.is_first_process():
                seal.write_seal(checkpoint_path(run_dir, number))
            remove_leftovers(run_dir)  # checkpoints no longer kept
            return
        except InputError as error:
            reason = str(error)
        except Exception as error:  # Orbax raises many kinds on a full disk
            reason = explain_not_written(error)
        gc.collect()  # what it has left unfinished complains when it is collected
    raise NotWritten(reason)


def on_one_device(tree: PyTree) -> PyTree:
    """Move arrays that are sharded or replicated over the devices of a single process to one of them."""

    def of(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or len(leaf.sharding.device_set) == 1:
            return leaf
        return leaf.addressable_data(0) if leaf.is_fully_replicated else jax.device_put(leaf, first_device())

    return jax.tree.map(of, tree)


def read_about(run_dir: Path, number: int) -> Mapping[str, Any] | None:
    """Read the manifest of a checkpoint without JAX and Orbax; None if it is damaged."""
    try:
        saved = json.loads((checkpoint_path(run_dir, number) / "about" / "metadata").read_text("utf-8"))
        return saved["about"] if hash_arrays((), saved["about"]) == saved["about_sha256"] else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


@contextlib.contextmanager
def open_checkpoint(run_dir: Path, number: int) -> Iterator[OpenCheckpoint]:
    """Open a checkpoint for reading. The manifest is verified here, the arrays by `read_arrays`.

    Raises:
      Damaged: it provably differs from what was saved.
      InputError: it cannot be read here, for example for lack of permissions, memory or a backend.
    """
    with drop_orbax_logs():
        try:
            import orbax.checkpoint as ocp

            with _manager(run_dir, read_only=True) as manager:
                check_readable(Path(manager.directory, str(number)))
                saved = manager.restore(number, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
                if not isinstance(saved, dict) or not {"about", "about_sha256", "sha256"} <= saved.keys():
                    raise Damaged("its metadata is incomplete")
                about = saved["about"]
                if hash_arrays((), about) != saved["about_sha256"]:
                    raise Damaged("the SHA-256 of its metadata differs from when it was saved")
                yield OpenCheckpoint(manager, number, about, saved["sha256"])
            return
        except (Damaged, InputError):
            raise
        except Exception as error:  # Orbax raises many kinds on damage
            failed = classify_failure(checkpoint_path(run_dir, number), error)
        gc.collect()  # what it has left unfinished complains when it is collected
    raise failed


def read_arrays(saved: OpenCheckpoint, like: PyTree, sharding: jax.sharding.Sharding | None) -> Any:
    """Read the arrays in the structure of `like`; `Damaged` if they differ from what was saved.

    Args:
      sharding: of the restored arrays, whatever devices they were saved on; None = the first device.
    """
    import orbax.checkpoint as ocp

    target = sharding or devices.restore_sharding()
    # The sharding is explicit: otherwise Orbax requires the devices on which the arrays were saved.
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=target), like)
    restored = saved.manager.restore(saved.number, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(abstract)))["arrays"]
    if hash_arrays(restored, saved.about) != saved.sha256:
        raise Damaged("its SHA-256 differs from when it was saved")
    return restored


def list_numbers(run_dir: Path) -> list[int]:
    """List the numbers of the checkpoints, oldest first.

    Raises:
      InputError: the folder cannot be listed, which does not mean that it has no checkpoints.
    """
    folder = run_dir / FOLDER
    try:
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal() and not path.is_file())
    except OSError as error:
        none = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
        if none and (error.errno == errno.ENAMETOOLONG or not folder.is_symlink()):
            return []
        raise InputError(f"the checkpoints in {str(folder)!r} cannot be listed: {error.strerror}") from None


def holds_checkpoint(run_dir: Path) -> bool:
    """Return whether there is a checkpoint of ours, even a damaged or empty one; other programs number folders, too."""
    return any(_may_be_ours(checkpoint_path(run_dir, number)) for number in list_numbers(run_dir))


def _may_be_ours(checkpoint: Path) -> bool:
    try:
        names = {path.name for path in checkpoint.iterdir()}
    except PermissionError:  # reading it will raise the right error
        return True
    except OSError:  # a file, or removed meanwhile
        return False
    return not names or bool(names & set(ITEMS))


def checkpoint_path(run_dir: Path, number: int) -> Path:
    """Return the folder of a checkpoint."""
    return run_dir / FOLDER / str(number)


def remove_leftovers(run_dir: Path) -> None:
    """Remove what a killed or failed save left behind; only the process that writes to this run may do so."""
    if not devices.is_first_process():
        return
    for path in (run_dir / FOLDER).glob("*"):
        if path.name == TRASH or ".orbax-checkpoint-tmp" in path.name:
            shutil.rmtree(path, ignore_errors=True)


def set_aside(run_dir: Path, rejected: tuple[Rejected, ...]) -> None:
    """Move damaged checkpoints aside, so that they do not count as checkpoints to keep."""
    if not devices.is_first_process():
        return
    with contextlib.suppress(OSError):  # on a full disk they stay, and are skipped again
        for path, _ in rejected:
            (run_dir / DAMAGED).mkdir(exist_ok=True)
            shutil.rmtree(run_dir / DAMAGED / path.name, ignore_errors=True)
            path.rename(run_dir / DAMAGED / path.name)


@contextlib.contextmanager
def _manager(run_dir: Path, keep: int = 1, read_only: bool = False) -> Iterator[Any]:
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=False,
        preservation_policy=ocp.checkpoint_managers.LatestN(keep),
        read_only=read_only,
        # Rename an old checkpoint before removing it, so that a process killed in between does not leave half of one.
        todelete_subdir=None if read_only else TRASH,
    )
    with _plain_path((run_dir / FOLDER).resolve()) as path, ocp.CheckpointManager(path, options=options) as manager:
        yield manager


@contextlib.contextmanager
def _plain_path(path: Path) -> Iterator[Path]:
    """Give Orbax a path without brackets, backslashes or `gs:`, which it treats specially."""
    if PLAIN_PATH.fullmatch(path.as_posix()):
        yield path
        return
    with contextlib.ExitStack() as inside:
        try:
            link = inside.enter_context(temporary.folder(_plain_folder())) / FOLDER
            link.symlink_to(path, target_is_directory=True)
        except OSError:
            needed = f"checkpoints in {str(path.parent)!r} need one because of its name"
            raise InputError(f"no temporary folder is writable; set TMPDIR to one that is: {needed}") from None
        yield link


def _plain_folder() -> Path:
    """Find a temporary folder with a plain name; `OSError` if there is none."""
    for place in map(Path, (tempfile.gettempdir(), *OTHER_PLACES)):
        if PLAIN_PATH.fullmatch(place.as_posix()) and os.access(place, os.W_OK):
            return place
    raise FileNotFoundError

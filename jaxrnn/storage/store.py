"""Checkpoint storage: numbered folders of arrays (Orbax) and a description of them (JSON), with SHA-256 over both.

Orbax does not notice changed bytes in the arrays, so that the JSON part carries a SHA-256 over itself and one over all,
which are verified whenever they are read. This file knows nothing of runs but their folder, `RUN/checkpoints/NUMBER`,
numbered in the order of saving.
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
from jaxrnn.runtime import devices
from jaxrnn.storage import seal
from jaxrnn.storage.failures import Damaged, NotWritten, classify_failure, explain_not_written
from jaxrnn.storage.manifest import hash_arrays
from jaxrnn.storage.quiet import check_disk_space, check_readable, drop_orbax_logs

ITEMS = ("about", "arrays")  # the folders in a checkpoint
FOLDER, DAMAGED, TRASH = "checkpoints", "damaged", "trash"
OTHER_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # for temporary files
PLAIN_PATH = re.compile(r"([A-Za-z]:)?[\w/. ,+=@~-]*")


class OpenCheckpoint(NamedTuple):
    """What is being read."""

    manager: Any  # Orbax's
    number: int
    about: Mapping[str, Any]
    sha256: str  # over the arrays and `read_about`


class Rejected(NamedTuple):
    """A checkpoint that was passed over."""

    path: Path
    reason: str


def write_checkpoint(run_dir: Path, arrays: PyTree, about: Mapping[str, Any], keep: int) -> None:
    """Write a checkpoint as the newest, then remove all but the last few.

    Raises:
      NotWritten: why they could not be written; what was saved before is as good as ever.
    """
    import orbax.checkpoint as ocp  # here, because it takes half a second to import

    saved = {"about": about, "about_sha256": hash_arrays((), about), "sha256": hash_arrays(devices.gather(arrays), about)}
    args = ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(saved))
    remove_leftovers(run_dir)  # of a save that failed
    with drop_orbax_logs():
        try:
            (run_dir / FOLDER).mkdir(parents=True, exist_ok=True)
            if jax.process_count() == 1:  # else the others would wait in vain for the one that has no room
                check_disk_space(
                    run_dir / FOLDER, sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + len(json.dumps(saved))
                )
            with _manager(run_dir, keep) as manager:
                number = max(list_numbers(run_dir), default=0) + 1
                if not manager.save(number, args=args):
                    raise NotWritten("Orbax did not take it")
            if devices.is_first_process():
                seal.write_seal(checkpoint_path(run_dir, number))
            remove_leftovers(run_dir)  # what is no longer kept
            return
        except InputError as error:
            reason = str(error)
        except Exception as error:  # Orbax meets a full disk with many kinds of them
            reason = explain_not_written(error)
        gc.collect()  # what it has left unfinished complains when it is collected
    raise NotWritten(reason)


def read_about(run_dir: Path, number: int) -> Mapping[str, Any] | None:
    """What one of them says of itself, read without JAX and Orbax; None if it is not what was saved."""
    try:
        saved = json.loads((checkpoint_path(run_dir, number) / "about" / "metadata").read_text("utf-8"))
        return saved["about"] if hash_arrays((), saved["about"]) == saved["about_sha256"] else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


@contextlib.contextmanager
def open_checkpoint(run_dir: Path, number: int) -> Iterator[OpenCheckpoint]:
    """To read one of them: `read_about` is verified, the arrays are when `read_arrays` gets them.

    Raises:
      Damaged: reading it has proved that it is not what was saved.
      InputError: it cannot be read here, whatever the reason: permissions, memory, the backend.
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
        except Exception as error:  # Orbax meets damage with many kinds of them, and many words
            failed = classify_failure(checkpoint_path(run_dir, number), error)
        gc.collect()  # what it has left unfinished complains when it is collected
    raise failed


def read_arrays(saved: OpenCheckpoint, like: PyTree, sharding: jax.sharding.Sharding | None) -> Any:
    """The arrays in the structure of `like`; `Damaged` if they are not those that were saved.

    Args:
      sharding: where they go, on whatever devices they were; None = the first device.
    """
    import orbax.checkpoint as ocp

    target = sharding or devices.restore_sharding()
    # Where an array goes is said explicitly: else Orbax wants the devices on which it was saved.
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=target), like)
    restored = saved.manager.restore(saved.number, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(abstract)))["arrays"]
    if hash_arrays(restored, saved.about) != saved.sha256:
        raise Damaged("its SHA-256 differs from when it was saved")
    return restored


def list_numbers(run_dir: Path) -> list[int]:
    """Those that there are, in the order of saving.

    Raises:
      InputError: that cannot be found out, which is not to be taken for none.
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
    """Whether there is a checkpoint of ours, damaged or even emptied: other programs number theirs, too."""
    return any(_may_be_ours(checkpoint_path(run_dir, number)) for number in list_numbers(run_dir))


def _may_be_ours(checkpoint: Path) -> bool:
    try:
        names = {path.name for path in checkpoint.iterdir()}
    except PermissionError:  # reading it will tell
        return True
    except OSError:  # a file, or gone by now
        return False
    return not names or bool(names & set(ITEMS))


def checkpoint_path(run_dir: Path, number: int) -> Path:
    """The folder of one of them."""
    return run_dir / FOLDER / str(number)


def remove_leftovers(run_dir: Path) -> None:
    """Removes what a save that was killed or failed has left; for the one process that writes to this run."""
    if not devices.is_first_process():
        return
    for path in (run_dir / FOLDER).glob("*"):
        if path.name == TRASH or ".orbax-checkpoint-tmp" in path.name:
            shutil.rmtree(path, ignore_errors=True)


def set_aside(run_dir: Path, rejected: tuple[Rejected, ...]) -> None:
    """Moves damaged ones out of the way, so that they do not count among those that are kept."""
    if not devices.is_first_process():
        return
    with contextlib.suppress(OSError):  # on a full disk they stay where they are, and are passed over again
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
        # An old checkpoint is renamed before it is removed: killed in between, no half of it is taken for a whole one.
        todelete_subdir=None if read_only else TRASH,
    )
    with _plain_path((run_dir / FOLDER).resolve()) as path, ocp.CheckpointManager(path, options=options) as manager:
        yield manager


@contextlib.contextmanager
def _plain_path(path: Path) -> Iterator[Path]:
    """The folder by a name that means nothing else to Orbax, as brackets, backslashes and `gs:` do."""
    if PLAIN_PATH.fullmatch(path.as_posix()):
        yield path
        return
    with contextlib.ExitStack() as inside:
        try:
            link = inside.enter_context(temporary.folder(_plain_folder())) / FOLDER
            link.symlink_to(path, target_is_directory=True)
        except OSError:
            needed = f"checkpoints in {str(path.parent)!r} need one because of its name"
            raise InputError(f"no temporary folder can be written, set TMPDIR to one that can; {needed}") from None
        yield link


def _plain_folder() -> Path:
    """Where temporary files go, or another such place if the name of that is not plain, either; `OSError` without any."""
    for place in map(Path, (tempfile.gettempdir(), *OTHER_PLACES)):
        if PLAIN_PATH.fullmatch(place.as_posix()) and os.access(place, os.W_OK):
            return place
    raise FileNotFoundError

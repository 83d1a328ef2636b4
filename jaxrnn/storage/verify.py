"""All checkpoints of a run, each read and verified."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from jaxrnn.storage import checkpoint, store
from jaxrnn.storage.checkpoint import Run
from jaxrnn.storage.failures import Damaged, Unreadable


class Checked(NamedTuple):
    """A checkpoint and what came of reading it."""

    number: int
    num_bytes: int
    run: Run | None  # None if it is damaged, or cannot be read here
    reason: str = ""
    damaged: bool = False


def checked(run_dir: Path) -> list[Checked]:
    """All checkpoints of a run, each read and verified.

    Raises:
      InputError: no run there, or another version saved it.
    """
    found = [_checked(run_dir, number) for number in checkpoint.numbers_of_run(run_dir)]
    # A run that goes on meanwhile removes its oldest ones: they are gone, not damaged.
    return [each for each in found if store.path_of(run_dir, each.number).exists()]


def _checked(run_dir: Path, number: int) -> Checked:
    num_bytes = 0
    with contextlib.suppress(FileNotFoundError):
        files = store.path_of(run_dir, number).rglob("*")
        num_bytes = sum(path.stat().st_size for path in files if path.is_file())
    try:
        return Checked(number, num_bytes, checkpoint.read(run_dir, number))
    except Damaged as damaged:
        return Checked(number, num_bytes, None, str(damaged), damaged=True)
    except Unreadable as unreadable:
        return Checked(number, num_bytes, None, unreadable.reason)

"""Verify all checkpoints of a run."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxrnn.storage import checkpoint, store
from jaxrnn.storage.checkpoint import SavedRun
from jaxrnn.storage.failures import Damaged, Unreadable


class Verified(NamedTuple):
    """Result of verifying a checkpoint."""

    number: int
    num_bytes: int
    run: SavedRun | None  # None if it is damaged, or cannot be read here
    reason: str = ""
    damaged: bool = False


def verify_run(run_dir: Path, trust: Sequence[str] = ()) -> list[Verified]:
    """Read and verify all checkpoints of a run.

    Raises:
      InputError: there is no run, or it is from an incompatible version.
      Untrusted: it names code that is not trusted.
    """
    found = [_verify_checkpoint(run_dir, number, trust) for number in checkpoint.list_checkpoints(run_dir)]
    # A running process may have removed old ones in the meantime: they are gone, not damaged.
    return [each for each in found if store.checkpoint_path(run_dir, each.number).exists()]


def _verify_checkpoint(run_dir: Path, number: int, trust: Sequence[str]) -> Verified:
    num_bytes = 0
    with contextlib.suppress(FileNotFoundError):
        files = store.checkpoint_path(run_dir, number).rglob("*")
        num_bytes = sum(path.stat().st_size for path in files if path.is_file())
    try:
        return Verified(number, num_bytes, checkpoint.read_checkpoint(run_dir, number, trust=trust))
    except Damaged as damaged:
        return Verified(number, num_bytes, None, str(damaged), damaged=True)
    except Unreadable as unreadable:
        return Verified(number, num_bytes, None, unreadable.reason)

"""Temporary folders of one process. Folders left by a killed process are removed by the next one.

Each folder holds a file that its process keeps locked until it ends, however it ends. The file gets its final name only
once it is locked, so a free lock means that the process is gone. Only folders of this user and of this boot of this machine
(both are in the folder's name) are removed: locks of other machines on a shared disk may be invisible here.
"""

import contextlib
import hashlib
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LOCK, CONTENT = "lock", "content"
CAN_LOCK = importlib.util.find_spec("fcntl") is not None  # not on Windows
BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def folder(parent: Path | None = None) -> Iterator[Path]:
    """Make an empty folder and remove it on exit.

    Args:
      parent: where to make it; None = the system's temporary folder.
    Raises:
      OSError: no temporary folder can be written.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(parent)
    own = Path(tempfile.mkdtemp(prefix=f"jaxrnn-{os.getpid()}-{_machine_id()}-", dir=parent))
    try:
        with _hold_lock(own):
            (own / CONTENT).mkdir()
            yield own / CONTENT
    finally:
        _remove(own)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of processes that have ended."""
    with contextlib.suppress(OSError):
        for path in parent.glob(f"jaxrnn-*-{_machine_id()}-*"):
            if _is_ours(path):
                with contextlib.suppress(OSError), (path / LOCK).open("r+b") as file:
                    if try_lock(file):
                        _remove(path)


def remove_own() -> None:
    """Remove this process's temporary folders; for a process that exits inside `folder`."""
    with contextlib.suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob(f"jaxrnn-{os.getpid()}-{_machine_id()}-*"):
            _remove(path)


def try_lock(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; False if another process holds it or files cannot be locked here."""
    if not CAN_LOCK:
        return False
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _remove(own: Path) -> None:
    """Remove a folder, its lock last: the next process finds leftovers by their locks."""
    shutil.rmtree(own / CONTENT, ignore_errors=True)
    if not (own / CONTENT).exists():
        shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def _hold_lock(own: Path) -> Iterator[None]:
    """Hold the folder's lock. Where files cannot be locked, there is no lock file and nobody removes the folder."""
    with (own / f"{LOCK}.new").open("wb") as file:
        if try_lock(file):
            (own / f"{LOCK}.new").rename(own / LOCK)
        yield


def _machine_id() -> str:
    boot = ""
    with contextlib.suppress(OSError):
        boot = BOOT.read_text()
    return hashlib.sha256(f"{platform.node()} {boot}".encode(errors="replace")).hexdigest()[:12]


def _is_ours(path: Path) -> bool:
    with contextlib.suppress(OSError, AttributeError):  # Windows has no uid; its temporary folders belong to one user
        return path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid()
    return False

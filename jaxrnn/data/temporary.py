"""Temporary folders of one process; those that a killed process left are removed by the next one.

A folder holds a lock file, locked by its process for as long as that lives, however it ends. The file gets its name only when
it is locked: whoever finds it free knows that the process is gone. Only this user's folders are removed, and only those of
this machine, whose name and boot stand in theirs: a lock of another machine on a shared disk may not be seen here.
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
    """Make an empty folder, and remove it at the end.

    Args:
      parent: where; None = where temporary files go.
    Raises:
      OSError: no folder for temporary files can be written.
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
    """Remove the folders whose processes are gone."""
    with contextlib.suppress(OSError):
        for path in parent.glob(f"jaxrnn-*-{_machine_id()}-*"):
            if _is_ours(path):
                with contextlib.suppress(OSError), (path / LOCK).open("r+b") as file:
                    if try_lock(file):
                        _remove(path)


def remove_own() -> None:
    """Remove this process's folders where temporary files go; for a process that ends without coming back from `folder`."""
    with contextlib.suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob(f"jaxrnn-{os.getpid()}-{_machine_id()}-*"):
            _remove(path)


def try_lock(file: IO[bytes]) -> bool:
    """Lock an open file for as long as it is open; False if another process has it, or if files cannot be locked here."""
    if not CAN_LOCK:
        return False
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _remove(own: Path) -> None:
    """Remove a folder, its lock last: by the lock, the next process finds what a kill or an error has left."""
    shutil.rmtree(own / CONTENT, ignore_errors=True)
    if not (own / CONTENT).exists():
        shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def _hold_lock(own: Path) -> Iterator[None]:
    """Hold the folder's lock. Where files cannot be locked there is no lock file, and nobody removes the folder."""
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
    with contextlib.suppress(OSError, AttributeError):  # Windows knows no such number; its folders for this are a user's own
        return path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid()
    return False

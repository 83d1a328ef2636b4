"""Silence Orbax, which logs a lot and leaves unfinished coroutines when it fails; our errors are one line.

So we check a checkpoint before Orbax reads it, and the disk before Orbax writes, and drop what Orbax logs in between, without
touching the rest of the process. What remains, after a full disk or a vanished file, only a program that owns its process may
drop: `silence_orbax`.
"""

import contextlib
import gc
import json
import logging
import os
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOGGERS = ("absl", "asyncio")
NUM_FILES, BLOCK_SIZE = 24, 4096  # files in a checkpoint; bytes in a block of the disk, of which each file takes at least one


@contextlib.contextmanager
def drop_orbax_logs() -> Iterator[None]:
    """Drop what Orbax logs in this thread, and in threads started inside this context, but no other log records."""
    here = threading.get_ident()
    others = {thread.ident for thread in threading.enumerate()} - {here}

    def keep(record: logging.LogRecord) -> bool:
        return record.thread in others or not (record.thread == here or "orbax" in record.pathname)

    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


def check_readable(folder: Path) -> None:
    """Read all files of a checkpoint that Orbax needs; raise whatever that raises."""
    json.loads((folder / "about" / "metadata").read_bytes())
    for arrays in folder.iterdir():
        if arrays.is_dir() and arrays.name != "about":
            json.loads((arrays / "_METADATA").read_bytes())
            _check_arrays(arrays)


def _check_arrays(folder: Path) -> None:
    import tensorstore  # a dependency of Orbax

    base = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder.absolute()}/"}}
    names = {key.rpartition(b"/")[0].decode() for key in tensorstore.KvStore.open(base).result().list().result()}
    for name in sorted(names):
        tensorstore.open({"driver": "zarr", "kvstore": {**base, "path": name}}, open=True).result().read().result()
    for path in (folder / "array_metadatas").glob("*"):
        described = {entry["array_metadata"]["param_name"] for entry in json.loads(path.read_bytes())["array_metadatas"]}
        if not described <= names:
            raise ValueError(f"DATA_LOSS: {path} and the arrays list different names")


def check_disk_space(folder: Path, num_bytes: int) -> None:
    """Raise `OSError` unless the disk has room for a checkpoint of `num_bytes`."""
    needed = num_bytes + NUM_FILES * BLOCK_SIZE
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, needed)
        elif shutil.disk_usage(folder).free < needed:
            raise OSError(28, "No space left on device")


@contextlib.contextmanager
def silence_orbax() -> Iterator[None]:
    """Hide all of Orbax's logs, warnings and unfinished coroutines; for a program that owns its process."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels, hook, dropped = [logger.level for logger in loggers], sys.unraisablehook, []

    def unless_unfinished(complaint: Any) -> None:
        code = getattr(complaint.object, "cr_code", None)  # of a coroutine
        of_orbax = code is not None and "orbax" in code.co_filename
        # Without free file descriptors an event loop is only half built, and its destructor fails.
        of_loop = "BaseEventLoop" in getattr(complaint.object, "__qualname__", "")
        if of_orbax or of_loop or str(complaint.exc_value) == "Event loop is closed":
            dropped.append(1)
        else:
            hook(complaint)

    sys.unraisablehook = unless_unfinished
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
            if dropped:
                gc.collect()
    finally:
        sys.unraisablehook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

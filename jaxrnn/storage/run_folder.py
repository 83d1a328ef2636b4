"""The folder of a run: its name, its lock and its plain files (`checkpoint.py` handles the checkpoints)."""

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from jaxrnn.config.saved import config_from_json, config_to_json
from jaxrnn.config.settings import Config
from jaxrnn.config.trust import Untrusted
from jaxrnn.data import files, paths
from jaxrnn.errors import InputError
from jaxrnn.runtime import devices
from jaxrnn.storage import store
from jaxrnn.storage.logs import METRICS, SAMPLES

CONFIG, PICTURE, PAGE = "config.json", "loss.png", "page.html"
FILES = (CONFIG, METRICS, SAMPLES, PICTURE)
LOCK = "lock"
RUN_ENTRIES = (*FILES, store.FOLDER, store.DAMAGED)  # what a run writes, besides its lock
CONFIG_GROUPS = {"text", "model", "learning"}  # groups of settings that every version has
MAX_NAME_BYTES = 200  # of a text's name in a folder's name, which may have 255 bytes, including `-2` and so on
MAX_PATH_BYTES = 4_096 - 200  # the system's limit, less the longest path inside a run
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


def holds_run(path: Path) -> bool:
    """Return whether the folder holds a run, and not just another program's `config.json`.

    Raises:
      InputError: its checkpoints cannot be listed or its settings cannot be read.
    """
    try:
        return _are_settings(path / CONFIG) or store.holds_checkpoint(path)
    except PermissionError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    except OSError:  # an impossible file name
        return False


def make_run_folder(preset: str, config: Config) -> Path:
    """Make the folder of a new run, as named or with the next free default name; all processes learn its path.

    Raises:
      InputError: the named folder holds a run, or something else that a run would overwrite; it is not a folder; or it cannot
        be written.
    """
    return Path(devices.broadcast_from_first(lambda: str(_make_folder(preset, config))))


def make_folder(path: Path) -> None:
    """Make a folder with those above it; `InputError` if that fails."""
    with _explain_write_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def claim(path: Path, config: Config, flag: str = "run-dir") -> None:
    """Write the settings into the folder of a new run. The caller holds the lock.

    Args:
      flag: the one that names the folder, for errors.
    Raises:
      InputError: another process has started a run there, or it cannot be written.
    """
    if devices.is_first_process():
        check_free(path, flag)
        try:
            write_config(path, config)
        except InputError:
            _remove_if_empty(path)
            raise


def write_config(path: Path, config: Config) -> None:
    """Write the settings atomically; `InputError` if that fails."""
    settings = json.dumps(config_to_json(config), indent=2, ensure_ascii=False)
    with _explain_write_errors(path):
        # A file name that is not UTF-8 contains surrogates.
        replace_file(path / CONFIG, f"{settings}\n".encode("utf-8", "surrogateescape"))


def read_config(path: Path, trust: Sequence[str] = ()) -> Config:
    """Read the settings in the folder.

    Args:
      trust: packages whose code they may name.
    Raises:
      InputError: they cannot be read, or this version does not know them.
      Untrusted: they name code that is not trusted.
    """
    try:
        return config_from_json(json.loads((path / CONFIG).read_text("utf-8", "surrogateescape")), trust)
    except Untrusted as error:
        raise Untrusted(f"the run in {str(path)!r} cannot be used: {error}", error.settings) from None
    except InputError as error:
        raise InputError(f"the run in {str(path)!r} cannot be used: {error}") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path / CONFIG)!r} cannot be read ({type(error).__name__})") from None


def replace_file(path: Path, data: bytes | Path) -> None:
    """Replace a file atomically, by bytes or a copy of a file: at any moment it is the whole old file or the whole new one."""
    if not devices.is_first_process():
        return
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            if isinstance(data, Path):
                with data.open("rb") as source:
                    shutil.copyfileobj(source, file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a run in its first process. The lock ends with the process, however that ends.

    Raises:
      InputError: another process holds it; the message gives its id.
    """
    if not devices.is_first_process():
        yield
        return
    with _explain_write_errors(path):
        file = (path / LOCK).open("a+b", buffering=0)
    with file:
        with _explain_write_errors(path):
            if not _try_lock(file, path):
                raise InputError(f"the run in {str(path)!r} is in use by {_describe_holder(file)}; wait for it, or stop it")
        with contextlib.suppress(OSError):  # on a full disk the lock does not name its holder
            file.truncate(0)
            file.write(f" {os.getpid()}".encode())  # on Windows the first byte is locked, and cannot be read
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # otherwise a process forked since then would keep the lock
                filelock.unlock_descriptor(file.fileno())


def default_name(preset: str, config: Config) -> Path:
    """Return the default folder of a run; later runs of the same name get `-2`, `-3` and so on."""
    text = re.sub(r"[^\w.-]+", "_", files.stem(config.text.text))
    shortened = text.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    return Path("runs", f"{preset}-{shortened}-{config.run.seed}")


def _try_lock(file: Any, path: Path) -> bool:
    """Try to take the lock; on a file system without locks, warn and assume that nobody else holds it."""
    try:
        return filelock.lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        line = f"warning: the file system of {str(path)!r} has no locks; make sure that no other process writes to this run"
        print(line, file=sys.stderr)
        return True


def _describe_holder(file: Any) -> str:
    file.seek(1)
    number = file.read(20).decode(errors="replace").strip()
    return f"process {number}" if number else "another process"


@contextlib.contextmanager
def _explain_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"the run's folder {str(error.filename or path)!r} cannot be written: {error.strerror}") from None


def check_free(path: Path, flag: str = "run-dir") -> None:
    """Raise `InputError` unless a new run may be written into a folder, which need not exist.

    Args:
      flag: the one that names the folder.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"--{flag} {str(path)!r} is a file; name a folder")
    is_new_run = flag == "run-dir"
    otherwise = "name another folder" + (", or leave --run-dir out for a numbered one" if is_new_run else "")
    if holds_run(path):
        quoted = paths.quote_path(path)
        go_on = f"resume it with --resume {quoted}" if is_new_run else f"to go on with it, score {quoted} itself"
        raise InputError(f"--{flag} {str(path)!r} already holds a run, which is never overwritten: {go_on}, {otherwise}")
    foreign = [name for name in RUN_ENTRIES if os.path.lexists(path / name)]
    if foreign or not _may_lock(path / LOCK):
        raise InputError(
            f"--{flag} {str(path)!r} holds {(foreign or [LOCK])[0]!r}, which is not from a run and is never overwritten: "
            f"{otherwise}"
        )


def _are_settings(file: Path) -> bool:
    """Return whether this is the `config.json` of a run of any version."""
    try:
        settings = json.loads(file.read_text("utf-8", "surrogateescape")) if file.is_file() else None
    except ValueError:
        return False
    return (
        isinstance(settings, dict)
        and settings.keys() >= CONFIG_GROUPS
        and all(isinstance(part, dict) for part in settings.values())
    )


def _may_lock(file: Path) -> bool:
    """Return whether a lock may be made there: there is no file, or one that a run left, with a process id in it."""
    if not os.path.lexists(file):
        return True
    return file.is_file() and re.fullmatch(rb" ?[0-9]*", file.read_bytes()[:100]) is not None


def _make_folder(preset: str, config: Config) -> Path:
    path = Path(config.run.run_dir)
    with _explain_write_errors(path):
        if config.run.run_dir:
            if len(os.fsencode(path.absolute())) > MAX_PATH_BYTES:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
            check_free(path)
            path.mkdir(parents=True, exist_ok=True)
            return path
        return _make_next_free(preset, config)


def _remove_if_empty(path: Path) -> None:
    """Remove the folder of a run that could not start, if it holds nothing but the lock."""
    with contextlib.suppress(OSError):
        if [inside.name for inside in path.iterdir()] == [LOCK]:
            (path / LOCK).unlink()
            path.rmdir()


def _make_next_free(preset: str, config: Config) -> Path:
    first = default_name(preset, config)
    first.parent.mkdir(exist_ok=True)
    for number in itertools.count(1):
        path = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with contextlib.suppress(FileExistsError):  # another process may take the name first
            path.mkdir()
            return path
    raise AssertionError("numbers do not end")

"""Keep compiled programs in the user's cache folder, so that the next process need not compile them again.

JAX writes the files of its cache in place. A process that is killed while it writes leaves half a file, which is never replaced
and which makes every later process warn or, if the damage goes unnoticed, behave unpredictably. So JAX gets a folder for this
process alone, filled with the programs kept so far. What JAX adds to it is kept at the end: written under another name and then
renamed, so that it is whole, with a SHA-256 in its name, against which it is verified whenever it is used.

JAX's own limit, `jax_compilation_cache_max_size`, would apply only to this process's folder, not to what other processes keep;
and it orders programs by a second file for each, which changes whenever it is read. So the oldest programs are removed here.
"""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxrnn.data import paths, temporary

MAX_CACHE_BYTES = 64_000_000  # of all kept programs; a run adds about two million
SHA256_DIGITS = 64
CACHE_DIR = "jax_compilation_cache_dir"
CACHE_SETTINGS = {  # settings of JAX; by default it writes only programs that took a second or more to compile
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_persistent_cache_enable_xla_caches": "none",  # their files are not ours to verify
}


@contextlib.contextmanager
def keep_programs(wanted: bool = True) -> Iterator[None]:
    """Read compiled programs from the cache, and keep new ones; on any failure, compile them silently.

    Does nothing if the user has set up JAX's own cache.
    """
    with contextlib.ExitStack() as inside:
        if wanted and getattr(jax.config, CACHE_DIR) is None:
            kept = programs_folder()
            with contextlib.suppress(OSError):  # nowhere to put temporary files
                own = inside.enter_context(temporary.folder()) if kept else None
                if kept and own:
                    inside.enter_context(_cache_in(kept, own))
        yield


def programs_folder() -> Path | None:
    """Return the folder of kept programs; None for a user without a home folder."""
    caches = paths.cache_folder()
    return caches / "compiled" if caches else None


def load_programs(kept: Path, own: Path) -> None:
    """Copy the kept programs into the process's own folder; remove those that are damaged or unfinished."""
    for path in _oldest_first(kept):
        name, _, sha256 = path.name.rpartition(".")
        with contextlib.suppress(OSError):
            if sha256.isdecimal() and not _is_whole(path):  # the id of the process that is or was writing it
                _remove_unfinished(path)
                continue
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == sha256:
                _write(own / name, data)
            else:
                path.unlink()


def save_programs(own: Path, kept: Path) -> None:
    """Keep what is new in the process's own folder, and remove the oldest programs beyond `MAX_CACHE_BYTES`."""
    with contextlib.suppress(OSError):  # a full disk, no permission
        kept.mkdir(parents=True, exist_ok=True)
        known, size = {path.name.rpartition(".")[0] for path in kept.iterdir() if _is_whole(path)}, 0
        for path in own.iterdir():
            if path.name not in known:
                _save_program(path, kept)
        for path in reversed(_oldest_first(kept)):
            size += path.stat().st_size
            if size > MAX_CACHE_BYTES:
                path.unlink()


@contextlib.contextmanager
def _cache_in(kept: Path, own: Path) -> Iterator[None]:
    load_programs(kept, own)
    before = {name: getattr(jax.config, name) for name in (*CACHE_SETTINGS, CACHE_DIR)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
        try:
            _update_settings({**CACHE_SETTINGS, CACHE_DIR: str(own)})
            yield
        finally:
            _update_settings(before)
            save_programs(own, kept)


def _save_program(path: Path, kept: Path) -> None:
    data = path.read_bytes()
    unfinished = kept / f"{path.name}.{os.getpid()}"
    _write(unfinished, data)
    unfinished.replace(kept / f"{path.name}.{hashlib.sha256(data).hexdigest()}")


def _write(path: Path, data: bytes) -> None:
    """Write a whole file or none; it is locked while it is written, so that other processes leave it alone."""
    try:
        with path.open("wb") as file:
            temporary.try_lock(file)
            file.write(data)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _remove_unfinished(path: Path) -> None:
    """Remove a file that a killed process was writing; a wrong guess costs one more compilation."""
    with path.open("r+b") as file:
        free = temporary.try_lock(file)
    if free or not temporary.CAN_LOCK:
        path.unlink()


def _is_whole(path: Path) -> bool:
    return len(path.name.rpartition(".")[2]) == SHA256_DIGITS


def _update_settings(settings: dict) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # otherwise JAX keeps the cache, or lack of one, that its first program had


def _oldest_first(folder: Path) -> list[Path]:
    """List the files by age, the oldest first; none if there is no such folder."""
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    return []

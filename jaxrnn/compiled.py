"""Compiled programs, kept from one process to the next in the user's cache folder: a second start needs not compile them.

JAX writes the files of its cache where they stay. A process that is killed meanwhile leaves half a file, which is never
replaced, and which makes every later process warn or, if it cannot be seen to be damaged, do what nobody knows. So JAX gets
a folder for this process alone. It is filled with what was kept, and what JAX adds to it is kept at the end: written under
another name and renamed, so that it is whole, with a SHA-256 in its name, by which it is verified whenever it is used.
"""

import contextlib
import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxrnn import stop

MOST_BYTES = 64_000_000  # of all that is kept; a run leaves about two million
CACHE_DIR = "jax_compilation_cache_dir"
SETTINGS = {  # of JAX; by default only programs that took a second or more to compile are written
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_persistent_cache_enable_xla_caches": "none",  # their files are not ours to verify
}


@contextlib.contextmanager
def programs_kept(wanted: bool = True) -> Iterator[None]:
    """Inside, programs that were compiled before are read. If anything goes wrong with that, they are compiled, silently.

    It does nothing where JAX has a cache already, by its own settings.
    """
    with contextlib.ExitStack() as inside:
        if wanted and getattr(jax.config, CACHE_DIR) is None:
            with contextlib.suppress(OSError):  # no place for temporary files
                own = inside.enter_context(
                    tempfile.TemporaryDirectory(prefix=stop.temporary_prefix(), ignore_cleanup_errors=True)
                )
                inside.enter_context(_kept_in(default_folder(), Path(own)))
        yield


def default_folder() -> Path:
    """Where they are kept."""
    import pooch  # here, because it takes a while to import

    return Path(pooch.os_cache("jaxrnn"), "compiled")


def bring(kept: Path, own: Path) -> None:
    """Copies what was kept into the process's own folder; what is not as it was written, or not whole, is removed."""
    for path in _in_order(kept):
        name, _, sha256 = path.name.rpartition(".")
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == sha256:
                (own / name).write_bytes(data)
            else:
                path.unlink()


def keep(own: Path, kept: Path) -> None:
    """Takes over what is new in the process's own folder, and removes the oldest beyond `MOST_BYTES`."""
    with contextlib.suppress(OSError):  # a full disk, no permission
        kept.mkdir(parents=True, exist_ok=True)
        known, size = {path.name.rpartition(".")[0] for path in kept.iterdir()}, 0
        for path in own.iterdir():
            if path.name not in known:
                data = path.read_bytes()
                unfinished = kept / f"{path.name}.{os.getpid()}"
                unfinished.write_bytes(data)
                unfinished.replace(kept / f"{path.name}.{hashlib.sha256(data).hexdigest()}")
        for path in reversed(_in_order(kept)):
            size += path.stat().st_size
            if size > MOST_BYTES:
                path.unlink()


@contextlib.contextmanager
def _kept_in(kept: Path, own: Path) -> Iterator[None]:
    bring(kept, own)
    before = {name: getattr(jax.config, name) for name in (*SETTINGS, CACHE_DIR)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
        try:
            _set({**SETTINGS, CACHE_DIR: str(own)})
            yield
        finally:
            _set(before)
            keep(own, kept)


def _set(settings: dict) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # else JAX stays with the cache, or with none, that its first program had


def _in_order(folder: Path) -> list[Path]:
    """The files, those written first coming first; none if there is no such folder."""
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    return []

"""Write a result to a file that does not exist yet: whole or not at all."""

from pathlib import Path

from jaxrnn.data import paths
from jaxrnn.errors import InputError
from jaxrnn.storage import run_folder


def check_new_file(path: Path, flag: str) -> Path:
    """Return the path with `~` expanded; raise `InputError` if no new file can be written there."""
    path = paths.expand_home(path)
    try:
        if path.is_dir():
            raise InputError(f"{flag} {str(path)!r} is a folder; name a file in it")
        if path.exists() or path.is_symlink():
            raise InputError(f"{flag} {str(path)!r} exists, and is not overwritten; name another file, or remove it first")
        if not path.parent.is_dir():
            raise InputError(f"{flag} {str(path)!r}: there is no folder {str(path.parent)!r}; make it first")
    except OSError as error:
        raise InputError(f"{flag} {str(path)!r} cannot be written: {error.strerror}") from None
    return path


def write_new_file(path: Path, content: str, flag: str) -> None:
    """Write a text as UTF-8, atomically."""
    try:
        run_folder.replace_file(path, content.encode("utf-8"))
    except OSError as error:
        raise InputError(f"{flag} {str(path)!r} cannot be written: {error.strerror}; name another file") from None

"""Paths as users type them (`~`, a leading `-`), opening them, and the user's cache folder."""

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

from jaxrnn.errors import InputError

SPECIAL_FILES = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device or terminal",
    stat.S_ISBLK: "a device",
}


def expand_home(path: str | Path) -> Path:
    """Expand a leading `~` or `~user`; `./~x`, and a file whose name starts with `~`, stay as they are.

    Raises:
      InputError: no such user, or no known home folder.
    """
    if not str(path).startswith("~"):
        return Path(path)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        if os.path.lexists(path):  # a name such as `~$novel.txt`
            return Path(path)
        home = Path(path).parts[0]
        raise InputError(f"{str(path)!r} cannot be found: there is no home folder {home!r}; write the path in full") from None


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BufferedIOBase]:
    """Open a text file.

    Raises:
      InputError: it is a folder, a pipe or the like, or cannot be read.
      FileNotFoundError, NotADirectoryError: there is none.
    """
    try:
        _check_regular(path)
        with path.open("rb") as file:
            yield file
    except (InputError, FileNotFoundError, NotADirectoryError):  # the first one is a ValueError
        raise
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise InputError(f"text {str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _check_regular(path: Path) -> None:
    """Raise `InputError` for files that can be read only once, such as a pipe, or never end, such as /dev/zero."""
    if stat.S_ISDIR(path.stat().st_mode):
        raise InputError(f"text {str(path)!r} is a folder; name a text file")
    kind = special_kind(path)
    if kind:
        raise InputError(
            f"text {str(path)!r} is {kind}, and a text is read more than once; save it to a file first, or pipe it in as `-`"
        )


def special_kind(path: Path) -> str:
    """Name the kind of a path that is neither a file nor a folder, such as a pipe; "" for those."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return next((kind for is_one, kind in SPECIAL_FILES.items() if is_one(mode)), "a special file")


def quote_path(path: Path) -> str:
    """Quote a path so that it can be pasted into a shell after a program's name, even with unprintable characters."""
    name = f"./{path}" if str(path).startswith("-") else str(path)
    if name.isprintable():
        return shlex.quote(name)
    plain = [c if c.isprintable() and c not in "\\'" else "".join(map("\\x{:02x}".format, os.fsencode(c))) for c in name]
    return f"$'{''.join(plain)}'"


def cache_folder() -> Path | None:
    """Find this package's cache folder; None for a user without a home."""
    import pooch  # here, because it takes a while to import

    try:
        path = Path(pooch.os_cache("jaxrnn"))
    except (RuntimeError, KeyError, OSError, ValueError):  # a user id without a name, and HOME is not set
        return None
    return path if path.is_absolute() else None  # some versions give `~/.cache`, which would become a folder named `~`

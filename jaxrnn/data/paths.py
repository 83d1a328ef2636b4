"""Paths as a user types them (`~`, a leading `-`), and the user's folder for what is downloaded or compiled."""

import os
import shlex
from pathlib import Path

from jaxrnn.errors import InputError


def expand_home(path: str | Path) -> Path:
    """The path with a leading `~` or `~user` replaced by that home folder; `./~x`, and a file that there is, are themselves.

    Raises:
      InputError: there is no such user, or no home folder is known.
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


def quote_path(path: Path) -> str:
    """The path as it can be pasted into a shell after a program's name, also one whose name no screen can show."""
    name = f"./{path}" if str(path).startswith("-") else str(path)
    if name.isprintable():
        return shlex.quote(name)
    plain = [c if c.isprintable() and c not in "\\'" else "".join(map("\\x{:02x}".format, os.fsencode(c))) for c in name]
    return f"$'{''.join(plain)}'"


def cache_folder() -> Path | None:
    """Find this package's folder among the user's caches; None for a user without a home."""
    import pooch  # here, because it takes a while to import

    try:
        path = Path(pooch.os_cache("jaxrnn"))
    except (RuntimeError, KeyError, OSError, ValueError):  # a user id without a name, and HOME is not set
        return None
    return path if path.is_absolute() else None  # some versions give `~/.cache`, which would become a folder named `~`

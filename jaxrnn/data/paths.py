"""Paths as users type them (`~`, a leading `-`), and the user's cache folder."""

import os
import shlex
from pathlib import Path

from jaxrnn.errors import InputError


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

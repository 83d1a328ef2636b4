"""Where the user's caches are: texts that were downloaded, programs that were compiled."""

from pathlib import Path


def folder() -> Path | None:
    """Find this package's folder among the user's caches; None for a user without a home."""
    import pooch  # here, because it takes a while to import

    try:
        path = Path(pooch.os_cache("jaxrnn"))
    except (RuntimeError, KeyError, OSError, ValueError):  # a user id without a name, and HOME is not set
        return None
    return path if path.is_absolute() else None  # some versions give `~/.cache`, which would become a folder named `~`

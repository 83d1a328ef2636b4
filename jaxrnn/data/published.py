"""The texts that are known by name: one comes with the package, others are downloaded once and verified."""

import contextlib
import hashlib
import os
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from jaxrnn.data import paths, temporary
from jaxrnn.errors import InputError

DATA_DIR_VARIABLE = "JAXRNN_DATA_DIR"  # folder with copies of the published texts, searched before downloading
EMBEDDED = "comedie"


class Published(NamedTuple):
    """A text that is downloaded once and kept in the user's cache folder."""

    url: str
    sha256: str


PUBLISHED = {
    "moliere": Published(
        "https://raw.githubusercontent.com/SimonThomine/CoursDeepLearning/348172586de6099ba97d3885de92a97d832937a7"
        "/05_NLP/moliere.txt",
        "9589b888061b947f572349272728147e6de1c34887a1298c92563e7cb1f10d28",
    ),
    "shakespeare": Published(
        "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
        "/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
}


def is_known(name: str) -> bool:
    """Return whether a text of this name comes with the package or can be downloaded."""
    return name == EMBEDDED or name in PUBLISHED


def read_known(name: str) -> bytes:
    """Read the bytes of a known text; `InputError` if a download failed or has the wrong SHA-256."""
    if name == EMBEDDED:
        return resources.files("jaxrnn").joinpath("data", "comedie.txt").read_bytes()
    return _read_published(name)


def _read_published(name: str) -> bytes:
    folder = os.environ.get(DATA_DIR_VARIABLE)
    copy = paths.expand_home(folder) / f"{name}.txt" if folder else None
    if copy is None or not copy.is_file():
        return _download(name)
    with paths.open_regular(copy) as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != PUBLISHED[name].sha256:
        raise InputError(f"{copy} is not the published text {name!r}, whose SHA-256 is {PUBLISHED[name].sha256}; move it away")
    return data


def _download(name: str) -> bytes:
    kept = paths.cache_folder()
    try:
        if kept is not None and ((kept / f"{name}.txt").is_file() or _can_write(kept)):
            return _retrieve(name, kept)
        with temporary.folder() as passing:  # no home folder, or none that can be written
            return _retrieve(name, passing)
    except (OSError, ValueError) as error:  # ValueError: wrong SHA-256; pooch has removed the file
        reason = type(error).__name__ if isinstance(error, OSError) else "its SHA-256 is wrong"
        folder = os.environ.get(DATA_DIR_VARIABLE)
        where = f"{folder!r} ({DATA_DIR_VARIABLE})" if folder else f"a folder and set {DATA_DIR_VARIABLE} to it"
        url = PUBLISHED[name].url
        raise InputError(
            f"text {name!r} could not be downloaded from {url} ({reason}); put a copy named {name}.txt into {where}"
        ) from None


def _retrieve(name: str, folder: Path) -> bytes:
    """Read a text from a folder, downloading it there first if it is missing."""
    import pooch  # slow to import, and most runs do not download

    url, digest = PUBLISHED[name]
    pooch.get_logger().setLevel("WARNING")
    return Path(pooch.retrieve(url, f"sha256:{digest}", f"{name}.txt", folder)).read_bytes()


def _can_write(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK)
    return False

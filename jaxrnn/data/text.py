"""A text by name or path, normalised, and its contiguous parts."""

import contextlib
import hashlib
import os
import stat
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxrnn.data import automaton, paths, synthetic, temporary
from jaxrnn.errors import InputError

DATA_DIR_VARIABLE = "JAXRNN_DATA_DIR"  # a folder with copies of the published texts, used before any download
EMBEDDED = "comedie"


SPECIAL_FILES = {
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device or terminal",
    stat.S_ISBLK: "a device",
}


class Published(NamedTuple):
    """A text that is downloaded once and then kept in the user's cache folder."""

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
SYNTHETIC = "synthetic:"  # and the name of a source
NUM_SYNTHETIC = 1_000_000  # characters
TEXT_NAMES = (EMBEDDED, *PUBLISHED, *(SYNTHETIC + name for name in synthetic.SOURCES))


class Parts(NamedTuple):
    """Contiguous parts of a text, in its order; `validation` may be empty."""

    train: str
    validation: str
    heldout: str


def read(name_or_path: str) -> str:
    """A known text by its name, or any UTF-8 file by its path; normalised.

    The text of a synthetic source is always the same, and a million characters long.

    Raises:
      InputError: no such text; no regular file; empty; not UTF-8; a download that failed or does not match its digest.
    """
    if name_or_path.startswith(SYNTHETIC):
        return synthetic.generate_text(name_or_path.removeprefix(SYNTHETIC), NUM_SYNTHETIC, seed=0)
    if name_or_path == EMBEDDED:
        data = resources.files("jaxrnn").joinpath("data", "comedie.txt").read_bytes()
    elif name_or_path in PUBLISHED:
        data = _read_published(name_or_path)
    else:
        data = _read_file(paths.expand_home(name_or_path or "no name"))
    return normalise(data, name_or_path)


def text_exists(name_or_path: str) -> bool:
    """Whether it is a known text, or something has this path."""
    return name_or_path in TEXT_NAMES or os.path.lexists(paths.expand_home(name_or_path))


def floor_losses(name: str, text: str) -> Float[np.ndarray, " characters"] | None:
    """What the source of a synthetic text loses at each character, in nats: no model loses less in the mean.

    None if the text has no known source.
    """
    if not has_floor(name):
        return None
    return automaton.source_losses(synthetic.named_source(name.removeprefix(SYNTHETIC)), text)


def known_source(name: str) -> automaton.Source | None:
    """The source of a synthetic text, None of any other."""
    return synthetic.named_source(name.removeprefix(SYNTHETIC)) if has_floor(name) else None


def has_floor(name: str) -> bool:
    """Whether the source of a text is known."""
    return name.startswith(SYNTHETIC)


def normalise(data: bytes, name: str) -> str:
    """UTF-8 -> text: a byte-order mark is dropped; CR LF and CR become one newline character."""
    try:
        text = normalise_newlines(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"text {name!r} is not UTF-8: byte 0x{data[error.start]:02X} at offset {error.start} is not valid; "
            "save it as UTF-8 first"
        ) from None
    if not text:
        raise InputError(f"text {name!r} is empty")
    return text


def normalise_newlines(text: str) -> str:
    """The text without a byte-order mark, with one newline character for each CR LF or CR."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


class Lengths(NamedTuple):
    """Characters in each part of a text."""

    train: int
    validation: int
    heldout: int


def check_length(name: str, text: str) -> None:
    """Raises `InputError` unless there is a character to predict from another one."""
    if len(text) < 2:
        number = "one character" if text else "no characters"
        raise InputError(f"text {name!r} has {number}; two characters or more are needed")


def split_lengths(num_characters: int, validation_fraction: float, heldout_fraction: float) -> Lengths:
    """How many characters each part gets."""
    num_validation, num_heldout = round(num_characters * validation_fraction), round(num_characters * heldout_fraction)
    return Lengths(num_characters - num_validation - num_heldout, num_validation, num_heldout)


def split(text: str, validation_fraction: float, heldout_fraction: float) -> Parts:
    """Cuts a text in three: most of it to train, then the validation part, then the held-out part at its end."""
    num_train, num_validation, num_heldout = split_lengths(len(text), validation_fraction, heldout_fraction)
    return Parts(text[:num_train], text[num_train : num_train + num_validation], text[len(text) - num_heldout :])


def hash_text(text: str) -> str:
    """The digest by which a run knows its text again."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _read_file(path: Path) -> bytes:
    try:
        _check_regular(path)
        return path.read_bytes()
    except InputError:  # a ValueError
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"no text {str(path)!r}: neither a file nor one of the known names {', '.join(TEXT_NAMES)}") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise InputError(f"text {str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _check_regular(path: Path) -> None:
    """Raises `InputError` for what can be read only once, such as a pipe, or has no end, such as /dev/zero."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise InputError(f"text {str(path)!r} is a folder; name a text file")
    if not stat.S_ISREG(mode):
        kind = next((kind for is_one, kind in SPECIAL_FILES.items() if is_one(mode)), "a special file")
        raise InputError(f"text {str(path)!r} is {kind}, and a text is read more than once; save it to a file first")


def _read_published(name: str) -> bytes:
    folder = os.environ.get(DATA_DIR_VARIABLE)
    copy = paths.expand_home(folder) / f"{name}.txt" if folder else None
    if copy is None or not copy.is_file():
        return _download(name)
    data = _read_file(copy)
    if hashlib.sha256(data).hexdigest() != PUBLISHED[name].sha256:
        raise InputError(f"{copy} is not the published text {name!r}, whose SHA-256 is {PUBLISHED[name].sha256}; move it away")
    return data


def _download(name: str) -> bytes:
    kept = paths.cache_folder()
    try:
        if kept is not None and ((kept / f"{name}.txt").is_file() or _can_write(kept)):
            return _retrieve(name, kept)
        with temporary.folder() as passing:  # a user without a home, or one that cannot be written
            return _retrieve(name, passing)
    except (OSError, ValueError) as error:  # ValueError: a wrong digest; pooch has removed the file
        reason = type(error).__name__ if isinstance(error, OSError) else "its SHA-256 is wrong"
        folder = os.environ.get(DATA_DIR_VARIABLE)
        where = f"{folder!r}, as {DATA_DIR_VARIABLE} says" if folder else f"a folder that {DATA_DIR_VARIABLE} names"
        url = PUBLISHED[name].url
        raise InputError(
            f"text {name!r} could not be downloaded from {url} ({reason}); put a copy named {name}.txt into {where}"
        ) from None


def _retrieve(name: str, folder: Path) -> bytes:
    """Read a text from this folder; it is downloaded if it is not there."""
    import pooch  # here, because it takes a while to import and most runs do not download

    url, digest = PUBLISHED[name]
    pooch.get_logger().setLevel("WARNING")
    return Path(pooch.retrieve(url, f"sha256:{digest}", f"{name}.txt", folder)).read_bytes()


def _can_write(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK)
    return False

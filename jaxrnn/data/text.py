"""Load a text by name or path, normalise it and split it into parts."""

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from jaxrnn.data import automaton, paths, published, reading, synthetic
from jaxrnn.data.reading import CodedText
from jaxrnn.errors import InputError

SYNTHETIC = "synthetic:"  # followed by the name of a source
NUM_SYNTHETIC = 1_000_000  # characters
TEXT_NAMES = (published.EMBEDDED, *published.PUBLISHED, *(SYNTHETIC + name for name in synthetic.SOURCES))


class Parts(NamedTuple):
    """Parts of a text as ids, each in text order."""

    train: Integer[np.ndarray, " train_characters"]  #: to train on
    validation: Integer[np.ndarray, " validation_characters"]  #: to choose weights and rates on; may be empty
    heldout: Integer[np.ndarray, " heldout_characters"]  #: for the final test; may be empty


def read(name_or_path: str) -> str:
    """Read a known text by name, or any UTF-8 file by path, and normalise it.

    Args:
      name_or_path: comedie, moliere, shakespeare, synthetic:NAME (always the same million characters), or the path of a file.
    Returns:
      The text without a byte-order mark, with newlines as line ends.
    Raises:
      InputError: no such text; not a regular file; empty; not UTF-8; a download failed or has the wrong SHA-256.
    """
    if name_or_path.startswith(SYNTHETIC):
        return synthetic.generate_text(name_or_path.removeprefix(SYNTHETIC), NUM_SYNTHETIC, seed=0)
    with _open(name_or_path) as file:
        return normalise(file.read(), name_or_path)


def read_ids(name_or_path: str, max_characters: int = 0, known: str = "") -> CodedText:
    """Read a known text by name (not a synthetic one), or any UTF-8 file by path, as ids.

    Args:
      max_characters: characters to use, from the beginning; 0 = all. No more of the file is read than needed.
      known: characters that get ids even if the text does not contain them.
    Returns:
      The ids in the smallest type that holds them, and the characters that they stand for (`reading.CodedText`).
    Raises:
      InputError: for the same reasons as `read`.
    """
    with _open(name_or_path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        coded = reading.code_parts(reading.decode_parts(file, name_or_path), size, max_characters, known)
    if not coded.ids.size:
        raise InputError(f"text {name_or_path!r} is empty")
    return coded


def count_characters(name_or_path: str) -> int:
    """Count the characters of a text that `read_ids` can read; raise `InputError` as that does."""
    with _open(name_or_path) as file:
        return reading.count_characters(reading.decode_parts(file, name_or_path))


def text_exists(name_or_path: str) -> bool:
    """Return whether the name is a known text or an existing path."""
    return name_or_path in TEXT_NAMES or os.path.lexists(paths.expand_home(name_or_path))


def known_source(name: str) -> automaton.Source | None:
    """Return the source of a synthetic text, None for any other text."""
    return synthetic.named_source(name.removeprefix(SYNTHETIC)) if has_floor(name) else None


def has_floor(name: str) -> bool:
    """Return whether the source of a text, and so its lowest loss, is known."""
    return name.startswith(SYNTHETIC)


def normalise(data: bytes, name: str) -> str:
    """Decode UTF-8, drop a byte-order mark and turn CR LF and CR into newlines.

    Args:
      name: what to call the text in errors.
    Raises:
      InputError: the text is empty or not UTF-8.
    """
    try:
        text = normalise_newlines(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise reading.not_decoded(name, error) from None
    if not text:
        raise InputError(f"text {name!r} is empty")
    return text


def normalise_newlines(text: str) -> str:
    """Drop a byte-order mark and turn CR LF and CR into newlines."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


class Lengths(NamedTuple):
    """Number of characters in each part of a text."""

    train: int
    validation: int
    heldout: int


def check_length(name: str, num_characters: int) -> None:
    """Raise `InputError` unless the text has at least two characters."""
    if num_characters < 2:
        number = "one character" if num_characters else "no characters"
        raise InputError(f"text {name!r} has {number}; two characters or more are needed")


def split_lengths(num_characters: int, validation_fraction: float, heldout_fraction: float) -> Lengths:
    """Compute the number of characters in each part; the fractions are of the whole text."""
    num_validation, num_heldout = round(num_characters * validation_fraction), round(num_characters * heldout_fraction)
    return Lengths(num_characters - num_validation - num_heldout, num_validation, num_heldout)


def place_validation(lengths: Lengths, num_pieces: int) -> list[tuple[int, int]]:
    """Place the validation part in the text before the held-out part.

    One piece goes at the end of that text. Several are spread evenly, with half as much training text before the first and
    after the last piece as between two of them, so that training reaches up to the held-out part.

    Returns:
      For each piece, in order, the position of its first character and the position after its last one.
    """
    num_train, num_validation = lengths.train, lengths.validation
    if num_pieces == 1:
        return [(num_train, num_train + num_validation)]
    before = [num_train * (2 * piece + 1) // (2 * num_pieces) for piece in range(num_pieces)]  # of the training part
    ends = [num_validation * piece // num_pieces for piece in range(num_pieces + 1)]
    return [(before[i] + ends[i], before[i] + ends[i + 1]) for i in range(num_pieces)]


def split(
    ids: Integer[np.ndarray, " characters"], validation_fraction: float, heldout_fraction: float, num_pieces: int = 1
) -> Parts:
    """Split a text into a training part, a validation part in `num_pieces` and, at the end, a held-out part.

    Args:
      validation_fraction, heldout_fraction: fractions of the whole text.
      num_pieces: number of pieces of the validation part (`place_validation`).
    Returns:
      The parts. With one piece they are views; with more they are copies, so that the whole text need not stay in memory.
    """
    lengths = split_lengths(len(ids), validation_fraction, heldout_fraction)
    pieces, end = place_validation(lengths, num_pieces), len(ids) - lengths.heldout
    if num_pieces == 1:
        return Parts(ids[: lengths.train], ids[lengths.train : end], ids[end:])
    cuts = [cut for piece in pieces for cut in piece]
    parts = np.split(ids[:end], cuts)  # alternately of the training and the validation part
    return Parts(np.concatenate(parts[::2]), np.concatenate(parts[1::2]), ids[end:].copy())


def before_heldout(parts: Parts, num_pieces: int, most: int) -> Integer[np.ndarray, " characters"]:
    """Return the last `most` characters before the held-out part, with training and validation pieces in text order."""
    lengths, segments, end = Lengths(*map(len, parts)), [], 0
    train, validation = parts.train, parts.validation
    for start, after in place_validation(lengths, num_pieces):
        segments += [train[: start - end], validation[: after - start]]
        train, validation, end = train[start - end :], validation[after - start :], after
    segments, missing, last = [*segments, train], most, []
    while segments and missing > 0:
        segment = segments.pop()
        last.insert(0, segment[max(0, len(segment) - missing) :])
        missing -= len(last[0])
    return np.concatenate(last)


def hash_text(text: str) -> str:
    """Compute the SHA-256 by which a run recognises its text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@contextlib.contextmanager
def _open(name: str) -> Iterator[io.BufferedIOBase]:
    """Open a text that is not synthetic; failures to open or read it become an `InputError`."""
    if published.is_known(name):
        yield io.BytesIO(published.read_known(name))
        return
    path = paths.expand_home(name or "no name")
    try:
        with paths.open_regular(path) as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"no text {str(path)!r}: neither a file nor one of the known names {', '.join(TEXT_NAMES)}") from None

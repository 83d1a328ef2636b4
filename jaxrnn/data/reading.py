"""Read a text in parts and turn it into ids in one pass, without ever holding the whole text as characters."""

import codecs
import hashlib
from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Integer

from jaxrnn.errors import InputError

PART = 2**20  # bytes or characters: little beside the ids, and small enough for a processor's cache
NUM_CODE_POINTS = 0x110000


class Part(NamedTuple):
    """Consecutive characters of a text with normalised line ends; may be empty."""

    characters: str
    is_last: bool


class CodedText(NamedTuple):
    """The characters of a text that are in use, as ids."""

    ids: Integer[np.ndarray, " characters"]  # in the type that `smallest_type` chooses: widen them before arithmetic
    characters: str  # distinct ones, and those known before, sorted by code point; the index is the id
    sha256: str  # of the characters in use as UTF-8
    num_characters: int | None  # of the whole text; None if it was not read to its end


def smallest_type(vocab_size: int) -> np.dtype:
    """Choose the smallest type that holds `vocab_size` ids: uint8, uint16 or int32."""
    return np.dtype(np.uint8 if vocab_size <= 2**8 else np.uint16 if vocab_size <= 2**16 else np.int32)


def decode_parts(file: BufferedIOBase, name: str, size: int = PART) -> Iterator[Part]:
    """Decode UTF-8 in parts of `size` bytes, drop a byte-order mark and turn CR LF and CR into newlines.

    Raises:
      InputError: not UTF-8; the message gives the first wrong byte and its offset in the file.
    """
    decoder, started, held, num_read = codecs.getincrementaldecoder("utf-8")(), False, "", 0
    data = file.read(size)
    is_last = False
    while not is_last:
        following = file.read(size) if data else b""
        is_last, num_read = not following, num_read + len(data)
        try:
            text = decoder.decode(data, final=is_last)
        except UnicodeDecodeError as error:
            raise not_utf8(name, error, num_read - len(error.object)) from None
        text, started = text if started else text.removeprefix("\ufeff"), started or bool(text)
        text = held + text
        held = "\r" if text.endswith("\r") and not is_last else ""  # perhaps the first half of a CR LF
        yield Part(text[: len(text) - len(held)].replace("\r\n", "\n").replace("\r", "\n"), is_last)
        data = following


def not_utf8(name: str, error: UnicodeDecodeError, offset: int = 0) -> InputError:
    """Describe bytes that are not UTF-8; `offset` is where the bytes of the error begin in the file."""
    return InputError(
        f"text {name!r} is not UTF-8: byte 0x{error.object[error.start]:02X} at offset {offset + error.start} is not valid; "
        "save it as UTF-8 first"
    )


def cut_parts(text: str, size: int = PART) -> Iterator[Part]:
    """Cut a normalised text into parts of `size` characters."""
    for start in range(0, max(1, len(text)), size):
        yield Part(text[start : start + size], start + size >= len(text))


def count_characters(parts: Iterator[Part]) -> int:
    """Count the characters of a text."""
    return sum(len(part.characters) for part in parts)


def code_parts(parts: Iterator[Part], most: int, max_characters: int = 0, known: str = "") -> CodedText:
    """Turn a text into ids in one pass.

    While the text is read, ids follow the order of first appearance; at the end they are renumbered by code point, in place.

    Args:
      most: an upper bound on the number of characters; memory is used only for those that are read.
      max_characters: characters to use, from the beginning; 0 = all. Nothing is read after the part that holds the last one,
        so errors there go unnoticed.
      known: characters that get ids even if the text does not contain them.
    """
    table, order = np.full(NUM_CODE_POINTS, -1, np.int32), list(dict.fromkeys(map(ord, known)))
    table[order] = np.arange(len(order))
    limit, num_used, result, num_characters = min(max_characters or most, most), 0, hashlib.sha256(), None
    ids = np.empty(limit, smallest_type(len(order)))
    for characters, is_last in parts:
        used = characters[: limit - num_used]
        result.update(used.encode("utf-8"))
        coded = _code(used, table, order)
        ids = _widened(ids, num_used, len(order))
        ids[num_used : num_used + len(used)] = coded
        num_characters = num_used + len(characters) if is_last else None
        num_used += len(used)
        if num_used == limit:
            break
    ids = ids[:num_used]
    _sort_ids(ids, order)
    return CodedText(ids, "".join(map(chr, sorted(order))), result.hexdigest(), num_characters)


def _code(characters: str, table: Int32[np.ndarray, " code_points"], order: list[int]) -> Integer[np.ndarray, " characters"]:
    """Look up the ids of characters; new ones are appended to `order` and entered into `table`."""
    try:
        narrow = characters.encode("latin-1")
    except UnicodeEncodeError:
        codes = np.frombuffer(characters.encode("utf-32-le"), "<u4")
        found = table.take(codes)
        if found.size and found.min() < 0:
            _append(np.unique(codes[found < 0]).tolist(), table, order)
            found = table.take(codes)
        return found
    seen = bytes(np.flatnonzero(table[:256] >= 0).tolist())
    _append(sorted(set(narrow.translate(None, seen))), table, order)
    if len(order) <= 256:  # several times as fast as a table of 32-bit numbers
        return np.frombuffer(narrow.translate(table[:256].astype(np.uint8).tobytes()), np.uint8)
    return table.take(np.frombuffer(narrow, np.uint8))


def _append(new: list[int], table: Int32[np.ndarray, " code_points"], order: list[int]) -> None:
    table[new] = np.arange(len(order), len(order) + len(new))
    order.extend(new)


def _widened(ids: np.ndarray, num_used: int, vocab_size: int) -> np.ndarray:
    """Copy the ids in use into a wider array, if they need one."""
    wanted = smallest_type(vocab_size)
    if ids.dtype == wanted:
        return ids
    wider = np.empty(len(ids), wanted)  # `astype` would allocate memory for all of them
    wider[:num_used] = ids[:num_used]
    return wider


def _sort_ids(ids: Integer[np.ndarray, " characters"], order: list[int]) -> None:
    """Replace ids, which are indices into `order`, by ranks among its code points, in place."""
    rank = np.empty(len(order), ids.dtype)
    rank[np.argsort(order)] = np.arange(len(order))
    table = rank.tobytes().ljust(256, b"\0")
    for start in range(0, len(ids), PART):
        part = ids[start : start + PART]
        in_bytes = ids.dtype == np.uint8
        part[:] = np.frombuffer(part.tobytes().translate(table), np.uint8) if in_bytes else rank.take(part)

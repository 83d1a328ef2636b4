"""Read a text in parts and turn it into ids in one pass, without ever holding the whole text as characters."""

import array
import codecs
import hashlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, Integer

from jaxrnn.errors import InputError

PART = 2**20  # bytes or characters: little beside the ids, and small enough for a processor's cache
NUM_CODE_POINTS = 0x110000
UTF_8 = "utf-8"


class Part(NamedTuple):
    """Consecutive characters of a text with normalised line ends; may be empty."""

    characters: str
    is_last: bool
    starts: Sequence[int] = ()  # positions in it at which a document begins, if they are known
    text: int = 0  # index of the text that it is from, if several are joined


class CodedText(NamedTuple):
    """The characters of a text that are in use, as ids."""

    ids: Integer[np.ndarray, " characters"]  # in the type that `smallest_type` chooses: widen them before arithmetic
    characters: str  # distinct ones, and those known before, sorted by code point; the index is the id
    sha256: str  # of the characters in use as UTF-8
    num_characters: int | None  # of the whole text; None if it was not read to its end
    starts: Int64[np.ndarray, " documents"]  # positions at which documents begin, the first one at 0
    sizes: tuple[int, ...]  # characters in use of each text, if several are joined, as far as they were read


def smallest_type(vocab_size: int) -> np.dtype:
    """Choose the smallest type that holds `vocab_size` ids: uint8, uint16 or int32."""
    return np.dtype(np.uint8 if vocab_size <= 2**8 else np.uint16 if vocab_size <= 2**16 else np.int32)


def check_encoding(encoding: str) -> None:
    """Raise `InputError` unless Python can decode text in this encoding."""
    try:
        codecs.getincrementaldecoder(encoding)
        b"a".decode(encoding)
    except UnicodeError:  # half a character of an encoding that exists
        pass
    except (LookupError, ValueError):  # ValueError: a null character
        raise InputError(
            f"--encoding {encoding!r} is unknown; use one of Python's text encodings, such as utf-8, latin-1, cp1252 or utf-16"
        ) from None


def decode_parts(file: BufferedIOBase, name: str, size: int = PART, encoding: str = UTF_8) -> Iterator[Part]:
    """Decode a file in parts of `size` bytes, drop a byte-order mark and turn CR LF and CR into newlines.

    Raises:
      InputError: not in this encoding; the message gives the first wrong byte and its offset in the file.
    """
    return _decode(_with_end(iter(lambda: file.read(size), b"")), name, encoding)


def decode_at_once(pieces: Iterator[bytes], name: str, encoding: str = UTF_8) -> Iterator[Part]:
    """Decode pieces as `decode_parts` does, each as soon as it is there: for standard input, which may never end."""
    return _decode(itertools.chain(((piece, False) for piece in pieces), [(b"", True)]), name, encoding)


def _with_end(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each piece and whether it is the last one; there is at least one."""
    piece = next(pieces, b"")
    for following in pieces:
        yield piece, False
        piece = following
    yield piece, True


def _decode(pieces: Iterator[tuple[bytes, bool]], name: str, encoding: str) -> Iterator[Part]:
    """Yield a part for each piece."""
    decoder, has_begun, after_return, num_read = codecs.getincrementaldecoder(encoding)(), False, False, 0
    for data, is_last in pieces:
        num_read += len(data)
        try:
            text = decoder.decode(data, final=is_last)
        except UnicodeDecodeError as error:
            raise not_decoded(name, error, num_read - len(error.object), encoding) from None
        except UnicodeError as error:  # UTF-16 without a byte-order mark
            raise InputError(f"text {name!r} is not {encoding}: {error}; name another --encoding") from None
        if text:
            new = text if has_begun else text.removeprefix("\ufeff")
            new = new.removeprefix("\n") if after_return else new  # the second half of a CR LF
            text, has_begun, after_return = new.replace("\r\n", "\n").replace("\r", "\n"), True, text.endswith("\r")
        yield Part(text, is_last)


def not_decoded(name: str, error: UnicodeDecodeError, offset: int = 0, encoding: str = UTF_8) -> InputError:
    """Describe bytes that are not in this encoding; `offset` is where the bytes of the error begin in the file."""
    is_default = codecs.lookup(encoding).name == UTF_8
    remedy = "give its --encoding (such as latin-1), or save it as UTF-8 first" if is_default else "give another --encoding"
    return InputError(
        f"text {name!r} is not {'UTF-8' if is_default else encoding}: byte 0x{error.object[error.start]:02X} at offset "
        f"{offset + error.start} is not valid; {remedy}"
    )


def cut_parts(text: str, size: int = PART) -> Iterator[Part]:
    """Cut a normalised text into parts of `size` characters."""
    for start in range(0, max(1, len(text)), size):
        yield Part(text[start : start + size], start + size >= len(text))


def count_characters(parts: Iterator[Part]) -> int:
    """Count the characters of a text."""
    return sum(len(part.characters) for part in parts)


def code_parts(parts: Iterator[Part], expected: int, max_characters: int = 0, known: str = "") -> CodedText:
    """Turn a text into ids in one pass.

    While the text is read, ids follow the order of first appearance; at the end they are renumbered by code point, in place.

    Args:
      expected: number of characters, better too many than too few; memory is used only for those that are read.
      max_characters: characters to use, from the beginning; 0 = all. Nothing is read after the part that holds the last one,
        so errors there go unnoticed.
      known: characters that get ids even if the text does not contain them.
    """
    table, order = np.full(NUM_CODE_POINTS, -1, np.int32), list(dict.fromkeys(map(ord, known)))
    table[order] = np.arange(len(order))
    limit, num_used, digest, num_characters = max_characters or sys.maxsize, 0, hashlib.sha256(), None
    ids, starts, sizes = np.empty(min(limit, expected), smallest_type(len(order))), array.array("q"), []
    for characters, is_last, begun, text in parts:
        used = characters[: limit - num_used]
        digest.update(used.encode("utf-8"))
        coded = _code(used, table, order)
        ids = _with_room(ids, num_used, num_used + len(used), len(order))
        ids[num_used : num_used + len(used)] = coded
        num_characters = num_used + len(characters) if is_last else None
        starts.extend(num_used + start for start in begun if start < len(used))
        sizes += [0] * (text + 1 - len(sizes))
        sizes[text] += len(used)
        num_used += len(used)
        if num_used == limit:
            break
    ids = ids[:num_used]
    _sort_ids(ids, order)
    characters, begun = "".join(map(chr, sorted(order))), np.array(starts or [0], np.int64)
    return CodedText(ids, characters, _with_starts(digest, begun), num_characters, begun, tuple(sizes))


def _with_starts(digest: "hashlib._Hash", starts: Int64[np.ndarray, " documents"]) -> str:
    """Return the digest of a text, in which the places where documents begin are included if there are several."""
    if len(starts) < 2:
        return digest.hexdigest()
    return hashlib.sha256(digest.digest() + starts.astype("<i8").tobytes()).hexdigest()


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


def _with_room(ids: np.ndarray, num_used: int, wanted: int, vocab_size: int) -> np.ndarray:
    """Give the ids a wider type or more room, if they need it."""
    if wanted > len(ids):
        ids.resize(max(wanted, len(ids) + len(ids) // 8, PART), refcheck=False)  # in place: the system moves no large array
    wanted_type = smallest_type(vocab_size)
    if ids.dtype == wanted_type:
        return ids
    wider = np.empty(len(ids), wanted_type)  # `astype` would allocate memory for all of them
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

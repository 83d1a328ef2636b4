"""What is to be scored, as it comes: files to their ends, and of standard input whatever is there."""

import codecs
import itertools
import os
import select
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxrnn.data import files
from jaxrnn.data.joining import join_texts
from jaxrnn.data.reading import Part, check_encoding
from jaxrnn.errors import InputError
from jaxrnn.runtime.signals import Interrupted, Received, raise_on_signal

SIZE = 1 << 16  # bytes, as many as a pipe holds
CHECKED = 8_192  # bytes in which a null byte means a binary file, as in git and grep


class Incoming(NamedTuple):
    """The next characters of what is scored."""

    source: str  # the name of their file
    characters: str
    begins: bool = False  # whether a document begins with them


def find_inputs(names: Sequence[str], encoding: str) -> tuple[str, ...]:
    """Find the files that names stand for, as `data.files.find_files` does; standard input may be a terminal.

    Raises:
      InputError: as there.
    """
    if names.count(files.STDIN) > 1:
        raise InputError("standard input, `-`, is given twice, and can be read only once; give it once")
    found = [(name,) if name == files.STDIN else files.find_files([name], encoding).files for name in names]
    check_encoding(encoding)
    return tuple(name for each in found for name in each)


def read_incoming(
    inputs: Sequence[str], encoding: str, separator: str, wake_seconds: float, received: Received
) -> Iterator[Incoming | None]:
    """Read texts one after another, until a signal comes.

    Args:
      inputs: from `find_inputs`.
      separator: what stands between documents of a text, see `data.joining`; "" = each text is one document.
      wake_seconds: how long to wait for standard input, at most, before yielding None.
    Raises:
      InputError: a text cannot be read, or is none.
    """
    texts = (_read_text(name, encoding, wake_seconds, received) for name in inputs)
    try:
        for part in join_texts(texts, len(inputs), separator):
            if not part.characters:
                yield None
            source, starts = inputs[part.text], [*part.starts, len(part.characters)]
            if starts[0]:
                yield Incoming(source, part.characters[: starts[0]])
            for start, end in itertools.pairwise(starts):
                yield Incoming(source, part.characters[start:end], begins=True)
    except Interrupted:
        return


def _read_text(name: str, encoding: str, wake_seconds: float, received: Received) -> Iterator[Part]:
    """Read a text in parts; an empty one means that nothing has come for some time."""
    decoder, has_begun, after_return = codecs.getincrementaldecoder(encoding)("surrogateescape"), False, False
    for data in _check_text(_read(name, wake_seconds, received), name, encoding):
        text = _decode(decoder, data or b"", name, is_last=data == b"")
        # A byte that is not valid is a character that no model knows: it is charged, and does not end a stream.
        if text:
            new = text if has_begun else text.removeprefix("\ufeff")
            new = new.removeprefix("\n") if after_return else new  # the second half of a CR LF
            text, has_begun, after_return = new.replace("\r\n", "\n").replace("\r", "\n"), True, text.endswith("\r")
        yield Part(text, is_last=data == b"")


def _decode(decoder: codecs.IncrementalDecoder, data: bytes, name: str, is_last: bool) -> str:
    try:
        return decoder.decode(data, is_last)
    except UnicodeError as error:  # in encodings of more than one byte for each character
        raise InputError(f"text {name!r} cannot be decoded ({error}); name another --encoding") from None


def _check_text(pieces: Iterator[bytes | None], name: str, encoding: str) -> Iterator[bytes | None]:
    """Pass a text on; `InputError` if it begins like a binary file. A UTF-16 text has null bytes, too."""
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        yield from pieces
        return
    is_first = True
    for data in pieces:
        if data and is_first:
            at, is_first = data[:CHECKED].find(b"\0"), False
            if at >= 0:
                raise InputError(
                    f"{name!r} is not a text: it has a null byte at offset {at}; if it is one, name its --encoding"
                )
        yield data


def _read(name: str, wake_seconds: float, received: Received) -> Iterator[bytes | None]:
    """Yield pieces, as soon as they are there; None if none has come for some time; b"" at the end.

    Raises:
      Interrupted: by a signal.
    """
    if name == files.STDIN:
        yield from _read_stdin(wake_seconds, received)
        return
    with files.open_file(name) as file:
        data = None
        while data != b"":
            with raise_on_signal(received):
                data = file.read(SIZE)
            yield data


def _read_stdin(wake_seconds: float, received: Received) -> Iterator[bytes | None]:
    data = None
    while data != b"":
        with raise_on_signal(received):
            data = os.read(0, SIZE) if _has_come(wake_seconds) else None
        yield data


def _has_come(seconds: float) -> bool:
    try:
        return bool(select.select([0], [], [], seconds)[0])
    except (OSError, ValueError):  # on Windows `select` takes only sockets
        return True

"""What is to be scored, as it comes: files to their ends, and standard input, whatever of it is there."""

import codecs
import contextlib
import os
import select
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxrnn.errors import InputError
from jaxrnn.runtime.signals import Interrupted, Received, raise_on_signal

SIZE = 1 << 16  # bytes, as many as a pipe holds
CHECKED = 8_192  # bytes in which a null byte means a binary file, as in git and grep


class Incoming(NamedTuple):
    """The next characters of what is scored."""

    source: str  # the name of their file
    characters: str
    begins: bool = False  # whether a document begins with them


def read_input(descriptor: int, wake_seconds: float, received: Received) -> Iterator[bytes | None]:
    """Yield what has come in, at once; None if nothing has for some time. A signal ends it.

    Args:
      wake_seconds: how long to wait, at most, before yielding None.
    """
    try:
        while True:
            with raise_on_signal(received):
                data = os.read(descriptor, SIZE) if _has_come(descriptor, wake_seconds) else None
            if data == b"":
                return
            yield data
    except Interrupted:
        return


def check_text(data: Iterator[bytes | None], name: str) -> Iterator[bytes | None]:
    """Pass data on unless they begin like a binary file.

    Raises:
      InputError: there is a null byte among the first bytes.
    """
    is_first = True
    for part in data:
        if part and is_first and (at := part[:CHECKED].find(b"\0")) >= 0:
            raise InputError(f"{name!r} is not a text: it has a null byte at offset {at}; if it is one, name its --encoding")
        is_first = is_first and not part
        yield part


def _has_come(descriptor: int, seconds: float) -> bool:
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    except (OSError, ValueError):  # on Windows `select` takes only sockets
        return True


def decode(data: Iterator[bytes | None], encoding: str) -> Iterator[str | None]:
    """Decode what has come in, and turn CR LF and CR into newlines.

    A byte that is not valid becomes a character that no model knows, so that it is charged instead of ending the stream.
    """
    decoder, held, started = codecs.getincrementaldecoder(encoding)("surrogateescape"), "", False
    for part in data:
        if part is None:
            yield None
            continue
        text = held + decoder.decode(part)
        held = "\r" if text.endswith("\r") else ""  # perhaps the first half of a CR LF
        text = text.removesuffix(held)
        text, started = text if started else text.removeprefix("\ufeff"), started or bool(text)
        yield text.replace("\r\n", "\n").replace("\r", "\n")
    yield (held + decoder.decode(b"", final=True)).replace("\r", "\n")


def read_files(names: Sequence[str], encoding: str, wake_seconds: float, received: Received) -> Iterator[Incoming | None]:
    """Read texts one after another.

    Args:
      names: of files; - = standard input.
      wake_seconds: how long to wait for standard input, at most, before yielding None.
    """
    for name in names:
        with contextlib.ExitStack() as opened:
            descriptor = 0 if name == "-" else opened.enter_context(Path(name).open("rb", buffering=0)).fileno()
            data = check_text(read_input(descriptor, wake_seconds, received), name)
            begins = True
            for characters in decode(data, encoding):
                yield None if characters is None else Incoming(name, characters, begins)
                begins = begins and not characters
        if received():
            return

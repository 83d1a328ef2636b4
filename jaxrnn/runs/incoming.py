"""What is to be scored, as it comes: files to their ends, and of standard input whatever is there."""

import codecs
import os
import select
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxrnn.data import files
from jaxrnn.data.joining import separator_pattern, unescape
from jaxrnn.data.reading import Part, check_encoding
from jaxrnn.errors import InputError
from jaxrnn.runtime.signals import Interrupted, Received, raise_on_signal
from jaxrnn.scoring.pieces import Place, advance_place

SIZE = 1 << 16  # bytes, as many as a pipe holds
MOST_SECONDS = 3_600.0  # to wait; `select` takes no number of any size
CHECKED = 8_192  # bytes in which a null byte means a binary file, as in git and grep


class Incoming(NamedTuple):
    """The next characters of what is scored."""

    source: str  # the name of their file
    characters: str
    begins: Place | None = None  # if a document begins with them: where in the file


def find_inputs(names: Sequence[str], encoding: str) -> tuple[str, ...]:
    """Find the files that names stand for, as `data.files.find_files` does; standard input may be a terminal.

    Raises:
      InputError: as there; or a file begins like a binary one.
    """
    if names.count(files.STDIN) > 1:
        raise InputError("standard input, `-`, is given twice, and can be read only once; give it once")
    if files.STDIN in names and (sys.stdin is None or sys.stdin.closed):
        raise InputError("standard input, `-`, is closed; pipe a text into it, or name a file")
    check_encoding(encoding)
    found = [(name,) if name == files.STDIN else files.find_files([name], encoding).files for name in names]
    inputs = tuple(name for each in found for name in each)
    for name in inputs:
        if name != files.STDIN:
            with files.open_file(name) as file:
                check_text(file.read(CHECKED), name, encoding)
    return inputs


def read_incoming(
    inputs: Sequence[str], encoding: str, separator: str, wake_seconds: float, received: Received
) -> Iterator[Incoming | None]:
    """Read texts one after another, until a signal comes.

    Documents begin at each text and after each separator, which is removed. If one does not end with a newline, one is added
    before the next, as where a model is trained on several.

    Args:
      inputs: from `find_inputs`.
      separator: what stands between documents of a text, see `data.joining`; "" = each text is one document.
      wake_seconds: how long to wait for standard input, at most, before yielding None.
    Raises:
      InputError: a text cannot be read, or is none.
    """
    is_open, before = False, ""  # whether the line before has no end yet, and its file
    try:
        for name in inputs:
            for part in cut_documents(_read_text(name, encoding, wake_seconds, received), separator):
                if part is None:
                    yield None
                    continue
                if part.begins and is_open:
                    yield Incoming(before, "\n")
                yield part._replace(source=name)
                is_open, before = not part.characters.endswith("\n"), name
    except Interrupted:
        return


def cut_documents(parts: Iterator[Part], separator: str) -> Iterator[Incoming | None]:
    """Cut a text into its documents, without those that are empty; complete lines are not held back.

    Args:
      parts: of the text; an empty one means that nothing has come for some time.
    """
    pattern = separator_pattern(separator) if separator else None
    held, place, begins = "", Place(), True
    for part in parts:
        held += part.characters
        matches = [match.span() for match in pattern.finditer(held)] if pattern else []
        safe = len(held) if part.is_last or not separator else _safe_end(held, separator)
        safe = max([safe, *(after for start, after in matches if start < safe)])
        ready, held, start = held[:safe], held[safe:], 0
        matches = [match for match in matches if match[1] <= safe]
        for end, after in [*matches, (len(ready), len(ready))]:
            if end > start:
                yield Incoming("", ready[start:end], place if begins else None)
                place, begins = advance_place(place, ready[start:end]), False
            place, start = advance_place(place, ready[end:after]), after
            begins = begins or after > end
        if not part.characters and not part.is_last:
            yield None


def _safe_end(text: str, separator: str) -> int:
    """Return where a text may be cut, so that a separator that is not complete yet lies behind: after a complete line."""
    core = unescape(separator).strip("\n")
    if not core:  # blank lines: as many newlines as there are belong together
        return len(text[: text.rfind("\n") + 1].rstrip("\n"))
    ends = [at for at, character in enumerate(text, 1) if character == "\n"]
    return ([0] * (core.count("\n") + 1) + ends)[-1 - core.count("\n")]


def _read_text(name: str, encoding: str, wake_seconds: float, received: Received) -> Iterator[Part]:
    """Read a text in parts; an empty one means that nothing has come for some time."""
    decoder, has_begun, after_return = codecs.getincrementaldecoder(encoding)("surrogateescape"), False, False
    for data in _read(name, wake_seconds, received):
        if data and not has_begun:
            check_text(data, name, encoding)
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


def check_text(start: bytes, name: str, encoding: str) -> None:
    """Raise `InputError` if a text begins like a binary file. A UTF-16 text has null bytes, too."""
    at = start[:CHECKED].find(b"\0")
    if at >= 0 and not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        raise InputError(f"{name!r} is not a text: it has a null byte at offset {at}; or does it need an --encoding?")


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
            try:
                data = os.read(0, SIZE) if _has_come(min(wake_seconds, MOST_SECONDS)) else None
            except OSError as error:
                raise InputError(f"standard input cannot be read: {error.strerror}") from None
        yield data


def _has_come(seconds: float) -> bool:
    try:
        return bool(select.select([0], [], [], seconds)[0])
    except (OSError, ValueError):  # on Windows `select` takes only sockets
        return True

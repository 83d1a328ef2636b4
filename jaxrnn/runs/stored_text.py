"""Store texts that cannot be read again, strings and standard input, so that a run on them can be resumed."""

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.config import build
from jaxrnn.config.resolve import Given, resolve, with_values
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.config.validate import check_config
from jaxrnn.data import files, joining, reading, temporary
from jaxrnn.data import text as texts
from jaxrnn.data.files import STDIN, Names
from jaxrnn.errors import InputError, describe_kind
from jaxrnn.storage import run_folder

TEXTS = Path("runs/texts")
RECORD_SEPARATOR = "\x1e"  # between documents in a stored text: the character of ASCII that is meant for it


class Spooled(NamedTuple):
    """A text in a temporary file."""

    file: Path
    sha256: str  # of its bytes
    num_documents: int = 1


def make_documents(text: Iterable[Any]) -> Iterator[str]:
    """Check that an iterable yields strings, one at a time; `InputError` if it is something else that can be iterated."""
    if isinstance(text, io.IOBase):
        raise InputError("text is an open file; give its path: pathlib.Path(...)")
    if isinstance(text, Mapping) or hasattr(text, "columns"):
        raise InputError(f"text is {describe_kind(text)}; give strings, such as one of its columns")
    for number, document in enumerate(text):
        if not isinstance(document, str):
            raise InputError(f"item {number} of text is {describe_kind(document)}; each item must be a string")
        yield document


def spool_documents(documents: Iterable[str], folder: Path) -> Spooled:
    """Write strings to a file, one document each, without holding them; `InputError` if there is no character."""
    file, digest, num_documents, has_separator = folder / "text", hashlib.sha256(), 0, False
    with file.open("wb") as spool:
        for number, document in enumerate(documents):
            content = texts.normalise_newlines(document)
            if not content:
                continue
            has_separator |= RECORD_SEPARATOR in content
            if has_separator and num_documents:
                raise InputError("text contains U+001E, which separates documents where they are stored; remove it")
            between = f"{RECORD_SEPARATOR}\n" if num_documents else ""
            try:
                data = f"{between}{content}".encode()
            except UnicodeEncodeError as error:
                half = f"it contains {content[error.start - len(between)]!a}, half a character"
                raise InputError(f"item {number} of text is not UTF-8: {half}; remove it") from None
            digest.update(data)
            spool.write(data)
            num_documents += 1
    if not num_documents:
        raise InputError("text is empty: it has no characters")
    return Spooled(file, digest.hexdigest(), num_documents)


def spool_stdin(config: Config, folder: Path) -> Spooled:
    """Write standard input to a file, up to --max-characters; `InputError` if it is a terminal, or not in the encoding."""
    file, digest, stdin, settings = folder / "stdin", hashlib.sha256(), files.open_stdin(), config.text
    num_read = 0
    with file.open("wb") as spool:

        def pieces() -> Iterator[bytes]:
            for piece in iter(lambda: stdin.read1(reading.PART), b""):
                digest.update(piece)
                spool.write(piece)
                yield piece

        decoded = reading.decode_at_once(pieces(), files.describe_name(STDIN), settings.encoding)
        for part in joining.join_texts([decoded], 1, settings.separator):
            num_read += len(part.characters)
            if 0 < settings.max_characters <= num_read:
                break
    return Spooled(file, digest.hexdigest())


def store(given: Given, origin: Config | None, spooled: Spooled, name_text: Callable[[Path], Names]) -> Given:
    """Move a spooled text to the stored ones, unless the run on it would be refused, and name it in the settings.

    Args:
      origin: settings of the run or file that the run starts from.
      name_text: returns the names of the run's text, given the path of the stored text.
    Raises:
      InputError: a setting or the text is not allowed, or the text cannot be written; nothing was written.
    """
    path = _stored_path(spooled)
    kept = Given(given.preset, {**given.values, "text": name_text(path)})
    config = resolve(kept, origin=origin)
    check_config(config)
    used = build.read_used_text(with_values(config, {"text": name_text(spooled.file)}))
    build.split_data(config, used)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        run_folder.replace_file(path, spooled.file)
    except OSError as error:
        raise InputError(f"the text cannot be written to {str(path)!r}: {error.strerror}") from None
    return kept


def store_documents(given: Given, origin: Config | None, documents: Iterable[str]) -> Given:
    """Store strings, each a document, as the text of a run; raise `InputError` as `store` and `spool_documents` do."""
    with _spooling() as folder:
        spooled = spool_documents(documents, folder)
        form = {"separator": RECORD_SEPARATOR} if spooled.num_documents > 1 else {}
        for name in ("encoding", "separator") if form else ("encoding",):
            if name in given.values:
                raise InputError(f"{name} is for files; documents that are given as strings need none")
        return store(Given(given.preset, {**given.values, **form}), origin, spooled, str)


def store_stdin(given: Given, origin: Config | None, say: Callable[[str], None]) -> Given:
    """Store standard input, if it is part of the text of a run, and name the stored file instead.

    Raises:
      InputError: as `store` and `spool_stdin` do; or the run is to be resumed, which reads the stored text.
    """
    names = files.as_tuple(given.values.get("text") or ())
    if STDIN not in names:
        return given
    if given.values.get("resume") not in (None, AUTO):
        raise InputError("--resume RUN reads the text that it has stored; leave --text - out")
    config = resolve(given, origin=origin)
    if config.device.coordinator:
        raise InputError("--text - works in a single process; save the text to a file first")
    check_config(config)
    files.find_files(names, config.text.encoding)  # the others must exist before this one is read
    with _spooling() as folder:
        spooled = spool_stdin(config, folder)

        def name_text(path: Path) -> Names:
            return files.as_names(str(path) if name == STDIN else name for name in names)

        kept = store(given, origin, spooled, name_text)
    say(f"standard input is kept in {_stored_path(spooled)}, so that the run can be resumed")
    return kept


def _stored_path(spooled: Spooled) -> Path:
    return TEXTS / f"{spooled.sha256[:12]}.txt"


@contextlib.contextmanager
def _spooling() -> Iterator[Path]:
    try:
        with temporary.folder() as folder:
            yield folder
    except OSError as error:
        raise InputError(f"the text cannot be stored in a temporary folder: {error.strerror}") from None

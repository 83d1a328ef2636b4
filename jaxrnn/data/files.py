"""Find and open what names of texts stand for: files, folders, patterns, compressed files, known texts, standard input."""

import bz2
import codecs
import contextlib
import glob
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple, TypeAlias

from jaxrnn.data import paths, published, reading, synthetic
from jaxrnn.data.reading import UTF_8, Part
from jaxrnn.errors import InputError, pluralize

STDIN = "-"
SYNTHETIC = "synthetic:"  # followed by the name of a source
TEXT_NAMES = (published.EMBEDDED, *published.PUBLISHED, *(SYNTHETIC + name for name in synthetic.SOURCES))
COMPRESSED = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)  # what decompression raises
SNIFFED = 8_192  # bytes at the beginning of a file that tell whether it is text
MOST_NAMED = 10  # files in a message


Names: TypeAlias = str | tuple[str, ...]  # of a text, or of several


class Found(NamedTuple):
    """What names stand for."""

    files: tuple[str, ...]  # paths, known names and `-`, in the order in which they are read
    skipped: tuple[str, ...] = ()  # what folders hold besides texts, in words


class NamedParts(NamedTuple):
    """A text that is read in parts."""

    name: str
    parts: Iterator[Part]


def read_files(names: Sequence[str], encoding: str = UTF_8) -> Iterator[NamedParts]:
    """Open texts one after the other, and read each in parts, with newlines as line ends.

    Whoever reads decides how fast: a file is opened when its turn comes, and standard input is read as it arrives, so it need
    not have an end.

    Args:
      names: as in `find_files`.
    Raises:
      InputError: as in `find_files`, before anything is read; or, while reading, not in this encoding, or damaged.
    """
    files = find_files(names, encoding).files
    return (NamedParts(name, read_file(name, encoding)) for name in files)


def read_file(name: str, encoding: str = UTF_8) -> Iterator[Part]:
    """Read one of `Found.files` in parts."""
    with open_file(name) as file:
        if name == STDIN:
            yield from reading.decode_at_once(iter(lambda: file.read1(reading.PART), b""), describe_name(name), encoding)
        else:
            yield from reading.decode_parts(file, name, encoding=encoding)


def find_files(names: Sequence[str], encoding: str = UTF_8) -> Found:
    """Find the files that names stand for; what they hold is not checked, except that folders are searched for text.

    Args:
      names: paths of files, also compressed ones (.gz, .bz2, .xz), folders, patterns such as `docs/*.txt`, known texts, or `-`
        for standard input. A folder stands for all text files in it and in its folders, sorted by path, except hidden ones.
    Raises:
      InputError: nothing of this name; a folder without text; a pattern that matches no file; no such encoding; standard input
        is given twice, or is a terminal.
    """
    reading.check_encoding(encoding)
    if list(names).count(STDIN) > 1:
        raise InputError("standard input, `-`, is given twice, and can be read only once; give it once")
    files, skipped = [], []
    for name in names:
        found = _find(name, encoding)
        files += found.files
        skipped += found.skipped
    return Found(tuple(files), tuple(skipped))


def find_missing(names: Names) -> str:
    """Return the first name that is no known text, no existing path and no pattern that matches one; "" if there is none."""
    known = (*TEXT_NAMES, STDIN)
    return next((each for each in as_tuple(names) if not (each in known or os.path.lexists(_expand(each)) or _match(each))), "")


def describe_name(name: str) -> str:
    """Return what to call a file in messages."""
    return "standard input" if name == STDIN else name


def as_tuple(names: Names) -> tuple[str, ...]:
    """Return the names of a text as a tuple, also if there is only one."""
    return (names,) if isinstance(names, str) else names


def as_names(names: Iterable[str]) -> Names:
    """Return names as they are kept in settings: one as a string, several as a tuple."""
    first, *others = names
    return (first, *others) if others else first


def quote_names(names: Names) -> str:
    """Quote the names of a text for a message."""
    return list_names([repr(name) for name in as_tuple(names)], 3)


def title(names: Names) -> str:
    """Return a short title of a text, without folders: `a.txt`, `a.txt and 2 more`."""
    first, *others = [Path(name).name or name for name in as_tuple(names)]
    return f"{first} and {len(others)} more" if others else first


def stem(names: Names) -> str:
    """Return a word for a text that can be part of a file's name, such as the name of its file without suffixes."""
    first, *others = as_tuple(names)
    path = Path(first)
    path = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    word = path.parent.name if glob.has_magic(path.stem) and _is_pattern(first) else path.stem or path.absolute().name
    return f"{word or 'texts'}-and-{len(others)}-more" if others else word or "texts"


def shorten(names: Sequence[str]) -> list[str]:
    """Shorten the paths of files to what follows the folder that they share."""
    folders = {str(Path(name).absolute().parent) for name in names if not published.is_known(name) and name != STDIN}
    with contextlib.suppress(ValueError):  # none, or on several drives
        shared = os.path.commonpath(folders)
        return [name if published.is_known(name) or name == STDIN else os.path.relpath(name, shared) for name in names]
    return list(names)


def list_names(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """List names in a sentence: `a, b and 17 more`."""
    more = len(names) - most
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:most])} and {more:,} more"


@contextlib.contextmanager
def open_file(name: str) -> Iterator[BufferedIOBase]:
    """Open one of `Found.files` and decompress it; failures to open or read it become an `InputError`."""
    if name == STDIN:
        with _explain_errors("standard input cannot be read", (OSError,)):
            yield open_stdin()
    elif published.is_known(name):
        yield io.BytesIO(published.read_known(name))
    else:
        with _open_path(paths.expand_home(name or "no name")) as file:
            yield file


def open_stdin() -> BufferedIOBase:
    """Return standard input; `InputError` if it is closed or a terminal."""
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("standard input, `-`, is closed; pipe a text into it, or name a file")
    if sys.stdin.isatty():
        raise InputError("standard input, `-`, is a terminal; pipe a text into it, or name a file")
    return sys.stdin.buffer  # pyright: ignore[reportReturnType]


@contextlib.contextmanager
def _open_path(path: Path) -> Iterator[BufferedIOBase]:
    decompress = COMPRESSED.get(path.suffix.lower())
    try:
        with paths.open_regular(path) as file:
            if decompress is None:
                yield file
                return
            with _explain_errors(f"text {str(path)!r} cannot be decompressed", DAMAGE), decompress(file) as content:
                yield content
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"no text {str(path)!r}: neither a file nor one of the known names {', '.join(TEXT_NAMES)}") from None


@contextlib.contextmanager
def _explain_errors(what: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except errors as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{what} ({reason}); is it damaged?") from None


def _find(name: str, encoding: str) -> Found:
    if name == STDIN:
        open_stdin()
        return Found((name,))
    if published.is_known(name):
        return Found((name,))
    path = _expand(name)
    if _is_folder(path):
        return _find_in_folder(path, encoding)
    if not _is_pattern(name):
        with open_file(path):  # whether it can be
            return Found((path,))
    matching = [found for found in _match(name) if not Path(found).is_dir()]
    if not matching:
        raise InputError(f"no text {name!r}: no file matches this pattern")
    return Found(tuple(matching))


def _is_pattern(name: str) -> bool:
    path = _expand(name)
    return glob.has_magic(path) and not os.path.lexists(path)


def _is_folder(path: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # an impossible file name
        return bool(path) and Path(path).is_dir()
    return False


def _expand(name: str) -> str:
    """Expand the home folder; `./comedie`, which is no known text, stays as it is."""
    return str(paths.expand_home(name)) if name.startswith("~") else name


def _match(name: str) -> list[str]:
    """List what a pattern matches, sorted by path; nothing for a name that is none."""
    if not _is_pattern(name):
        return []
    found = sorted(glob.glob(_expand(name), recursive=True), key=_sorting_key)  # noqa: PTH207, which takes no absolute ones
    if "**" not in name:
        return found
    shortest = {os.path.realpath(path): path for path in sorted(found, key=len, reverse=True)}  # `**` also follows links
    return [path for path in found if shortest[os.path.realpath(path)] == path]


def _find_in_folder(folder: str, encoding: str) -> Found:
    files, skipped, num_hidden = [], [], 0
    for path in sorted(_walk(folder), key=_sorting_key):
        if _is_hidden(os.path.relpath(path, folder)):
            num_hidden += 1
            continue
        reason = _why_skipped(path, encoding)
        if reason:
            skipped.append(f"{path} ({reason})")
        else:
            files.append(path)
    skipped += [pluralize(num_hidden, "hidden file")] if num_hidden else []
    if not files:
        said = f" besides {list_names(skipped)}" if skipped else ""
        raise InputError(f"no text in the folder {folder!r}: it holds nothing{said}")
    return Found(tuple(files), tuple(skipped))


def _walk(folder: str) -> Iterator[str]:
    """Yield the files in a folder and in the folders in it; hidden folders and links to folders like files."""

    def fail(error: OSError) -> None:
        raise InputError(f"the folder {error.filename!r} cannot be read: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=fail):
        unread = [name for name in folders if _is_hidden(name) or Path(parent, name).is_symlink()]
        folders[:] = [name for name in folders if name not in unread]
        yield from (os.path.join(parent, name) for name in (*names, *unread))  # noqa: PTH118, which loses the `./` of a name


def _why_skipped(path: str, encoding: str) -> str:
    """Return why a file in a folder is no text; "" for a text."""
    if Path(path).is_dir():
        return "a link to a folder"
    if not Path(path).exists():
        return "a broken link"
    kind = paths.special_kind(Path(path))
    if kind:
        return kind
    with open_file(path) as file:
        start = file.read(SNIFFED)
    with contextlib.suppress(UnicodeError):  # reading it says why
        if "\0" in codecs.getincrementaldecoder(encoding)("ignore").decode(start):
            return "not a text"
    return "" if start else "empty"


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in Path(path).parts)


def _sorting_key(path: str) -> tuple[str, ...]:
    return Path(path).parts

"""Read texts by name or path, and normalise strings as texts are."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

from jaxrnn.data import automaton, files, joining, paths, published, reading, synthetic
from jaxrnn.data.files import SYNTHETIC
from jaxrnn.data.reading import UTF_8, CodedText, Part
from jaxrnn.errors import InputError

NUM_SYNTHETIC = 1_000_000  # characters


def read(names: files.Names, encoding: str = UTF_8, separator: str = "") -> str:
    """Read a known text by name, or any text file by path, and normalise it.

    Args:
      names: comedie, moliere, shakespeare, synthetic:NAME (always the same million characters), or what `files.find_files`
        finds; several are joined.
      encoding: of the files.
      separator: what stands between documents (`joining.separator_pattern`); "" = each text is one.
    Returns:
      The text without a byte-order mark, with newlines as line ends, and without separators.
    Raises:
      InputError: no such text; not a regular file; empty; not in this encoding; a download failed or has the wrong SHA-256.
    """
    if isinstance(names, str) and names.startswith(SYNTHETIC):
        return synthetic.generate_text(names.removeprefix(SYNTHETIC), NUM_SYNTHETIC, seed=0)
    found = files.find_files(files.as_tuple(names), encoding).files
    text = "".join(part.characters for part in join_files(found, encoding, separator))
    if not text:
        raise no_characters(names)
    return text


def read_ids(
    names: files.Names, max_characters: int = 0, known: str = "", encoding: str = UTF_8, separator: str = ""
) -> CodedText:
    """Read texts as `read` does, but not synthetic ones, as ids.

    Args:
      max_characters: characters to use, from the beginning; 0 = all. No more of the files is read than needed.
      known: characters that get ids even if the text does not contain them.
    Returns:
      The ids in the smallest type that holds them, the characters that they stand for, and where documents begin
      (`reading.CodedText`).
    Raises:
      InputError: for the same reasons as `read`.
    """
    coded = code_files(files.find_files(files.as_tuple(names), encoding).files, max_characters, known, encoding, separator)
    if not coded.ids.size:
        raise no_characters(names)
    return coded


def count_characters(names: files.Names, encoding: str = UTF_8, separator: str = "") -> int:
    """Count the characters of a text that `read_ids` can read; raise `InputError` as that does."""
    found = files.find_files(files.as_tuple(names), encoding).files
    return reading.count_characters(join_files(found, encoding, separator))


def code_files(
    found: Sequence[str], max_characters: int = 0, known: str = "", encoding: str = UTF_8, separator: str = ""
) -> CodedText:
    """Read files that `files.find_files` has found as `read_ids` does; the text may be empty."""
    parts = join_files(found, encoding, separator)
    return reading.code_parts(parts, sum(map(_estimate_size, found)), max_characters, known)


def join_files(found: Sequence[str], encoding: str = UTF_8, separator: str = "") -> Iterator[Part]:
    """Read files that `files.find_files` has found as one text, in parts."""
    return joining.join_texts((files.read_file(name, encoding) for name in found), len(found), separator)


def text_exists(names: files.Names) -> bool:
    """Return whether each name is a known text, an existing path or a pattern that matches one."""
    return not files.find_missing(names)


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


def check_length(names: files.Names, num_characters: int) -> None:
    """Raise `InputError` unless the text has at least two characters."""
    if num_characters < 2:
        number = "one character" if num_characters else "no characters"
        raise InputError(f"text {files.quote_names(names)} has {number}; two characters or more are needed")


def hash_text(text: str) -> str:
    """Compute the SHA-256 by which a run recognises its text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def no_characters(names: files.Names) -> InputError:
    """Describe a text without characters."""
    verb = "is" if isinstance(names, str) or len(names) == 1 else "are"
    return InputError(f"text {files.quote_names(names)} {verb} empty")


def _estimate_size(name: str) -> int:
    """Estimate the number of characters of a file, usually from above; 0 if it cannot be known before it is read."""
    if published.is_known(name):
        return len(published.read_known(name))
    path = paths.expand_home(name)
    with contextlib.suppress(OSError, ValueError):
        return path.stat().st_size * (4 if path.suffix.lower() in files.COMPRESSED else 1)
    return 0  # standard input

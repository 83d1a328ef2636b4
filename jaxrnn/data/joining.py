"""Join texts into one, and find the documents in it: they begin at a separator and at the beginning of each text."""

import re
from collections.abc import Iterable, Iterator

from jaxrnn.data.reading import Part

ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


def join_texts(texts: Iterable[Iterator[Part]], num_texts: int, separator: str = "") -> Iterator[Part]:
    """Join texts into one, whose documents begin at the `starts` of its parts.

    Separators are removed, and so are documents without characters. If there are several documents, each ends with a newline,
    which is added where there is none; so files and one file with separators give the same text. A single document stays as it
    is.

    Args:
      texts: parts of each text, in order.
      separator: what stands between documents of a text; see `separator_pattern`. "" = each text is one document.
    """
    num_documents, is_open, owner = 0, False, 0  # is_open: the last line has no newline yet
    for index, text in enumerate(texts):
        begins = True
        for pieces, is_last in _split(text, separator):
            joined, starts, size = [], [], 0
            for number, piece in enumerate(pieces):
                begins = begins or number > 0
                if not piece:
                    continue
                if begins:
                    if is_open and size:
                        joined.append("\n")
                        size += 1
                    elif is_open:
                        yield Part("\n", False, (), owner)
                    starts.append(size)
                    num_documents, begins = num_documents + 1, False
                joined.append(piece)
                size, is_open, owner = size + len(piece), piece[-1] != "\n", index
            is_end = is_last and index == num_texts - 1
            closing = "\n" if is_end and is_open and num_documents > 1 else ""
            yield Part("".join(joined) + closing, is_end, starts, index)


def unescape(separator: str) -> str:
    r"""Replace `\n`, `\t` and `\\`, which a shell passes as they are, by what they stand for."""
    return re.sub(r"\\[nt\\]", lambda found: ESCAPES[found[0]], separator)


def separator_pattern(separator: str) -> re.Pattern[str]:
    r"""Compile a separator, in which `\n` stands for a newline.

    It is removed wherever it occurs, with the newline after it, so a line that equals it leaves nothing. If it begins with a
    newline, it must be at the beginning of a line, and if it ends with one, at the end. Newlines only: as many or more of them.
    """
    wanted = unescape(separator)
    core = wanted.strip("\n")
    if not core:
        return re.compile(f"\n{{{len(wanted)},}}")
    before = r"(?:\A|(?<=\n))" if wanted.startswith("\n") else ""
    return re.compile(before + re.escape(core) + (r"(?:\n|\Z)" if wanted.endswith("\n") else "\n?"))


def _split(text: Iterator[Part], separator: str) -> Iterator[tuple[list[str], bool]]:
    """Yield pieces of a text, and whether they are the last ones; each but the first is the beginning of a document."""
    if not separator:
        yield from (([part.characters], part.is_last) for part in text)
        return
    pattern, held = separator_pattern(separator), len(separator) + 1
    buffer, position = "", 0  # the character before the position may matter to a separator after it
    for part in text:
        buffer += part.characters
        pieces, begin, safe = [], position, len(buffer) - held
        for match in pattern.finditer(buffer, position):
            if match.end() == len(buffer) and not part.is_last:  # it may be longer
                safe = match.start()
                break
            pieces.append(buffer[begin : match.start()])
            begin = match.end()
        end = len(buffer) if part.is_last else max(begin, safe)
        pieces.append(buffer[begin:end])
        buffer, position = buffer[max(0, end - 1) :], min(end, 1)
        yield pieces, part.is_last

r"""Find where a text that is being drawn ends: after some characters, at the end of a word, or before a stop text.

The text comes in pieces; what is certain to belong to it can be shown before the next piece is drawn.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from jaxrnn.data import vocabulary
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError

MOST_MORE = 30  # characters after the length in which the end of a word is looked for
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


class Limits(NamedTuple):
    """Where a text ends."""

    length: int  #: characters to draw
    stop: str = ""  #: the text ends before this one; "" = no such text
    exact_length: bool = True  #: end after `length` characters; otherwise at the end of the word, at most `MOST_MORE` later


class Passage(NamedTuple):
    """What a text holds so far, and the characters drawn for it that may or may not belong to it."""

    new: str = ""  #: characters that the last piece made certain
    held: str = ""  #: drawn, but perhaps the beginning of the stop text
    num_shown: int = 0  #: characters of the text, `new` included
    num_read: int = 0  #: once it has ended: the same, and the stop text
    has_ended: bool = False
    last: str = ""  # the last character that is certain


def extend(passage: Passage, piece: str, limits: Limits) -> Passage:
    """Add the characters that were drawn next. Any division into pieces leads to the same text."""
    drawn = passage.held + piece
    end = _find_length(drawn, passage, limits)
    stop = drawn.find(limits.stop) if limits.stop else -1
    if stop >= 0 and (end is None or stop + len(limits.stop) <= end):
        return _append(passage, drawn[:stop], "")._replace(has_ended=True, num_read=passage.num_shown + stop + len(limits.stop))
    if end is not None:
        return _append(passage, drawn[:end], "")._replace(has_ended=True, num_read=passage.num_shown + end)
    certain = len(drawn) - _count_begun(drawn, limits.stop)
    return _append(passage, drawn[:certain], drawn[certain:])


def until_end(pieces: Iterator[str], limits: Limits) -> Iterator[str]:
    """Yield a text, piece by piece, up to its end."""
    passage = extend(Passage(), "", limits)
    while not passage.has_ended:
        passage = extend(passage, next(pieces), limits)
        yield passage.new


def unescape(typed: str) -> str:
    r"""Turn ``\n``, ``\t`` and ``\\`` into a line end, a tab and a backslash; any other backslash stays."""
    return re.sub(r"\\[nt\\]", lambda found: ESCAPES[found[0]], typed)


def check_stop(known: Vocabulary, stop: str, flag: str) -> None:
    """Raise `InputError` if the stop text can never be drawn."""
    try:
        vocabulary.encode(known, stop)
    except InputError as error:
        raise InputError(f"{flag}: {error}, so no text would end there") from None


def _append(passage: Passage, certain: str, held: str) -> Passage:
    last = certain[-1:] or passage.last
    return Passage(certain, held, passage.num_shown + len(certain), 0, has_ended=False, last=last)


def _find_length(drawn: str, passage: Passage, limits: Limits) -> int | None:
    """Return how many of these characters come before the end that the length sets; None if it is not reached."""
    least = limits.length - passage.num_shown
    if limits.exact_length or not limits.length:
        return least if len(drawn) >= least else None
    most = least + MOST_MORE
    for end in range(max(0, least), min(most, len(drawn)) + 1):
        before, after = drawn[end - 1 : end] if end else passage.last, drawn[end : end + 1]
        if end == most or before.isspace() or after.isspace():
            return end
    return None


def _count_begun(drawn: str, stop: str) -> int:
    """Count the characters at the end of `drawn` with which the stop text may begin."""
    longest = min(len(drawn), len(stop) - 1)
    return next((count for count in range(longest, 0, -1) if drawn.endswith(stop[:count])), 0)

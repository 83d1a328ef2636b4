"""Split a text into a training, a validation and a held-out part, between documents if it has several."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from jaxrnn.errors import InputError


class Parts(NamedTuple):
    """Parts of a text as ids, each in text order."""

    train: Integer[np.ndarray, " train_characters"]  #: to train on
    validation: Integer[np.ndarray, " validation_characters"]  #: to choose weights and rates on; may be empty
    heldout: Integer[np.ndarray, " heldout_characters"]  #: for the final test; may be empty


class Lengths(NamedTuple):
    """Number of characters in each part of a text."""

    train: int
    validation: int
    heldout: int


class Places(NamedTuple):
    """Where the parts are in a text: the training part is what the others leave."""

    pieces: tuple[tuple[int, int], ...]  # of the validation part: position of the first character, and after the last one
    end: int  # of the text before the held-out part
    num_characters: int


def split_lengths(num_characters: int, validation_fraction: float, heldout_fraction: float) -> Lengths:
    """Compute the number of characters in each part; the fractions are of the whole text."""
    num_validation, num_heldout = round(num_characters * validation_fraction), round(num_characters * heldout_fraction)
    return Lengths(num_characters - num_validation - num_heldout, num_validation, num_heldout)


def place_validation(lengths: Lengths, num_pieces: int) -> list[tuple[int, int]]:
    """Place the validation part in the text before the held-out part.

    One piece goes at the end of that text. Several are spread evenly, with half as much training text before the first and
    after the last piece as between two of them, so that training reaches up to the held-out part.

    Returns:
      For each piece, in order, the position of its first character and the position after its last one.
    """
    num_train, num_validation = lengths.train, lengths.validation
    if num_pieces == 1:
        return [(num_train, num_train + num_validation)]
    before = [num_train * (2 * piece + 1) // (2 * num_pieces) for piece in range(num_pieces)]  # of the training part
    ends = [num_validation * piece // num_pieces for piece in range(num_pieces + 1)]
    return [(before[i] + ends[i], before[i] + ends[i + 1]) for i in range(num_pieces)]


def place_parts(
    num_characters: int,
    starts: Int64[np.ndarray, " documents"],
    validation_fraction: float,
    heldout_fraction: float,
    num_pieces: int = 1,
) -> Places:
    """Place the parts in a text; if it has several documents, each part consists of whole ones.

    Then the parts are as near to the wanted fractions as the documents allow, and there may be fewer pieces of the validation
    part, because none is empty.

    Args:
      starts: positions at which documents begin; one document is cut anywhere.
      validation_fraction, heldout_fraction: fractions of the whole text.
      num_pieces: number of pieces of the validation part (`place_validation`).
    Raises:
      InputError: there are fewer documents than parts.
    """
    lengths = split_lengths(num_characters, validation_fraction, heldout_fraction)
    if len(starts) < 2:
        return Places(tuple(place_validation(lengths, num_pieces)), num_characters - lengths.heldout, num_characters)
    wanted = {"training": True, "validation": validation_fraction > 0, "held-out": heldout_fraction > 0}
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    if len(starts) < len(names):
        raise InputError(
            f"a text of {len(starts)} documents cannot be cut into a {', a '.join(names[:-1])} and a {names[-1]} part, each of "
            "whole documents; give more documents, or set --validation-fraction or --heldout-fraction to 0"
        )
    borders = np.append(starts, num_characters)
    least = 1 + (validation_fraction > 0)  # documents before the held-out part
    end = _nearest(borders[least:-1], num_characters - lengths.heldout) if heldout_fraction else num_characters
    if not validation_fraction:
        return Places(((end, end),), end, num_characters)
    before = borders[1 : int(np.searchsorted(borders, end)) + 1]  # where a document before the held-out part may end
    for number in range(num_pieces, 1, -1):
        places = place_validation(Lengths(end - lengths.validation, lengths.validation, 0), number)
        pieces = tuple((_nearest(before, start), _nearest(before, after)) for start, after in places)
        if all(start < after for start, after in pieces):
            return Places(pieces, end, num_characters)
    return Places(((_nearest(before[:-1], end - lengths.validation), end),), end, num_characters)


def count_parts(places: Places) -> Lengths:
    """Count the characters of each part."""
    num_validation = sum(after - start for start, after in places.pieces)
    return Lengths(places.end - num_validation, num_validation, places.num_characters - places.end)


def cut(ids: Integer[np.ndarray, " characters"], places: Places) -> Parts:
    """Cut a text into its parts.

    Returns:
      The parts. With one piece at the end they are views; else they are copies, so that the whole text need not stay in memory.
    """
    pieces, end = places.pieces, places.end
    if len(pieces) == 1 and pieces[0][1] == end:
        return Parts(ids[: pieces[0][0]], ids[pieces[0][0] : end], ids[end:])
    cuts = [cut for piece in pieces for cut in piece]
    parts = np.split(ids[:end], cuts)  # alternately of the training and the validation part
    return Parts(np.concatenate(parts[::2]), np.concatenate(parts[1::2]), ids[end:].copy())


def split(
    ids: Integer[np.ndarray, " characters"], validation_fraction: float, heldout_fraction: float, num_pieces: int = 1
) -> Parts:
    """Split a text of one document into a training part, a validation part in `num_pieces` and, at the end, a held-out part."""
    return cut(ids, place_parts(len(ids), np.zeros(1, np.int64), validation_fraction, heldout_fraction, num_pieces))


def before_heldout(parts: Parts, pieces: Sequence[tuple[int, int]], most: int) -> Integer[np.ndarray, " characters"]:
    """Return the last `most` characters before the held-out part, with training and validation pieces in text order.

    Args:
      pieces: the places of the validation part in the text.
    """
    segments, end = [], 0
    train, validation = parts.train, parts.validation
    for start, after in pieces:
        segments += [train[: start - end], validation[: after - start]]
        train, validation, end = train[start - end :], validation[after - start :], after
    segments, missing, last = [*segments, train], most, []
    while segments and missing > 0:
        segment = segments.pop()
        last.insert(0, segment[max(0, len(segment) - missing) :])
        missing -= len(last[0])
    return np.concatenate(last)


def _nearest(borders: Int64[np.ndarray, " borders"], position: int) -> int:
    """Return the border that is nearest to a position, the earlier one of two."""
    index = int(np.searchsorted(borders, position))
    around = borders[max(0, index - 1) : index + 1]
    return int(around[np.argmin(np.abs(around - position))])

"""The distinct characters of a text, sorted by code point; a character's place in that order is its id."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, UInt

from jaxrnn.errors import InputError


@dataclass(frozen=True)
class Vocabulary:
    """`characters` holds each character once, in the order of code points: the character with id i is `characters[i]`."""

    characters: str


def of_text(text: str) -> Vocabulary:
    """The vocabulary of all characters of `text`, which must not be empty (`InputError`)."""
    if not text:
        raise InputError("an empty text has no vocabulary")
    return Vocabulary("".join(sorted(set(text))))


def encode(vocabulary: Vocabulary, text: str) -> Int[np.ndarray, " time"]:
    """Ids of the characters of `text`, i32; `decode` is its exact inverse.

    Raises:
      InputError: a character is not in the vocabulary; it names the first one, its code point and its position from 0.
    """
    known, wanted = _code_points(vocabulary.characters), _code_points(text)
    ids = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    unknown = np.flatnonzero(known[ids] != wanted)
    if unknown.size:
        position = int(unknown[0])
        character = text[position]
        raise InputError(
            f"character {_spelled(character)} at position {position} is not one of the {len(known)} that the vocabulary holds"
        )
    return ids.astype(np.int32)


def decode(vocabulary: Vocabulary, ids: Int[np.ndarray, " time"]) -> str:
    """The text whose characters have these ids."""
    return "".join(vocabulary.characters[i] for i in ids)


def without_unknown(vocabulary: Vocabulary, text: str) -> str:
    """`text` without the characters that the vocabulary does not hold."""
    known = set(vocabulary.characters)
    return "".join(character for character in text if character in known)


def to_json(vocabulary: Vocabulary) -> str:
    """A value to put into JSON: its characters; `from_json` is the exact inverse."""
    return vocabulary.characters


def from_json(value: Any) -> Vocabulary:
    """The vocabulary that `to_json` gave.

    Raises:
      InputError: it is no string of distinct characters in the order of code points.
    """
    if not isinstance(value, str) or not value or list(value) != sorted(set(value)):
        raise InputError("its vocabulary is not a string of distinct characters, sorted by code point")
    return Vocabulary(value)


def _code_points(text: str) -> UInt[np.ndarray, " time"]:
    # "surrogatepass": a shell hands on bytes that are not UTF-8 as lone surrogates; they are then unknown characters.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _spelled(character: str) -> str:
    shown = repr(character) if character.isprintable() else ascii(character)
    return f"{shown} (U+{ord(character):04X})"

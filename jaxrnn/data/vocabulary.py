"""Vocabularies of characters: the distinct characters of a text, sorted by code point. The index is the id."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Int, Integer, UInt

from jaxrnn.data.documents import unmark
from jaxrnn.errors import InputError

COUNTED = 2**20  # ids at a time: bincount widens each to 8 bytes


@dataclass(frozen=True)
class Vocabulary:
    """Distinct characters sorted by code point: the character with id i is `characters[i]`.

    The network treats all characters in `rare` (also sorted) as one class; every other character is a class of its own.
    """

    characters: str
    rare: str = ""


def of_text(text: str, known: Vocabulary | None = None) -> Vocabulary:
    """Make the vocabulary of a text.

    Args:
      known: a vocabulary whose characters are included, and whose rare characters stay rare; None = the text's characters only.
    Raises:
      InputError: the text is empty.
    """
    if not text:
        raise InputError("an empty text has no vocabulary")
    return Vocabulary("".join(sorted({*text, *(known.characters if known else "")})), known.rare if known else "")


def encode(vocabulary: Vocabulary, text: str) -> Int[np.ndarray, " time"]:
    """Convert a text to ids, i32; `decode` is the exact inverse.

    To read a whole file as ids of a smaller type, use `text.read_ids`.

    Raises:
      InputError: a character is not in the vocabulary; the message gives the first one, its code point and its position from 0.
    """
    ids = look_up(vocabulary, text)
    unknown = np.flatnonzero(ids < 0)
    if unknown.size:
        position = int(unknown[0])
        raise InputError(describe_unknown(vocabulary, text[position], position))
    return ids


def look_up(vocabulary: Vocabulary, text: str) -> Int[np.ndarray, " time"]:
    """Convert a text to ids, i32, with -1 for each character that is not in the vocabulary."""
    known, wanted = _code_points(vocabulary.characters), _code_points(text)
    ids = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[ids] == wanted, ids, -1).astype(np.int32)


def recode(vocabulary: Vocabulary, ids: Integer[np.ndarray, " time"], characters: str) -> Int[np.ndarray, " time"]:
    """Convert ids of other characters to those of the vocabulary, i32; -1 for a character that is not in it.

    Args:
      ids: indices into `characters`.
    """
    index = {character: number for number, character in enumerate(vocabulary.characters)}
    return np.array([index.get(character, -1) for character in characters], np.int32)[ids]


def describe_unknown(vocabulary: Vocabulary, character: str, position: int) -> str:
    """Say that a character is not in the vocabulary, and where it is."""
    number = len(vocabulary.characters)
    return f"character {_describe_character(character)} at position {position} is not one of the {number} in the vocabulary"


def decode(vocabulary: Vocabulary, ids: Integer[np.ndarray, " time"]) -> str:
    """Convert ids, with marks or without, to a text; the inverse of `encode`.

    Raises:
      InputError: an id is not in the vocabulary.
    """
    plain, number = np.asarray(unmark(ids)), len(vocabulary.characters)
    if plain.size and plain.max() >= number:
        raise InputError(f"id {plain.max()} is not in the vocabulary; its ids are 0 to {number - 1}")
    return "".join(vocabulary.characters[i] for i in plain)


def drop_unknown(vocabulary: Vocabulary, text: str) -> str:
    """Drop the characters that are not in the vocabulary."""
    known = set(vocabulary.characters)
    return "".join(character for character in text if character in known)


def merge_rare(vocabulary: Vocabulary, ids: Integer[np.ndarray, " time"], threshold: int) -> Vocabulary:
    """Merge the characters that occur fewer than `threshold` times among these ids into one class.

    A single rare character is left alone.

    Returns:
      The vocabulary with these characters in `rare`.
    """
    counts = np.zeros(len(vocabulary.characters), np.int64)
    for start in range(0, len(ids), COUNTED):
        counts += np.bincount(unmark(ids[start : start + COUNTED]), minlength=len(counts))
    rare = "".join(character for character, n in zip(vocabulary.characters, counts, strict=True) if n < threshold)
    return dataclasses.replace(vocabulary, rare=rare if len(rare) > 1 else "")


def class_ids(vocabulary: Vocabulary) -> Int[np.ndarray, " vocab"]:
    """Compute the class of each character, i32: single characters get the first numbers, in order, rare ones share the last."""
    is_rare = np.array([character in vocabulary.rare for character in vocabulary.characters])
    return np.where(is_rare, np.count_nonzero(~is_rare), np.cumsum(~is_rare) - 1).astype(np.int32)


def class_representatives(vocabulary: Vocabulary) -> str:
    """Return one character per class, in the order of the classes."""
    single = "".join(character for character in vocabulary.characters if character not in vocabulary.rare)
    return single + vocabulary.rare[:1]


def vocabulary_to_json(vocabulary: Vocabulary) -> str | dict[str, str]:
    """Return a JSON value: the characters, and the rare ones if there are any; `vocabulary_from_json` reads it."""
    return dataclasses.asdict(vocabulary) if vocabulary.rare else vocabulary.characters


def vocabulary_from_json(value: Any) -> Vocabulary:
    """Read a vocabulary from the JSON value of `vocabulary_to_json`.

    Raises:
      InputError: not a string of distinct characters sorted by code point, or a rare character is not among them.
    """
    parts = value if isinstance(value, dict) else {"characters": value}
    characters, rare = parts.get("characters", ""), parts.get("rare", "")
    if not _is_sorted(characters) or not characters:
        raise InputError("its vocabulary is not a string of distinct characters, sorted by code point")
    if not _is_sorted(rare) or not set(rare) <= set(characters):
        raise InputError("the rare characters of its vocabulary are not some of its characters, sorted by code point")
    return Vocabulary(characters, rare)


def _is_sorted(characters: Any) -> TypeGuard[str]:
    return isinstance(characters, str) and list(characters) == sorted(set(characters))


def _code_points(text: str) -> UInt[np.ndarray, " time"]:
    # "surrogatepass": a shell passes bytes that are not UTF-8 as lone surrogates, which are then unknown characters.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _describe_character(character: str) -> str:
    shown = repr(character) if character.isprintable() else ascii(character)
    return f"{shown} (U+{ord(character):04X})"

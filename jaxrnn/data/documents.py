"""Mark in a text's ids where documents begin: pieces before which the carry, and a rule's memory, start anew.

Documents are joined into one text in which each ends with a newline. A document's first character is predicted by a network
that started anew and then read that newline, so the mark is on the id of the last character before a document: before that
character is read, the carry is reset. A marked id is ``~id``, which is negative, so that ids with marks are still one array
that can be cut into parts and streams. Ids of an unsigned type have no marks.
"""

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int, Integer

from jaxrnn.errors import InputError

Text: TypeAlias = Integer[np.ndarray, " characters"]
AT_A_TIME = 2**20  # ids: a comparison of all of them would need as much memory as a text of bytes


def mark(ids: Text, starts: Integer[np.ndarray, " documents"]) -> Text:
    """Mark where documents begin.

    Args:
      ids: of a text, with marks or without.
      starts: index of the first character of each document but the first, which needs no mark.
    Returns:
      A copy of the smallest type that holds marks, int16 or int32; the ids themselves if there are no starts.
    Raises:
      InputError: a start is not between 1 and the last index.
    """
    ids, starts = np.asarray(ids), np.asarray(starts)
    if not starts.size:
        return ids
    for name, array in (("ids", ids), ("starts", starts)):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise InputError(f"the {name} are {array.dtype}{list(array.shape)}; they must be one row of whole numbers")
    if starts.min() < 1 or starts.max() >= len(ids):
        wrong = int(starts.min() if starts.min() < 1 else starts.max())
        raise InputError(f"a document starts at character {wrong}; it must be between 1 and {len(ids) - 1}")
    marked = ids.astype(type_with_marks(max(int(ids.max()), -int(ids.min()) - 1) + 1))
    marked[starts - 1] = ~unmark(marked[starts - 1])
    return marked


def unmark(ids: Any) -> Any:
    """Return the ids without marks: an array of NumPy or JAX of the same type, itself if it has none for certain."""
    if ids.dtype.kind == "u" or (isinstance(ids, np.ndarray) and not has_marks(ids)):
        return ids
    return ids ^ (ids >> (8 * ids.dtype.itemsize - 1))  # the shift gives -1 for negative numbers, and 0 for others


def type_with_marks(vocab_size: int) -> np.dtype:
    """Choose the smallest type that holds `vocab_size` ids with and without marks: int16 or int32."""
    return np.dtype(np.int16 if vocab_size <= 2**15 else np.int32)


def has_marks(ids: Integer[np.ndarray, "..."]) -> bool:
    """Return whether a document begins somewhere within or right after these ids."""
    return ids.dtype.kind != "u" and ids.size > 0 and int(ids.min()) < 0


def starts_of(ids: Text) -> Int[np.ndarray, " documents"]:
    """Return the index of the first character of each document but the first: the inverse of `mark`."""
    if not has_marks(ids):
        return np.zeros(0, np.int64)
    parts = range(0, len(ids), AT_A_TIME)
    starts = np.concatenate([np.flatnonzero(ids[start : start + AT_A_TIME] < 0) + start + 1 for start in parts])
    return starts[starts < len(ids)]

"""Explain why a checkpoint could not be read or written, and whether that proves damage."""

import errno
import json
from pathlib import Path

from jaxrnn.errors import InputError
from jaxrnn.storage import seal

# TensorStore's status codes for incomplete files; it verifies the index of the arrays by its own checksums.
PROOFS = {
    "DATA_LOSS": "the checksum of its arrays differs from when it was saved",
    "OUT_OF_RANGE": "a file of its arrays is cut short",
    "NOT_FOUND": "a file of its arrays is missing",
    "FAILED_PRECONDITION": "a file of its arrays is missing or cut short",
}


class Damaged(Exception):
    """A checkpoint differs from what was saved. The message says how."""


class Unreadable(InputError):
    """A checkpoint cannot be read here, damaged or not."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"checkpoint {str(path)!r} cannot be read here: {reason}")
        self.reason = reason


class NotWritten(Exception):
    """A checkpoint could not be saved. The message says why."""


def classify_failure(path: Path, error: Exception) -> Damaged | Unreadable:
    """Decide whether a checkpoint is damaged, which only its files can prove, or unreadable here."""
    try:
        listed = seal.read_seal(path)
        broken = seal.find_changed_file(path, listed) if listed else None
    except OSError as unreadable:
        listed, broken, error = None, None, unreadable
    proved = find_damage(error) if broken or not listed else None
    if broken or proved:
        return Damaged(proved or broken)
    return Unreadable(path, explain_unreadable(error, whole=bool(listed)))


def find_damage(error: Exception) -> str | None:
    """Describe the damage that an error proves; None if the cause may lie outside the checkpoint."""
    if isinstance(error, FileNotFoundError):
        return "one of its files is missing"
    if isinstance(error, json.JSONDecodeError):
        return "its metadata is not JSON"
    words = " ".join(str(each) for each in (error, error.__cause__, error.__context__))
    return next((reason for status, reason in PROOFS.items() if status in words), None)


def explain_unreadable(error: Exception, whole: bool) -> str:
    """Explain in a few words why a checkpoint could not be read, and what to do.

    Args:
      whole: whether all its files are known to be intact.
    """
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return "not enough memory"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many open files; raise the limit with ulimit -n"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    reason = str(error).partition("\n")[0][:200] or type(error).__name__
    return reason if whole else f"{reason}; to use an older checkpoint, move this one out of its folder"


def explain_not_written(error: Exception) -> str:
    """Explain in a few words why something could not be written."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC or any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "No space left")):
        return "no space left on the disk"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, MemoryError):
        return "not enough memory"
    return str(error).partition("\n")[0][:100] or type(error).__name__

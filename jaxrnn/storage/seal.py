"""A list of a checkpoint's files with the SHA-256 of each, which proves damage without the help of whatever reads them.

A reader may fail for many reasons: no memory, no file descriptors, no backend. Only a file that is missing, or whose bytes
are not those that were written, is damaged. The list is written once the checkpoint is complete, so that a process killed in
between leaves a good checkpoint without one, as earlier versions did.
"""

import hashlib
import json
from pathlib import Path

NAME = "sha256.json"


def write_seal(folder: Path) -> None:
    """List the files in the folder. OSError if they cannot be read or the list cannot be written."""
    files = {path.relative_to(folder).as_posix(): _sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    unfinished = folder / f".{NAME}"
    unfinished.write_text(json.dumps({"files": files, "sha256": _digest(files)}), "utf-8")
    unfinished.replace(folder / NAME)


def read_seal(folder: Path) -> dict[str, str] | None:
    """SHA-256 of each file, by its path; None without a list, or with one that is itself damaged."""
    try:
        listed = json.loads((folder / NAME).read_bytes())
        return listed["files"] if listed["sha256"] == _digest(listed["files"]) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def find_changed_file(folder: Path, listed: dict[str, str]) -> str | None:
    """Say which file is not as it was written, None if all are. OSError if one of them cannot be read."""
    for name, sha256 in listed.items():
        try:
            if _sha256(folder / name) != sha256:
                return f"the SHA-256 of its file {name} differs from when it was saved"
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return f"its file {name} is missing"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()

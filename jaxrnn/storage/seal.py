"""Seal a checkpoint with the SHA-256 of each of its files, which proves damage no matter why reading fails.

Reading may fail for many reasons: no memory, no file descriptors, no backend. Only a missing file or changed bytes are damage.
The seal is written once the checkpoint is complete. A process killed in between leaves a good checkpoint without a seal, as
earlier versions did.
"""

import hashlib
import json
from pathlib import Path

NAME = "sha256.json"


def write_seal(folder: Path) -> None:
    """Write the seal of a folder; `OSError` if its files cannot be read or the seal cannot be written."""
    files = {path.relative_to(folder).as_posix(): _sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    unfinished = folder / f".{NAME}"
    unfinished.write_text(json.dumps({"files": files, "sha256": _digest(files)}), "utf-8")
    unfinished.replace(folder / NAME)


def read_seal(folder: Path) -> dict[str, str] | None:
    """Read the SHA-256 of each file, by path; None if there is no seal, or if the seal itself is damaged."""
    try:
        listed = json.loads((folder / NAME).read_bytes())
        return listed["files"] if listed["sha256"] == _digest(listed["files"]) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def find_changed_file(folder: Path, listed: dict[str, str]) -> str | None:
    """Describe the first missing or changed file, None if all are intact; `OSError` if one cannot be read."""
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

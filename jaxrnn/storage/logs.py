"""The append-only files of a run: metrics (one JSON object per line) and samples."""

import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.runtime import devices

METRICS = "metrics.jsonl"
SAMPLES = "samples.txt"


class Log(NamedTuple):
    """Text to append to the run's files."""

    metrics: str = ""
    samples: str = ""


def to_json_line(values: Mapping[str, Any]) -> str:
    """Format values as one line of JSON; NaN and infinity become null."""
    known = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
    return json.dumps(known, ensure_ascii=False, allow_nan=False)


def event_line(name: str, values: Mapping[str, Any]) -> str:
    """Format an event as a line of the metrics."""
    return to_json_line({"event": name, **values}) + "\n"


def sample_entry(title: str, sample: str) -> str:
    """Format a sample with its title for the file of samples."""
    return f"=== {title} ===\n{sample}\n\n" if sample else ""


def join_logs(first: Log, second: Log) -> Log:
    """Concatenate two logs."""
    return Log(*(a + b for a, b in zip(first, second, strict=True)))


def append_log(path: Path, log: Log) -> Log:
    """Append to the run's files; return what could not be written, to be tried again later.

    If only part of a text fits on the disk, the file is truncated to its old size.
    """
    if not devices.is_first_process():
        return Log()
    return Log(*(_append(path / name, text) for name, text in zip((METRICS, SAMPLES), log, strict=True)))


def measure_logs(path: Path) -> dict[str, int]:
    """Measure the append-only files in bytes."""
    return {name: _size(path / name) for name in (METRICS, SAMPLES)}


def truncate_logs(path: Path, sizes: Mapping[str, int]) -> None:
    """Truncate the files to these sizes (0 if missing) and to the last complete line."""
    for name in (METRICS, SAMPLES) if devices.is_first_process() else ():
        with contextlib.suppress(OSError):  # the disk cannot be written, so nothing was appended either
            content = (path / name).read_bytes()[: sizes.get(name, 0)]
            os.truncate(path / name, content.rfind(b"\n") + 1)


def read_events(path: Path) -> list[dict[str, Any]]:
    """Read the events of the metrics, skipping incomplete lines."""
    try:
        lines = (path / METRICS).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    events = []
    for line in lines:
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return [values for values in events if isinstance(values, dict) and "event" in values]


def find_newest(events: Sequence[Mapping[str, Any]], *names: str) -> Mapping[str, Any] | None:
    """Find the newest event of these names; None if there is none since the run was last changed or extended."""
    last = next((event for event in reversed(events) if event["event"] in (*names, "changed")), None)
    return last if last is not None and last["event"] in names else None


def _append(path: Path, text: str) -> str:
    if not text:
        return ""
    try:
        size = _size(path)
    except OSError:
        return text
    try:
        with path.open("ab", buffering=0) as file:
            if file.write(text.encode()) < len(text.encode()):
                raise OSError
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        return text
    return ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # only this error: any other must not pass for an empty file
        return 0

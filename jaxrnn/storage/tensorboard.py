"""The numbers of a run's metrics as an event file for TensorBoard, a record for each line of the metrics that has any.

When metrics are cut back, because the run was killed or returned to a checkpoint, so is the file: to as many records as there
are lines. Only this module imports tensorboardX, and only when it is asked for.
"""

import contextlib
import json
import os
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxrnn.storage import logs

FOLDER, FILE = "tensorboard", "events.out.tfevents.0.jaxrnn"
EVENTS = ("progress", "epoch", "divergence", "changed", "final")
HEADER, CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")  # a record: length, its checksum, data, their checksum


def scalars_of(event: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an event that are measured, not counted, by the event's name and their own: `epoch/online_nats`."""
    name = event.get("event")
    if name not in EVENTS or not isinstance(event.get("step"), int):
        return {}
    return {f"{name}/{key}": value for key, value in event.items() if isinstance(value, float)}


def synchronise(run_dir: Path) -> None:
    """Make the event file hold what the metrics hold: cut off the records of lines that are gone, and add those that it lacks.

    Raises:
      Exception: it cannot be written, or tensorboardX does not work here.
    """
    path, events = run_dir / FOLDER / FILE, [event for event in logs.read_events(run_dir) if scalars_of(event)]
    path.parent.mkdir(exist_ok=True)
    found = list(read_records(path)) if path.exists() else []
    kept = found[: 1 + len(events)]
    with path.open("ab") as file:
        file.truncate(sum(HEADER.size + 2 * CHECKSUM.size + len(data) for data in kept))
        missing = [] if kept else [_make_record(file_version="brain.Event:2")]
        missing += [_record_of(event) for event in events[max(0, len(kept) - 1) :]]
        file.write(b"".join(missing))


def append_scalars(run_dir: Path, metrics: str) -> None:
    """Append the numbers of further lines of the metrics; if they cannot all be written, the file stays as it is.

    Raises:
      Exception: it cannot be written, or tensorboardX does not work here.
    """
    path, events = run_dir / FOLDER / FILE, map(json.loads, metrics.splitlines())
    records = b"".join(_record_of(event) for event in events if scalars_of(event))
    if not records:
        return
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(records) < len(records):
                raise OSError("the disk is full")
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
            raise


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the complete records of an event file, each a serialised `Event`."""
    content, start = path.read_bytes(), 0
    while start + HEADER.size <= len(content):
        (length,) = HEADER.unpack_from(content, start)
        begin = start + HEADER.size + CHECKSUM.size
        start = begin + length + CHECKSUM.size
        if start > len(content):
            return
        yield content[begin : begin + length]


def _record_of(event: Mapping[str, Any]) -> bytes:
    from tensorboardX.proto import summary_pb2

    made: Any = summary_pb2  # its classes are made when it is imported
    values = [made.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars_of(event).items()]
    return _make_record(step=event["step"], summary=made.Summary(value=values))


def _make_record(**fields: Any) -> bytes:
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import masked_crc32c

    made: Any = event_pb2
    data = made.Event(wall_time=time.time(), **fields).SerializeToString()
    length = HEADER.pack(len(data))
    return length + CHECKSUM.pack(masked_crc32c(length)) + data + CHECKSUM.pack(masked_crc32c(data))

"""The folder of a run that goes on learning from a stream: a copy of the run, with what was learned since."""

import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.config.scorers import Learning
from jaxrnn.errors import InputError
from jaxrnn.scoring.pieces import Pending
from jaxrnn.scoring.stream import Scorer, Stream, learned_params
from jaxrnn.storage import checkpoint, failures, logs, run_folder, store
from jaxrnn.storage.checkpoint import SavedRun
from jaxrnn.storage.logs import Log
from jaxrnn.storage.streams import Extent, SavedStream


class StreamWriter(NamedTuple):
    """The folder, and what is known of the input since the program started."""

    path: Path
    run: SavedRun  # with which the stream began
    learning: Learning
    scorer: Scorer
    every_seconds: float
    last_try: float
    input_hash: Any  # of hashlib
    input_characters: int = 0
    saved_characters: int = 0  # of these
    problem: str = ""  # why the last save failed; "" if it succeeded


@contextlib.contextmanager
def open_folder(path: Path, run: SavedRun, learning: Learning, scorer: Scorer, every_seconds: float) -> Iterator[StreamWriter]:
    """Hold the folder of a run that learns from a stream; a new one begins as a copy of `run`, with its settings and metrics.

    Args:
      run: with which the stream begins; if it is in the folder itself, it goes on.
    Raises:
      InputError: there is another run in the folder, or something else; or it cannot be written.
    """
    is_new = not (path.exists() and path.samefile(run.path))
    if not is_new and run.stream is None:
        raise InputError(f"--save {str(path)!r} is the run that is scored, and it is never overwritten: name another folder")
    if is_new:
        run_folder.check_free(path, "save")
        run_folder.make_folder(path)
    with run_folder.hold_lock(path):
        if is_new:
            run_folder.claim(path, run.config, "save")
            # Without its final test, which was that of a model that had learned less.
            events = [event for event in logs.read_events(run.path) if event["event"] != "final"]
            logs.append_log(path, Log("".join(f"{logs.to_json_line(event)}\n" for event in events)))
        else:
            store.remove_leftovers(path)
            store.set_aside(path, run.rejected)
            logs.truncate_logs(path, run.about["log_sizes"])
        yield StreamWriter(path, run, learning, scorer, every_seconds, time.perf_counter(), hashlib.sha256())


def count(writer: StreamWriter, characters: str) -> StreamWriter:
    """Note that characters of the input were read."""
    writer.input_hash.update(characters.encode("utf-8", "surrogatepass"))
    return writer._replace(input_characters=writer.input_characters + len(characters))


def is_due(writer: StreamWriter) -> bool:
    """Return whether the last save, or attempt at one, was long enough ago."""
    return time.perf_counter() - writer.last_try >= writer.every_seconds


def has_news(writer: StreamWriter) -> bool:
    """Return whether anything was read since the last save."""
    return writer.input_characters > writer.saved_characters


def save(writer: StreamWriter, stream: Stream, extent: Extent, pending: Pending) -> StreamWriter:
    """Save the model and the position in the stream; if that fails, `problem` says why."""
    digest, problem = writer.input_hash.hexdigest(), ""
    saved = SavedStream(writer.learning, stream, extent, digest, writer.input_characters, pending.document)
    params = learned_params(writer.scorer, stream, extent.of_networks)
    try:
        if any(logs.append_log(writer.path, Log(logs.event_line("stream", _describe(saved))))):
            raise failures.NotWritten("no more lines can be added to its files")
        checkpoint.save_stream(writer.path, writer.run, params, saved, logs.measure_logs(writer.path))
    except (failures.NotWritten, OSError, InputError) as error:
        problem = failures.explain_not_written(error)
    saved_characters = writer.saved_characters if problem else writer.input_characters
    return writer._replace(last_try=time.perf_counter(), saved_characters=saved_characters, problem=problem)


def _describe(saved: SavedStream) -> dict[str, Any]:
    how, extent = saved.learning.how, saved.extent
    return {
        "characters": extent.num_characters,
        "lines": extent.num_lines,
        "unknown": extent.num_unknown,
        "nats": extent.nats / max(1, extent.num_characters),
        "dynamic": how and how._asdict(),
    }

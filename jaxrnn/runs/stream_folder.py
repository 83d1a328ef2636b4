"""The folder of a run that goes on learning from a stream: a copy of the run, with what was learned since."""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.config.scorers import Learning
from jaxrnn.errors import InputError
from jaxrnn.runs.open_stream import OpenStream
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


def check_folder(path: Path, run: SavedRun) -> bool:
    """Check that what a run learns can be saved in a folder; return whether it is a new one. Nothing is written.

    Raises:
      InputError: there is another run in the folder, or something else.
    """
    try:
        is_new = not (path.exists() and path.samefile(run.path))
        holds_other_files = is_new and path.is_dir() and any(path.iterdir())
    except OSError as error:
        raise InputError(f"--save {str(path)!r} cannot be used: {error.strerror}") from None
    if is_new:
        run_folder.check_free(path, "save")
        if holds_other_files:
            raise InputError(f"--save {str(path)!r} holds other files; name a new folder")
    elif run.stream is None:
        raise InputError(f"--save {str(path)!r} is the run that is scored, and is never overwritten: name another folder")
    return is_new


@contextlib.contextmanager
def open_folder(
    path: Path, run: SavedRun, opened: OpenStream, every_seconds: float, input_hash: Any = None
) -> Iterator[StreamWriter]:
    """Hold the folder of a run that learns from a stream; a new one begins as a copy of `run`, with its settings and metrics.

    A new folder appears when its first checkpoint is complete, so a kill leaves none that cannot be used.

    Args:
      run: with which the stream begins; if it is in the folder itself, it goes on.
      input_hash: of the characters of the input that were read before, if any; it goes on, too.
    Raises:
      InputError: there is another run in the folder, or something else; or it cannot be written.
    """
    is_new = check_folder(path, run)
    number = 0 if input_hash is None or run.stream is None else run.stream.input_characters
    now, input_hash = time.perf_counter(), input_hash or hashlib.sha256()
    writer = StreamWriter(path, run, opened.learning, opened.scorer, every_seconds, now, input_hash, number, number)
    making = path.with_name(f".{path.name}.unfinished")
    if is_new:
        shutil.rmtree(making, ignore_errors=True)
        run_folder.make_folder(making)
    with run_folder.hold_lock(making if is_new else path):
        if is_new:
            _make_copy(writer._replace(path=making), opened)
            _rename(making, path)
        else:
            _check_newest(path, run)
            store.remove_leftovers(path)
            store.set_aside(path, run.rejected)
            logs.truncate_logs(path, run.about["log_sizes"])
        yield writer


def _make_copy(writer: StreamWriter, opened: OpenStream) -> None:
    """Write the settings, the metrics and a first checkpoint into a new folder."""
    run_folder.claim(writer.path, writer.run.config, "save")
    # Without its final test, which was that of a model that had learned less.
    events = [event for event in logs.read_events(writer.run.path) if event["event"] != "final"]
    logs.append_log(writer.path, Log("".join(f"{logs.to_json_line(event)}\n" for event in events)))
    saved = save(writer, opened.stream, opened.extent, Pending())
    if saved.problem:
        shutil.rmtree(writer.path, ignore_errors=True)
        raise InputError(f"--save {str(writer.path)!r} cannot be written: {saved.problem}")


def _rename(making: Path, path: Path) -> None:
    try:
        making.replace(path)
    except OSError as error:
        shutil.rmtree(making, ignore_errors=True)
        raise InputError(f"--save {str(path)!r} cannot be written: {error.strerror}") from None


def _check_newest(path: Path, run: SavedRun) -> None:
    """Raise `InputError` if another process has saved the run between when it was loaded and locked."""
    newer = [number for number in store.list_numbers(path) if number > run.number]
    if len(newer) > len(run.rejected):
        raise InputError(f"the run in {str(path)!r} has just been saved by another process; start again")


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
    line = logs.event_line("stream", _describe(saved)) if has_news(writer) else ""
    try:
        if any(logs.append_log(writer.path, Log(line))):
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

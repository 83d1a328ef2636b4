"""Save a run: decide when, and record whether it worked."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxrnn.errors import InputError
from jaxrnn.runs.advance import Advanced, is_finished
from jaxrnn.runs.task import Task, characters_per_update
from jaxrnn.runtime import devices
from jaxrnn.storage import checkpoint, failures, logs, store, tensorboard
from jaxrnn.storage.logs import Log
from jaxrnn.training.progress import Snapshot, is_doubtful

MOST_SAVING = 0.015  # share of the time; above it, the end of an epoch is no longer a reason to save


class RunWriter(NamedTuple):
    """The folder of a run, and the state of writing to it."""

    path: Path
    started: float
    last_try: float
    unwritten: Log = Log()
    seconds_saving: float = 0.0
    problem: str = ""  # why the last save failed; "" if it succeeded
    anything_saved: bool = False
    for_tensorboard: bool = False


def start_writer(path: Path, for_tensorboard: bool = False) -> RunWriter:
    """Begin to write to a folder, which may hold checkpoints.

    Args:
      for_tensorboard: whether to write the metrics for TensorBoard, too.
    """
    now, first = time.perf_counter(), devices.is_first_process()
    writer = RunWriter(path, now, now, anything_saved=bool(store.list_numbers(path)), for_tensorboard=for_tensorboard and first)
    return drop_unwritten(writer)


def write(writer: RunWriter, log: Log) -> RunWriter:
    """Append to the files of the run; what cannot be written is kept for the next attempt."""
    log = logs.join_logs(writer.unwritten, log)
    writer = writer._replace(unwritten=logs.append_log(writer.path, log))
    written = "" if writer.unwritten.metrics else log.metrics
    return _mirror(writer, lambda: tensorboard.append_scalars(writer.path, written)) if written else writer


def drop_unwritten(writer: RunWriter) -> RunWriter:
    """Continue from what is in the folder, as after a return to a checkpoint."""
    return _mirror(writer._replace(unwritten=Log()), lambda: tensorboard.synchronise(writer.path))


def _mirror(writer: RunWriter, act: Callable[[], None]) -> RunWriter:
    """Write for TensorBoard; if that fails, warn, and do without it from then on."""
    if not writer.for_tensorboard:
        return writer
    try:
        act()
    except Exception as error:  # whatever it is: the numbers are in the metrics
        reason = failures.explain_not_written(error)
        print(f"warning: nothing more is written for TensorBoard until the run is resumed: {reason}", file=sys.stderr)
        return writer._replace(for_tensorboard=False)
    return writer


def should_save(task: Task, advanced: Advanced, writer: RunWriter) -> bool:
    """Return whether to save now: at the end of the run or of an epoch, or when the last save was long ago.

    Saving may take only a small part of the time, so not every short epoch is saved; nor is a run that may be diverging.
    """
    now, (state, _, progress) = time.perf_counter(), advanced.snapshot
    if is_finished(task, advanced.snapshot):
        return True
    vocab_size = len(task.data.vocabulary.characters)
    if is_doubtful(progress, int(state.step), task.learner.length, characters_per_update(task), vocab_size):
        return False
    if now - writer.last_try >= task.config.run.save_every_seconds:
        return True
    seldom = writer.seconds_saving <= MOST_SAVING * (now - writer.started)
    return advanced.epoch is not None and not writer.problem and seldom


def save(task: Task, snapshot: Snapshot, writer: RunWriter) -> RunWriter:
    """Save a checkpoint; if that fails, `problem` says why."""
    started, problem = time.perf_counter(), ""
    writer = write(writer, Log())
    try:
        if any(writer.unwritten):
            raise failures.NotWritten("no more lines can be added to its files")
        checkpoint.save_checkpoint(writer.path, task.config, task.data, snapshot, logs.measure_logs(writer.path))
    except (failures.NotWritten, OSError, InputError) as error:
        problem = failures.explain_not_written(error)
    now = time.perf_counter()
    return writer._replace(
        last_try=now,
        seconds_saving=writer.seconds_saving + now - started,
        problem=problem,
        anything_saved=writer.anything_saved or not problem,
    )

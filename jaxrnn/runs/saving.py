"""When a run is saved, and what is known of the writing."""

import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from jaxrnn.errors import InputError
from jaxrnn.runs.advance import Advanced, over
from jaxrnn.runs.describe import how_to_resume, where
from jaxrnn.runs.task import Task
from jaxrnn.storage import checkpoint, failures, logs
from jaxrnn.storage.logs import Log
from jaxrnn.training.progress import Snapshot, is_doubtful

MOST_SAVING = 0.015  # of the time; beyond it the end of an epoch is no reason to save


class Disk(NamedTuple):
    """What is known of the writing."""

    started: float
    last_try: float
    unwritten: Log = Log()
    seconds_saving: float = 0.0
    failed: bool = False  # the last time
    anything_saved: bool = False


def due(task: Task, advanced: Advanced, disk: Disk) -> bool:
    """Whether it is time to save: the epoch or the run is over, or the last time was long ago.

    Short epochs are not all saved: saving may take a small part of the time only. What may be diverging is not saved.
    """
    now, (state, _, progress) = time.perf_counter(), advanced.snapshot
    if over(task, advanced.snapshot):
        return True
    vocab_size = len(task.data.vocabulary.characters)
    if is_doubtful(progress, int(state.step), task.learner.length, task.characters_per_update, vocab_size):
        return False
    if now - disk.last_try >= task.config.run.save_every_seconds:
        return True
    return advanced.epoch is not None and not disk.failed and disk.seconds_saving <= MOST_SAVING * (now - disk.started)


def save(task: Task, snapshot: Snapshot, run_dir: Path, disk: Disk, screen: Console) -> Disk:
    """Saves, or says in a line why that cannot be done."""
    started = time.perf_counter()
    unwritten = logs.append_log(run_dir, disk.unwritten)
    try:
        if any(unwritten):
            raise failures.NotWritten("no more lines can be added to its files")
        checkpoint.save_checkpoint(run_dir, task.config, task.data, snapshot, logs.measure_logs(run_dir))
        failed = False
    except (failures.NotWritten, OSError, InputError) as error:
        reason = failures.explain_not_written(error)
        again = task.config.run.save_every_seconds
        before = "what was saved before is good" if disk.anything_saved else "nothing is saved yet"
        later = "" if over(task, snapshot) else f"; learning goes on, and in {again:g} s this is tried again"
        screen.print(f"cannot save: {reason}; {before}{later}")
        failed = True
    now = time.perf_counter()
    return disk._replace(
        last_try=now,
        unwritten=unwritten,
        seconds_saving=disk.seconds_saving + now - started,
        failed=failed,
        anything_saved=disk.anything_saved or not failed,
    )


def stopped_at(task: Task, snapshot: Snapshot, run_dir: Path, disk: Disk) -> str:
    """What is said when a signal has ended the run."""
    place = where(task, snapshot) if over(task, snapshot) else f"in {where(task, snapshot)}"
    before = "only what was before" if disk.anything_saved else "nor anything before"
    saved = f"but this could not be saved, {before}" if disk.failed else "saved"
    return f"stopped {place}, {saved}. {how_to_resume(run_dir)}"

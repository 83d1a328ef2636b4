"""The training loop of a run, which reads, plans, saves and rolls back.

It prints nothing, but yields `events`.
"""

import contextlib
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from jaxrnn.config import build
from jaxrnn.config.settings import Config
from jaxrnn.data import vocabulary
from jaxrnn.data.array_types import Params
from jaxrnn.errors import OutOfMemory, Stopped, is_out_of_memory
from jaxrnn.runs.advance import Advanced, Divergence, advance, begin_epoch, is_finished, is_shortened, updates_to_end
from jaxrnn.runs.ahead import BeginCounting, counting_ahead
from jaxrnn.runs.describe import (
    describe_failed_save,
    describe_plan,
    describe_resume_command,
    describe_shortened,
    describe_stop,
)
from jaxrnn.runs.events import Busy, EpochRead, Event, Learning, Note, PassedOver, Progressed
from jaxrnn.runs.final import finish
from jaxrnn.runs.rollback import RolledBack, roll_back
from jaxrnn.runs.saving import RunWriter, drop_unwritten, save, should_save, start_writer, write
from jaxrnn.runs.task import Task, characters_per_update, characters_read
from jaxrnn.runs.time_budget import TimeBudget, after_rollback, exclude_time, is_due, is_up, replan, start_budget
from jaxrnn.runtime import devices
from jaxrnn.runtime.memory import return_freed_memory
from jaxrnn.runtime.signals import Received
from jaxrnn.scoring.sampling import TEMPERATURE, default_prompt, sample
from jaxrnn.storage import logs
from jaxrnn.storage.logs import Log
from jaxrnn.training import optimizers
from jaxrnn.training.learner import copy_arrays
from jaxrnn.training.progress import Snapshot, epoch_nats

FIRST_CHARACTERS = 1_000  # read before the speed is known
SECONDS_PER_LOOK = 0.5  # between two checks of progress, clock and signals
CALLS_BEFORE_COUNTING = 2  # of the driver: the first characters, and half a second or a short epoch with its sample


def run(
    task: Task, snapshot: Snapshot, run_dir: Path, received: Received, seconds_before: float = 0.0
) -> Generator[Event, None, None]:
    """Train and test; leave metrics, samples, checkpoints and a picture in the run's folder.

    Args:
      received: returns the number of a signal received, 0 if none; after a signal the run saves itself and stops.
      seconds_before: the part of --minutes that has passed.
    Raises:
      Stopped: by a signal.
      Diverged: learning failed, and rolling back did not help.
      NotSaved: the end of the run could not be written.
      OutOfMemory: the run does not fit in memory.
    """
    state, best_params, progress = snapshot
    snapshot = Snapshot(devices.shard_state(state, task.mesh), devices.replicate(best_params, task.mesh), progress)
    with fitting_memory(task.config, run_dir), counting_ahead(task, devices.to_local(snapshot.best_params)) as begin_counting:
        snapshot, writer = yield from learn(task, snapshot, run_dir, received, begin_counting, seconds_before)
        task.stream.delete()  # a second copy of the training text, which the test does not need
        return_freed_memory()
        yield from finish(task, snapshot, writer, received, begin_counting)


@contextlib.contextmanager
def fitting_memory(config: Config, run_dir: Path) -> Iterator[None]:
    """Turn out-of-memory errors of JAX and Python into `OutOfMemory`, with the command that resumes the run."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = "a smaller --hidden-size or fewer --num-streams need less"
        raise OutOfMemory(f"not enough memory on this device; {smaller}. {describe_resume_command(config, run_dir)}") from None


class LoopState(NamedTuple):
    """State of the loop."""

    snapshot: Snapshot
    writer: RunWriter
    budget: TimeBudget
    num_updates: int  # in the next call of the driver


def learn(
    task: Task,
    snapshot: Snapshot,
    run_dir: Path,
    received: Received,
    begin_counting: BeginCounting = lambda: None,
    seconds_before: float = 0.0,
) -> Generator[Event, None, tuple[Snapshot, RunWriter]]:
    """Read to the end of the last epoch.

    Args:
      begin_counting: is called once the run is under way.
      seconds_before: the part of --minutes that has passed.
    """
    begun = time.perf_counter() - seconds_before
    yield Busy("compiling the training loop")  # by a first update, so that the speed shown does not include it
    task.drive(begin_epoch(task, snapshot._replace(state=copy_arrays(snapshot.state))), task.stream, 1)
    yield Learning()
    writer = start_writer(run_dir, for_tensorboard=task.config.run.log == "tensorboard")
    if not writer.anything_saved:
        writer = yield from _save(task, snapshot, writer)
        writer = writer._replace(seconds_saving=0.0)  # most of this time went into imports
    first_updates = max(1, FIRST_CHARACTERS // characters_per_update(task))
    reading = LoopState(snapshot, writer, start_budget(task, snapshot, begun), first_updates)
    num_calls = 0
    while not is_finished(task, reading.snapshot):
        if num_calls == CALLS_BEFORE_COUNTING:
            begin_counting()
        reading, num_calls = (yield from _read_on(task, reading, received)), num_calls + 1
    return reading.snapshot, reading.writer


def _read_on(task: Task, reading: LoopState, received: Received) -> Generator[Event, None, LoopState]:
    """Call the driver once, then do what is due: roll back, plan, save, or stop at a signal."""
    before, rate = reading.snapshot, optimizers.learning_rate(reading.snapshot.state.opt_state)
    step, started = int(before.state.step), time.perf_counter()
    try:
        advanced = advance(task, before, reading.num_updates)
    except Divergence as problem:
        advanced, back = None, roll_back(task, before.progress, rate, str(problem), reading.writer.path)
        reading, log = (yield from _go_back(reading, back)), back.log
    else:
        log = yield from log_progress(task, advanced)
        if is_shortened(task, advanced.snapshot.progress) and not is_shortened(task, before.progress):
            yield Note(describe_shortened(task, advanced.snapshot))
        speed = (int(advanced.snapshot.state.step) - step) / (time.perf_counter() - started)
        reading = reading._replace(snapshot=advanced.snapshot, num_updates=max(1, int(SECONDS_PER_LOOK * speed)))
    to_plan = advanced is not None and is_due(reading.budget) and not is_finished(task, reading.snapshot)
    num_updates, planned = devices.all_processes_max(reading.num_updates, to_plan)
    snapshot, budget = reading.snapshot, reading.budget
    if planned:
        snapshot, budget, plan_log = yield from _plan(task, snapshot, budget)
        log = logs.join_logs(log, plan_log)
    writer = write(reading.writer, log)
    to_save = advanced is None or should_save(task, advanced, writer)
    signal, to_save = devices.all_processes_max(received(), to_save)
    if planned or to_save or signal:
        writer = yield from _save(task, snapshot, writer)
    if signal:
        raise Stopped(signal, describe_stop(task, snapshot, writer))
    return LoopState(snapshot, writer, budget, num_updates)


def _go_back(reading: LoopState, back: RolledBack) -> Generator[Event, None, LoopState]:
    yield PassedOver(back.rejected)
    yield Note(back.line)
    writer = drop_unwritten(reading.writer)  # what was logged after the checkpoint
    return reading._replace(snapshot=back.snapshot, writer=writer, budget=after_rollback(reading.budget, back.snapshot))


def log_progress(task: Task, advanced: Advanced) -> Generator[Event, None, Log]:
    """Yield the progress, and return its log lines."""
    (state, _, progress), row = advanced.snapshot, advanced.epoch
    metrics = "".join(logs.event_line("progress", window._asdict()) for window in advanced.windows)
    if row is None:
        num_read = characters_read(task, progress)
        speed = num_read / progress.epoch_seconds
        yield Progressed(progress.epochs, num_read, epoch_nats(progress), speed, *_part_of_run(task, advanced.snapshot, speed))
        return Log(metrics)
    text = epoch_sample(task, task.learner.test_params(state), row.epoch)
    speed = row.characters_per_second
    yield Progressed(row.epoch, row.characters, row.online_nats, speed, *_part_of_run(task, advanced.snapshot, speed))
    yield EpochRead(row, text)
    title = f"epoch {row.epoch + 1}, {row.online_nats:.4f} nats online"
    return Log(metrics + logs.event_line("epoch", row._asdict()), logs.sample_entry(title, text))


def _part_of_run(task: Task, snapshot: Snapshot, characters_per_second: float) -> tuple[float | None, float | None]:
    """Return the share of the run that has been read, and the seconds left; None if its length is not known."""
    step, left = int(snapshot.state.step), updates_to_end(task, snapshot)
    if left is None or not characters_per_second:
        return None, None
    return step / max(1, step + left), left * characters_per_update(task) / characters_per_second


def epoch_sample(task: Task, params: Params, epoch: int) -> str:
    """Sample a text from the model after an epoch."""
    known, config = task.data.vocabulary, task.config.run
    prompt_ids, key = vocabulary.encode(known, default_prompt(known)), build.make_keys(config.seed).samples
    key = jax.random.fold_in(key, epoch)
    text = sample(task.model, devices.to_local(params), prompt_ids, config.sample_length, key=key, temperature=TEMPERATURE)
    return vocabulary.decode(known, text)


def _save(task: Task, snapshot: Snapshot, writer: RunWriter) -> Generator[Event, None, RunWriter]:
    writer = save(task, snapshot, writer)
    if writer.problem:
        yield Note(describe_failed_save(task, snapshot, writer))
    return writer


def _plan(task: Task, snapshot: Snapshot, budget: TimeBudget) -> Generator[Event, None, tuple[Snapshot, TimeBudget, Log]]:
    """Plan the run to end on time; yield a note at the first plan, and when time is up."""
    first = snapshot.progress.num_updates is None
    if first and not is_up(budget):
        started = time.perf_counter()
        budget = budget._replace(seconds_between_epochs=_seconds_between_epochs(task, snapshot))
        budget = exclude_time(budget, time.perf_counter() - started)
    ended = is_up(budget)
    snapshot, budget = replan(task, snapshot, budget)
    step, num_updates = int(snapshot.state.step), snapshot.progress.num_updates or 0
    if first or ended:
        yield Note(describe_plan(task, num_updates, budget.seconds_starting, ended))
    plan = {"step": step, "num_updates": num_updates, "seconds_starting": budget.seconds_starting}
    return snapshot, budget, Log(logs.event_line("plan", plan))


def _seconds_between_epochs(task: Task, snapshot: Snapshot) -> float:
    """Measure how long a validation and a sample take."""
    seconds, params = 0.0, task.learner.test_params(snapshot.state)
    for _ in range(2):  # the first time includes compiling
        started = time.perf_counter()
        epoch_sample(task, params, 0)
        if task.data.validation.size:
            task.validate(params)
        seconds = time.perf_counter() - started
    return seconds

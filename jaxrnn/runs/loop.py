"""A run: the training text is read over and over; what is logged, saved and shown, and when; what happens if it diverges."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import jax
from rich.console import Console

from jaxrnn.array_types import Params
from jaxrnn.console import report
from jaxrnn.data import vocabulary
from jaxrnn.errors import Diverged, InputError, OutOfMemory, Stopped, is_out_of_memory
from jaxrnn.runs.advance import Advanced, advance, begin_epoch, over
from jaxrnn.runs.describe import how_to_resume, plan_in_words, where
from jaxrnn.runs.final import finish
from jaxrnn.runs.saving import Disk, due, save, stopped_at
from jaxrnn.runs.task import Task, characters_per_epoch, characters_read, num_epochs
from jaxrnn.runs.time_budget import Pace, begin, is_time, is_up, laid_out, went_back, without
from jaxrnn.runtime import devices, signals
from jaxrnn.runtime.signals import Received
from jaxrnn.scoring.sampling import TEMPERATURE, default_prompt, sample
from jaxrnn.storage import checkpoint, logs, store
from jaxrnn.storage.logs import Log
from jaxrnn.training.drivers import copy_arrays
from jaxrnn.training.optimizers import with_learning_rate
from jaxrnn.training.progress import Snapshot, epoch_nats

FIRST_CHARACTERS = 1_000  # read before the speed is known
SECONDS_PER_LOOK = 0.5  # between two looks at the progress, the clock and the signals
MOST_ROLLBACKS = 5


def run(task: Task, snapshot: Snapshot, run_dir: Path, screen: Console) -> None:
    """Trains to the end: shows what happens; leaves metrics, samples, checkpoints and a picture in the run's folder.

    Raises:
      Stopped: by a signal. Diverged: for good. NotSaved: the disk did not take the end of it. OutOfMemory.
    """
    report.show_header(screen, validated=task.data.validation.size > 0, clipped=task.config.learning.clip_norm > 0)
    state, best_params, progress = snapshot
    snapshot = Snapshot(devices.shard_state(state, task.mesh), devices.replicate(best_params, task.mesh), progress)
    with signals.catch_signals() as received, fitting_memory(run_dir):
        snapshot, disk = learn(task, snapshot, run_dir, received, screen)
        finish(task, snapshot, run_dir, disk, received, screen)


@contextlib.contextmanager
def fitting_memory(run_dir: Path) -> Iterator[None]:
    """Raises `OutOfMemory` for what JAX and Python say: the run's folder is there, so that the input is not to blame alone."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = "a smaller --hidden-size or fewer --num-streams need less"
        raise OutOfMemory(f"not enough memory on this device; {smaller}. {how_to_resume(run_dir)}") from None


def learn(task: Task, snapshot: Snapshot, run_dir: Path, received: Received, screen: Console) -> tuple[Snapshot, Disk]:
    """Reads on until the last epoch is over."""
    begun = time.perf_counter()
    with report.show_status(screen, "compiling the training loop"):  # by a first update: the speed shown is that of learning
        task.drive(begin_epoch(task, snapshot._replace(state=copy_arrays(snapshot.state))), task.stream, 1)
    now = time.perf_counter()
    disk, num_updates = Disk(now, now, anything_saved=bool(store.list_numbers(run_dir))), first_updates(task)
    with report.progress_bar(screen, characters_per_epoch(task), num_epochs(task.config)) as show:
        if not disk.anything_saved:
            disk = save(task, snapshot, run_dir, disk, screen)._replace(seconds_saving=0.0)  # most of it were imports
        pace = begin(task, snapshot, begun)
        while not over(task, snapshot):
            started, before = time.perf_counter(), int(snapshot.state.step)
            advanced = advance(task, snapshot, num_updates)
            if advanced.problem:
                snapshot, log = roll_back(task, snapshot, advanced.problem, run_dir, screen)
                disk = disk._replace(unwritten=Log())  # what came after the checkpoint did not happen
                pace = went_back(pace, snapshot)
            else:
                snapshot, log = advanced.snapshot, told(task, advanced, screen, show)
                speed = (int(snapshot.state.step) - before) / (time.perf_counter() - started)
                num_updates = max(1, int(SECONDS_PER_LOOK * speed))
            ended = bool(advanced.problem) or over(
                task, snapshot
            )  # a run that is over is not planned anew, whatever time is left
            num_updates, planned = devices.all_processes_max(num_updates, is_time(pace) and not ended)
            if planned:
                snapshot, pace, plan_log = plan(task, snapshot, pace, screen)
                log = logs.join_logs(log, plan_log)
            disk = disk._replace(unwritten=logs.append_log(run_dir, logs.join_logs(disk.unwritten, log)))
            signal, to_save = devices.all_processes_max(received(), due(task, advanced, disk))
            if advanced.problem or planned or to_save or signal:
                disk = save(task, snapshot, run_dir, disk, screen)
            if signal:
                raise Stopped(signal, stopped_at(task, snapshot, run_dir, disk))
    return snapshot, disk


def first_updates(task: Task) -> int:
    """How many are read before the speed is known."""
    return max(1, FIRST_CHARACTERS // (task.characters_per_update))


def plan(task: Task, snapshot: Snapshot, pace: Pace, screen: Console) -> tuple[Snapshot, Pace, Log]:
    """Plan the run so that it ends on time, say so the first time and when the time is up; and the event for the metrics."""
    first = snapshot.progress.num_updates is None
    if first and not is_up(pace):
        started = time.perf_counter()
        pace = pace._replace(of_epoch=seconds_between_epochs(task, snapshot))
        pace = without(pace, time.perf_counter() - started)
    ended = is_up(pace)
    snapshot, pace = laid_out(task, snapshot, pace)
    step, num_updates = int(snapshot.state.step), snapshot.progress.num_updates or 0
    if first or ended:
        screen.print(plan_in_words(task, num_updates, pace, ended))
    return snapshot, pace, Log(logs.event_line("plan", {"step": step, "num_updates": num_updates}))


def seconds_between_epochs(task: Task, snapshot: Snapshot) -> float:
    """What validation and a sample take."""
    seconds = 0.0
    for _ in range(2):  # compiled at the first time
        started = time.perf_counter()
        epoch_sample(task, snapshot.state.params, 0)
        if task.data.validation.size:
            task.validate(snapshot.state.params)
        seconds = time.perf_counter() - started
    return seconds


def told(task: Task, advanced: Advanced, screen: Console, show: report.MoveBar) -> Log:
    """Show what was read and return its log lines."""
    (state, _, progress), row = advanced.snapshot, advanced.epoch
    metrics = "".join(logs.event_line("progress", window._asdict()) for window in advanced.windows)
    if row is None:
        num_read = characters_read(task, progress)
        show(progress.epochs, num_read, epoch_nats(progress), num_read / progress.epoch_seconds)
        return Log(metrics)
    text = epoch_sample(task, state.params, row.epoch)
    show(row.epoch, row.characters, row.online_nats, row.characters_per_second)
    report.show_epoch(screen, row, text)
    title = f"epoch {row.epoch + 1}, {row.online_nats:.4f} nats online"
    return Log(metrics + logs.event_line("epoch", row._asdict()), logs.sample_entry(title, text))


def roll_back(task: Task, before: Snapshot, problem: str, run_dir: Path, screen: Console) -> tuple[Snapshot, Log]:
    """The last good checkpoint, at half the rate, and the event for the metrics.

    Raises:
      Diverged: that is not wanted, was done `MOST_ROLLBACKS` times, or cannot be done.
    """
    rollbacks, schedule = before.progress.rollbacks + 1, before.progress.schedule
    happened = f"{problem} in epoch {before.progress.epochs + 1}"
    higher = f"rate {schedule.learning_rate:g} is too high for this model; start again with a lower --learning-rate"
    if task.config.run.on_divergence == "stop":
        raise Diverged(f"{happened}: {higher}")
    if rollbacks > MOST_ROLLBACKS:
        raise Diverged(f"{happened}, after {MOST_ROLLBACKS} returns to a checkpoint at half the rate each: {higher}")
    try:
        saved = checkpoint.load_run(run_dir)
    except InputError as error:
        raise Diverged(f"{happened}: {higher} (there is no way back: {error})") from None
    report.warn_of_rejected(saved.rejected)
    store.set_aside(run_dir, saved.rejected)
    # Counted here, not there: the checkpoint may be older than the last return, if that could not be saved.
    rate = saved.progress.schedule.learning_rate / 2 ** (rollbacks - saved.progress.rollbacks)
    progress = saved.progress._replace(rollbacks=rollbacks, schedule=saved.progress.schedule._replace(learning_rate=rate))
    state = saved.state._replace(opt_state=with_learning_rate(saved.state.opt_state, rate))
    snapshot = Snapshot(state, saved.best_params, progress)
    screen.print(
        f"{happened}: back to {where(task, snapshot)}, at rate {rate:g} ({rollbacks} of at most {MOST_ROLLBACKS} times)"
    )
    logs.truncate_logs(run_dir, saved.about["log_sizes"])
    event = {"step": int(state.step), "problem": problem, "learning_rate": rate, "rollbacks": rollbacks}
    return snapshot, Log(logs.event_line("divergence", event))


def epoch_sample(task: Task, params: Params, epoch: int) -> str:
    """What the model writes after an epoch."""
    known, length = task.data.vocabulary, task.config.run.sample_length
    prompt_ids, key = vocabulary.encode(known, default_prompt(known)), jax.random.fold_in(task.keys.samples, epoch)
    text = sample(task.model, devices.to_local(params), prompt_ids, length, key=key, temperature=TEMPERATURE)
    return vocabulary.decode(known, text)

"""A run: the training text is read over and over; what is logged, saved and shown, and when; what happens if it diverges."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from jaxrnn import evaluate
from jaxrnn.storage import checkpoint
from jaxrnn.runtime import devices
from jaxrnn.storage import run_folder as folder
from jaxrnn.data import paths
from jaxrnn.console import plot
from jaxrnn.console import report
from jaxrnn.runtime import signals
from jaxrnn.storage import store
from jaxrnn.console import verdict
from jaxrnn.data import vocabulary
from jaxrnn.runs.advance import Advanced, Task, advance, begin_epoch, characters_per_epoch, characters_read, num_epochs, over
from jaxrnn.config.settings import AUTO
from jaxrnn.errors import Diverged, InputError, NotSaved, OutOfMemory, Stopped, out_of_memory
from jaxrnn.evaluate import Dynamics
from jaxrnn.storage.run_folder import Log
from jaxrnn.training.drivers import copy
from jaxrnn.training.optimizers import with_learning_rate
from jaxrnn.runs.time_budget import Pace, begin, is_time, is_up, laid_out, went_back, without
from jaxrnn.training.progress import WINDOW, Snapshot, epoch_nats, guess_nats, is_doubtful
from jaxrnn.sample import TEMPERATURE, default_prompt, sample
from jaxrnn.runtime.signals import Received
from jaxrnn.array_types import Params
from jaxrnn.errors import counted

FIRST_CHARACTERS = 1_000  # read before the speed is known
SECONDS_PER_LOOK = 0.5  # between two looks at the progress, the clock and the signals
MOST_SAVING = 0.015  # of the time; beyond it the end of an epoch is no reason to save
MOST_ROLLBACKS = 5


class Disk(NamedTuple):
    """What is known of the writing."""

    started: float
    last_try: float
    unwritten: Log = Log()
    seconds_saving: float = 0.0
    failed: bool = False  # the last time
    anything_saved: bool = False


def run(task: Task, snapshot: Snapshot, run_dir: Path, screen: Console) -> None:
    """Trains to the end: shows what happens; leaves metrics, samples, checkpoints and a picture in the run's folder.

    Raises:
      Stopped: by a signal. Diverged: for good. NotSaved: the disk did not take the end of it. OutOfMemory.
    """
    report.show_header(screen, validated=task.data.validation.size > 0, clipped=task.config.learning.clip_norm > 0)
    state, best_params, progress = snapshot
    snapshot = Snapshot(devices.place(state, task.mesh), devices.everywhere(best_params, task.mesh), progress)
    with signals.noticed() as received, fitting_memory(run_dir):
        snapshot, disk = learn(task, snapshot, run_dir, received, screen)
        finish(task, snapshot, run_dir, disk, received, screen)


@contextlib.contextmanager
def fitting_memory(run_dir: Path) -> Iterator[None]:
    """Raises `OutOfMemory` for what JAX and Python say: the run's folder is there, so that the input is not to blame alone."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not out_of_memory(error):
            raise
        smaller = "a smaller --hidden-size or fewer --num-streams need less"
        raise OutOfMemory(f"not enough memory on this device; {smaller}. {how_to_resume(run_dir)}") from None


def learn(task: Task, snapshot: Snapshot, run_dir: Path, received: Received, screen: Console) -> tuple[Snapshot, Disk]:
    """Reads on until the last epoch is over."""
    begun = time.perf_counter()
    with report.busy(screen, "compiling the training loop"):  # by a first update: the speed shown is that of learning
        task.drive(begin_epoch(task, snapshot._replace(state=copy(snapshot.state))), task.stream, 1)
    now = time.perf_counter()
    disk, num_updates = Disk(now, now, anything_saved=bool(store.numbers(run_dir))), first_updates(task)
    with report.progress(screen, characters_per_epoch(task), num_epochs(task.config)) as show:
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
            num_updates, planned = devices.highest(num_updates, is_time(pace) and not ended)
            if planned:
                snapshot, pace, plan_log = plan(task, snapshot, pace, screen)
                log = folder.joined(log, plan_log)
            disk = disk._replace(unwritten=folder.append(run_dir, folder.joined(disk.unwritten, log)))
            signal, to_save = devices.highest(received(), due(task, advanced, disk))
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
    return snapshot, pace, Log(folder.event("plan", {"step": step, "num_updates": num_updates}))


def plan_in_words(task: Task, num_updates: int, pace: Pace, ended: bool) -> str:
    """One line on how much of the text there is time for."""
    minutes, epochs = task.config.learning.minutes, num_updates / task.updates_per_epoch
    length = f"{counted(num_updates, 'update')}, {epochs:.2f} epochs"
    if not ended:
        return f"planned: {length}, to end {minutes:g} minutes after the beginning"
    starting = f"starting took {pace.seconds_starting:.1f} s of --minutes {minutes:g}"
    return f"time is up: training ends after {length} ({starting})"


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


def told(task: Task, advanced: Advanced, screen: Console, show: report.Show) -> Log:
    """Show what was read and return its log lines."""
    (state, _, progress), row = advanced.snapshot, advanced.epoch
    metrics = "".join(folder.event("progress", window._asdict()) for window in advanced.windows)
    if row is None:
        num_read = characters_read(task, progress)
        show(progress.epochs, num_read, epoch_nats(progress), num_read / progress.epoch_seconds)
        return Log(metrics)
    text = epoch_sample(task, state.params, row.epoch)
    show(row.epoch, row.characters, row.online_nats, row.characters_per_second)
    report.show_epoch(screen, row, text)
    title = f"epoch {row.epoch + 1}, {row.online_nats:.4f} nats online"
    return Log(metrics + folder.event("epoch", row._asdict()), folder.titled(title, text))


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
    unwritten = folder.append(run_dir, disk.unwritten)
    try:
        if any(unwritten):
            raise store.NotWritten("no more lines can be added to its files")
        checkpoint.save(run_dir, task.config, task.data, snapshot, folder.log_sizes(run_dir))
        failed = False
    except (store.NotWritten, OSError, InputError) as error:
        reason = store.in_words(error)
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
        saved = checkpoint.load(run_dir)
    except InputError as error:
        raise Diverged(f"{happened}: {higher} (there is no way back: {error})") from None
    report.show_rejected(saved.rejected)
    store.set_aside(run_dir, saved.rejected)
    # Counted here, not there: the checkpoint may be older than the last return, if that could not be saved.
    rate = saved.progress.schedule.learning_rate / 2 ** (rollbacks - saved.progress.rollbacks)
    progress = saved.progress._replace(rollbacks=rollbacks, schedule=saved.progress.schedule._replace(learning_rate=rate))
    state = saved.state._replace(opt_state=with_learning_rate(saved.state.opt_state, rate))
    snapshot = Snapshot(state, saved.best_params, progress)
    screen.print(
        f"{happened}: back to {where(task, snapshot)}, at rate {rate:g} ({rollbacks} of at most {MOST_ROLLBACKS} times)"
    )
    folder.cut(run_dir, saved.about["log_sizes"])
    event = {"step": int(state.step), "problem": problem, "learning_rate": rate, "rollbacks": rollbacks}
    return snapshot, Log(folder.event("divergence", event))


def finish(task: Task, snapshot: Snapshot, run_dir: Path, disk: Disk, received: Received, screen: Console) -> None:
    """Test what was learned; the four numbers are shown and written before the picture is drawn, which may fail."""
    progress, tested = snapshot.progress, {}
    # With a validation part the best weights are known, and they are what a user wants.
    params = devices.here(snapshot.best_params if task.data.validation.size else snapshot.state.params)
    with report.busy(screen, "testing"):
        found = []
        for better in evaluate.dynamics(task.config, task.data, task.model, params):
            found.append(better)
            end_if_asked(received(), task, snapshot, run_dir, disk)
        for name, nats in evaluate.three_numbers(task.config, task.data, task.model, params, found[-1]):
            tested[name] = nats
            end_if_asked(received(), task, snapshot, run_dir, disk)
    floor = evaluate.source_nats(task.config, task.data)
    of_source = {} if floor is None else {"source_nats": floor}
    numbers, how = report.FourNumbers(progress.online_nats or math.nan, **tested), {"dynamic": found[-1]._asdict()}
    final = folder.event("final", {"step": int(snapshot.state.step), **numbers._asdict(), **of_source, **how})
    disk = disk._replace(unwritten=folder.append(run_dir, folder.joined(disk.unwritten, Log(final))))
    report.show_numbers(screen, numbers)
    report.show_verdicts(screen, verdicts(task, snapshot, numbers, found[-1], folder.read_events(run_dir)))
    disk, drawn = draw(task, numbers, run_dir, disk, screen)
    report.show_next(screen, run_dir, drawn, how_tested(task, snapshot, found[-1], floor))
    if disk.failed or any(disk.unwritten):
        raise NotSaved(f"the end of this run could not be written to {str(run_dir)!r}. {how_to_resume(run_dir)}")


def verdicts(
    task: Task, snapshot: Snapshot, numbers: report.FourNumbers, how: Dynamics, events: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What the numbers say of the learning and of dynamic evaluation, where something should be changed."""
    guess, rate = guess_nats(len(task.data.vocabulary.characters)), snapshot.progress.schedule.learning_rate
    windows = [event["online_nats"] for event in events if event["event"] == "progress" and event.get("online_nats")]
    fresh = not task.config.run.init_from
    learned = verdict.on_learning(numbers.online_nats, windows, guess, int(snapshot.state.step), rate, fresh)
    chosen = task.config.evaluation.dynamic == AUTO
    flag = "--dynamic fixed --dynamic-rate" if chosen else "--dynamic-rate"
    auto = "--dynamic auto" if task.config.text.validation_fraction else "--dynamic auto --validation-fraction 0.05"
    helped = verdict.on_dynamic(numbers.heldout_nats, numbers.heldout_dynamic_nats, how.rates, chosen, flag, auto)
    return [line for line in (learned, helped) if line]


def draw(task: Task, numbers: report.FourNumbers, run_dir: Path, disk: Disk, screen: Console) -> tuple[Disk, bool]:
    """Draw the picture, or say in a line why there is none; the result does not depend on it."""
    if not devices.is_first():
        return disk, True
    try:
        with report.busy(screen, "drawing"):
            curves = plot.curves(folder.read_events(run_dir), task.updates_per_epoch)
            picture = plot.draw_apart(curves, numbers._asdict(), WINDOW, report.printable(run_dir.name))
    except Exception as error:  # whatever it is: the result is there
        report.show_undrawn(screen, store.in_words(error))
        return disk, False
    try:
        folder.replace_file(run_dir / folder.PICTURE, picture)
    except OSError as error:
        report.show_undrawn(screen, store.in_words(error))
        return disk._replace(failed=True), False
    return disk, True


def how_tested(task: Task, snapshot: Snapshot, how: Dynamics, floor: float | None) -> dict[str, str]:
    """With which weights, and how learning went on, where that was chosen; and the floor, where it is known."""
    best, chosen = task.data.validation.size > 0, task.config.evaluation.dynamic == AUTO
    return {
        **part_of_epoch(task, snapshot),
        **({"tested": f"the best weights, after {counted(snapshot.progress.best_step or 0, 'update')}"} if best else {}),
        **({"dynamic": f"{evaluate.in_words(how)}, the best on the validation part"} if chosen else {}),
        **({} if floor is None else {"floor": f"{floor:.4f} nats held out by the source itself: none is better on average"}),
    }


def part_of_epoch(task: Task, snapshot: Snapshot) -> dict[str, str]:
    """How much of its last epoch a run has read that ended inside it."""
    updates, whole = int(snapshot.state.step) % task.updates_per_epoch, characters_per_epoch(task)
    read = f"the first {updates * task.characters_per_update:,} of {whole:,} characters, then the time was up"
    return {"last epoch": read} if updates else {}


def end_if_asked(signal: int, task: Task, snapshot: Snapshot, run_dir: Path, disk: Disk) -> None:
    """Raises `Stopped` if a signal came."""
    (signal,) = devices.highest(signal)
    if signal:
        raise Stopped(signal, stopped_at(task, snapshot, run_dir, disk))


def epoch_sample(task: Task, params: Params, epoch: int) -> str:
    """What the model writes after an epoch."""
    known, length = task.data.vocabulary, task.config.run.sample_length
    prompt_ids, key = vocabulary.encode(known, default_prompt(known)), jax.random.fold_in(task.keys.samples, epoch)
    text = sample(task.model, devices.here(params), prompt_ids, length, key=key, temperature=TEMPERATURE)
    return vocabulary.decode(known, text)


def where(task: Task, snapshot: Snapshot) -> str:
    """The place that a run has reached, in words."""
    if over(task, snapshot):
        return f"after epoch {snapshot.progress.epochs}, the last one"
    read = int(snapshot.state.step) % task.updates_per_epoch * task.characters_per_update
    return f"epoch {snapshot.progress.epochs + 1}, character {read:,} of {characters_per_epoch(task):,}"


def stopped_at(task: Task, snapshot: Snapshot, run_dir: Path, disk: Disk) -> str:
    """What is said when a signal has ended the run."""
    place = where(task, snapshot) if over(task, snapshot) else f"in {where(task, snapshot)}"
    before = "only what was before" if disk.anything_saved else "nor anything before"
    saved = f"but this could not be saved, {before}" if disk.failed else "saved"
    return f"stopped {place}, {saved}. {how_to_resume(run_dir)}"


def how_to_resume(run_dir: Path) -> str:
    """The command."""
    return f"Go on with: python -m jaxrnn.train --resume {paths.typed(run_dir)}"

"""A run: the training text is read over and over; what is logged, saved and shown, and when; what happens if it diverges."""

import math
import shlex
import time
from pathlib import Path
from typing import NamedTuple

import jax
from rich.console import Console

from jaxrnn import checkpoint, evaluate, folder, report, stop, store, vocabulary
from jaxrnn.advance import Advanced, Task, advance, num_epochs, over
from jaxrnn.errors import Diverged, InputError, NotSaved, Stopped
from jaxrnn.folder import Log
from jaxrnn.loop import copy
from jaxrnn.optimizer import with_learning_rate
from jaxrnn.progress import Snapshot, guess_nats, is_doubtful
from jaxrnn.sample import TEMPERATURE, default_prompt, sample
from jaxrnn.stop import Received
from jaxrnn.types import Params

FIRST_UPDATES = 100  # read before the speed is known
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
      Stopped: by a signal. Diverged: for good. NotSaved: the disk did not take the end of it.
    """
    report.show_header(screen, validated=task.data.validation.size > 0, clipped=task.config.learning.clip_norm > 0)
    with stop.noticed() as received:
        snapshot, disk = learn(task, snapshot, run_dir, received, screen)
        finish(task, snapshot, run_dir, disk, received, screen)


def learn(task: Task, snapshot: Snapshot, run_dir: Path, received: Received, screen: Console) -> tuple[Snapshot, Disk]:
    """Reads on until the last epoch is over."""
    task.drive(copy(snapshot.state), task.stream, 1)  # compiles: the speed shown is that of learning
    now = time.perf_counter()
    disk, num_updates = Disk(now, now, anything_saved=bool(store.numbers(run_dir))), FIRST_UPDATES
    characters, most = task.updates_per_epoch * task.characters_per_update, num_epochs(task.config)
    with report.progress(screen, characters, most) as show:
        if not disk.anything_saved:
            disk = save(task, snapshot, run_dir, disk, screen)._replace(seconds_saving=0.0)  # most of it were imports
        while not over(task, snapshot):
            started, before = time.perf_counter(), int(snapshot.state.step)
            advanced = advance(task, snapshot, num_updates)
            if advanced.problem:
                snapshot, log = roll_back(task, snapshot, advanced.problem, run_dir, screen)
                disk = disk._replace(unwritten=Log())  # what came after the checkpoint did not happen
            else:
                snapshot, log = advanced.snapshot, told(task, advanced, screen, show)
                speed = (int(snapshot.state.step) - before) / (time.perf_counter() - started)
                num_updates = max(1, int(SECONDS_PER_LOOK * speed))
            disk = disk._replace(unwritten=folder.append(run_dir, folder.joined(disk.unwritten, log)))
            signal = received()
            if advanced.problem or due(task, advanced, disk) or signal:
                disk = save(task, snapshot, run_dir, disk, screen)
            if signal:
                raise Stopped(signal, stopped_at(task, snapshot, run_dir, disk))
    return snapshot, disk


def told(task: Task, advanced: Advanced, screen: Console, show: report.Show) -> Log:
    """Shows what came of reading on; returns it as lines for the run's files."""
    (state, _, progress), row = advanced.snapshot, advanced.epoch
    metrics = "".join(folder.event("progress", window._asdict()) for window in advanced.windows)
    if row is None:
        updates = int(state.step) % task.updates_per_epoch
        num_read = updates * task.characters_per_update
        nats = progress.epoch_sum / (updates * task.learner.length)
        show(progress.epochs, num_read, nats, num_read / progress.epoch_seconds)
        return Log(metrics)
    text = epoch_sample(task, state.params, row.epoch)
    show(row.epoch, task.updates_per_epoch * task.characters_per_update, row.online_nats, row.characters_per_second)
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
    """Tests what was learned, shows the four numbers, draws the picture."""
    progress, tested = snapshot.progress, {}
    with report.busy(screen, "testing"):
        for name, nats in evaluate.three_numbers(task.config, task.data, task.model, snapshot.state.params):
            tested[name] = nats
            if signal := received():
                raise Stopped(signal, stopped_at(task, snapshot, run_dir, disk))
    numbers, drawn = report.FourNumbers(progress.online_nats or math.nan, **tested), True
    try:
        picture = report.draw_losses(folder.read_events(run_dir), task.updates_per_epoch, numbers, title=run_dir.name)
        folder.replace_file(run_dir / folder.PICTURE, picture)
    except OSError as error:
        disk, drawn = disk._replace(failed=True), False
        screen.print(f"cannot draw the picture: {store.in_words(error)}")
    final = Log(folder.event("final", {"step": int(snapshot.state.step), **numbers._asdict()}))
    unwritten = folder.append(run_dir, folder.joined(disk.unwritten, final))
    report.show_end(screen, numbers, run_dir, drawn)
    guess = guess_nats(len(task.data.vocabulary.characters))
    if not numbers.online_nats <= guess:
        screen.print(f"learning failed: guessing evenly costs {guess:.4f} nats; start again with a lower --learning-rate")
    if disk.failed or any(unwritten):
        raise NotSaved(f"the end of this run could not be written to {str(run_dir)!r}. {how_to_resume(run_dir)}")


def epoch_sample(task: Task, params: Params, epoch: int) -> str:
    """What the model writes after an epoch."""
    known, length = task.data.vocabulary, task.config.run.sample_length
    prompt_ids, key = vocabulary.encode(known, default_prompt(known)), jax.random.fold_in(task.keys.samples, epoch)
    return vocabulary.decode(known, sample(task.model, params, prompt_ids, length, key=key, temperature=TEMPERATURE))


def where(task: Task, snapshot: Snapshot) -> str:
    """The place that a run has reached, in words."""
    if over(task, snapshot):
        return f"after epoch {snapshot.progress.epochs}, the last one"
    read = int(snapshot.state.step) % task.updates_per_epoch * task.characters_per_update
    characters = task.updates_per_epoch * task.characters_per_update
    return f"epoch {snapshot.progress.epochs + 1}, character {read:,} of {characters:,}"


def stopped_at(task: Task, snapshot: Snapshot, run_dir: Path, disk: Disk) -> str:
    """What is said when a signal has ended the run."""
    place = where(task, snapshot) if over(task, snapshot) else f"in {where(task, snapshot)}"
    before = "only what was before" if disk.anything_saved else "nor anything before"
    saved = f"but this could not be saved, {before}" if disk.failed else "saved"
    return f"stopped {place}, {saved}. {how_to_resume(run_dir)}"


def how_to_resume(run_dir: Path) -> str:
    """The command."""
    return f"Go on with: python -m jaxrnn.train --resume {shlex.quote(str(run_dir))}"

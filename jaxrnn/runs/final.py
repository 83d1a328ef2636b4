"""The end of a run: what was learned is tested, written, judged and drawn."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxrnn.config.settings import AUTO
from jaxrnn.console import plot, report, verdict
from jaxrnn.errors import NotSaved, Stopped, pluralize
from jaxrnn.runs import testing
from jaxrnn.runs.describe import how_to_resume, part_of_epoch
from jaxrnn.runs.saving import Disk, stopped_at
from jaxrnn.runs.task import Task
from jaxrnn.runtime import devices, signals
from jaxrnn.runtime.signals import Received
from jaxrnn.scoring import evaluation
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.storage import failures, logs
from jaxrnn.storage import run_folder as folder
from jaxrnn.storage.logs import Log
from jaxrnn.training.progress import WINDOW, FourNumbers, Snapshot, guess_nats


def finish(task: Task, snapshot: Snapshot, run_dir: Path, disk: Disk, received: Received, screen: Console) -> None:
    """Test what was learned; the four numbers are shown and written before the picture is drawn, which may fail.

    Raises:
      Stopped: by a signal. NotSaved: the disk did not take the end of the run.
    """
    try:
        with report.show_status(screen, "testing"), signals.raise_on_signal(received):
            numbers, how, floor = tested(task, snapshot)
    except signals.Interrupted as interrupted:
        raise Stopped(interrupted.signal, stopped_at(task, snapshot, run_dir, disk)) from None
    of_source = {} if floor is None else {"source_nats": floor}
    final = {"step": int(snapshot.state.step), **numbers._asdict(), **of_source, "dynamic": how._asdict()}
    unwritten = logs.append_log(run_dir, logs.join_logs(disk.unwritten, Log(logs.event_line("final", final))))
    report.show_numbers(screen, numbers)
    report.show_verdicts(screen, verdicts(task, snapshot, numbers, how, logs.read_events(run_dir)))
    disk, drawn = draw(task, numbers, run_dir, disk._replace(unwritten=unwritten), screen)
    report.show_next_steps(screen, run_dir, drawn, how_tested(task, snapshot, how, floor))
    if disk.failed or any(disk.unwritten):
        raise NotSaved(f"the end of this run could not be written to {str(run_dir)!r}. {how_to_resume(run_dir)}")


def tested(task: Task, snapshot: Snapshot) -> tuple[FourNumbers, DynamicSettings, float | None]:
    """The four numbers, how learning went on for the last of them, and the floor of a synthetic text."""
    # With a validation part the best weights are known, and they are what a user wants.
    params = devices.to_local(snapshot.best_params if task.data.validation.size else snapshot.state.params)
    how = testing.dynamics(task.config, task.data, task.model, params)
    three = testing.three_numbers(task.config, task.data, task.model, params, how)
    numbers = FourNumbers(snapshot.progress.online_nats or math.nan, **three)
    return numbers, how, testing.source_nats(task.config, task.data)


def verdicts(
    task: Task, snapshot: Snapshot, numbers: FourNumbers, how: DynamicSettings, events: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What the numbers say of the learning and of dynamic evaluation, where something should be changed."""
    guess, rate = guess_nats(len(task.data.vocabulary.characters)), snapshot.progress.schedule.learning_rate
    windows = [event["online_nats"] for event in events if event["event"] == "progress" and event.get("online_nats")]
    fresh = not task.config.run.init_from
    learned = verdict.judge_learning(numbers.online_nats, windows, guess, int(snapshot.state.step), rate, fresh)
    chosen = task.config.evaluation.dynamic == AUTO
    flag = "--dynamic fixed --dynamic-rate" if chosen else "--dynamic-rate"
    auto = "--dynamic auto" if task.config.text.validation_fraction else "--dynamic auto --validation-fraction 0.05"
    helped = verdict.judge_dynamic(numbers.heldout_nats, numbers.heldout_dynamic_nats, how.rates, chosen, flag, auto)
    return [line for line in (learned, helped) if line]


def draw(task: Task, numbers: FourNumbers, run_dir: Path, disk: Disk, screen: Console) -> tuple[Disk, bool]:
    """Draw the picture, or say in a line why there is none; the result does not depend on it."""
    if not devices.is_first_process():
        return disk, True
    try:
        with report.show_status(screen, "drawing"):
            curves = plot.collect_curves(logs.read_events(run_dir), task.updates_per_epoch)
            picture = plot.draw_in_subprocess(curves, numbers._asdict(), WINDOW, report.replace_controls(run_dir.name))
    except Exception as error:  # whatever it is: the result is there
        report.warn_of_missing_picture(screen, failures.explain_not_written(error))
        return disk, False
    try:
        folder.replace_file(run_dir / folder.PICTURE, picture)
    except OSError as error:
        report.warn_of_missing_picture(screen, failures.explain_not_written(error))
        return disk._replace(failed=True), False
    return disk, True


def how_tested(task: Task, snapshot: Snapshot, how: DynamicSettings, floor: float | None) -> dict[str, str]:
    """With which weights, and how learning went on, where that was chosen; and the floor, where it is known."""
    best, chosen = task.data.validation.size > 0, task.config.evaluation.dynamic == AUTO
    return {
        **part_of_epoch(task, snapshot),
        **({"tested": f"the best weights, after {pluralize(snapshot.progress.best_step or 0, 'update')}"} if best else {}),
        **({"dynamic": f"{evaluation.describe_dynamic(how)}, the best on the validation part"} if chosen else {}),
        **({} if floor is None else {"floor": f"{floor:.4f} nats held out by the source itself: none is better on average"}),
    }

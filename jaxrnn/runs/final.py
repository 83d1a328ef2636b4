"""Finish a run: test it, log and judge the result, and draw the picture."""

import contextlib
import math
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxrnn.config import parts
from jaxrnn.config.settings import AUTO
from jaxrnn.console import plot, report, verdict
from jaxrnn.errors import NotSaved, Stopped, pluralize
from jaxrnn.models.cells import CELLS
from jaxrnn.runs import testing
from jaxrnn.runs.ahead import Ahead, BeginCounting
from jaxrnn.runs.describe import (
    describe_last_epoch,
    describe_page_command,
    describe_resume_command,
    describe_sample_command,
    describe_stop,
    describe_test_command,
)
from jaxrnn.runs.events import Busy, Event, Finished, Note, Tested, Testing, TooShort
from jaxrnn.runs.limits import test_limits
from jaxrnn.runs.saving import RunWriter, write
from jaxrnn.runs.task import Task, updates_per_epoch
from jaxrnn.runs.testing import Result
from jaxrnn.runs.too_short import describe_whole_epoch, explain_too_short, window_nats
from jaxrnn.runtime import devices, signals
from jaxrnn.runtime.signals import Received
from jaxrnn.scoring import evaluation
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.storage import failures, logs, run_folder
from jaxrnn.storage.logs import Log
from jaxrnn.training import optimizers
from jaxrnn.training.progress import WINDOW, FinalNumbers, Snapshot, guess_nats, measured


def finish(
    task: Task, snapshot: Snapshot, writer: RunWriter, received: Received, begin_counting: BeginCounting
) -> Generator[Event, None, None]:
    """Test the model. The numbers are logged and shown before the picture is drawn, because that may fail.

    Args:
      begin_counting: begins to count for the test in another thread, unless it has begun.
    Raises:
      Stopped: by a signal.
      NotSaved: the end of the run could not be written.
    """
    too_short = explain_too_short(task, snapshot, logs.read_events(writer.path))
    if too_short:
        ending = leave_untested(task, snapshot, writer, too_short)
    elif task.data.heldout.size:
        ending = run_test(task, snapshot, writer, received, begin_counting())
    else:
        ending = show_reading(task, snapshot, writer)
    drawing = plot.drawing_process() if devices.is_first_process() else contextlib.nullcontext(plot.draw)
    with drawing as draw_there:  # it starts during the test
        writer, numbers, facts = yield from ending
        writer, drawn = yield from draw(task, numbers, writer, draw_there)
    run_dir = writer.path
    yield Finished(
        {
            **facts,
            **({"picture": str(run_dir / run_folder.PICTURE)} if drawn else {}),
            "write with it": describe_sample_command(task.config, run_dir),
            **({"see it think": describe_page_command(task.config, run_dir)} if task.config.model.cell in CELLS else {}),
            **({"test it": describe_test_command(task.config, run_dir)} if task.data.heldout.size else {}),
        }
    )
    if writer.problem or any(writer.unwritten):
        raise NotSaved(
            f"the end of this run could not be written to {str(run_dir)!r}. {describe_resume_command(task.config, run_dir)}"
        )


class Ending(NamedTuple):
    """What is known about a run at its end."""

    writer: RunWriter
    numbers: Mapping[str, float]  # the final numbers by name; empty for a run that was not tested
    facts: Mapping[str, str]


def leave_untested(task: Task, snapshot: Snapshot, writer: RunWriter, too_short: str) -> Generator[Event, None, Ending]:
    """Say and log that a run was too short to be tested."""
    final = {"step": int(snapshot.state.step), "online_nats": snapshot.progress.online_nats, "tested": False}
    writer = write(writer, Log(logs.event_line("final", final)))
    yield TooShort(too_short)
    return Ending(writer, {}, describe_last_epoch(task, snapshot))


def show_reading(task: Task, snapshot: Snapshot, writer: RunWriter) -> Generator[Event, None, Ending]:
    """Log and show the result of a run without a held-out part: its online loss."""
    numbers = FinalNumbers(_online_nats(snapshot), *[math.nan] * (len(FinalNumbers._fields) - 1))
    final = {"step": int(snapshot.state.step), "online_nats": numbers.online_nats}
    writer = write(writer, Log(logs.event_line("final", final)))
    of_what = {"online_nats": "; network and counts mixed"} if task.config.learning.counts else {}
    yield Tested(numbers, of_what, [])
    return Ending(writer, measured(numbers), describe_last_epoch(task, snapshot))


def run_test(
    task: Task, snapshot: Snapshot, writer: RunWriter, received: Received, ahead: Ahead | None
) -> Generator[Event, None, Ending]:
    """Test the model, log the numbers and show them.

    Raises:
      Stopped: by a signal.
    """
    yield Busy("testing")
    try:
        result = yield from _interruptible(test_model(task, snapshot, logs.read_events(writer.path), ahead), received)
    except signals.Interrupted as interrupted:
        raise Stopped(interrupted.signal, describe_stop(task, snapshot, writer)) from None
    numbers, floor = final_numbers(snapshot, result), testing.source_nats(task.data, result.scores.num_characters)
    of_source = {} if floor is None else {"source_nats": floor}
    extent = testing.describe_extent(result)
    final = {"step": int(snapshot.state.step), **numbers._asdict(), **of_source, **extent, "dynamic": result.dynamic._asdict()}
    writer = write(writer, Log(logs.event_line("final", final)))
    events = logs.read_events(writer.path)
    shown_parts = testing.describe_parts(task.config.learning.num_streams, task.data, result)
    yield Tested(numbers, shown_parts, verdicts(task, snapshot, numbers, result.dynamic, events))
    whole = describe_whole_epoch(task, snapshot, events)
    part = {name: f"{said}{whole}" for name, said in describe_last_epoch(task, snapshot).items()}
    tested = describe_test(task, snapshot, writer.path, result, floor)
    return Ending(writer, numbers._asdict(), {**part, **tested})


def test_model(
    task: Task, snapshot: Snapshot, events: Sequence[Mapping[str, Any]], ahead: Ahead | None
) -> Generator[Testing, None, Result]:
    """Test the model within the time and the number of characters that the settings give."""
    # With a validation part it is known which weights are best, and those are what a user wants.
    validated = task.data.validation.size > 0
    params = devices.to_local(snapshot.best_params if validated else task.learner.test_params(snapshot.state))
    limits, expected = test_limits(task, events), snapshot.progress.best_nats
    return testing.measure(task.config, task.data, task.model, params, None, limits, expected, ahead)


def final_numbers(snapshot: Snapshot, result: Result) -> FinalNumbers:
    """Collect the final numbers."""
    _, frozen, dynamic, counts, mixed = result.scores
    return FinalNumbers(_online_nats(snapshot), result.train_nats, frozen, dynamic, counts, mixed)


def _interruptible(test: Generator[Testing, None, Result], received: Received) -> Generator[Testing, None, Result]:
    """Run a test so that a signal interrupts it at once."""
    while True:
        with signals.raise_on_signal(received):
            try:
                event = next(test)
            except StopIteration as end:
                return end.value
        yield event


def verdicts(
    task: Task, snapshot: Snapshot, numbers: FinalNumbers, how: DynamicSettings, events: Sequence[Mapping[str, Any]]
) -> list[str]:
    """List what to change in learning and in dynamic evaluation, judging by the numbers."""
    guess, rate = guess_nats(len(task.data.vocabulary.characters)), optimizers.learning_rate(snapshot.state.opt_state)
    fresh = not task.config.run.init_from
    learned = verdict.judge_learning(
        numbers.online_nats, window_nats(events), guess, int(snapshot.state.step), rate, fresh, find_remedies(task, snapshot)
    )
    chosen = task.config.evaluation.dynamic == AUTO
    flag = "--dynamic fixed --dynamic-rate" if chosen else "--dynamic-rate"
    auto = "--dynamic auto" if task.config.text.validation_fraction else "--dynamic auto --validation-fraction 0.05"
    helped = verdict.judge_dynamic(numbers.heldout_nats, numbers.heldout_dynamic_nats, how.rates, chosen, flag, auto)
    return [line for line in (learned, helped) if line]


def find_remedies(task: Task, snapshot: Snapshot) -> list[str]:
    """List what would give this run more updates."""
    settings, data = task.config.learning, task.data
    ended_by_itself = settings.counts or snapshot.progress.finished  # by the text, or by the validation loss
    return verdict.list_remedies(
        more_text=data.num_used != data.num_characters,
        lasting="--minutes" if settings.minutes else "" if ended_by_itself else "--epochs",
        num_streams=settings.num_streams,
        block_length=parts.block_length(task.config),
    )


def draw(
    task: Task, numbers: Mapping[str, float], writer: RunWriter, draw_there: plot.Draw
) -> Generator[Event, None, tuple[RunWriter, bool]]:
    """Draw the picture, or note why there is none; a failure does not affect the result."""
    if not devices.is_first_process():
        return writer, True
    yield Busy("drawing")
    try:
        curves = plot.collect_curves(logs.read_events(writer.path), updates_per_epoch(task))
        picture = draw_there(curves, numbers, WINDOW, report.replace_controls(writer.path.name))
    except Exception as error:  # whatever it is: the numbers are already saved
        yield _undrawn(failures.explain_not_written(error))
        return writer, False
    try:
        run_folder.replace_file(writer.path / run_folder.PICTURE, picture)
    except OSError as error:
        reason = failures.explain_not_written(error)
        yield _undrawn(reason)
        return writer._replace(problem=reason), False
    return writer, True


def _undrawn(reason: str) -> Note:
    return Note(f"warning: the picture of the loss could not be drawn: {report.replace_controls(reason)}")


def describe_test(task: Task, snapshot: Snapshot, run_dir: Path, result: Result, floor: float | None) -> dict[str, str]:
    """Return the lines of the final report on the test: which weights, how much text, which dynamic evaluation, what floor."""
    best, chosen = task.data.validation.size > 0, task.config.evaluation.dynamic == AUTO
    evaluate = describe_test_command(task.config, run_dir)
    return {
        **({"tested": f"the best weights, after {pluralize(snapshot.progress.best_step or 0, 'update')}"} if best else {}),
        **({"test all": f"{evaluate} reads all of it"} if result.scores.num_characters < len(task.data.heldout) - 1 else {}),
        **({"dynamic": f"{evaluation.describe_dynamic(result.dynamic)}, the best on the validation part"} if chosen else {}),
        **({} if floor is None else {"floor": f"{floor:.4f} nats for the source itself: no model is better on average"}),
    }


def _online_nats(snapshot: Snapshot) -> float:
    """Return the online loss of the last epoch; NaN if none was read to its end."""
    nats = snapshot.progress.online_nats
    return math.nan if nats is None else nats

"""Change the settings of a run when it is resumed, or give it more epochs or minutes.

A change takes effect where the run stands. Before the run continues, it is written to `config.json`, to the metrics (event
`changed`) and to a checkpoint, so that it stays in force whatever happens next.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax

from jaxrnn.config import build
from jaxrnn.config.resolve import CHANGEABLE, EVALUATION, values_by_name
from jaxrnn.config.settings import LearningConfig, resolved_rate
from jaxrnn.errors import InputError, pluralize
from jaxrnn.runs.advance import is_finished, updates_to_end
from jaxrnn.runs.describe import describe_minutes
from jaxrnn.runs.resume import FREE
from jaxrnn.runs.task import Task, updates_per_epoch
from jaxrnn.storage import checkpoint, failures, logs, run_folder
from jaxrnn.storage.checkpoint import SavedRun
from jaxrnn.storage.logs import Log
from jaxrnn.training import optimizers
from jaxrnn.training.learner import State, copy_arrays
from jaxrnn.training.optimizers import ENDLESS
from jaxrnn.training.progress import Progress, Snapshot

NAMES = {"clip_norm": "clipping norm"}  # in words, where they differ from the setting's name


class Plan(NamedTuple):
    """What is to change in a saved run."""

    before: Mapping[str, Any]  # the settings that change, by name
    after: Mapping[str, Any]
    is_finished: bool  # the run has read what it was to read before the change
    is_tested: bool  # and was tested
    is_extended: bool  # it is to read more, or until another end
    has_new_cosine: bool
    is_logged: bool  # false if the run is the same as if it had been begun with the settings of now


def plan_changes(task: Task, saved: SavedRun, again: bool = False) -> Plan:
    """Compare the settings of a task with those of a saved run.

    Args:
      again: whether a finished run is to go on for its number of minutes once more.
    Raises:
      InputError: the run has already read as many epochs as it is to read.
    """
    then, now, progress = saved.config, task.config, saved.snapshot.progress
    finished = is_finished(task._replace(config=then), saved.snapshot)
    extended = _is_extended(now.learning, then.learning, progress, again and finished)
    if extended and not now.learning.minutes and now.learning.epochs <= progress.epochs:
        raise InputError(
            f"--epochs is {now.learning.epochs}, but the run in {str(saved.path)!r} has already read {progress.epochs}; "
            "set a higher number"
        )
    cosine = now.learning.schedule == "cosine" and (extended or then.learning.schedule != "cosine")
    old, new = values_by_name(then), values_by_name(now)
    names = [name for name in old if name in CHANGEABLE and old[name] != new[name]]
    names += ["minutes"] if extended and now.learning.minutes and "minutes" not in names else []
    return Plan(
        before={name: old[name] for name in names},
        after={name: new[name] for name in names},
        is_finished=finished,
        is_tested=finished and logs.find_newest(logs.read_events(saved.path), "final") is not None,
        is_extended=extended,
        has_new_cosine=cosine,
        is_logged=cosine or bool(set(names) - {"epochs", *FREE}),
    )


def _is_extended(now: LearningConfig, then: LearningConfig, progress: Progress, again: bool) -> bool:
    if now.minutes:
        return now.minutes != then.minutes or again
    reopened = progress.finished and now.schedule != then.schedule
    return bool(then.minutes) or now.epochs != then.epochs or reopened


def check_finished(plan: Plan, run: SavedRun) -> None:
    """Raise `InputError` if a setting of a finished run is changed that no longer has an effect."""
    for name in plan.after:
        flag, of_run = f"--{name.replace('_', '-')}", f"the run in {str(run.path)!r}"
        if name in EVALUATION - FREE and plan.is_tested:
            raise InputError(f"{flag} changes nothing: {of_run} is tested; python -m jaxrnn.evaluate tests it in other ways")
        if name not in EVALUATION | FREE:
            raise InputError(
                f"{flag} changes nothing: {of_run} is finished; to continue it, also set --minutes or a higher --epochs"
            )


def make_changes(task: Task, saved: SavedRun, plan: Plan) -> Snapshot:
    """Make the planned changes, and save them.

    Raises:
      InputError: they cannot be saved; the run is as it was.
    """
    if not (plan.is_extended or plan.is_logged):
        return saved.snapshot
    snapshot = apply_plan(task, saved, plan)
    if not plan.is_logged:
        return snapshot
    sizes = logs.measure_logs(saved.path)
    try:
        if any(logs.append_log(saved.path, Log(changed_line(snapshot, plan)))):
            raise failures.NotWritten("no line can be added to its metrics")
        checkpoint.save_checkpoint(saved.path, task.config, task.data, snapshot, logs.measure_logs(saved.path))
    except (failures.NotWritten, OSError) as error:
        logs.truncate_logs(saved.path, sizes)
        run_folder.write_config(saved.path, saved.config)
        reason = failures.explain_not_written(error)
        raise InputError(f"the run in {str(saved.path)!r} is not changed, because it cannot be saved: {reason}") from None
    return snapshot


def make_changes_again(task: Task, saved: SavedRun) -> tuple[Snapshot, str]:
    """Make the changes in a checkpoint that was saved before them; also return the lines that its metrics lack."""
    plan = plan_changes(task, saved)
    if plan.is_finished:
        plan = plan_changes(task, saved, again=True)
    if not (plan.is_extended or plan.is_logged):
        return saved.snapshot, ""
    snapshot = apply_plan(task, saved, plan)
    return snapshot, changed_line(snapshot, plan) if plan.is_logged else ""


def apply_plan(task: Task, saved: SavedRun, plan: Plan) -> Snapshot:
    """Put the settings of a task into the snapshot of a run that was saved with other ones."""
    now, then, progress, state = task.config.learning, saved.config.learning, saved.snapshot.progress, saved.snapshot.state
    other = now.schedule != then.schedule
    if plan.is_extended or (other and progress.halving and then.schedule == "cosine"):  # the latter was shortened
        progress = progress._replace(num_updates=None)
    if other or plan.has_new_cosine:
        progress = progress._replace(halving=False, finished=False)
    length = None
    if plan.has_new_cosine:
        to_come = updates_to_end(task, Snapshot(state, saved.snapshot.best_params, progress))
        length = ENDLESS if to_come is None else to_come
    opt_state = optimizers.with_stages(state.opt_state, now.clip_norm > 0, now.schedule == "cosine", length)
    if "learning_rate" in plan.after:
        opt_state = optimizers.with_learning_rate(opt_state, jax.numpy.float32(resolved_rate(task.config)))
    return Snapshot(fit_memory(task, state._replace(opt_state=opt_state), progress), saved.snapshot.best_params, progress)


def fit_memory(task: Task, state: State, progress: Progress) -> State:
    """Give the rule's memory the arrays that the present dropout needs."""
    key = build.make_epoch_key(task.config.run.seed, progress.epochs)
    wanted = jax.eval_shape(task.learner.init, key).memory
    if jax.tree.structure(wanted) == jax.tree.structure(state.memory):
        return state
    return state._replace(memory=task.learner.restart(copy_arrays(state), key).memory)


def changed_line(snapshot: Snapshot, plan: Plan) -> str:
    """Format the event of a change as a line of the metrics."""
    rate = optimizers.learning_rate(snapshot.state.opt_state)
    event = {"step": int(snapshot.state.step), "from": plan.before, "to": plan.after, "learning_rate": rate}
    return logs.event_line("changed", event)


def describe_plan(task: Task, plan: Plan, snapshot: Snapshot) -> dict[str, str]:
    """Say what has changed in a snapshot, and until when an extended run reads."""
    shown = {name: value for name, value in plan.after.items() if value != plan.before[name]}
    notes = {"changed": describe_changes(plan.before, shown)} if shown else {}
    if not plan.is_extended and not plan.has_new_cosine:
        return notes
    settings, rate = task.config.learning, optimizers.learning_rate(snapshot.state.opt_state)
    how = f"a new cosine, from rate {rate:g} to 0" if plan.has_new_cosine else f"rate {rate:g}"
    left = updates_to_end(task, snapshot)
    if left is not None:
        until = f"for {pluralize(left, 'more update')}, {left / updates_per_epoch(task):.3g} epochs"
    else:
        minutes, epochs = describe_minutes(settings.minutes), f"to the end of epoch {settings.epochs} at most"
        until = f"for {minutes} from now on" if settings.minutes else epochs
    return {**notes, "continued": f"{until}, with {how}"}


def describe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Describe changes in one line: `learning rate 0.1 -> 0.05`."""
    words = {name: NAMES.get(name, name.replace("_", " ")) for name in after}
    pairs = {name: (_spell(before.get(name)), _spell(value)) for name, value in after.items()}
    return ", ".join(  # the same number of minutes means as many more
        f"{value} more {words[name]}" if value == old else f"{words[name]} {old} -> {value}"
        for name, (old, value) in pairs.items()
    )


def describe_history(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Describe the changes that the metrics of a run record, by the number of updates before them."""
    history: dict[str, str] = {}
    for event in events:
        step, before, after = event.get("step"), event.get("from"), event.get("to")
        if event["event"] == "changed" and isinstance(step, int) and isinstance(before, dict) and isinstance(after, dict):
            place, said = f"update {step:,}", describe_changes(before, after)
            history[place] = f"{history[place]}; then {said}" if place in history else said
    return history


def _spell(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)

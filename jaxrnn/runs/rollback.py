"""Roll back to the last good checkpoint, at half the learning rate, when learning has failed."""

from pathlib import Path
from typing import NamedTuple

from jaxrnn.config.trust import imports_of
from jaxrnn.errors import Diverged, InputError
from jaxrnn.runs.changes import make_changes_again
from jaxrnn.runs.describe import describe_position
from jaxrnn.runs.task import Task
from jaxrnn.storage import checkpoint, logs, store
from jaxrnn.storage.logs import Log
from jaxrnn.storage.store import Rejected
from jaxrnn.training import optimizers
from jaxrnn.training.progress import Progress, Snapshot

MOST_ROLLBACKS = 5


class RolledBack(NamedTuple):
    """An earlier snapshot of the run, and how the return to it is reported."""

    snapshot: Snapshot
    log: Log  # for the metrics
    line: str  # for the user
    rejected: tuple[Rejected, ...] = ()  # newer checkpoints, which are damaged


def roll_back(task: Task, progress: Progress, rate: float, problem: str, run_dir: Path) -> RolledBack:
    """Return to the last good checkpoint, at half the learning rate.

    Args:
      progress: the progress before learning failed.
      rate: the learning rate at that time.
      problem: what went wrong.
    Raises:
      Diverged: rollbacks are off, there were `MOST_ROLLBACKS` already, or there is no checkpoint.
    """
    rollbacks, happened = progress.rollbacks + 1, f"{problem} in epoch {progress.epochs + 1}"
    higher = f"rate {rate:g} is too high for this model; start again with a lower --learning-rate"
    if task.config.run.on_divergence == "stop":
        raise Diverged(f"{happened}: {higher}")
    if rollbacks > MOST_ROLLBACKS:
        raise Diverged(f"{happened}, after {MOST_ROLLBACKS} rollbacks, each at half the rate: {higher}")
    try:
        saved = checkpoint.load_run(run_dir, trust=tuple(imports_of(task.config).values()))
    except InputError as error:
        raise Diverged(f"{happened}: {higher} (no rollback is possible: {error})") from None
    store.set_aside(run_dir, saved.rejected)
    changed, lines = make_changes_again(task, saved)
    snapshot, rate = _slowed(changed, rollbacks)
    logs.truncate_logs(run_dir, saved.about["log_sizes"])
    event = {"step": int(snapshot.state.step), "problem": problem, "learning_rate": rate, "rollbacks": rollbacks}
    line = (
        f"{happened}: rolled back to {describe_position(task, snapshot)}, at rate {rate:g} "
        f"({rollbacks} of at most {MOST_ROLLBACKS} times)"
    )
    return RolledBack(snapshot, Log(lines + logs.event_line("divergence", event)), line, saved.rejected)


def _slowed(saved: Snapshot, rollbacks: int) -> tuple[Snapshot, float]:
    """Halve the rate once for each rollback since the checkpoint, which may be older than the last rollback."""
    rate = optimizers.learning_rate(saved.state.opt_state) / 2 ** (rollbacks - saved.progress.rollbacks)
    state = saved.state._replace(opt_state=optimizers.with_learning_rate(saved.state.opt_state, rate))
    return Snapshot(state, saved.best_params, saved.progress._replace(rollbacks=rollbacks)), rate

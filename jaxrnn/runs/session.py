"""Start or resume a run, train it to its end, and show what happens."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
from rich.console import Console

from jaxrnn.config import auto, build
from jaxrnn.config.resolve import Given, changeable_names, resolve, resolve_resumed, typed_names
from jaxrnn.config.settings import DEFAULT_PRESET, PRESETS, Config, portable
from jaxrnn.config.trust import trusted_by
from jaxrnn.config.validate import check_config
from jaxrnn.console import cli, report
from jaxrnn.errors import InputError, pluralize
from jaxrnn.models.scalar_loops import on_host
from jaxrnn.runs import changes, resume
from jaxrnn.runs.describe import describe_position, describe_width, list_facts
from jaxrnn.runs.loop import run
from jaxrnn.runs.show import show
from jaxrnn.runs.start import check_model, first_snapshot, load_weights, origin_settings
from jaxrnn.runs.stored_text import store_stdin
from jaxrnn.runs.task import Task, prepare
from jaxrnn.runs.width import Measured, depends_on_speed, prepare_width
from jaxrnn.runtime import compilation_cache, devices, precision, signals
from jaxrnn.storage import checkpoint, logs, run_folder, store
from jaxrnn.storage.checkpoint import SavedRun
from jaxrnn.storage.weights import Weights
from jaxrnn.training.progress import Snapshot

STARTING = "starting"  # shown on a terminal until there is something to see


def train(given: Given, screen: Console) -> Path:
    """Train a new run, or resume one, to its end.

    This changes JAX's settings and devices, so call it from a program or inside `restore_settings`.

    Returns:
      The folder of the run.
    Raises:
      InputError: a setting or text is not allowed; nothing was written.
      Diverged, Stopped, NotSaved, OutOfMemory: see `loop.run`.
    """
    origin = origin_settings(given)
    given = store_stdin(given, origin, screen.print)
    config = resolve(given, origin=origin)
    connect(config)
    screen.quiet = screen.quiet or not devices.is_first_process()
    run_dir = find_run(given, origin) if config.run.resume else None
    trust = trusted_by(given.values)
    begun = config if run_dir is None else resume.read_run_config(run_dir, config, trust)
    with computing(config, begun, screen):
        return begin_run(given, screen) if run_dir is None else resume_run(run_dir, given, screen)


def connect(config: Config) -> None:
    """Check the device settings, and connect to the other processes of the run."""
    devices.check_devices(config.device)
    # A call this small takes longer to hand to another thread than to run: the plain loop is a third faster without that.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    devices.join_processes(config.device)
    if config.device.coordinator:  # the processes agree on the folder, which needs a computation
        devices.start_backend()


@contextlib.contextmanager
def computing(config: Config, begun: Config, screen: Console) -> Iterator[None]:
    """Start the devices that the run needs, and keep the programs compiled inside this context on disk."""
    wanted = begun.learning.rule, config.device.num_devices or begun.device.num_devices
    missing = devices.explain_missing_cores(*wanted)
    devices.make_core_devices(*wanted)
    devices.start_backend()
    if missing and not config.device.num_devices:  # with --num-devices it is an error instead
        screen.print(missing)
    with contextlib.ExitStack() as inside:
        if begun.learning.counts:
            inside.enter_context(on_host())
        with report.show_status(screen, STARTING):
            inside.enter_context(compilation_cache.keep_programs(config.run.compilation_cache))
        yield


def find_run(given: Given, origin: Config | None) -> Path | None:
    """Find the run to resume, the same in all processes; None for a new run."""
    path = devices.broadcast_from_first(lambda: str(resume.find_resumable(given, origin) or ""))
    return Path(path) if path else None


def begin_run(given: Given, screen: Console) -> Path:
    """Start a run in a new folder."""
    origin = load_origin(given.values.get("init_from", ""), given, screen)
    config = resolve(given, origin=origin.config if origin else None)
    if origin is not None:
        check_model(config, origin)
    check_config(config)
    precision.check_precision(config)
    task, snapshot, measured = prepare_run(config, origin, screen)
    run_dir = run_folder.make_run_folder(given.preset or DEFAULT_PRESET, config)
    with run_folder.hold_lock(run_dir):
        run_folder.claim(run_dir, task.config)
        notes = {**describe_width(measured.characters), **describe_origin(config, task, origin, given.preset)}
        show_run(task, snapshot, run_dir, notes, screen, measured.seconds)
    return run_dir


def resume_run(run_dir: Path, given: Given, screen: Console) -> Path:
    """Resume a run from where it stopped."""
    trust = trusted_by(given.values)
    with run_folder.hold_lock(run_dir):
        store.remove_leftovers(run_dir)
        with report.show_status(screen, STARTING):
            saved = checkpoint.load_run(run_dir, trust=trust) if store.list_numbers(run_dir) else None
        begun = run_folder.read_config(run_dir, trust) if saved is None else saved.config
        current = resume.with_saved_changes(begun, run_dir, trust)
        config = resolve_resumed(given, current, logs.read_events(run_dir))
        check_config(config)
        resume.check_settings(portable(config), current, run_dir, config.text.text, changeable_names(given))
        if saved is None:
            start_again(run_dir, begun, config, given, screen)
        else:
            resume_from(saved, current, config, screen, again="minutes" in typed_names(given))
    return run_dir


def start_again(run_dir: Path, begun: Config, config: Config, given: Given, screen: Console) -> None:
    """Start a run again that was stopped before its first checkpoint."""
    if logs.read_events(run_dir):
        raise InputError(f"the run in {str(run_dir)!r} has trained, but its checkpoints are missing; put them back")
    origin = load_origin(begun.run.init_from, given, screen)
    task, snapshot, measured = prepare_run(config, origin, screen)
    logs.truncate_logs(run_dir, {})
    run_folder.write_config(run_dir, task.config)
    notes = {**describe_width(measured.characters), **describe_origin(config, task, origin, given.preset)}
    show_run(task, snapshot, run_dir, notes, screen, measured.seconds)


def resume_from(saved: SavedRun, current: Config, wanted: Config, screen: Console, again: bool = False) -> None:
    """Resume a run from its newest undamaged checkpoint, or say that it is finished.

    Args:
      current: the settings in its folder, which may have changed since that checkpoint.
      again: whether a finished run is to go on for its number of minutes once more.
    """
    with report.show_status(screen, STARTING):
        resume.check_run(saved)
        used = resume.read_same_text(saved, wanted)
        resume.check_longer(wanted, saved.config, saved.snapshot.progress.finished, saved.path)
        data = build.split_data(wanted, used, saved.vocabulary)
    report.warn_of_rejected(saved.rejected)
    precision.use_float32()
    config = devices.resolve_num_devices(precision.resolve_precision(portable(wanted)), saved.config)
    with report.show_status(screen, STARTING):
        task = prepare(config, data)
    plan = changes.plan_changes(task, saved, again)
    if plan.is_finished and not plan.is_extended:
        changes.check_finished(plan, saved)
        if plan.is_tested:
            screen.print(describe_finished(saved, config))
            return
    store.set_aside(saved.path, saved.rejected)
    if not (plan.is_logged and plan.is_tested):  # the numbers of a test before the change stay
        logs.truncate_logs(saved.path, saved.about["log_sizes"])
    if not config == saved.config == current:
        run_folder.write_config(saved.path, config)
    snapshot = changes.make_changes(task, saved, plan)
    show_run(task, snapshot, saved.path, describe_resumption(task, saved, plan, snapshot), screen)


def prepare_run(config: Config, origin: Weights | None, screen: Console) -> tuple[Task, Snapshot, Measured]:
    """Build what the settings name and the snapshot from which the run starts; return also what its width was chosen by."""
    with report.show_status(screen, STARTING):
        data = build.load_data(config, origin.vocabulary if origin else None)
    precision.use_float32()
    cli.import_in_background("orbax.checkpoint")
    by_speed = depends_on_speed(config, data.num_used)
    with report.show_status(screen, "measuring the speed of several networks" if by_speed else "compiling the network"):
        resolved = precision.resolve_precision(auto.resolve_auto(portable(config), data.num_used))
        task, measured = prepare_width(resolved, data, by_speed)
        build.try_update(task.config, task.learner)
        return task, first_snapshot(task, origin), measured


def load_origin(source: str, given: Given, screen: Console) -> Weights | None:
    """Load the weights that a run starts from; None for random ones."""
    if not source:
        return None
    with report.show_status(screen, STARTING):
        return load_weights(Path(source), trusted_by(given.values))


def show_run(
    task: Task, snapshot: Snapshot, run_dir: Path, notes: Mapping[str, str], screen: Console, seconds_before: float = 0.0
) -> None:
    """Describe the run, then train it and show what happens; `seconds_before` as in `loop.run`."""
    report.show_facts(screen, {**list_facts(task, snapshot, run_dir), **notes})
    with contextlib.ExitStack() as inside:
        received = inside.enter_context(signals.catch_signals())
        show(screen, task, inside.enter_context(contextlib.closing(run(task, snapshot, run_dir, received, seconds_before))))


def describe_finished(saved: SavedRun, config: Config) -> str:
    """Say that a run is finished, and how to continue training."""
    progress = saved.snapshot.progress
    read = f"the run in {str(saved.path)!r} is finished: it has read {pluralize(progress.epochs, 'epoch')}"
    return f"{read}; {resume.describe_continuation(config.learning, progress.finished, saved.path)}"


def describe_resumption(task: Task, saved: SavedRun, plan: changes.Plan, snapshot: Snapshot) -> dict[str, str]:
    """Say where a run resumes, what has changed, and what may change its last digits."""
    notes = {"resumed": describe_position(task, snapshot), **changes.describe_plan(task, plan, snapshot)}
    then, now = saved.config.device.num_devices, task.config.device.num_devices
    if then not in (0, now):
        notes["devices"] = f"{then} then and {now} now: numbers may differ in the last digits"
    before, processor = saved.about.get("processor"), precision.describe_processor()
    if before not in (None, processor):  # None: saved by an earlier version
        notes["processor"] = f"{before} then and {processor} now: numbers may differ in the last digits"
    others = resume.describe_other_versions(saved)
    return {**notes, "versions": f"{others}: numbers may differ in the last digits"} if others else notes


def describe_origin(config: Config, task: Task, origin: Weights | None, preset: str | None) -> dict[str, str]:
    """Describe what a new run takes from another one."""
    if origin is None:
        return {}
    new = "".join(sorted(set(task.data.vocabulary.characters) - set(origin.vocabulary.characters)))
    grown = f"; {pluralize(len(new), 'new character')}: {report.spell_characters(new)}" if new else "; no new characters"
    weights = {"weights": f"those of {config.run.init_from}{grown}"}
    if preset is None:
        return {**weights, "settings": "those of learning and evaluation are inherited, since no preset is named"}
    cell = PRESETS[preset].model.cell
    same = cell == config.model.cell
    return weights if same else {**weights, "cell": f"{config.model.cell}, inherited, not the preset's {cell}"}

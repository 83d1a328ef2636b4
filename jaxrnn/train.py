"""Train a character-level language model online.

A preset is a set of values for the flags below, whose defaults are those of the preset; a flag overrides its value:
  notebook     the course's model (the default): 128 Elman units, one update per character
  mikolov2010  the recipe of Mikolov et al. (2010): no biases, rate halved by validation loss
  gru, lstm    for your own text: gated cells, AdamW, 32 streams, blocks of 64 characters

`--resume RUN` continues a stopped run with its own settings.
"""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import run_program

    run_program("train")

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path

import jax

from jaxrnn.config import auto, build
from jaxrnn.config import settings as configs
from jaxrnn.config.settings import PRESETS, Config
from jaxrnn.config.validate import check_config
from jaxrnn.console import cli, report, terminal
from jaxrnn.errors import InputError, pluralize
from jaxrnn.runs import resume
from jaxrnn.runs.advance import over
from jaxrnn.runs.describe import facts, where
from jaxrnn.runs.loop import run
from jaxrnn.runs.start import check_model, config_of, first_snapshot, settings_after, weights_of
from jaxrnn.runs.task import Task, prepare
from jaxrnn.runtime import compilation_cache, devices
from jaxrnn.storage import checkpoint, logs, store
from jaxrnn.storage import run_folder as folder
from jaxrnn.storage.checkpoint import Run
from jaxrnn.storage.weights import Weights
from jaxrnn.training.progress import Snapshot


def main(arguments: list[str] | None = None) -> None:
    """The program."""
    with cli.exit_on_error(), contextlib.ExitStack() as inside:
        flags = sys.argv[1:] if arguments is None else arguments
        preset, config = parse_after_origin(flags)
        terminal.tolerate_closed_output()  # what is learned is worth more than what is shown
        devices.check_devices(config.device)
        # Handing a call this small to another thread takes longer than the call: the plain loop is a third faster without.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        devices.join_processes(config.device)
        if config.device.coordinator:  # the processes agree on the folder, for which they compute
            devices.start_backend()
        run_dir = found(preset, config) if config.run.resume else None
        begun = config if run_dir is None else resume.settings_of(run_dir, config)
        devices.make_core_devices(begun.learning.rule, config.device.num_devices or begun.device.num_devices)
        devices.start_backend()
        with report.show_status(report.make_screen()):
            inside.enter_context(compilation_cache.keep_programs(config.run.compilation_cache))
        if run_dir is None:
            begin(preset, config, flags)
        else:
            go_on(run_dir, preset, config, flags)


def parse(arguments: list[str], settings: Config | None = None) -> tuple[str, Config]:
    """The preset's name (the first argument, if it is no flag) and its settings with the flags' values in them.

    Args:
      settings: these instead of the preset's.
    """
    named = is_preset_named(arguments)
    preset, flags = (arguments[0], arguments[1:]) if named else ("notebook", arguments)
    if preset not in PRESETS:
        raise InputError(f"no preset {preset!r}; known: {', '.join(PRESETS)}")
    try:
        return preset, cli.parse(Config, "train [PRESET]", __doc__, flags, settings or PRESETS[preset])
    except InputError as error:
        misplaced = "unexpected argument" in str(error) and any(flag in PRESETS for flag in flags)
        raise InputError(f"{error}; a preset comes before the flags" if misplaced else str(error)) from None


def parse_after_origin(flags: list[str]) -> tuple[str, Config]:
    """The preset's name and the settings; those of a run from other weights are known only when theirs are."""
    preset, config = parse(flags)
    if not config.run.init_from or config.run.resume not in ("", configs.AUTO):
        return preset, config
    origin = config_of(Path(config.run.init_from))
    return (preset, config) if origin is None else parse(flags, defaults(origin, flags))


def is_preset_named(arguments: list[str]) -> bool:
    """Whether the first argument is no flag."""
    return bool(arguments) and not arguments[0].startswith("-")


def found(preset: str, config: Config) -> Path | None:
    """The folder of the run to go on with, the same for all processes; None for a new run."""
    path = devices.broadcast_from_first(lambda: str(resume.find(preset, config) or ""))
    return Path(path) if path else None


def begin(preset: str, config: Config, flags: list[str]) -> None:
    """A new run, in a folder of its own."""
    origin = None
    if config.run.init_from:
        with report.show_status(report.make_screen()):
            origin = weights_of(Path(config.run.init_from))
        _, config = parse(flags, defaults(origin.config, flags))
        check_model(config, origin)
    check_config(config)
    devices.check_precision(config.device)
    task, snapshot = prepared(config, origin)
    run_dir = folder.make_run_folder(preset, config)
    with folder.hold_lock(run_dir):
        folder.claim(run_dir, task.config)
        show_and_run(task, snapshot, run_dir, inheritance(config, task, origin, flags))


def go_on(run_dir: Path, preset: str, config: Config, flags: list[str]) -> None:
    """A run that was begun, from where it stopped."""
    with folder.hold_lock(run_dir):
        store.remove_leftovers(run_dir)
        with report.show_status(report.make_screen()):
            saved = checkpoint.load_run(run_dir) if store.list_numbers(run_dir) else None
        begun = folder.read_config(run_dir) if saved is None else saved.config
        if config.run.resume != configs.AUTO and not is_preset_named(flags):
            _, config = parse(flags, resume.with_epochs_wanted(begun, run_dir))  # what no flag says is as it was
        elif config.run.init_from:
            _, config = parse(flags, defaults(begun, flags))  # its origin may be gone
        if config.run.resume == configs.AUTO:  # the same command again, after the run was given more epochs
            config = resume.with_epochs_wanted(config, run_dir)
        config = resume.with_chosen(config, begun)
        check_config(config)
        resume.check_settings(configs.portable(config), begun, run_dir, config.text.text)
        if saved is None:  # it was stopped before it had read anything
            if logs.read_events(run_dir):
                raise InputError(
                    f"the checkpoints of the run in {str(run_dir)!r} are missing, though it has learned; bring them back"
                )
            origin = weights_of(Path(begun.run.init_from)) if begun.run.init_from else None
            task, snapshot = prepared(config, origin)
            logs.truncate_logs(run_dir, {})
            show_and_run(task, snapshot, run_dir, inheritance(config, task, origin, flags))
        else:
            go_on_from(saved, config)


def go_on_from(saved: Run, config: Config) -> None:
    """A run from its newest good checkpoint."""
    with report.show_status(report.make_screen()):
        resume.check_run(saved)
        resume.check_text(saved, config)
        finished = saved.progress.schedule.finished
        resume.check_longer(config, saved.config, finished, saved.path)
        data, config = build.load_data(config, saved.vocabulary), configs.portable(config)
    report.warn_of_rejected(saved.rejected)
    devices.set_precision(config.device)
    config = devices.resolve_num_devices(config, saved.config)
    with report.show_status(report.make_screen()):
        task, snapshot = prepare(config, data), Snapshot(saved.state, saved.best_params, saved.progress)
    if over(task, snapshot) and any(event["event"] == "final" for event in logs.read_events(saved.path)):
        epochs = pluralize(saved.progress.epochs, "epoch")
        read = f"the run in {str(saved.path)!r} is finished: it has read {epochs}"
        report.make_screen().print(f"{read}; {resume.more_in_words(config.learning, finished, saved.path)}")
        return
    store.set_aside(saved.path, saved.rejected)
    logs.truncate_logs(saved.path, saved.about["log_sizes"])
    if config != saved.config:
        folder.write_config(saved.path, config)
    others = resume.other_versions(saved)
    notes = {"resumed": where(task, snapshot)}
    then, now = saved.config.device.num_devices, config.device.num_devices
    if then not in (0, now):
        notes["devices"] = f"{then} then and {now} now: numbers may differ in the last digits"
    if others:
        notes["versions"] = f"{others}: numbers may differ in the last digits"
    show_and_run(task, snapshot, saved.path, notes)


def prepared(config: Config, origin: Weights | None) -> tuple[Task, Snapshot]:
    """What the settings name, and where a run of it starts."""
    with report.show_status(report.make_screen()):
        data = build.load_data(config, origin.vocabulary if origin else None)
    devices.set_precision(config.device)
    cli.import_in_background("orbax.checkpoint")
    with report.show_status(report.make_screen(), "compiling the network"):
        task = prepare(devices.resolve_num_devices(auto.resolve_auto(configs.portable(config), data.num_used)), data)
        return task, first_snapshot(task, origin)


def defaults(origin: Config, flags: list[str]) -> Config:
    """What no flag says, in a run from the weights of `origin`."""
    return settings_after(origin, flags[0] if is_preset_named(flags) and flags[0] in PRESETS else None)


def inheritance(config: Config, task: Task, origin: Weights | None, flags: list[str]) -> dict[str, str]:
    """What a new run has from another one, in words."""
    if origin is None:
        return {}
    new = "".join(sorted(set(task.data.vocabulary.characters) - set(origin.vocabulary.characters)))
    grown = f"; {pluralize(len(new), 'new character')}: {report.spell_characters(new)}" if new else "; no new characters"
    weights = {"weights": f"those of {config.run.init_from}{grown}"}
    if not is_preset_named(flags):
        return {**weights, "settings": "learning and evaluation as there, since no preset is named"}
    cell = PRESETS[flags[0]].model.cell
    return (
        weights if cell == config.model.cell else {**weights, "cell": f"{config.model.cell}, as there, not the preset's {cell}"}
    )


def show_and_run(task: Task, snapshot: Snapshot, run_dir: Path, notes: Mapping[str, str]) -> None:
    """Says what the run is, then runs it."""
    screen = report.make_screen()
    report.show_facts(screen, {**facts(task, snapshot, run_dir), **notes})
    run(task, snapshot, run_dir, screen)

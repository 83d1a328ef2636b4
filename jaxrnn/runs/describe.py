"""Describe a run: what it is, how far it has come, how to resume it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from jaxrnn.config import parts
from jaxrnn.config.build import Data
from jaxrnn.config.plugins import module_name
from jaxrnn.config.settings import Config, LearningConfig, ModelConfig
from jaxrnn.config.trust import imports_of
from jaxrnn.console import report
from jaxrnn.data import files, paths
from jaxrnn.data.files import Found
from jaxrnn.errors import pluralize
from jaxrnn.runs.advance import is_finished
from jaxrnn.runs.saving import RunWriter
from jaxrnn.runs.task import Task, characters_per_epoch, characters_per_update, updates_per_epoch
from jaxrnn.runtime import devices
from jaxrnn.training import optimizers
from jaxrnn.training.progress import Snapshot
from jaxrnn.training.schedule import PATIENCE


def describe_plan(task: Task, num_updates: int, seconds_starting: float, ended: bool) -> str:
    """Say in one line for how many updates there is time.

    Args:
      ended: whether time is up.
    """
    minutes, epochs = task.config.learning.minutes, num_updates / updates_per_epoch(task)
    length = f"{pluralize(num_updates, 'update')}, {epochs:.2f} epochs"
    if not ended:
        return f"planned: {length}, ending {describe_minutes(minutes)} after the start"
    return f"time is up: training ends after {length} (starting took {seconds_starting:.1f} s of --minutes {minutes:g})"


def describe_shortened(task: Task, snapshot: Snapshot) -> str:
    """Say that a run ends early, and why."""
    num_updates = snapshot.progress.num_updates or 0
    length = f"{num_updates // updates_per_epoch(task)} epochs ({pluralize(num_updates, 'update')})"
    return f"the validation loss has not fallen for {PATIENCE} epochs: training ends early, after {length}"


def describe_last_epoch(task: Task, snapshot: Snapshot) -> dict[str, str]:
    """Say how much of its last epoch a run read, if it ended inside one."""
    updates, whole = int(snapshot.state.step) % updates_per_epoch(task), characters_per_epoch(task)
    read = f"the first {updates * characters_per_update(task):,} of {whole:,} characters, then time was up"
    return {"last epoch": read} if updates else {}


def describe_position(task: Task, snapshot: Snapshot) -> str:
    """Say how far a run has come."""
    if is_finished(task, snapshot):
        return f"after epoch {snapshot.progress.epochs}, the last one"
    read = int(snapshot.state.step) % updates_per_epoch(task) * characters_per_update(task)
    return f"epoch {snapshot.progress.epochs + 1}, character {read:,} of {characters_per_epoch(task):,}"


def describe_failed_save(task: Task, snapshot: Snapshot, writer: RunWriter) -> str:
    """Say why a save failed, what is saved anyway, and when the next attempt is made."""
    before = "earlier checkpoints are intact" if writer.anything_saved else "nothing is saved yet"
    again = f"; training continues, next attempt in {task.config.run.save_every_seconds:g} s"
    return f"cannot save: {writer.problem}; {before}{'' if is_finished(task, snapshot) else again}"


def describe_stop(task: Task, snapshot: Snapshot, writer: RunWriter) -> str:
    """Say where a signal has ended the run, and whether it was saved."""
    place = describe_position(task, snapshot)
    before = "there is only an earlier checkpoint" if writer.anything_saved else "there is no checkpoint"
    saved = f"but could not be saved: {before}" if writer.problem else "saved"
    resume, write = describe_resume_command(task.config, writer.path), describe_sample_command(task.config, writer.path)
    if is_finished(task, snapshot):
        ready = "" if writer.problem else f"The model is ready: {write}. "
        return f"stopped {place}, {saved}. {ready}{resume}"
    return f"stopped in {place}, {saved}. {resume}"


def describe_resume_command(config: Config, run_dir: Path) -> str:
    """Return the command that resumes a run."""
    return f"Resume with: python -m jaxrnn.train --resume {paths.quote_path(run_dir)}{trust_flag(config)}"


def describe_sample_command(config: Config, run_dir: Path) -> str:
    """Return the command that writes with a run's model."""
    mixed = " --mixed" if config.learning.counts else ""
    return f"python -m jaxrnn.sample {paths.quote_path(run_dir)}{mixed}{trust_flag(config)}"


def describe_page_command(config: Config, run_dir: Path) -> str:
    """Return the command that makes the page of a run."""
    return f"python -m jaxrnn.page {paths.quote_path(run_dir)}{trust_flag(config)}"


def describe_test_command(config: Config, run_dir: Path) -> str:
    """Return the command that tests a run's model."""
    return f"python -m jaxrnn.evaluate {paths.quote_path(run_dir)}{trust_flag(config)}"


def trust_flag(config: Config) -> str:
    """Return the flag that trusts the custom parts of a run; "" if it has none."""
    packages = dict.fromkeys(module_name(value).partition(".")[0] for value in imports_of(config).values())
    return f" --trust {','.join(packages)}" if packages else ""


def list_facts(task: Task, snapshot: Snapshot, run_dir: Path) -> dict[str, str]:
    """Describe a run in names and values, for the lines at its start."""
    config, data = task.config, task.data
    validation = f", {len(data.validation):,} to validate{_describe_place(data)}" if data.validation.size else ""
    heldout = f", {len(data.heldout):,} held out" if data.heldout.size else ", none held out"
    whole = "; each of whole documents" if data.num_documents > 1 and data.heldout.size + data.validation.size else ""
    num_params = sum(leaf.size for leaf in jax.tree.leaves(snapshot.state.params))
    return {
        **describe_text(config, data),
        "parts": f"{len(data.train):,} to {'read' if config.learning.counts else 'train'}{validation}{heldout}{whole}",
        "vocabulary": report.describe_vocabulary(data.vocabulary, config.text.rare_threshold),
        "model": f"{describe_network(config.model)}, {num_params:,} parameters",
        "learning": describe_learning(config, optimizers.learning_rate(snapshot.state.opt_state)),
        "device": f"{devices.describe_devices(config)}, jax {jax.__version__}",
        "run": str(run_dir),
    }


def describe_text(config: Config, data: Data) -> dict[str, str]:
    """Describe the text of a run: how much of it is used, its documents, its files and what was skipped."""
    used = f"all {data.num_used:,} characters"
    if data.num_used != data.num_characters:
        of_all = "" if data.num_characters is None else f" of {data.num_characters:,}"  # unknown unless all of it was read
        used = f"the first {data.num_used:,}{of_all} characters (--max-characters)"
    carried = "" if config.text.reset else ", the state carried on"
    documents = f", {pluralize(data.num_documents, 'document')}{carried}" if data.num_documents > 1 else ""
    if isinstance(config.text.text, str) and len(data.found.files) <= 1 and not data.found.skipped:
        return {"text": f"{config.text.text}, {used}{documents}"}
    return {"text": f"{pluralize(len(data.found.files), 'file')}, {used}{documents}", **list_files(data.files, data.found)}


def list_files(read: Sequence[tuple[str, int]], found: Found) -> dict[str, str]:
    """List the files that were read, with the number of characters of each, and what was skipped."""
    names = [f"{name} {size:,}" for name, (_, size) in zip(files.shorten([name for name, _ in read]), read, strict=True)]
    num_unread = len(found.files) - len(read)
    unread = f"; {num_unread:,} not read (--max-characters)" if num_unread else ""
    skipped = {"skipped": files.list_names(found.skipped)} if found.skipped else {}
    return {"files": files.list_names(names) + unread, **skipped}


def _describe_place(data: Data) -> str:
    """Say where in the text the validation part is."""
    return " (before the held-out part)" if len(data.pieces) == 1 else f" ({len(data.pieces)} pieces among them)"


def describe_network(settings: ModelConfig) -> str:
    """Describe the kind and size of the network."""
    cell = parts.find_cell(settings.cell)
    layers = "" if settings.num_layers == 1 else f"{settings.num_layers} layers of "
    units = f"{settings.activation} units" if "activation" in cell.choices else "units"
    embedding = f", character embeddings of size {settings.embedding_size}" if settings.embedding_size else ""
    return f"{cell.title} network, {layers}{settings.hidden_size} {units}{embedding}{', tied readout' * settings.tied_readout}"


def describe_width(characters: Mapping[int, float]) -> dict[str, str]:
    """Say by what a width was chosen: how many characters networks of several widths would learn from."""
    widths, numbers = (", ".join(each) for each in (map(str, characters), (f"{n / 1e6:.1f}" for n in characters.values())))
    said = f"chosen by speed: {widths} units would learn from {numbers} million characters in this time"
    return {"width": said} if characters else {}


def describe_learning(config: Config, rate: float) -> str:
    """Describe how the network learns."""
    settings = config.learning
    name = "SGD" if settings.optimizer == "sgd" else settings.optimizer
    length = parts.block_length(config)
    block = "every character" if length == 1 else f"every {length} characters"
    window = f" {settings.rule_length}" if settings.rule_length > 1 else ""
    plain = settings.rule == LearningConfig.rule or parts.reads_blocks(config)
    rule = "" if plain else f" by {settings.rule}{window}"
    streams = "" if settings.num_streams == 1 else f" of {settings.num_streams} streams"
    dropout = f", dropout {settings.dropout:g}" if settings.dropout else ""
    decay = f", weight decay {settings.weight_decay:g}" if settings.weight_decay else ""
    clipping = f", gradients clipped at norm {settings.clip_norm:g}" if settings.clip_norm else ""
    time = f", for {describe_minutes(settings.minutes)}" if settings.minutes else ""
    counts = ", mixed with counts" if settings.counts else ""
    replay = f", and from {pluralize(settings.replay, 'earlier passage')}" if settings.replay else ""
    return f"{name} at rate {rate:g} after {block}{streams}{rule}{decay}{dropout}{clipping}{time}{replay}{counts}"


def describe_minutes(minutes: float) -> str:
    """Format a time: `1 minute`, `1.5 minutes`."""
    return f"{minutes:g} minute" if minutes == 1 else f"{minutes:g} minutes"

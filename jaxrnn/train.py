"""Train a character model online: `python -m jaxrnn.train [PRESET] [--flags]`.

Presets: notebook (the default: the course's setting) and mikolov2010 (the paper's recipe). Every flag overrides the preset's
value, which is the default shown here.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxrnn import build, checkpoint, cli, evaluate, folder, report, vocabulary
from jaxrnn import config as configs
from jaxrnn.build import Data, Keys
from jaxrnn.config import PRESETS, Config
from jaxrnn.errors import Diverged, InputError
from jaxrnn.learner import Learner, State
from jaxrnn.loop import Driver, driver, rest_of_epoch
from jaxrnn.model import Model
from jaxrnn.sample import TEMPERATURE, default_prompt, sample
from jaxrnn.schedule import Schedule, halve_on_validation
from jaxrnn.stream import to_streams, updates_per_epoch
from jaxrnn.types import Params, Stream

STRETCH = 1_000  # updates, at least, between two looks at the progress


class Task(NamedTuple):
    """What stays the same while a run goes on."""

    config: Config
    data: Data
    keys: Keys
    model: Model
    learner: Learner
    drive: Driver
    stream: Stream


class Finished(NamedTuple):
    """An epoch that is over."""

    row: report.Epoch
    state: State
    schedule: Schedule  # for the next epoch
    losses: Float[np.ndarray, " time"]


def main(arguments: list[str] | None = None) -> None:
    """The program."""
    with cli.told_in_one_line():
        preset, config = parse(sys.argv[1:] if arguments is None else arguments)
        configs.check(config)
        # Handing a call this small to another thread takes longer than the call: the plain loop is a third faster without.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        data = build.data(config)
        task = prepare(configs.with_absolute_path(config), data)
        state = jax.jit(task.learner.init)(task.keys.init)
        run(task, state, folder.create(preset, config))


def parse(arguments: list[str]) -> tuple[str, Config]:
    """The preset's name (the first argument, if it is no flag) and its settings with the flags' values in them."""
    named = bool(arguments) and not arguments[0].startswith("-")
    preset, flags = (arguments[0], arguments[1:]) if named else ("notebook", arguments)
    if preset not in PRESETS:
        raise InputError(f"no preset {preset!r}; known: {', '.join(PRESETS)}")
    try:
        return preset, cli.parse(Config, "train [PRESET]", __doc__, flags, PRESETS[preset])
    except InputError as error:
        misplaced = any(flag in PRESETS for flag in flags)
        raise InputError(f"{error}; a preset comes before the flags" if misplaced else str(error)) from None


def prepare(config: Config, data: Data) -> Task:
    """Builds what the settings name."""
    model = build.model(config, data.vocabulary)
    learner = build.learner(config, model)
    stream = jnp.asarray(to_streams(data.train, config.learning.num_streams))
    updates_per_call = min(config.run.updates_per_call, updates_per_epoch(stream, learner.length))
    return Task(config, data, build.keys(config.run.seed), model, learner, driver(learner, updates_per_call), stream)


def run(task: Task, state: State, run_dir: Path) -> None:
    """Trains to the end: shows what happens; leaves metrics, samples, checkpoints and a picture in the run's folder."""
    screen, config, data = report.console(), task.config, task.data
    report.show_facts(screen, facts(task, state.params, run_dir))
    report.show_header(screen, validated=data.validation.size > 0)
    rows, curve = [], []
    with report.progress(screen, num_characters(task), known_epochs(config)) as show:
        for epoch in epochs(task, state, show):
            state = epoch.state
            rows.append(epoch.row)
            curve.extend(report.window_means(epoch.losses))
            text = epoch_sample(task, state.params, epoch.row.epoch)
            report.show_epoch(screen, epoch.row, text)
            folder.add_metrics(run_dir, "epoch", epoch.row._asdict())
            if text:
                folder.add_sample(run_dir, f"epoch {len(rows)}, {epoch.row.online_nats:.4f} nats online", text)
            checkpoint.save(run_dir, state, checkpoint.metadata(config, data, len(rows), epoch.schedule))
    with report.busy(screen, "testing"):
        tested = evaluate.three_numbers(config, data, task.model, state.params)
    numbers = report.FourNumbers(rows[-1].online_nats, **tested)
    folder.add_metrics(run_dir, "final", numbers._asdict())
    report.show_end(screen, numbers, run_dir)
    report.draw_losses(run_dir / folder.PICTURE, curve, rows, numbers, title=run_dir.name)


def epochs(task: Task, state: State, show: report.Show) -> Iterator[Finished]:
    """Reads the training text over and over; an epoch comes back when it is over.

    Its state is good until the next epoch is asked for, which overwrites it.
    """
    config, keys, learner = task.config.learning, task.keys, task.learner
    restart, validate = jax.jit(learner.restart, donate_argnums=0), validation(task)
    task.drive(jax.tree.map(jnp.copy, state), task.stream, 1)  # compiles, so that the speed of an epoch is that of learning
    schedule, best_params = Schedule(config.learning_rate), state.params
    for epoch in range(config.epochs):
        rate, state = schedule.learning_rate, restart(state, jax.random.fold_in(keys.epochs, epoch))
        started = time.perf_counter()
        state, losses = read_epoch(task, state, epoch, show)
        speed = num_characters(task) / (time.perf_counter() - started)
        validation_nats = validate(state.params, epoch) if task.data.validation.size else None
        if config.schedule == "halving" and validation_nats is not None:
            if schedule.best_nats is None or validation_nats <= schedule.best_nats:
                best_params = jax.tree.map(jnp.copy, state.params)
            else:  # a worse epoch is taken back
                state = state._replace(params=jax.tree.map(jnp.copy, best_params))
            schedule = halve_on_validation(schedule, validation_nats)
            state = build.with_learning_rate(state, schedule.learning_rate)
        yield Finished(report.Epoch(epoch, evaluate.mean_nats(losses), speed, rate, validation_nats), state, schedule, losses)
        if schedule.finished:
            break


def read_epoch(task: Task, state: State, epoch: int, show: report.Show) -> tuple[State, Float[np.ndarray, " time"]]:
    """One reading of the training text, its progress shown.

    Raises:
      Diverged: a loss is not a number.
    """
    started, all_losses, num_read = time.perf_counter(), [], 0
    stretch = max(task.config.run.updates_per_call, STRETCH)
    for state_then, losses in rest_of_epoch(task.learner, task.drive, state, task.stream, stretch):
        state = state_then
        check_finite(losses, epoch, task.config)
        all_losses.append(losses)
        num_read += len(losses) * task.config.learning.num_streams
        show(epoch, num_read, evaluate.mean_nats(losses), num_read / (time.perf_counter() - started))
    return state, np.concatenate(all_losses)


def validation(task: Task) -> Callable[[Params, int], float]:
    """(params, epoch) -> nats per character of the validation part, weights frozen; `Diverged` if that is no number."""
    losses_of = evaluate.frozen(task.model)

    def validate(params: Params, epoch: int) -> float:
        losses = losses_of(params, task.data.validation, task.keys.evaluation)
        check_finite(losses, epoch, task.config)
        return evaluate.mean_nats(losses)

    return validate


def check_finite(losses: Float[np.ndarray, " time"], epoch: int, config: Config) -> None:
    """Raises `Diverged` if a loss is not a number."""
    if not np.isfinite(losses).all():
        raise Diverged(
            f"the loss is no longer a number in epoch {epoch + 1}: --learning-rate {config.learning.learning_rate} "
            "is too high for this model; try a tenth of it"
        )


def known_epochs(config: Config) -> int | None:
    """How many epochs there will be, if that can be known."""
    return config.learning.epochs if config.learning.schedule == "constant" else None


def num_characters(task: Task) -> int:
    """Characters learned from in one epoch."""
    return updates_per_epoch(task.stream, task.learner.length) * task.learner.length * task.config.learning.num_streams


def epoch_sample(task: Task, params: Params, epoch: int) -> str:
    """What the model writes after an epoch."""
    known, length = task.data.vocabulary, task.config.run.sample_length
    prompt_ids, key = vocabulary.encode(known, default_prompt(known)), jax.random.fold_in(task.keys.samples, epoch)
    return vocabulary.decode(known, sample(task.model, params, prompt_ids, length, key=key, temperature=TEMPERATURE))


def facts(task: Task, params: Params, run_dir: Path) -> dict[str, str]:
    """What the run is, in words."""
    config, data = task.config, task.data
    whole = "all" if data.num_used == data.num_characters else "the first"
    hint = "" if data.num_used == data.num_characters else f" of {data.num_characters:,} (--max-characters 0 takes all)"
    validation = f", {len(data.validation):,} to validate" if data.validation.size else ""
    streams = "" if config.learning.num_streams == 1 else f" of {config.learning.num_streams} streams"
    num_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    device = jax.devices()[0]
    kind = device.platform if device.device_kind == device.platform else f"{device.device_kind} ({device.platform})"
    return {
        "text": f"{config.text.text}, {whole} {data.num_used:,} characters{hint}",
        "parts": f"{len(data.train):,} to train{validation}, {len(data.heldout):,} held out",
        "vocabulary": f"{len(data.vocabulary.characters)} characters: {report.visible(data.vocabulary.characters)}",
        "model": f"Elman network, {config.model.hidden_size} {config.model.activation} units, {num_params:,} parameters",
        "learning": f"SGD at rate {config.learning.learning_rate:g} after every character{streams}",
        "device": f"{kind}, jax {jax.__version__}",
        "run": str(run_dir),
    }


if __name__ == "__main__":
    main()

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
import tyro
from jaxtyping import Float

from jaxrnn import build, checkpoint, evaluate, folder, report, vocabulary
from jaxrnn import config as configs
from jaxrnn.build import Data, Keys
from jaxrnn.config import PRESETS, Config
from jaxrnn.errors import Diverged, InputError, told_in_one_line
from jaxrnn.learner import Learner, State
from jaxrnn.loop import Driver, driver, rest_of_epoch
from jaxrnn.model import Model
from jaxrnn.sample import sample
from jaxrnn.schedule import Schedule, halve_on_validation
from jaxrnn.stream import to_streams, updates_per_epoch
from jaxrnn.types import Params, Stream

SAMPLE_TEMPERATURE = 0.7
STRETCH = 1_000  # updates, at least, between two looks at the progress

Advance = Callable[[int, int, float, float], None]  # what `report.progress` gives


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
    losses: Float[np.ndarray, "time"]


def main(arguments: list[str] | None = None) -> None:
    with told_in_one_line():
        preset, config = parse(sys.argv[1:] if arguments is None else arguments)
        configs.check(config)
        data = build.data(config)
        run_dir = folder.choose(preset, config)
        # Handing a call this small to another thread takes longer than the call: the plain loop is a third faster without.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        folder.create(run_dir, config)
        run(config, data, run_dir)


def parse(arguments: list[str]) -> tuple[str, Config]:
    """The preset's name (the first argument, if it is no flag) and its settings with the flags' values in them."""
    preset, flags = (arguments[0], arguments[1:]) if arguments and not arguments[0].startswith("-") else ("notebook", arguments)
    if preset not in PRESETS:
        raise InputError(f"no preset {preset!r}; known: {', '.join(PRESETS)}")
    config = tyro.cli(Config, default=PRESETS[preset], args=flags, prog="python -m jaxrnn.train [PRESET]", description=__doc__)
    return preset, config


def prepare(config: Config, data: Data) -> Task:
    """Builds what the settings name."""
    model = build.model(config, data.vocabulary)
    learner = build.learner(config, model)
    drive = driver(learner.update, config.run.updates_per_call, learner.length)
    stream = jnp.asarray(to_streams(data.train, config.learning.num_streams))
    return Task(config, data, build.keys(config.run.seed), model, learner, drive, stream)


def run(config: Config, data: Data, run_dir: Path) -> None:
    """Trains to the end: shows what happens; leaves metrics, samples, checkpoints and a picture in the run's folder."""
    screen, task = report.console(), prepare(config, data)
    start = jax.jit(task.learner.init)(task.keys.init)
    report.show_facts(screen, facts(task, start.params, run_dir))
    report.show_header(screen, validated=data.validation.size > 0)
    state, rows, curve = start, [], []
    with report.progress(screen, config.learning.epochs * num_characters(task)) as advance:
        for row, state_now, schedule, losses in epochs(task, start, advance):
            state = state_now
            rows.append(row)
            curve.extend(report.window_means(losses))
            text = epoch_sample(task, state.params, row.epoch)
            report.show_epoch(screen, row, text)
            folder.add_metrics(run_dir, "epoch", row._asdict())
            folder.add_sample(run_dir, f"epoch {row.epoch + 1}, {row.online_nats:.4f} nats online", text)
            checkpoint.save(run_dir, state, checkpoint.metadata(config, data, row.epoch + 1, schedule))
    numbers = report.FourNumbers(rows[-1].online_nats, **evaluate.three_numbers(config, data, task.model, state.params))
    folder.add_metrics(run_dir, "final", numbers._asdict())
    report.draw_losses(run_dir / folder.PICTURE, curve, rows, numbers, title=run_dir.name)
    report.show_end(screen, numbers, run_dir)


def epochs(task: Task, state: State, advance: Advance) -> Iterator[Finished]:
    """Reads the training text over and over; an epoch comes back when it is over.

    Its state is good until the next epoch is asked for, which overwrites it.
    """
    config, keys, learner = task.config, task.keys, task.learner
    restart, schedule, best_params = jax.jit(learner.restart), Schedule(config.learning.learning_rate), state.params
    task.drive(jax.tree.map(jnp.copy, state), task.stream, 1)  # compiles, so that the speed of an epoch is that of learning
    for epoch in range(config.learning.epochs):
        rate, started = schedule.learning_rate, time.perf_counter()
        state = restart(state, jax.random.fold_in(keys.epochs, epoch))
        state, losses = read_epoch(task, state, epoch, advance)
        speed = num_characters(task) / (time.perf_counter() - started)
        validation_nats = validate(task, state.params)
        if config.learning.schedule == "halving" and validation_nats is not None:
            if validation_nats <= schedule.best_nats:
                best_params = jax.tree.map(jnp.copy, state.params)
            state = state._replace(params=jax.tree.map(jnp.copy, best_params))  # a worse epoch is taken back
            schedule = halve_on_validation(schedule, validation_nats)
            state = build.with_learning_rate(state, schedule.learning_rate)
        yield Finished(report.Epoch(epoch, evaluate.mean_nats(losses), speed, rate, validation_nats), state, schedule, losses)
        if schedule.finished:
            break


def validate(task: Task, params: Params) -> float | None:
    """Nats per character of the validation part, weights frozen; None if there is none."""
    if not task.data.validation.size:
        return None
    return evaluate.mean_nats(evaluate.frozen(task.model, params, task.data.validation, task.keys.evaluation))


def read_epoch(task: Task, state: State, epoch: int, advance: Advance) -> tuple[State, Float[np.ndarray, "time"]]:
    """One reading of the training text, its progress shown.

    Raises:
      Diverged: a loss is not a number.
    """
    all_losses, started, num_streams = [], time.perf_counter(), task.config.learning.num_streams
    stretch = max(task.config.run.updates_per_call, STRETCH)
    for state_now, losses in rest_of_epoch(task.drive, state, task.stream, stretch, task.learner.length):
        state = state_now
        if not np.isfinite(losses).all():
            raise Diverged(
                f"the loss is no longer a number in epoch {epoch + 1}: --learning-rate {task.config.learning.learning_rate} "
                "is too high for this model; try a tenth of it"
            )
        all_losses.append(losses)
        read = sum(map(len, all_losses)) * num_streams
        speed = read / (time.perf_counter() - started)
        advance(epoch, len(losses) * num_streams, evaluate.mean_nats(losses), speed)
    return state, np.concatenate(all_losses)


def num_characters(task: Task) -> int:
    """That are learned from in an epoch."""
    return updates_per_epoch(task.stream, task.learner.length) * task.learner.length * task.config.learning.num_streams


def epoch_sample(task: Task, params: Params, epoch: int) -> str:
    """What the model writes after an epoch."""
    known = task.data.vocabulary
    prompt = "." if "." in known.characters else vocabulary.decode(known, task.data.train[:1])
    key = jax.random.fold_in(task.keys.samples, epoch)
    length = task.config.run.sample_length
    prompt_ids = vocabulary.encode(known, prompt)
    return vocabulary.decode(known, sample(task.model, params, prompt_ids, length, key=key, temperature=SAMPLE_TEMPERATURE))


def facts(task: Task, params: Params, run_dir: Path) -> dict[str, str]:
    """What the run is, in words."""
    config, data = task.config, task.data
    used = sum(map(len, (data.train, data.validation, data.heldout)))
    whole = "all" if used == data.num_characters else "the first"
    hint = "" if used == data.num_characters else f" of {data.num_characters:,} (--max-characters 0 takes all)"
    validation = f", {len(data.validation):,} to validate" if data.validation.size else ""
    streams = "" if config.learning.num_streams == 1 else f" of {config.learning.num_streams} streams"
    num_params = sum(leaf.size for leaf in jax.tree.leaves(params))
    device = jax.devices()[0]
    return {
        "text": f"{config.text.text}, {whole} {used:,} characters{hint}",
        "parts": f"{len(data.train):,} to train{validation}, {len(data.heldout):,} held out",
        "vocabulary": f"{len(data.vocabulary.characters)} characters: {report.visible(data.vocabulary.characters)}",
        "model": f"Elman network, {config.model.hidden_size} {config.model.activation} units, {num_params:,} parameters",
        "learning": f"SGD at rate {config.learning.learning_rate:g} after every character{streams}",
        "device": f"{device.device_kind} ({device.platform}), jax {jax.__version__}",
        "run": str(run_dir),
    }


if __name__ == "__main__":
    main()

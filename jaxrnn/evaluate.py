"""How well a model predicts a text: with its weights fixed, and while it goes on learning.

`python -m jaxrnn.evaluate RUN` prints both for the parts of the run's own text, or for any other text.
"""

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Float, Int

from jaxrnn import build, checkpoint, report, vocabulary
from jaxrnn import text as texts
from jaxrnn.build import Data
from jaxrnn.config import Config, EvaluationConfig, check_rate
from jaxrnn.errors import InputError, told_in_one_line
from jaxrnn.learner import State, online
from jaxrnn.loop import Driver, fast_driver
from jaxrnn.model import Model, nats
from jaxrnn.rules import one_step
from jaxrnn.types import Block, Losses, Params, RandomKey

UPDATES_PER_CALL = 10_000


def frozen(model: Model, params: Params, ids: Int[np.ndarray, "characters"], key: RandomKey) -> Float[np.ndarray, "read"]:
    """Loss at each character but the first, in nats, with the weights fixed.

    Args:
      ids: the text; it is read once, from beginning to end, the state carried on.
      key: of the initial state.
    """
    state = State(jnp.int32(0), params, (), model.initial_carry(key, ()), ())
    return _read_once(_reader(model), state, ids)


def dynamic(
    model: Model,
    params: Params,
    ids: Int[np.ndarray, "characters"],
    key: RandomKey,
    optimizer: optax.GradientTransformation,
) -> Float[np.ndarray, "read"]:
    """Loss at each character but the first, in nats, each scored BEFORE the update on it. `params` stay as they are.

    Source: Mikolov et al. (2010), Interspeech, section 3 ("dynamic models").
    """
    learner = online(model, one_step(model), optimizer)
    state = State(jnp.int32(0), params, optimizer.init(params), model.initial_carry(key, ()), ())
    return _read_once(fast_driver(learner.update, UPDATES_PER_CALL), state, ids)


def mean_nats(losses: Float[np.ndarray, "time"]) -> float:
    """Nats per character. Summed in float64: a float32 sum over a million losses loses its last digits."""
    return float(losses.mean(dtype=np.float64))


def three_numbers(config: Config, data: Data, model: Model, params: Params) -> dict[str, float]:
    """Nats per character of the run's own text: training part frozen, held-out part frozen, held-out part dynamic."""
    key = build.keys(config.run.seed).evaluation
    optimizer = optax.sgd(config.evaluation.dynamic_rate)
    return {
        "train_nats": mean_nats(frozen(model, params, data.train, key)),
        "heldout_nats": mean_nats(frozen(model, params, data.heldout, key)),
        "heldout_dynamic_nats": mean_nats(dynamic(model, params, data.heldout, key, optimizer)),
    }


@functools.cache
def _reader(model: Model) -> Driver:
    """A driver that updates nothing but the carry; kept, because a schedule asks for it after every epoch."""

    def update(state: State, x: Block, y: Block) -> tuple[State, Losses]:
        carry, logits = model.step(state.params, state.carry, x[0])
        return state._replace(step=state.step + 1, carry=carry), nats(logits, y[0])[None]

    return fast_driver(update, UPDATES_PER_CALL)


def _read_once(drive: Driver, state: State, ids: Int[np.ndarray, "characters"]) -> Float[np.ndarray, "read"]:
    state = jax.tree.map(jnp.copy, state)  # a driver is free to overwrite the state it is given
    return drive(state, jnp.asarray(ids), len(ids) - 1)[1]


@dataclass(frozen=True)
class EvaluateConfig:
    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    text: str = ""
    """Another text to test on, by name or path; default the parts of the run's own text."""
    dynamic: float | None = None
    """Learning rate of dynamic evaluation; default the run's (0.1 unless it was set)."""
    json: bool = False
    """Print one JSON object, in nats per character, instead of a table."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(EvaluateConfig, prog="python -m jaxrnn.evaluate", description=__doc__, args=arguments)
    with told_in_one_line():
        if options.dynamic is not None:
            check_rate("dynamic", options.dynamic)
        run = checkpoint.load(options.run)
        rate = run.config.evaluation.dynamic_rate if options.dynamic is None else options.dynamic
        numbers = _other_text(run, options.text, rate) if options.text else _own_text(run, rate)
        if options.json:
            print(json.dumps({name: value for name, (value, _) in numbers.items()}))
        else:
            report.show_losses(report.console(), {meaning: value for value, meaning in numbers.values()})


def _own_text(run: checkpoint.Run, rate: float) -> dict[str, tuple[float, str]]:
    config = dataclasses.replace(run.config, evaluation=EvaluationConfig(rate))
    data = build.data(config)
    if data.sha256 != run.text_sha256:
        raise InputError(
            f"the text {config.text.text!r} is not the one that this run was trained on, so its held-out part may have been "
            "seen; to test on it all the same, name it with --text"
        )
    numbers = three_numbers(config, data, run.model, run.state.params)
    return {name: (value, report.MEANING[name]) for name, value in numbers.items()}


def _other_text(run: checkpoint.Run, name: str, rate: float) -> dict[str, tuple[float, str]]:
    ids = vocabulary.encode(run.vocabulary, texts.read(name))
    if len(ids) < 2:
        raise InputError(f"text {name!r} has one character; at least two are needed to predict one from another")
    key = build.keys(run.config.run.seed).evaluation
    losses = dynamic(run.model, run.state.params, ids, key, optax.sgd(rate))
    return {
        "frozen_nats": (mean_nats(frozen(run.model, run.state.params, ids, key)), f"{name}, weights frozen"),
        "dynamic_nats": (mean_nats(losses), f"{name}, dynamic at rate {rate:g}: each character scored, then learned from"),
    }


if __name__ == "__main__":
    main()

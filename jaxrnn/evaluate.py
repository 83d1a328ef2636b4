"""How well a model predicts a text: with its weights fixed, and while it goes on learning.

`python -m jaxrnn.evaluate RUN` prints both for the parts of the run's own text, or for any other text.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Float, Int

from jaxrnn import build, checkpoint, cli, compiled, folder, report, vocabulary
from jaxrnn import text as texts
from jaxrnn.build import Data
from jaxrnn.config import Config, EvaluationConfig, check_rate
from jaxrnn.errors import InputError
from jaxrnn.learner import Learner, State, online, reader
from jaxrnn.loop import Driver, copy, fast_driver
from jaxrnn.model import Model
from jaxrnn.rules import one_step
from jaxrnn.types import Params, RandomKey

UPDATES_PER_CALL = 10_000

Evaluation = Callable[[Params, Int[np.ndarray, " characters"], RandomKey], Float[np.ndarray, " read"]]


def frozen(model: Model) -> Evaluation:
    """With the weights fixed.

    Returns:
      (params, ids, key) -> nats at each character of the text but the first. The text is read once, from beginning to end,
      the state carried on from one that is drawn with the key. The compiled program is kept: call it for many params.
    """
    return _evaluation(reader(model))


def dynamic(model: Model, optimizer: optax.GradientTransformation) -> Evaluation:
    """While learning goes on: each character is scored BEFORE the update on it. The params given stay as they are.

    Returns:
      (params, ids, key) -> nats at each character of the text but the first, as `frozen` does.
    Source: Mikolov et al. (2010), Interspeech, section 3 ("dynamic models").
    """
    return _evaluation(online(model, one_step(model), optimizer))


def mean_nats(losses: Float[np.ndarray, " time"]) -> float:
    """Nats per character. Summed in float64: a float32 sum over a million losses loses its last digits."""
    return float(losses.mean(dtype=np.float64))


def three_numbers(config: Config, data: Data, model: Model, params: Params) -> Iterator[tuple[str, float]]:
    """Nats per character of the run's own text: training part frozen, held-out part frozen, held-out part dynamic.

    One after the other, by name: whoever asks can stop in between.
    """
    key = build.keys(config.run.seed).evaluation
    with_fixed_weights, while_learning = frozen(model), dynamic(model, optax.sgd(config.evaluation.dynamic_rate))
    yield "train_nats", mean_nats(with_fixed_weights(params, data.train, key))
    yield "heldout_nats", mean_nats(with_fixed_weights(params, data.heldout, key))
    yield "heldout_dynamic_nats", mean_nats(while_learning(params, data.heldout, key))


def _evaluation(learner: Learner) -> Evaluation:
    drive = fast_driver(learner, UPDATES_PER_CALL)

    def losses(params: Params, ids: Int[np.ndarray, " characters"], key: RandomKey) -> Float[np.ndarray, " read"]:
        state = copy(learner.begin(params, key))  # a driver overwrites the state it is given
        return _read(drive, state, ids, UPDATES_PER_CALL, learner.length)

    return losses


def _read(
    drive: Driver, state: State, ids: Int[np.ndarray, " characters *streams"], most_updates: int, length: int
) -> Float[np.ndarray, " read"]:
    """Reads a text in pieces of one size, the last one filled up: a driver is compiled anew for every size of a text."""
    read, size = [], most_updates * length
    for start in range(0, len(ids) - 1, size):
        piece = ids[start : start + size + 1]  # it begins with the last character of the one before
        filled = np.concatenate([piece, np.zeros((size + 1 - len(piece), *ids.shape[1:]), ids.dtype)])
        state, losses = drive(state._replace(step=jnp.int32(0)), jnp.asarray(filled), (len(piece) - 1) // length)
        read.append(losses)
    return np.concatenate(read)


@dataclass(frozen=True)
class EvaluateConfig:
    """What is tested."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    text: Annotated[str, tyro.conf.arg(help_behavior_hint="(default: the parts of the run's own text)")] = ""
    """Another text to test on, by name or path."""
    dynamic: Annotated[float | None, tyro.conf.arg(metavar="RATE", help_behavior_hint="(default: that of the run)")] = None
    """Learning rate of dynamic evaluation."""
    best: bool = False
    """With the weights of the best epoch instead of the newest: by validation loss, or online loss without validation part."""
    skip_unknown: bool = False
    """Leave out of the other text what the vocabulary does not hold, instead of an error."""
    json: bool = False
    """Print one JSON object, in nats per character, instead of a table."""
    compilation_cache: bool = True
    """Compiled programs are kept in the user's cache folder, which makes the next start quick; with this flag they are not."""


def main(arguments: list[str] | None = None) -> None:
    """The program."""
    with cli.told_in_one_line(), contextlib.ExitStack() as inside:
        options = cli.parse(EvaluateConfig, "evaluate", __doc__, arguments)
        inside.enter_context(compiled.programs_kept(options.compilation_cache))
        if options.dynamic is not None:
            check_rate("dynamic", options.dynamic)
        run = checkpoint.load(options.run)
        report.show_rejected(run.rejected)
        params = checkpoint.weights(run, options.best)
        rate = run.config.evaluation.dynamic_rate if options.dynamic is None else options.dynamic
        numbers = _other_text(run, params, options, rate) if options.text else _own_text(run, params, rate)
        if options.json:
            print(folder.to_json_line({name: value for name, (value, _) in numbers.items()}))
        else:
            screen = report.console()
            report.show_facts(screen, {"run": str(run.path), "weights": checkpoint.weights_in_words(run, options.best)})
            report.show_losses(screen, {meaning: value for value, meaning in numbers.values()})


def _own_text(run: checkpoint.Run, params: Params, rate: float) -> dict[str, tuple[float, str]]:
    config = dataclasses.replace(run.config, evaluation=EvaluationConfig(rate))
    try:
        data = build.data(config, run.vocabulary)
    except InputError as error:
        raise InputError(f"the text of this run: {error}; test on another one with --text") from None
    if data.sha256 != run.about["text"]["sha256"]:
        raise InputError(
            f"the text {config.text.text!r} is not the one that this run was trained on, so its held-out part may have been "
            "seen; to test on it all the same, name it with --text"
        )
    numbers = three_numbers(config, data, run.model, params)
    return {name: (value, report.MEANING[name]) for name, value in numbers}


def _other_text(run: checkpoint.Run, params: Params, options: EvaluateConfig, rate: float) -> dict[str, tuple[float, str]]:
    text, name = texts.read(options.text), options.text
    if options.skip_unknown:
        known = vocabulary.without_unknown(run.vocabulary, text)
        text, name = known, f"{name} without {len(text) - len(known)} unknown characters"
    texts.check_length(name, text)
    try:
        ids = vocabulary.encode(run.vocabulary, text)
    except InputError as error:
        raise InputError(f"text {name!r}: {error}; add --skip-unknown to leave such characters out") from None
    key = build.keys(run.config.run.seed).evaluation
    fixed, learning = frozen(run.model)(params, ids, key), dynamic(run.model, optax.sgd(rate))(params, ids, key)
    return {
        "frozen_nats": (mean_nats(fixed), f"{name}, weights frozen"),
        "dynamic_nats": (mean_nats(learning), f"{name}, dynamic at rate {rate:g}"),
    }


if __name__ == "__main__":
    main()

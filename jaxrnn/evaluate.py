"""How well a model predicts a text: with its weights fixed, and while it goes on learning.

`python -m jaxrnn.evaluate RUN` prints both for the parts of the run's own text, or for any other text.
"""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import console

    console("evaluate")

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import Float, Int

from jaxrnn.array_types import Params, RandomKey
from jaxrnn.config import build
from jaxrnn.config import settings as configs
from jaxrnn.config.build import Data
from jaxrnn.config.settings import Config
from jaxrnn.config.validate import check_rate
from jaxrnn.console import cli, report, verdict
from jaxrnn.data import text as texts
from jaxrnn.data import vocabulary
from jaxrnn.data.streams import to_streams
from jaxrnn.errors import InputError, counted
from jaxrnn.models import mixture
from jaxrnn.models.model import Model
from jaxrnn.rules import Rule, bptt, one_step
from jaxrnn.runtime import compilation_cache as compiled
from jaxrnn.runtime import devices
from jaxrnn.storage import checkpoint, run_folder
from jaxrnn.storage.checkpoint import Which
from jaxrnn.training import optimizers
from jaxrnn.training.drivers import Driver, copy, fast_driver
from jaxrnn.training.learner import Learner, State, online, reader

UPDATES_PER_CALL = 10_000
MOST_TRIED = 100_000  # characters, to choose optimizer and rate
NOTHING_KNOWN = 1e3  # nats of a model that has run away
# From a rate that learns too slowly in a text like that of training, to one that learns too fast in any.
CANDIDATES = {"sgd": (0.02, 0.05, 0.1, 0.2), "adam": (1e-4, 3e-4, 1e-3), "rmsprop": (1e-4, 3e-4, 1e-3)}

Evaluation = Callable[[Params, Int[np.ndarray, " characters"], RandomKey], Float[np.ndarray, " read"]]


def frozen(model: Model, num_streams: int = 1) -> Evaluation:
    """With the weights fixed.

    Args:
      num_streams: equal parts of the text that are read side by side, as in training: faster, and their mean is what counts.
    Returns:
      (params, ids, key) -> nats at each character of the text but the first. The text is read once, from beginning to end,
      the state carried on from one that is drawn with the key. The compiled program is kept: call it for many params.
    """
    read = _evaluation(model, reader(model, () if num_streams == 1 else (num_streams,)))
    return lambda params, ids, key: read(params, to_streams(ids, num_streams), key)


def dynamic(model: Model, optimizer: optax.GradientTransformation, length: int = 1) -> Evaluation:
    """While learning goes on: each character is scored BEFORE the update on it. The params given stay as they are.

    Args:
      length: characters in a block, which is scored, then learned from by backpropagation through it.
    Returns:
      (params, ids, key) -> nats at each character of the text but the first, as `frozen` does.
    Source: Mikolov et al. (2010), Interspeech, section 3 ("dynamic models"); in blocks: Krause et al. (2018), ICML.
    """
    return _evaluation(model, online(model, _rule(model, length), optimizer))


class Dynamics(NamedTuple):
    """How a model goes on learning while it is tested."""

    optimizer: str
    rates: tuple[float, ...]  # of several, the model learns at each by itself; these and the frozen model are mixed
    length: int  # of a block


def best_dynamics(
    model: Model, params: Params, ids: Int[np.ndarray, " characters"], key: RandomKey, length: int
) -> Iterator[tuple[Dynamics, float]]:
    """The better and better of the `CANDIDATES` on this text, with their nats per character, as they are found.

    Of each optimizer every rate is tried by itself, then all of them mixed: the text to come may be more like what was read, or
    less, and need a lower or a higher rate. The text must be none whose loss is then reported.
    """
    lowest, recent = math.inf, ids[-MOST_TRIED:]
    fixed = frozen(model)(params, recent, key)
    for name, rates in CANDIDATES.items():
        tried, members = at_rates(model, Dynamics(name, rates, length)), [fixed]
        for rate in rates:
            members.append(tried(params, recent, key, rate))
            if mean_nats(members[-1]) < lowest:
                lowest = mean_nats(members[-1])
                yield Dynamics(name, (rate,), length), lowest
        nats = mean_nats(mixed(members))
        if nats < lowest:
            lowest = nats
            yield Dynamics(name, rates, length), lowest


def mean_nats(losses: Float[np.ndarray, " time"]) -> float:
    """Nats per character. Summed in float64: a float32 sum over a million losses loses its last digits."""
    return float(losses.mean(dtype=np.float64))


def dynamics(config: Config, data: Data | None, model: Model, params: Params) -> Iterator[Dynamics]:
    """How the settings say that the model goes on learning: `auto` gives better and better ones, the last of which counts."""
    settings = config.evaluation
    if settings.dynamic != configs.AUTO:
        yield Dynamics(settings.dynamic_optimizer, (settings.dynamic_rate,), settings.dynamic_length)
        return
    if data is None or not data.validation.size:
        raise InputError("--dynamic auto chooses on the validation part of the run's text, and it has none; give a rate")
    key = build.keys(config.run.seed).evaluation
    for how, _ in best_dynamics(model, params, data.validation, key, settings.dynamic_length):
        yield how


def three_numbers(config: Config, data: Data, model: Model, params: Params, how: Dynamics) -> Iterator[tuple[str, float]]:
    """Nats per character of the run's own text: training part frozen, held-out part frozen, held-out part dynamic.

    One after the other, by name: whoever asks can stop in between.
    """
    key = build.keys(config.run.seed).evaluation
    yield "train_nats", mean_nats(frozen(model, config.learning.num_streams)(params, data.train, key))
    yield "heldout_nats", mean_nats(frozen(model)(params, data.heldout, key))
    yield "heldout_dynamic_nats", mean_nats(while_learning(model, how)(params, data.heldout, key))


def source_nats(config: Config, data: Data) -> float | None:
    """Nats per character of the source itself on the held-out part of a synthetic text; None if it has no known source."""
    ids = np.concatenate([data.train, data.validation, data.heldout])
    losses = texts.floor(config.text.text, vocabulary.decode(data.vocabulary, ids))
    return None if losses is None else mean_nats(losses[len(ids) - len(data.heldout) + 1 :])


def while_learning(model: Model, how: Dynamics) -> Evaluation:
    """Dynamic evaluation of this kind; several rates and the frozen model are mixed with weights that follow their losses."""
    read = at_rates(model, how)
    if len(how.rates) == 1:
        return lambda params, ids, key: read(params, ids, key, how.rates[0])
    read_frozen = frozen(model)

    return lambda params, ids, key: mixed([read_frozen(params, ids, key), *(read(params, ids, key, r) for r in how.rates)])


def mixed(members: list[Float[np.ndarray, " read"]]) -> Float[np.ndarray, " read"]:
    """The nats of a mixture of models, from theirs; one that has diverged, with a loss of NaN, is as good as left out."""
    return mixture.weighted_online(np.nan_to_num(np.stack(members), nan=NOTHING_KNOWN, posinf=NOTHING_KNOWN))


def at_rates(model: Model, how: Dynamics) -> Callable[..., Float[np.ndarray, " read"]]:
    """(params, ids, key, rate) -> nats at each character, by one compiled program for all rates."""
    return _evaluation(model, online(model, _rule(model, how.length), optimizers.optimizer(how.optimizer, how.rates[0])))


def in_words(how: Dynamics) -> str:
    """Of what kind it is."""
    *others, last = [f"{rate:g}" for rate in how.rates]
    rates = f"rates {', '.join(others)} and {last}, mixed with the frozen model" if others else f"rate {last}"
    return f"{how.optimizer} at {rates}" + (f", after blocks of {how.length}" if how.length > 1 else "")


def _rule(model: Model, length: int) -> Rule:
    return one_step(model) if length == 1 else bptt(model, length)


def _evaluation(model: Model, learner: Learner) -> Callable[..., Float[np.ndarray, " read"]]:
    length, most, reading = learner.length, max(1, UPDATES_PER_CALL // learner.length), reader(model)
    drive, drive_rest = fast_driver(learner, most), fast_driver(reading, length)

    def losses(
        params: Params, ids: Int[np.ndarray, " characters *streams"], key: RandomKey, rate: float | None = None
    ) -> Float[np.ndarray, " read"]:
        state = learner.begin(params, key)
        if rate is not None:
            state = state._replace(opt_state=optimizers.with_learning_rate(state.opt_state, rate))
        end = (len(ids) - 1) // length * length
        state, of_blocks = _read(drive, copy(state), ids[: end + 1], most, length)  # a driver overwrites the state it is given
        if end == len(ids) - 1:
            return of_blocks
        # Nothing comes after the last characters, fewer than a block: to learn from them would change no loss.
        rest = reading.begin(state.params, key)._replace(carry=state.carry)
        return np.concatenate([of_blocks, _read(drive_rest, rest, ids[end:], length, 1)[1]])

    return losses


def _read(
    drive: Driver, state: State, ids: Int[np.ndarray, " characters *streams"], most_updates: int, length: int
) -> tuple[State, Float[np.ndarray, " read"]]:
    """Reads a text in pieces of one size, the last one filled up: a driver is compiled anew for every size of a text."""
    read, size = [np.zeros(0, np.float32)], most_updates * length
    for start in range(0, len(ids) - 1, size):
        piece = ids[start : start + size + 1]  # it begins with the last character of the one before
        filled = np.concatenate([piece, np.zeros((size + 1 - len(piece), *ids.shape[1:]), ids.dtype)])
        state, losses = drive(state._replace(step=jnp.int32(0)), jnp.asarray(filled), (len(piece) - 1) // length)
        read.append(losses)
    return state, np.concatenate(read)


@dataclass(frozen=True)
class EvaluateConfig:
    """What is tested."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    text: Annotated[str, tyro.conf.arg(help_behavior_hint="(default: the parts of the run's own text)")] = ""
    """Another text to test on, by name or path."""
    dynamic: Annotated[
        float | Literal["auto"] | None, tyro.conf.arg(metavar="RATE|auto", help_behavior_hint="(default: as the run says)")
    ] = None
    """Learning rate of dynamic evaluation; auto = optimizer and rate, or mixture of rates, that do best on the validation part
    of the run's text."""
    weights: Which = "auto"
    """newest, or best: those of the best epoch, by validation loss, or online loss without a validation part; auto = the best
    if there is a validation part."""
    skip_unknown: bool = False
    """Leave out of the other text what the vocabulary does not hold, instead of an error."""
    json: bool = False
    """Print one JSON object, in nats per character, instead of a table."""
    compilation_cache: bool = True
    """Disable the on-disk cache of compiled programs, which makes the next start quick."""


def main(arguments: list[str] | None = None) -> None:
    """The program."""
    with cli.told_in_one_line(), contextlib.ExitStack() as inside:
        options = cli.parse(EvaluateConfig, "evaluate", __doc__, arguments)
        if isinstance(options.dynamic, float):
            check_rate("dynamic", options.dynamic)
        devices.start()
        screen = report.console()
        with report.busy(screen, "starting"):
            inside.enter_context(compiled.programs_kept(options.compilation_cache))
            run = checkpoint.load(options.run)
        report.show_rejected(run.rejected)
        devices.set_precision(run.config.device)
        params, config = checkpoint.weights(run, options.weights), _with_dynamics(run.config, options.dynamic)
        needed = not options.text or config.evaluation.dynamic == configs.AUTO
        with report.busy(screen, "compiling and testing"):
            data = _own_data(run, config) if needed else None
            *_, how = dynamics(config, data, run.model, params)
            own = None if options.text else data
            numbers = _other_text(run, params, options, how) if own is None else _own_text(run, config, own, params, how)
        if options.json:
            print(run_folder.to_json_line({name: value for name, (value, _) in numbers.items()} | {"dynamic": how._asdict()}))
        else:
            weights = checkpoint.weights_in_words(run, options.weights)
            report.show_facts(screen, {"run": str(run.path), "weights": weights, "dynamic": in_words(how)})
            report.show_losses(screen, {meaning: value for value, meaning in numbers.values()})
            names = ("frozen_nats", "dynamic_nats") if own is None else ("heldout_nats", "heldout_dynamic_nats")
            report.show_verdicts(screen, _verdicts(config, how, *(numbers[name][0] for name in names)))


def _verdicts(config: Config, how: Dynamics, frozen_nats: float, dynamic_nats: float) -> list[str]:
    chosen, auto = config.evaluation.dynamic == configs.AUTO, "--dynamic auto" if config.text.validation_fraction else ""
    line = verdict.on_dynamic(frozen_nats, dynamic_nats, how.rates, chosen, "--dynamic", auto)
    return [line] if line else []


def _with_dynamics(config: Config, wanted: float | str | None) -> Config:
    if wanted is None:
        return config
    how = {"dynamic": configs.AUTO} if isinstance(wanted, str) else {"dynamic": "fixed", "dynamic_rate": wanted}
    return dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, **how))


def _own_data(run: checkpoint.Run, config: Config) -> Data:
    if not texts.is_there(config.text.text):
        rate = " --dynamic RATE" if config.evaluation.dynamic == configs.AUTO else ""  # auto chooses on the run's own text
        raise InputError(
            f"the text of this run is no longer at {config.text.text!r}; put it back, or test on any text with "
            f"--text PATH{rate}"
        )
    try:
        sha256 = texts.sha256(build.read_text(config)[1])
    except InputError as error:
        raise InputError(f"the text of this run: {error}; test on another one with --text") from None
    if sha256 != run.about["text"]["sha256"]:
        raise InputError(
            f"the text {config.text.text!r} is not the one that this run was trained on, so its held-out part may have been "
            "seen; to test on it all the same, name it with --text"
        )
    return build.data(config, run.vocabulary)


def _own_text(run: checkpoint.Run, config: Config, data: Data, params: Params, how: Dynamics) -> dict[str, tuple[float, str]]:
    numbers = three_numbers(config, data, run.model, params, how)
    floor = source_nats(config, data)
    least = {} if floor is None else {"source_nats": (floor, "held-out text, its source itself: none is better on average")}
    return {name: (value, report.MEANING[name]) for name, value in numbers} | least


def _other_text(run: checkpoint.Run, params: Params, options: EvaluateConfig, how: Dynamics) -> dict[str, tuple[float, str]]:
    text, name = texts.read(options.text), options.text
    if options.skip_unknown:
        known = vocabulary.without_unknown(run.vocabulary, text)
        text, name = known, f"{name} without {counted(len(text) - len(known), 'unknown character')}"
    texts.check_length(name, text)
    try:
        ids = vocabulary.encode(run.vocabulary, text)
    except InputError as error:
        raise InputError(f"text {name!r}: {error}; add --skip-unknown to leave such characters out") from None
    key = build.keys(run.config.run.seed).evaluation
    fixed, learning = frozen(run.model)(params, ids, key), while_learning(run.model, how)(params, ids, key)
    return {
        "frozen_nats": (mean_nats(fixed), f"{name}, weights frozen"),
        "dynamic_nats": (mean_nats(learning), f"{name}, dynamic: {in_words(how)}"),
    }

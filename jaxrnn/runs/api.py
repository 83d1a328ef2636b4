"""Train, load and use runs from Python: what a notebook needs."""

import contextlib
import difflib
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from rich.console import Console

from jaxrnn.array_types import Params
from jaxrnn.config import build, parts
from jaxrnn.config.resolve import Given, check_preset
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.config.trust import trusted_by
from jaxrnn.console import arguments, notebook, plot, report
from jaxrnn.data import text as texts
from jaxrnn.data import vocabulary
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError, check_rate, pluralize
from jaxrnn.models.model import Model
from jaxrnn.runs import session, testing
from jaxrnn.runs.describe import describe_network
from jaxrnn.runtime.restored import restore_settings
from jaxrnn.scoring import evaluation, sampling
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.storage import checkpoint, logs, run_folder
from jaxrnn.storage.quiet import silence_orbax
from jaxrnn.training.optimizers import OPTIMIZERS
from jaxrnn.training.progress import WINDOW, FourNumbers, Snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NAME = 1_000  # characters; a longer string is a text and not the name of one
TEXTS = "texts"  # beside the runs: texts that were given as strings


class Losses(NamedTuple):
    """The losses of a run in nats per character, each with the number of updates after which it was known."""

    window_steps: Int[np.ndarray, " windows"]
    window_nats: Float[np.ndarray, " windows"]  # online, means of about a thousand characters
    epoch_steps: Int[np.ndarray, " epochs"]
    epoch_nats: Float[np.ndarray, " epochs"]  # online
    validation_nats: Float[np.ndarray, " epochs"]  # NaN without a validation part


class Run(NamedTuple):
    """A run that was read from its folder."""

    path: Path
    config: Config
    vocabulary: Vocabulary
    model: Model
    snapshot: Snapshot  # the newest
    params: Params  # the best weights if a validation part tells them, else the newest
    num_characters: int  # of the text that were used
    numbers: FourNumbers | None  # nats per character; None for a run that has not come to its end
    dynamic: DynamicSettings | None  # how the last of the four went on learning

    def __repr__(self) -> str:
        ended = f"; held out {self.numbers.heldout_nats:.4f} nats" if self.numbers else "; not finished"
        read = f"{pluralize(self.snapshot.progress.epochs, 'epoch')} of {self.config.text.text}"
        return f"Run({str(self.path)!r}: {describe_network(self.config.model)}; {read}{ended})"

    @property
    def losses(self) -> Losses:
        """The losses logged so far."""
        return read_losses(self.path)

    @property
    def figure(self) -> "Figure":
        """The picture of the losses, which a notebook shows."""
        return draw_figure(self)


def fit(
    text: str | Path = "comedie", preset: str | None = None, *, show: bool = True, trust: Sequence[str] = (), **settings: Any
) -> Run:
    """Train a run to its end, as `python -m jaxrnn.train` does, and load it.

    In a notebook one output is updated while it goes on. An interrupt saves the run first; `resume=` continues it.

    Args:
      text: the name of a text, a path, an import string; or a text itself, which holds a line break. It is kept in
        `runs/texts/` then, so that the run can be resumed.
      preset: notebook (the default), mikolov2010, gru or lstm.
      show: whether anything is shown.
      trust: packages that a run or file named by `resume` or `init_from` may import.
      settings: any flag by its name in Python: `minutes=1.5`, `hidden_size=256`, `run_dir="mine"`, `tied_readout=True`.
    Returns:
      The run, also in its folder.
    Raises:
      InputError: a setting or text that is not allowed: nothing was written. Stopped: interrupted; the run was saved.
      Diverged, NotSaved, OutOfMemory.
    """
    given = _given(text, preset, {**settings, "trust": ",".join(trust)} if trust else settings)
    screen = _make_screen(show)
    with restore_settings(keep_devices=True), silence_orbax():
        path = session.train(given, screen)
    return load(path, trust=trusted_by(given.values))


def load(path: str | Path, trust: Sequence[str] = ()) -> Run:
    """Load a run from its folder, from its newest checkpoint that is as it was saved.

    Args:
      trust: packages that may be imported, if the run's settings name parts of theirs.
    Raises:
      InputError: no run there, or one that cannot be used.
    """
    saved = checkpoint.load_run(path, trust=trust)
    final = next((event for event in reversed(logs.read_events(saved.path)) if event["event"] == "final"), None)
    return Run(
        path=saved.path,
        config=saved.config,
        vocabulary=saved.vocabulary,
        model=saved.model,
        snapshot=saved.snapshot,
        params=checkpoint.select_params(saved),
        num_characters=saved.about["text"]["characters"],
        numbers=_numbers(final) if final else None,
        dynamic=_dynamic(final, saved.config) if final else None,
    )


def generate(
    run: Run,
    prompt: str | None = None,
    length: int = 500,
    *,
    temperature: float = sampling.TEMPERATURE,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> str:
    """The prompt, and what the model writes after it: the text that `python -m jaxrnn.sample` prints.

    Args:
      prompt: read first; None = a full stop, as in the course.
      length: characters to write.
      temperature: 0 = always the most likely character; 1 = as the model holds it likely; more = wilder.
      top_k: draw among the k most likely characters only; 0 = among all.
      top_p: draw among the fewest characters that hold this probability together; 1 = among all.
    Raises:
      InputError: a value that is not allowed; a prompt that is empty or holds a character that the model does not know.
    """
    prompt = sampling.default_prompt(run.vocabulary) if prompt is None else texts.normalise_newlines(prompt)
    ids = vocabulary.encode(run.vocabulary, prompt)
    key = jax.random.fold_in(jax.random.key(seed), 0)
    drawn = sampling.sample(run.model, run.params, ids, length, key=key, temperature=temperature, top_k=top_k, top_p=top_p)
    return prompt + vocabulary.decode(run.vocabulary, drawn)


def surprisal(
    run: Run, text: str, *, learn: float | Literal["off", "auto"] = "off", context: str | None = None
) -> Float[np.ndarray, " characters"]:
    """Nats of each character of a text: -ln of the probability that the model gave it before it was read.

    Args:
      learn: "off" = with the weights fixed; a rate = going on to learn while it reads; "auto" = as at the end of the run, which
        may be a mixture of rates.
      context: what is read before the text; None = a full stop, as in the course.
    Returns:
      As many as the text has characters; their mean is the loss.
    Raises:
      InputError: an empty text, or a character that the model does not know.
    """
    context = sampling.default_prompt(run.vocabulary) if context is None else texts.normalise_newlines(context)
    if not text or not context:
        raise InputError(f"the {'context' if text else 'text'} is empty; give at least one character")
    ids = [vocabulary.encode(run.vocabulary, part) for part in (context, texts.normalise_newlines(text))]
    how, key = _how_to_learn(run, learn), build.make_keys(run.config.run.seed).evaluation
    if how is None:
        evaluate = evaluation.frozen_evaluation(run.model)
    else:
        evaluate = evaluation.dynamic_evaluation(run.model, how, parts.find_optimizer(how.optimizer))
    return evaluate(run.params, np.concatenate(ids), key)[len(context) - 1 :]


def read_losses(path: Path) -> Losses:
    """The losses in the metrics of a run."""
    events = logs.read_events(path)
    windows, epochs = ([event for event in events if event["event"] == name] for name in ("progress", "epoch"))

    def column(rows: list[dict[str, Any]], name: str) -> Float[np.ndarray, " rows"]:
        return np.array([math.nan if row.get(name) is None else row[name] for row in rows], np.float64)

    return Losses(
        column(windows, "step").astype(np.int64),
        column(windows, "online_nats"),
        column(epochs, "step").astype(np.int64),
        column(epochs, "online_nats"),
        column(epochs, "validation_nats"),
    )


def draw_figure(run: Run) -> "Figure":
    """The picture of the losses as a figure of matplotlib; without the lines of the numbers if the run is not finished."""
    numbers = run.numbers._asdict() if run.numbers else {}
    curves = plot.collect_curves(logs.read_events(run.path), _updates_per_epoch(run))
    return plot.figure(curves, numbers, WINDOW, report.replace_controls(run.path.name))


def _given(text: str | Path, preset: str | None, settings: dict[str, Any]) -> Given:
    """What was said, checked as flags are."""
    check_preset(preset)
    known = [setting.name for setting in arguments.list_settings(Config)]
    for name in settings:
        if name not in known:
            similar = difflib.get_close_matches(name, known, 1)
            raise InputError(f"no setting {name!r}; " + (f"did you mean {similar[0]}?" if similar else "see jaxrnn.Config"))
    settings = {**settings, "text": _name_of(text, settings)} if "resume" not in settings or text != "comedie" else settings
    flags = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        switch = f"--{flag}" if value else f"--no-{flag}"
        flags.append(switch if isinstance(value, bool) else f"--{flag}={value}")
    return Given(preset, arguments.parse_values(Config, flags))


def _name_of(text: str | Path, settings: dict[str, Any]) -> str:
    """The name or path of a text; one that was given as a string is written beside the runs."""
    if isinstance(text, Path) or ("\n" not in text and len(text) <= MAX_NAME):
        return str(text)
    content = texts.normalise_newlines(text).encode("utf-8")
    folder = Path(settings.get("run_dir", "runs/run")).parent / TEXTS
    path = folder / f"{hashlib.sha256(content).hexdigest()[:12]}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.replace_file(path, content)
    except OSError as error:
        raise InputError(f"the text cannot be written to {str(path)!r}: {error.strerror}") from None
    return str(path)


def _make_screen(show: bool) -> Console:
    if not show:
        return Console(quiet=True)
    return notebook.make_notebook_screen() if notebook.in_notebook() else report.make_screen()


def _numbers(final: dict[str, Any]) -> FourNumbers | None:
    with contextlib.suppress(KeyError):
        return FourNumbers(*(math.nan if final[name] is None else final[name] for name in FourNumbers._fields))
    return None


def _dynamic(final: dict[str, Any], config: Config) -> DynamicSettings | None:
    with contextlib.suppress(KeyError, TypeError):
        found = DynamicSettings(**{**final["dynamic"], "rates": tuple(final["dynamic"]["rates"])})
        # The settings were checked for what they import, the metrics were not.
        return found if found.optimizer in (*OPTIMIZERS, config.evaluation.dynamic_optimizer) else None
    return None


def _how_to_learn(run: Run, learn: float | str) -> DynamicSettings | None:
    settings = run.config.evaluation
    if learn == "off":
        return None
    if learn == AUTO:
        return run.dynamic or testing.resolve_dynamic(run.config, None, run.model, run.params)
    if isinstance(learn, str):
        raise InputError(f"learn is {learn!r}; it must be 'off', 'auto' or a learning rate")
    check_rate("learn", learn)
    return DynamicSettings(settings.dynamic_optimizer, (learn,), settings.dynamic_length)


def _updates_per_epoch(run: Run) -> int:
    settings, num_streams = run.config.text, run.config.learning.num_streams
    validation = float(settings.validation_fraction)
    num_train = texts.split_lengths(run.num_characters, validation, settings.heldout_fraction).train
    return (num_train - 1) // num_streams // parts.block_length(run.config)

"""Train runs and use them from Python, for example in a notebook."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float
from rich.console import Console

from jaxrnn.config import build, parts
from jaxrnn.config.resolve import Given, check_preset, resolve
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.config.trust import trusted, trusted_by
from jaxrnn.config.validate import check_config
from jaxrnn.console import arguments, notebook, report
from jaxrnn.data import text as texts
from jaxrnn.data import vocabulary
from jaxrnn.errors import InputError, check_seed
from jaxrnn.runs import session, testing
from jaxrnn.runs.loaded import Run, load
from jaxrnn.runtime import devices
from jaxrnn.runtime.restored import restore_settings
from jaxrnn.scoring import evaluation, sampling, together
from jaxrnn.scoring.ending import Limits, check_stop, until_end
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.storage import run_folder

MAX_NAME = 1_000  # characters; a longer string is a text and not the name of one
TEXTS = Path("runs/texts")  # for texts that were given as strings


def fit(
    text: str | Path = "comedie",
    preset: str | None = None,
    *,
    show: bool = True,
    trust: str | Sequence[str] = (),
    **settings: Any,
) -> Run:
    """Train a run to its end, as `python -m jaxrnn.train` does, and load it.

    In a notebook a single output is updated as the run goes on. An interrupt saves the run first; `resume=` continues it.

    Args:
      text: the name of a text, a path or an import string; or a text itself, recognised by a line break or by more than 1,000
        characters, which is stored in `runs/texts/` so that the run can be resumed.
      preset: notebook (the default), mikolov2010, gru, lstm or reader.
      show: whether to show the progress.
      trust: packages that a run or file named by `resume` or `init_from` may import.
      settings: any flag by its name in Python: `minutes=1.5`, `hidden_size=256`, `run_dir="mine"`, `tied_readout=True`.
    Returns:
      The run, which is also saved in its folder.
    Raises:
      InputError: a setting or text is not allowed; nothing was written.
      Stopped: the run was interrupted, and saved.
      Diverged: learning failed.
      NotSaved: the end of the run could not be written.
      OutOfMemory: the run does not fit in memory.
    """
    trust = trusted(trust)
    given = _given(text, preset, {**settings, "trust": ",".join(trust)} if trust else settings)
    screen = _make_screen(show)
    with restore_settings(keep_devices=True):
        path = session.train(given, screen)
    return load(path, trust=trusted_by(given.values))


def generate(
    run: Run,
    prompt: str | None = None,
    length: int = 500,
    *,
    temperature: float = sampling.TEMPERATURE,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: str | None = None,
    exact_length: bool = True,
) -> str:
    """Write a text with the model of a run: the text that `python -m jaxrnn.sample` prints.

    Args:
      prompt: what the text begins with; None = a full stop, as in the course.
      length: number of characters to write after the prompt.
      temperature: 0 = greedy (always the most likely character); 1 = the model's own distribution; higher = more random.
      top_k: draw from the k most likely characters only; 0 = from all.
      top_p: draw from the smallest set of characters with at least this total probability; 1 = from all.
      seed: the same seed gives the same text.
      stop: end the text before this one, if it is drawn; None = no such text.
      exact_length: end after `length` characters; False = at the end of the word, at most 30 characters later, as the program
        does by default.
    Returns:
      The prompt and what follows it.
    Raises:
      InputError: a value is not allowed, or the prompt or stop text is empty or has a character that the model does not know.
    """
    check_seed(seed)
    if length < 0:
        raise InputError(f"length is {length}; it must be 0 or more")
    prompt = sampling.default_prompt(run.vocabulary) if prompt is None else texts.normalise_newlines(prompt)
    if stop is not None and not stop:
        raise InputError("stop is empty; give at least one character, or None")
    limits = Limits(length, texts.normalise_newlines(stop or ""), exact_length)
    check_stop(run.vocabulary, limits.stop, "stop")
    ids = vocabulary.encode(run.vocabulary, prompt)
    key = jax.random.fold_in(jax.random.key(seed), 0)
    how = {"key": key, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    with devices.use_precision(run.config.device):
        blocks = sampling.sample_blocks(run.model, run.params, ids, **how)
        return prompt + "".join(until_end((vocabulary.decode(run.vocabulary, block) for block in blocks), limits))


def surprisal(
    run: Run, text: str, *, learn: float | Literal["off", "auto"] = "off", context: str | None = None
) -> Float[np.ndarray, " characters"]:
    """Compute the surprisal of each character of a text: -ln of the probability that the model gave it, in nats.

    Args:
      learn: "off" = with fixed weights; a learning rate = the model keeps learning as it reads, and each character is scored
        before it is learned from; "auto" = as in the run's final test, which may be a mixture of rates.
      context: what is read before the text; None = a full stop, as in the course.
    Returns:
      ``f32[characters]``, nats; the mean is the loss.
    Raises:
      InputError: the text is empty, or contains a character that the model does not know.
    """
    context = sampling.default_prompt(run.vocabulary) if context is None else texts.normalise_newlines(context)
    if not text or not context:
        raise InputError(f"the {'context' if text else 'text'} is empty; give at least one character")
    ids = [vocabulary.encode(run.vocabulary, part) for part in (context, texts.normalise_newlines(text))]
    how, key = _how_to_learn(run, learn), build.make_keys(run.config.run.seed).evaluation
    if how is None:
        evaluate = evaluation.frozen_evaluation(run.model)
    else:
        evaluate = together.dynamic_evaluation(run.model, how, parts.find_optimizer(how.optimizer))
    with devices.use_precision(run.config.device):
        return evaluate(run.params, np.concatenate(ids), key)[len(context) - 1 :]


def _given(text: str | Path, preset: str | None, settings: dict[str, Any]) -> Given:
    """Check settings from Python just as flags are checked, and store a text that was given as a string."""
    check_preset(preset)
    known = [setting.name for setting in arguments.list_settings(Config)]
    for name in settings:
        if name not in known:
            similar = difflib.get_close_matches(name, known, 1)
            raise InputError(f"no setting {name!r}; " + (f"did you mean {similar[0]}?" if similar else "see jaxrnn.Config"))
    if not isinstance(text, str | Path):
        raise InputError(f"text is {text!r}; it must be a name, a path or a text")
    content = text if isinstance(text, str) and ("\n" in text or len(text) > MAX_NAME) else None
    if content is not None:
        content = texts.normalise(content.encode("utf-8", "surrogatepass"), "text")
        settings = {**settings, "text": str(_path_of(content))}
    elif isinstance(text, str) and " " in text and not texts.text_exists(text):
        raise InputError(f"no text {text!r}: neither a file nor a known name; a text itself must contain a line break")
    elif "resume" not in settings or text != "comedie":
        settings = {**settings, "text": str(text)}
    given = Given(preset, arguments.parse_values(Config, _to_flags(settings)))
    if content is not None:
        config = resolve(given)
        check_config(config)
        build.split_data(config, build.use_text(config, parts.Text(content)))  # nothing is written for a run that is refused
        _write(_path_of(content), content)
    return given


def _to_flags(settings: dict[str, Any]) -> list[str]:
    flags, switches = [], {setting.name for setting in arguments.list_settings(Config) if setting.kind is bool}
    for name, value in settings.items():
        if isinstance(value, bool) != (name in switches):
            raise InputError(f"{name} is {value!r}; it must be {'True or False' if name in switches else 'a number or a name'}")
        if callable(value):
            raise InputError(f"{name} is {value!r}; give it as 'module:name', which other programs can also import")
        flag = name.replace("_", "-")
        switch = f"--{flag}" if value else f"--no-{flag}"
        flags.append(switch if isinstance(value, bool) else f"--{flag}={value}")
    return flags


def _path_of(text: str) -> Path:
    """Return where a text that was given as a string is stored."""
    return TEXTS / f"{texts.hash_text(text)[:12]}.txt"


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        run_folder.replace_file(path, text.encode("utf-8"))
    except OSError as error:
        raise InputError(f"the text cannot be written to {str(path)!r}: {error.strerror}") from None


def _make_screen(show: bool) -> Console:
    if not show:
        return Console(quiet=True)
    return notebook.make_notebook_screen() if notebook.in_notebook() else report.make_screen()


def _how_to_learn(run: Run, learn: float | str) -> DynamicSettings | None:
    settings = run.config.evaluation
    if learn == "off":
        return None
    if learn == AUTO:
        if run.dynamic is None and settings.dynamic == AUTO:
            raise InputError("learn is 'auto', but this run has not been tested, so no rate was chosen; give a learning rate")
        return run.dynamic or testing.resolve_dynamic(run.config, None, run.model, run.params)
    if isinstance(learn, str | bool):
        raise InputError(f"learn is {learn!r}; it must be 'off', 'auto' or a learning rate")
    if not 1e-30 < learn < 1e30:
        raise InputError(f"learn is {learn}; a learning rate must be over 0 and finite")
    return DynamicSettings(settings.dynamic_optimizer, (learn,), settings.dynamic_length)

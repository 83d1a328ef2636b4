"""Train runs and use them from Python, for example in a notebook."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jaxtyping import Float, Int
from rich.console import Console

from jaxrnn.config import build
from jaxrnn.config.resolve import Given, check_preset
from jaxrnn.config.settings import Config
from jaxrnn.config.trust import trusted, trusted_by
from jaxrnn.console import arguments, notebook, report
from jaxrnn.console.sweep_report import SweepReport, report_sweep
from jaxrnn.data import text as texts
from jaxrnn.data import vocabulary
from jaxrnn.data.files import STDIN, TEXT_NAMES
from jaxrnn.errors import InputError, check_seed, describe_kind
from jaxrnn.runs import session, start
from jaxrnn.runs.loaded import Run, load
from jaxrnn.runs.open_stream import Learn, choose_learning, make_scorer
from jaxrnn.runs.page import Page, make_page
from jaxrnn.runs.stored_text import make_documents, store_documents
from jaxrnn.runtime import precision
from jaxrnn.runtime.restored import restore_settings
from jaxrnn.scoring import sampling
from jaxrnn.scoring.ending import Limits, check_stop, until_end
from jaxrnn.scoring.pieces import score_characters
from jaxrnn.scoring.stream import Scorer, make_read, start_stream
from jaxrnn.training.sweeps import Sweep

MAX_NAME = 1_000  # characters; a longer string is a text and not the name of one


def fit(
    text: str | Path | Iterable[Any] = "comedie",
    preset: str | None = None,
    *,
    show: bool = True,
    trust: str | Sequence[str] = (),
    **settings: Any,
) -> Run:
    """Train a run to its end, as `python -m jaxrnn.train` does, and load it.

    In a notebook a single output is updated as the run goes on. An interrupt saves the run first; `resume=` continues it.

    Args:
      text: the name of a text, a path, a pattern or an import string; or a text itself, recognised by a line break or by more
        than 1,000 characters; or a list of `pathlib.Path`, which are read as files; or anything that yields strings, such as a
        list, a generator or a column of a table, each of which is a document, never a name. Strings are stored in
        `runs/texts/`, so that the run can be resumed.
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
    with precision.float32_products():
        blocks = sampling.sample_blocks(run.model, run.params, ids, **how)
        return prompt + "".join(until_end((vocabulary.decode(run.vocabulary, block) for block in blocks), limits))


@overload
def surprisal(  # pyright: ignore[reportOverlappingOverload] # a string is an iterable of strings, too
    run: Run, text: str, *, learn: Learn = "off", context: str | None = None
) -> Float[np.ndarray, " characters"]: ...
@overload
def surprisal(
    run: Run, text: Iterable[str], *, learn: Learn = "off", context: str | None = None
) -> Iterator[Float[np.ndarray, " characters"]]: ...
def surprisal(
    run: Run, text: str | Iterable[str], *, learn: Learn = "off", context: str | None = None
) -> Float[np.ndarray, " characters"] | Iterator[Float[np.ndarray, " characters"]]:
    """Compute the surprisal of each character of a text: -ln of the probability that the model gave it, in nats.

    Args:
      text: a text; or its parts one after another, such as the lines of a file or of an endless stream. Each is scored when
        it is asked for, and what was learned from the ones before is kept.
      learn: "off" = with fixed weights; a learning rate = the model keeps learning as it reads, and each character is scored
        before it is learned from; "auto" = as in the run's final test, which may be a mixture of rates, or as in its training
        if that was together with counts.
      context: what is read before the text; None = a full stop, as in the course.
    Returns:
      ``f32[characters]``, nats; the mean is the loss. For parts, an iterator of such arrays. A character that the model does
      not know costs 13.92 nats (`scoring.pieces.UNKNOWN_NATS`), as if drawn from all of Unicode alike, and is not read.
    Raises:
      InputError: the text is empty, or its context has no character that the model knows.
    """
    known = run.vocabulary
    context = sampling.default_prompt(known) if context is None else texts.normalise_newlines(context)
    before = vocabulary.encode(known, vocabulary.drop_unknown(known, context))
    if text == "" or not before.size:
        raise InputError(f"the {'context' if text else 'text'} is empty; give at least one character that the model knows")
    learning = choose_learning(run.config, learn, run.dynamic, run.model, run.params)
    scorer = make_scorer(run.config, learning, known, run.model, run.snapshot.state, run.num_characters)
    scored = _surprisals(run, scorer, before, [text] if isinstance(text, str) else text)
    return next(scored) if isinstance(text, str) else scored


def _surprisals(
    run: Run, scorer: Scorer, before: Int[np.ndarray, " context"], parts: Iterable[str]
) -> Iterator[Float[np.ndarray, " characters"]]:
    key = build.make_keys(run.config.run.seed).evaluation
    with precision.float32_products():
        read, stream = make_read(scorer), start_stream(scorer, run.params, key, int(before[0]))
        stream, _ = read(stream, before[1:])
    for part in parts:
        with precision.float32_products():
            stream, scored, _ = score_characters(read, stream, run.vocabulary, texts.normalise_newlines(part))
        yield scored.nats


@overload
def show(found: Run, /) -> Page: ...
@overload
def show(found: Sweep, /, last: int | None = None) -> SweepReport: ...
def show(found: Run | Sweep, /, last: int | None = None) -> Page | SweepReport:
    """Make the page of a run or the report of a sweep; a notebook displays it inline.

    Args:
      last: for a sweep, how many of the final losses to average; None = the last quarter. Losses that are masked count as 0.
    Returns:
      For a run, the page in which its network reads, writes and learns. For a sweep, a report: `print` shows its table, and
      ``report.figure.savefig("sweep.png")`` writes its picture.
    Raises:
      InputError: the run uses a custom cell, which the page's JavaScript cannot run; or `last` is out of range.
    """
    if isinstance(found, Sweep):
        return report_sweep(found, last)
    if not isinstance(found, Run) or last is not None:
        given = "last is for a sweep" if isinstance(found, Run) else f"show was given {describe_kind(found)}"
        raise InputError(f"{given}; it takes a Run, or a Sweep and last=")
    return make_page(found)[0]


def _given(text: Any, preset: str | None, settings: dict[str, Any]) -> Given:
    """Check settings from Python just as flags are checked, and store a text that was given as a string."""
    check_preset(preset)
    known = [setting.name for setting in arguments.list_settings(Config)]
    for name in settings:
        if name not in known:
            similar = difflib.get_close_matches(name, known, 1)
            raise InputError(f"no setting {name!r}; " + (f"did you mean {similar[0]}?" if similar else "see jaxrnn.Config"))
    names, documents = _split_kinds(text)
    if names is not None and ("resume" not in settings or text != "comedie"):
        settings = {**settings, "text": names[0]}
    values = arguments.parse_values(Config, _to_flags(settings))
    if names is not None and len(names) > 1:
        values["text"] = names
    given = Given(preset, values)
    return given if documents is None else store_documents(given, start.origin_settings(given), documents)


def _split_kinds(text: Any) -> tuple[tuple[str, ...] | None, Iterable[str] | None]:
    """Return the names of a text, or the documents that it consists of."""
    if isinstance(text, str):
        if "\n" in text or len(text) > MAX_NAME:
            return None, (text,)
        if " " in text and not texts.text_exists(text):
            raise InputError(f"no text {text!r}: neither a file nor a known name; a text itself must contain a line break")
        return (text,), None
    if isinstance(text, Path):
        return (_name_file(text),), None
    if not isinstance(text, Iterable):
        raise InputError(f"text is {text!r}; it must be a name, a path, a text or strings")
    if isinstance(text, list | tuple) and text and all(isinstance(each, Path) for each in text):
        return tuple(map(_name_file, text)), None
    return None, make_documents(text)


def _name_file(path: Path) -> str:
    """Return the name of a file, even if it is that of a known text."""
    return f"./{path}" if str(path) in (*TEXT_NAMES, STDIN) else str(path)


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


def _make_screen(show: bool) -> Console:
    if not show:
        return Console(quiet=True)
    return notebook.make_notebook_screen() if notebook.in_notebook() else report.make_screen()

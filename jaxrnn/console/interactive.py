"""Write texts for one prompt after another, with commands that change how."""

import contextlib
import importlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxrnn.console import report, terminal
from jaxrnn.data import vocabulary
from jaxrnn.data.array_types import ModelParams
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError, check_seed, check_value
from jaxrnn.models.model import Model
from jaxrnn.runtime.signals import interrupt_without_ending
from jaxrnn.scoring.ending import Limits, Passage, check_stop, extend, unescape
from jaxrnn.scoring.sampling import BLOCK, Point, begin_text, check_sampling, continue_text, draw_blocks

MARK = "> "
HELP = r"""Type a text, and the model continues it. \n stands for a line end, \t for a tab, \\ for a backslash.
An empty line starts a new text from the default prompt; to begin a text with a colon, type two.
  :more       continue the last text
  :t 0.7      temperature: 0 = greedy, 1 = the model's own distribution
  :k 5        draw from the 5 most likely characters only; 0 = from all
  :p 0.9      draw from the smallest set of characters with this total probability; 1 = from all
  :n 300      length in characters, to the end of the word
  :stop TEXT  end a text before this one; without TEXT: no stop text
  :seed 3     random seed; the texts that follow are the samples of this seed, in order
  :help       this list; a command without its value shows what is set
  :q          quit, as Ctrl-D does; Ctrl-C stops a text that is being written"""


NUMBERS = {
    "t": ("temperature", float),
    "k": ("top_k", int),
    "p": ("top_p", float),
    "n": ("length", int),
    "seed": ("seed", int),
}


class Choices(NamedTuple):
    """How texts are written."""

    limits: Limits
    seed: int
    temperature: float
    top_k: int
    top_p: float
    skip_unknown: bool


class Session(NamedTuple):
    """What is known between two lines."""

    choices: Choices
    number: int = 0  # of the next text of this seed
    start: Point | None = None  # where the last passage began
    passage_ids: Int[np.ndarray, " read"] = np.zeros(0, np.int32)  # what was read since, the stop text included
    is_over: bool = False


def interact(
    known: Vocabulary, model: Model, params: ModelParams, default_prompt: Int[np.ndarray, " prompt"], choices: Choices
) -> None:
    """Read lines from standard input until it ends, and write to standard output; messages go to standard error.

    Programs are compiled once, before the first line.
    """
    with report.show_status(report.make_screen(), "compiling"):
        _compile(model, params)
    is_typed = _is_terminal(sys.stdin)
    read_line = _editing_reader() if is_typed and _is_terminal(sys.stdout) else _read_line
    session, answer = Session(choices), _make_answerer(known, model, params, default_prompt)
    if is_typed:
        terminal.print_to_stderr("type a text to continue, :help or :q")
    with interrupt_without_ending() if is_typed else contextlib.nullcontext():
        while not session.is_over:
            try:
                line = read_line()
                session = session._replace(is_over=True) if line is None else answer(session, line)
            except KeyboardInterrupt:
                if not is_typed:
                    raise
                print(flush=True)


def _make_answerer(
    known: Vocabulary, model: Model, params: ModelParams, default_prompt: Int[np.ndarray, " prompt"]
) -> Callable[[Session, str], Session]:
    """Make the function that does what a line says; what is wrong with it is told in a line."""

    def answer(session: Session, line: str) -> Session:
        try:
            if line.startswith(":") and not line.startswith("::"):
                name, _, value = line[1:].partition(" ")
                if name != "more":
                    return _command(known, session, name.strip(), value)
                if session.start is None:
                    raise InputError("there is no text to continue yet; type one")
                start = continue_text(model, params, session.start, session.passage_ids)
            else:
                ids = _encode(known, line.removeprefix(":") if line.startswith("::") else line, session.choices)
                ids = ids if len(ids) else default_prompt
                key = jax.random.fold_in(jax.random.key(session.choices.seed), session.number)
                start = begin_text(model, params, ids, key)
                session = session._replace(number=session.number + 1)
                print(vocabulary.decode(known, ids), end="", flush=True)
            read = _write(known, model, params, start, session.choices)
            return session._replace(start=start, passage_ids=read)
        except InputError as error:
            terminal.print_to_stderr(str(error))
            return session

    return answer


def _write(known: Vocabulary, model: Model, params: ModelParams, start: Point, choices: Choices) -> Int[np.ndarray, " read"]:
    """Write a passage from a point on, until it ends or Ctrl-C stops it; return the ids that belong to it."""
    how = {"temperature": choices.temperature, "top_k": choices.top_k, "top_p": choices.top_p}
    drawn, passage = [np.zeros(0, np.int32)], extend(Passage(), "", choices.limits)
    try:
        for block in draw_blocks(model, params, start, **how):
            if passage.has_ended:
                break
            drawn.append(block)
            passage = extend(passage, vocabulary.decode(known, block), choices.limits)
            print(passage.new, end="", flush=True)
    except KeyboardInterrupt:
        passage = passage._replace(num_read=passage.num_shown)
    print(flush=True)
    return np.concatenate(drawn)[: passage.num_read]


def _command(known: Vocabulary, session: Session, name: str, value: str) -> Session:
    choices, value = session.choices, value if name == "stop" else value.strip()
    if name in ("q", "quit"):
        return session._replace(is_over=True)
    if name == "help":
        terminal.print_to_stderr(HELP)
    elif name == "stop":
        stop = unescape(value)
        check_stop(known, stop, ":stop")
        return session._replace(choices=choices._replace(limits=choices.limits._replace(stop=stop)))
    elif name not in NUMBERS:
        raise InputError(f"no command {':' + name!r}; :help lists them all")
    elif not value:
        terminal.print_to_stderr(f":{name} is {getattr(choices, NUMBERS[name][0], choices.limits.length)}")
    else:
        choices = _set_number(choices, name, value)
        return session._replace(choices=choices, number=0 if name == "seed" else session.number)
    return session


def _set_number(choices: Choices, name: str, value: str) -> Choices:
    field, kind = NUMBERS[name]
    try:
        number = kind(value)
    except ValueError:
        raise InputError(f":{name} takes a {'whole ' * (kind is int)}number, not {value!r}") from None
    try:
        if field == "length":
            check_value("length", number, number >= 0, "0 or more")
            return choices._replace(limits=choices.limits._replace(length=number))
        choices = choices._replace(**{field: number})
        check_seed(choices.seed)
        check_sampling(choices.temperature, choices.top_k, choices.top_p, as_flags=True)
    except InputError as error:
        raise InputError(str(error).replace(f"--{field.replace('_', '-')}", f":{name}")) from None
    return choices


def _encode(known: Vocabulary, line: str, choices: Choices) -> Int[np.ndarray, " prompt"]:
    text = unescape(line)
    return vocabulary.encode(known, vocabulary.drop_unknown(known, text) if choices.skip_unknown else text)


def _compile(model: Model, params: ModelParams) -> None:
    """Compile what prompts of up to 256 characters need."""
    for length in (1, BLOCK + 1):
        start = begin_text(model, params, np.zeros(length, np.int32), jax.random.key(0))
    for top_k in (0, 1):
        next(draw_blocks(model, params, start, temperature=1.0, top_k=top_k, top_p=1.0))
    continue_text(model, params, start, np.zeros(1, np.int32))


def _editing_reader() -> Callable[[], str | None]:
    """Make a function that shows a mark and reads a line from the terminal, with editing and history if there is readline."""
    with contextlib.suppress(ImportError):  # Windows has none
        importlib.import_module("readline")  # once it is imported, `input` uses it

    def read() -> str | None:
        while True:
            try:
                return input(MARK)
            except EOFError:
                print(flush=True)
                return None
            except UnicodeDecodeError:
                terminal.print_to_stderr("that line cannot be decoded; type it as UTF-8")

    return read


def _read_line() -> str | None:
    """Read a line; None at the end of the input. Bytes that are not UTF-8 become unknown characters."""
    stream = getattr(sys.stdin, "buffer", sys.stdin)
    try:
        line = stream.readline() if stream else ""
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror or error}") from None
    line = line.decode("utf-8", "surrogateescape") if isinstance(line, bytes) else line
    return line.removesuffix("\n").removesuffix("\r") if line else None


def _is_terminal(stream: Any) -> bool:
    return stream is not None and not stream.closed and stream.isatty()

"""Shared by all programs: flags from a dataclass, errors on one line."""

import contextlib
import importlib
import io
import re
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import tyro

from jaxrnn import __version__
from jaxrnn.console import terminal
from jaxrnn.console.arguments import joined, with_homes, without_defaults
from jaxrnn.errors import DamageFound, Diverged, InputError, NotSaved, OutOfMemory, Stopped, is_out_of_memory
from jaxrnn.runtime.restored import restore_settings
from jaxrnn.storage.quiet import orbax_silenced

Settings = TypeVar("Settings")
IN_OTHER_WORDS = {  # what Python says of a value, and what we say
    r"Error parsing (\S+): .*invalid literal for int\(\) with base 10: ('.*?').*": r"\1 takes a whole number, not \2",
    r"Error parsing (\S+): .*could not convert string to float: ('.*?').*": r"\1 takes a number, not \2",
}
EXIT_CODES = {NotSaved: 1, OutOfMemory: 1, InputError: 2, Diverged: 3, DamageFound: 4}


def parse(
    settings: type[Settings],
    program: str,
    description: str | None,
    arguments: list[str] | None,
    default: Settings | None = None,
) -> Settings:
    """Parse the flags into settings; `--help` prints them, `--version` the version, and ends the program.

    Raises:
      InputError: a flag that does not exist or is given twice, or a value that it does not take.
    """
    given: dict[str, Any] = {} if default is None else {"default": default}
    flags = joined(settings, sys.argv[1:] if arguments is None else arguments)
    if "--version" in flags:
        print(f"jaxrnn {__version__}")
        raise SystemExit(0)
    flags = without_defaults(settings if default is None else default, flags)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            parsed = tyro.cli(
                settings,
                prog=f"python -m jaxrnn.{program}",
                description=f"{description or ''}\n\n--version prints the version.",
                args=flags,
                config=(tyro.conf.FlagCreatePairsOff,),
                **given,
            )
    except SystemExit as ended:
        if not ended.code:
            raise
        raise InputError(_in_one_line(told.getvalue())) from None
    return with_homes(parsed)


def _in_one_line(box: str) -> str:
    """Extract the error from the box that tyro draws: its first section says what is wrong, another may say what was meant."""
    sections = [[]]
    for line in box.splitlines()[1:]:
        words = line.strip("│╰╯|+ ")
        if words and set(words) <= {"─", "-"}:
            sections.append([])
        elif words:
            sections[-1].append(words)
    sections = [section for section in sections if section]
    if sections[0][0].startswith("Missing from"):
        return f"{sections[0][1].split()[0]} is missing; --help lists what there is"
    wrong = " ".join(sections[0]).replace(" Expected 1 values.", "").rstrip(".")
    for python, ours in IN_OTHER_WORDS.items():
        wrong = re.sub(python, ours, wrong)
    meant = [section[1] for section in sections[1:] if section[0].startswith("Perhaps you meant")]
    return f"{wrong}; " + (f"perhaps you meant {meant[0]}; " if meant else "") + "--help lists what there is"


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """End the program with the error's message on stderr and its exit code; after a signal, with 128 + its number.

    Whatever the program changes in its process is then as it was: a notebook or a test may have called it.
    """
    with restore_settings(), terminal.guarded(), orbax_silenced(), terminal.shown(), _one_line_for_errors():
        yield


@contextlib.contextmanager
def _one_line_for_errors() -> Iterator[None]:
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        terminal.say("error: not enough memory on this device")
        raise SystemExit(2) from None
    except tuple(EXIT_CODES) as error:
        terminal.say(f"error: {error}")
        raise SystemExit(next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))) from None
    except Stopped as stopped:
        terminal.say(str(stopped))
        raise SystemExit(128 + stopped.signal) from None
    except KeyboardInterrupt as interrupt:
        terminal.say("stopped")
        raise SystemExit(128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)) from None


def import_meanwhile(*modules: str) -> threading.Thread:
    """Import modules on another core while this one waits for XLA; whoever needs one before then waits for it."""

    def load() -> None:
        with contextlib.suppress(Exception):  # whoever needs it will raise it
            for module in modules:
                importlib.import_module(module)

    # Not a daemon: Python must not tear itself down while this thread imports.
    thread = threading.Thread(target=load)
    thread.start()
    return thread

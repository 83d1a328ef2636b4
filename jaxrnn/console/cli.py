"""Common parts of all programs: flags from a dataclass, errors on one line."""

import contextlib
import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

import jax

from jaxrnn import __version__
from jaxrnn.console import terminal
from jaxrnn.console.arguments import parse_values
from jaxrnn.console.help import print_help
from jaxrnn.errors import DamageFound, Diverged, InputError, NotSaved, OutOfMemory, Stopped, is_out_of_memory
from jaxrnn.runtime.restored import restore_settings
from jaxrnn.storage.quiet import silence_orbax

Settings = TypeVar("Settings")
EXIT_CODES = {NotSaved: 1, OutOfMemory: 1, InputError: 2, Diverged: 3, DamageFound: 4}


def parse(settings: type[Settings], program: str, description: str | None, arguments: list[str] | None) -> Settings:
    """Parse a program's flags; `--help` and `--version` print and end the program.

    Raises:
      InputError: a flag does not exist, is given twice or has an invalid value, or an argument is missing.
    """
    return settings(**parse_given(settings, program, description, arguments))


def parse_given(settings: Any, program: str, description: str | None, arguments: list[str] | None) -> dict[str, Any]:
    """Parse the flags as `parse` does, but return only the values that were typed, by the names of the settings.

    Args:
      settings: the dataclass of flags, or an instance whose values are the defaults that `--help` shows.
    """
    values = parse_values(settings, sys.argv[1:] if arguments is None else arguments)
    if "version" in values:
        print(f"jaxrnn {__version__}")
        raise SystemExit(0)
    if "help" in values:
        print_help(f"python -m jaxrnn.{program}", description or "", settings)
        raise SystemExit(0)
    return values


@contextlib.contextmanager
def exit_on_error() -> Iterator[None]:
    """On an error, exit with a one-line message on stderr and the error's exit code; after a signal, with 128 + its number.

    Everything that the program changed in its process is restored, because a notebook or a test may have called it.
    """
    with (
        restore_settings(),
        terminal.protect_streams(),
        silence_orbax(),
        terminal.exit_on_write_error(),
        _exit_with_message(),
    ):
        yield


@contextlib.contextmanager
def _exit_with_message() -> Iterator[None]:
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        terminal.print_to_stderr("error: not enough memory on this device")
        raise SystemExit(2) from None
    except tuple(EXIT_CODES) as error:
        terminal.print_to_stderr(f"error: {error}")
        raise SystemExit(next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))) from None
    except Stopped as stopped:
        terminal.print_to_stderr(str(stopped))
        raise SystemExit(128 + stopped.signal) from None
    except KeyboardInterrupt as interrupt:
        terminal.print_to_stderr("stopped")
        raise SystemExit(128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)) from None


def import_in_background(*modules: str) -> threading.Thread:
    """Import modules in a thread while this one waits for XLA; importing one of them here waits for that thread."""

    def load() -> None:
        with contextlib.suppress(Exception):  # the import that needs it will raise it
            for module in modules:
                importlib.import_module(module)

    # Not a daemon: Python must not shut down while this thread imports.
    thread = threading.Thread(target=load)
    thread.start()
    return thread

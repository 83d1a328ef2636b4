"""What the three programs share: flags from a dataclass, and errors told in one line."""

import contextlib
import errno
import importlib
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import tyro

from jaxrnn.arguments import joined, with_homes, without_defaults
from jaxrnn.errors import DamageFound, Diverged, InputError, NotSaved, Stopped

Settings = TypeVar("Settings")
NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
IN_OTHER_WORDS = {  # what Python says of a value, and what we say
    r"Error parsing (\S+): .*invalid literal for int\(\) with base 10: ('.*?').*": r"\1 takes a whole number, not \2",
    r"Error parsing (\S+): .*could not convert string to float: ('.*?').*": r"\1 takes a number, not \2",
}
EXIT_CODES = {NotSaved: 1, InputError: 2, Diverged: 3, DamageFound: 4}


def parse(
    settings: type[Settings],
    program: str,
    description: str | None,
    arguments: list[str] | None,
    default: Settings | None = None,
) -> Settings:
    """The settings that the flags say; `--help` prints them and ends the program.

    Raises:
      InputError: a flag that does not exist or is given twice, or a value that it does not take.
    """
    given: dict[str, Any] = {} if default is None else {"default": default}
    flags = joined(settings, sys.argv[1:] if arguments is None else arguments)
    flags = without_defaults(settings if default is None else default, flags)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            parsed = tyro.cli(
                settings,
                prog=f"python -m jaxrnn.{program}",
                description=description,
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
    """tyro draws a box of several sections: the first says what is wrong, another one may say what was meant."""
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
    """Ends the program with the error's message on stderr and its exit code; after a signal, with 128 + its number."""
    _silence_orbax()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a screen that cannot show a character shows a question mark
    try:
        yield
        sys.stdout.flush()
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print("error: not enough memory on this device; try a smaller --hidden-size or fewer --num-streams", file=sys.stderr)
        raise SystemExit(2) from None
    except tuple(EXIT_CODES) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CODES[type(error)]) from None
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        raise SystemExit(128 + stopped.signal) from None
    except BrokenPipeError:  # `| head` has seen enough
        _drop_output()
        raise SystemExit(0) from None
    except OSError as error:
        if error.filename is not None or error.errno not in NOT_WRITTEN:
            raise
        _drop_output()
        print(f"error: the output cannot be written: {(error.strerror or '').lower()}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None


def import_meanwhile(*modules: str) -> threading.Thread:
    """Imports what will be needed on another core, while this one waits for XLA; whoever needs it before then waits for it."""

    def load() -> None:
        with contextlib.suppress(Exception):  # whoever needs it will tell
            for module in modules:
                importlib.import_module(module)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    return thread


def _drop_output() -> None:
    """What is still in the buffer goes nowhere: else Python complains of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Screen(io.FileIO):
    """What it cannot write is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


@contextlib.contextmanager
def unneeded_screen() -> Iterator[None]:
    """Inside, the program goes on when the screen takes nothing more: a closed pipe, a terminal that is gone, a full disk."""
    with contextlib.ExitStack() as redirected:
        for redirect, stream in ((contextlib.redirect_stdout, sys.stdout), (contextlib.redirect_stderr, sys.stderr)):
            if isinstance(stream, io.TextIOWrapper) and stream in (sys.__stdout__, sys.__stderr__):
                buffer = io.BufferedWriter(_Screen(stream.fileno(), "w", closefd=False))
                redirected.enter_context(redirect(io.TextIOWrapper(buffer, stream.encoding, line_buffering=True)))
        yield


def _silence_orbax() -> None:
    """Orbax tells of each file that it cannot read or write. We tell once."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

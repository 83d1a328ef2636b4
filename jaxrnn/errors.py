"""Exceptions that end a program early. Each message is one line for the person at the keyboard."""

import inspect
import math
import operator
from collections.abc import Collection
from typing import Any


class InputError(ValueError):
    """Invalid input. The message names the value, what is allowed and what to do."""


class Diverged(ArithmeticError):
    """Training diverged. The message says where, and what to do."""


class NotSaved(Exception):
    """The run ended, but its final state could not be written."""


class OutOfMemory(Exception):
    """A run that has started does not fit in the memory of its device."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error from Python or JAX means out of memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


class DamageFound(Exception):
    """A file differs from what was saved."""


class Stopped(KeyboardInterrupt):
    """A signal stopped the run, which saved itself first."""

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal


def describe_kind(thing: object) -> str:
    """Name the type of an object, with its article: `an int`, `a Model`; `nothing` for None."""
    kind = type(thing).__name__
    return "nothing" if thing is None else f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}"


def pluralize(number: int, noun: str) -> str:
    """Format a count with its noun: `1 update`, `2,000 updates`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def is_array(thing: Any) -> bool:
    """Return whether this has a shape and a type, like an array of NumPy or JAX, or a description of one."""
    return hasattr(thing, "shape") and hasattr(thing, "dtype")


def is_whole(value: Any, least: int | None = None) -> bool:
    """Return whether this is a whole number, of Python or NumPy, and at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        return False
    return least is None or number >= least


def check_whole(least: int, **numbers: Any) -> None:
    """Raise `InputError` with its name unless each of these is a whole number of at least `least`."""
    for name, number in numbers.items():
        if not is_whole(number, least):
            raise InputError(f"{name} is {number!r}; it must be {least} or more, a whole number")


def is_number(value: Any, least: float | int = -math.inf) -> bool:
    """Return whether this is a finite real number, of Python, NumPy or JAX, and at least `least`."""
    try:
        return not isinstance(value, str | bytes) and least <= float(value) < math.inf
    except (TypeError, ValueError):
        return False


def check_function(what: str, function: Any, *parameters: str, returns: str, may_take: Collection[str] = ()) -> None:
    """Raise `InputError` unless this is a function that takes these positional arguments.

    Args:
      may_take: names of arguments that it gets by keyword if it takes them.
    """
    wanted = f"({', '.join(parameters)}) -> {returns}"
    if not callable(function):
        raise InputError(f"{what} is {describe_kind(function)}; it must be a function {wanted}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return
    try:
        signature.bind(*parameters, **{name: None for name in may_take if name in signature.parameters})
    except TypeError:
        taken = ", ".join(str(each.replace(annotation=each.empty)) for each in signature.parameters.values())
        raise InputError(f"{what} takes ({taken}); it must be a function {wanted}") from None


def check_known(what: str, name: Any, known: Collection[str]) -> None:
    """Raise `InputError` unless the name is a known one."""
    if not isinstance(name, str) or name not in known:
        given = repr(name) if isinstance(name, str) else describe_kind(name)
        raise InputError(f"no {what} {given}; the known ones are {', '.join(known)}")


def check_rate(flag: str, rate: float) -> None:
    """Raise `InputError` unless the rate is a positive finite number."""
    check_value(flag, rate, 1e-30 < rate < 1e30, "over 0, between 1e-30 and 1e30")


def check_seed(seed: int) -> None:
    """Raise `InputError` unless the seed fits in 32 bits."""
    check_value("seed", seed, 0 <= seed < 2**32, "0 to 4294967295")


def check_value(flag: str, value: int | float, allowed: bool, allowed_in_words: str) -> None:
    """Raise `InputError` with the flag and its value unless the value is allowed."""
    if not allowed:
        raise InputError(f"--{flag} is {value}; it must be {allowed_in_words}")

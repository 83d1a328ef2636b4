"""How a program ends early. The messages are for the person at the keyboard: one line each."""


class InputError(ValueError):
    """Wrong input: what was wrong, with the value; what is allowed or what to do."""


class Diverged(ArithmeticError):
    """Learning has failed: where, and what to do."""


class NotSaved(Exception):
    """The run is over, but what it learned last could not be written."""


class OutOfMemory(Exception):
    """A run has begun, and does not fit into the memory of its device."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of Python or JAX says that there is too little memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


class DamageFound(Exception):
    """A file is not what was saved."""


class Stopped(Exception):
    """A signal asked the run to end; it saved itself first."""

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal


def pluralize(number: int, noun: str) -> str:
    """Put a number before its noun, as messages do: `1 update`, `2,000 updates`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def check_rate(flag: str, rate: float) -> None:
    """Raises `InputError` unless the rate is a positive number."""
    check_value(flag, rate, 1e-30 < rate < 1e30, "a finite number over 0, within what float32 can hold")


def check_seed(seed: int) -> None:
    """Raises `InputError` unless the seed fits 32 bits."""
    check_value("seed", seed, 0 <= seed < 2**32, "0 to 4294967295")


def check_value(flag: str, value: int | float, allowed: bool, allowed_in_words: str) -> None:
    """Raises `InputError`, naming the flag and its value, unless it is allowed."""
    if not allowed:
        raise InputError(f"--{flag} is {value}; it must be {allowed_in_words}")

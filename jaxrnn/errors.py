"""What the person at the keyboard is told when the input is wrong: one line, and exit code 2."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Wrong input. The message is one line: what was wrong, with the value; what is allowed or what to do."""


class Diverged(ArithmeticError):
    """The loss is no longer a number. The message is one line: where, and what to do."""


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Ends the program with the error's message on stderr: exit code 2 for wrong input, 3 for a loss that is no number."""
    try:
        yield
    except (InputError, Diverged) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InputError) else 3) from None
    except BrokenPipeError:  # `| head` has seen enough; what is still in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None

"""What can go wrong that is not the program's fault. The messages are for the person at the keyboard: one line each."""


class InputError(ValueError):
    """Wrong input: what was wrong, with the value; what is allowed or what to do."""


class Diverged(ArithmeticError):
    """A loss is no longer a number: where, and what to do."""

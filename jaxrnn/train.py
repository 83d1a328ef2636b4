"""Train a character-level language model online.

A preset sets the defaults of the flags below; a flag on the command line overrides it:
  notebook     the course's model (the default): 128 Elman units, one update per character
  mikolov2010  the recipe of Mikolov et al. (2010): no biases, rate halved by validation loss
  gru, lstm    for your own text: gated cells, AdamW, 32 streams, blocks of 64 characters
  reader       reads a text once: an LSTM mixed with a table of counts, both learning as they read

`--resume RUN` continues a stopped run with its own settings. MODULE:NAME imports a cell, rule, optimizer or text of your own.
"""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import run_program

    run_program("train")

import sys

from jaxrnn.config.resolve import Given, check_preset
from jaxrnn.config.settings import DEFAULT_PRESET, PRESETS
from jaxrnn.console import cli, report, terminal
from jaxrnn.data import files
from jaxrnn.errors import InputError
from jaxrnn.runs.session import train


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    with cli.exit_on_error():
        given = parse(sys.argv[1:] if arguments is None else arguments)
        terminal.tolerate_closed_output()  # a closed terminal must not end the training
        train(given, report.make_screen())


def parse(arguments: list[str]) -> Given:
    """Parse the preset, which is the first argument unless that is a flag, and the flags that follow."""
    named = bool(arguments) and not arguments[0].startswith("-")
    preset, flags = (arguments[0], arguments[1:]) if named else (None, arguments)
    check_preset(preset)
    try:
        values = cli.parse_given(PRESETS[preset or DEFAULT_PRESET], "train [PRESET]", __doc__, flags)
    except InputError as error:
        misplaced = "unexpected argument" in str(error) and any(flag in PRESETS for flag in flags)
        raise InputError(f"{error}; a preset comes before the flags" if misplaced else str(error)) from None
    names = files.as_tuple(values.get("text", ()))[1:]  # what follows a text looks like another one
    misplaced = next((name for name in names if name in PRESETS and files.find_missing(name)), None)
    if misplaced is not None:
        raise InputError(f"unexpected argument {misplaced!r}; a preset comes before the flags")
    return Given(preset, values)

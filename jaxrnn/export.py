"""Weights as a safetensors file, which any program can read, with the vocabulary and the settings in it.

`python -m jaxrnn.export RUN FILE`; `python -m jaxrnn.train --init-from FILE` starts from one.
"""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import console

    console("export")

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import tyro

from jaxrnn.console import cli, report, terminal
from jaxrnn.errors import InputError
from jaxrnn.runtime import devices
from jaxrnn.storage import checkpoint, run_folder
from jaxrnn.storage.checkpoint import Which
from jaxrnn.storage.weights import Weights, check_file, to_bytes


@dataclass(frozen=True)
class ExportConfig:
    """What is written where."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """File to write, which must not exist yet; its name ends in .safetensors, or has no ending."""
    weights: Which = "auto"
    """newest, or best: those of the best epoch, by validation loss, or online loss without a validation part; auto = the best
    if there is a validation part."""


def main(arguments: list[str] | None = None) -> None:
    """The program."""
    with cli.told_in_one_line():
        options = cli.parse(ExportConfig, "export", __doc__, arguments)
        check_file(options.file)
        devices.start_backend()
        with report.busy(report.console(), "reading the checkpoint"):
            run = checkpoint.load(options.run)
        report.show_rejected(run.rejected)
        params = checkpoint.weights(run, options.weights)
        try:
            run_folder.replace_file(options.file, to_bytes(Weights(run.config, run.vocabulary, params)))
        except OSError as error:
            raise InputError(f"{str(options.file)!r} cannot be written: {error.strerror}") from None
        terminal.forgive()  # the file is the result
        num_weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        print(f"{options.file}: {num_weights:,} weights, {checkpoint.weights_in_words(run, options.weights)}")

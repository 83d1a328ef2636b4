"""Export a run's weights to a safetensors file, together with its vocabulary and settings.

`python -m jaxrnn.train --init-from FILE` starts a new run from such a file.
"""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import run_program

    run_program("export")

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax

from jaxrnn.config.flags import Flag, Trust
from jaxrnn.config.trust import trusted
from jaxrnn.console import cli, report, terminal
from jaxrnn.console.program_flags import RunFolder, WhichWeights
from jaxrnn.errors import InputError
from jaxrnn.runtime import devices
from jaxrnn.storage import checkpoint, run_folder
from jaxrnn.storage.weights import Weights, check_new_file, weights_to_bytes


@dataclass(frozen=True)
class ExportConfig:
    """Options."""

    run: RunFolder
    file: Annotated[Path, Flag("FILE", is_positional=True)]
    """File to write, which must not exist yet; its name ends in .safetensors or has no suffix."""
    weights: WhichWeights = "auto"
    trust: Trust = ""


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    with cli.exit_on_error():
        options = cli.parse(ExportConfig, "export", __doc__, arguments)
        check_new_file(options.file)
        devices.start_backend()
        with report.show_status(report.make_screen(), "reading the checkpoint"):
            run = checkpoint.load_run(options.run, trust=trusted(options.trust))
        report.warn_of_rejected(run.rejected)
        params = checkpoint.select_params(run, options.weights)
        try:
            run_folder.replace_file(options.file, weights_to_bytes(Weights(run.config, run.vocabulary, params)))
        except OSError as error:
            raise InputError(f"{str(options.file)!r} cannot be written: {error.strerror}") from None
        terminal.tolerate_closed_output()  # the file is the result
        num_weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        print(f"{options.file}: {num_weights:,} weights, {checkpoint.describe_weights(run, options.weights)}")

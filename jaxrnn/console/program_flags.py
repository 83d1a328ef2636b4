"""Flags that are shared by programs which read a run, each with its text in one place."""

from pathlib import Path
from typing import Annotated, TypeAlias

from jaxrnn.config.flags import Flag
from jaxrnn.storage.checkpoint import WeightsChoice

RUN = Flag("RUN", text="Folder of the run.", is_positional=True)
RunFolder: TypeAlias = Annotated[Path, RUN]
NewestRun: TypeAlias = Annotated[Path | None, RUN._replace(default="the newest in runs/")]
RunOrFile: TypeAlias = Annotated[
    Path | None,
    Flag(
        "RUN|FILE",
        text="Folder of the run, or a file of weights written by jaxrnn.export or saved from a page.",
        default="the newest in runs/",
        is_positional=True,
    ),
]
WhichWeights: TypeAlias = Annotated[
    WeightsChoice,
    Flag(
        text="Weights to use. newest: after the last update. best: after the epoch with the lowest validation loss (or the "
        "lowest online loss, without a validation part). auto: best if there is a validation part, else newest."
    ),
]
SkipUnknown: TypeAlias = Annotated[
    bool, Flag(text="Skip characters that are not in the model's vocabulary; without this flag they are an error.")
]
AsJson: TypeAlias = Annotated[bool, Flag(text="Print one JSON object (losses in nats per character) instead of a table.")]

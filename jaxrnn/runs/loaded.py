"""Load a run from its folder for use in Python, with its losses as arrays and its picture as a figure."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxrnn.config import parts
from jaxrnn.config.settings import Config
from jaxrnn.config.trust import trusted
from jaxrnn.console import plot, report
from jaxrnn.data import files, splitting
from jaxrnn.data.array_types import Params
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import pluralize
from jaxrnn.models.model import Model
from jaxrnn.runs.describe import describe_network
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.storage import checkpoint, logs
from jaxrnn.training.optimizers import OPTIMIZERS
from jaxrnn.training.progress import WINDOW, FinalNumbers, Snapshot, measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Losses(NamedTuple):
    """The losses of a run in nats per character, each with the number of updates after which it was known."""

    window_steps: Int[np.ndarray, " windows"]  #: updates at the end of each window
    window_nats: Float[np.ndarray, " windows"]  #: online losses, each a mean of about a thousand characters
    epoch_steps: Int[np.ndarray, " epochs"]  #: updates at the end of each epoch
    epoch_nats: Float[np.ndarray, " epochs"]  #: online losses
    validation_nats: Float[np.ndarray, " epochs"]  #: validation losses; NaN without a validation part


class Run(NamedTuple):
    """A run that was loaded from its folder."""

    path: Path  #: its folder
    config: Config  #: its settings
    vocabulary: Vocabulary  #: its characters
    model: Model  #: its network
    snapshot: Snapshot  #: the newest state and progress
    params: Params  #: the best weights if there is a validation part, else the newest
    num_characters: int  #: number of characters of the text that were used
    sha256: str  #: SHA-256 of these characters
    numbers: FinalNumbers | None  #: final losses in nats per character; None for a run that is not finished or was not tested
    dynamic: DynamicSettings | None  #: how the network kept learning in the test; None if it was not tested
    num_train: int | None = None  #: number of characters to train on, if the text has several documents; else None

    def __repr__(self) -> str:
        ended = f"; {_describe_result(self.numbers)}" if self.numbers else "; not tested"
        text = self.config.text.text
        name = text if isinstance(text, str) else files.title(text)
        read = f"{pluralize(self.snapshot.progress.epochs, 'epoch')} of {name}"
        return f"Run({str(self.path)!r}: {describe_network(self.config.model)}; {read}{ended})"

    @property
    def losses(self) -> Losses:
        """Return the losses logged so far."""
        return read_losses(self.path)

    @property
    def figure(self) -> "Figure":
        """Return the picture of the losses, which a notebook shows."""
        return draw_figure(self)


def load(path: str | Path, trust: str | Sequence[str] = ()) -> Run:
    """Load a run from the newest undamaged checkpoint in its folder; each one that is skipped is named on stderr.

    Args:
      path: the run's folder.
      trust: packages whose code may be imported, if the run's settings name it.
    Raises:
      InputError: there is no run in the folder, or it cannot be used.
    """
    saved = checkpoint.load_run(path, trust=trusted(trust))
    report.warn_of_rejected(saved.rejected)
    events = logs.read_events(saved.path)
    final = logs.find_newest(events, "final")
    return Run(
        path=saved.path,
        config=saved.config,
        vocabulary=saved.vocabulary,
        model=saved.model,
        snapshot=saved.snapshot,
        params=checkpoint.select_params(saved),
        num_characters=saved.about["text"]["characters"],
        sha256=saved.about["text"]["sha256"],
        num_train=saved.about["text"].get("train_characters"),
        numbers=_numbers(final) if final else None,
        dynamic=_dynamic(logs.find_newest(events, "final", "stream"), saved.config),
    )


def read_losses(path: Path) -> Losses:
    """Read the losses from the metrics of a run."""
    events = logs.read_events(path)
    windows, epochs = ([event for event in events if event["event"] == name] for name in ("progress", "epoch"))

    def column(rows: list[dict[str, Any]], name: str) -> Float[np.ndarray, " rows"]:
        return np.array([math.nan if row.get(name) is None else row[name] for row in rows], np.float64)

    return Losses(
        column(windows, "step").astype(np.int64),
        column(windows, "online_nats"),
        column(epochs, "step").astype(np.int64),
        column(epochs, "online_nats"),
        column(epochs, "validation_nats"),
    )


def draw_figure(run: Run) -> "Figure":
    """Draw the losses as a matplotlib figure; if the run is not finished, without the lines of the final numbers."""
    numbers = measured(run.numbers) if run.numbers else {}
    curves = plot.collect_curves(logs.read_events(run.path), _updates_per_epoch(run))
    return plot.figure(curves, numbers, WINDOW, report.replace_controls(run.path.name))


def read_dynamic(path: Path, config: Config) -> DynamicSettings | None:
    """Read how a run last learned in a test, or from a stream; None if it did neither since it was last changed."""
    return _dynamic(logs.find_newest(logs.read_events(path), "final", "stream"), config)


def _numbers(final: Mapping[str, Any]) -> FinalNumbers | None:
    if "online_nats" not in final or final.get("tested") is False:
        return None
    return FinalNumbers(*(math.nan if final.get(name) is None else final[name] for name in FinalNumbers._fields))


def _describe_result(numbers: FinalNumbers) -> str:
    tested = "heldout_nats" in measured(numbers)
    return f"held out {numbers.heldout_nats:.4f} nats" if tested else f"online {numbers.online_nats:.4f} nats"


def _dynamic(event: Mapping[str, Any] | None, config: Config) -> DynamicSettings | None:
    with contextlib.suppress(KeyError, TypeError):
        how = (event or {})["dynamic"]
        found = DynamicSettings(**{**how, "rates": tuple(how["rates"])})
        # Unlike the settings, the metrics were not checked for what they import.
        return found if found.optimizer in (*OPTIMIZERS, config.evaluation.dynamic_optimizer) else None
    return None


def _updates_per_epoch(run: Run) -> int:
    settings, num_streams = run.config.text, run.config.learning.num_streams
    validation = float(settings.validation_fraction)
    lengths = splitting.split_lengths(run.num_characters, validation, settings.heldout_fraction)
    num_train = run.num_train or lengths.train
    return (num_train - 1) // num_streams // parts.block_length(run.config)

"""Load what writes a text: the network of a run, its mixture with counts, or a file of weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxrnn.config import build
from jaxrnn.config.build import Data
from jaxrnn.console import report
from jaxrnn.data.array_types import ModelParams
from jaxrnn.data.files import as_tuple, list_names
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.models.model import Model
from jaxrnn.runs.own_text import load_own_data, mix_as_learned, mix_with_counts, training_segments
from jaxrnn.runtime import precision
from jaxrnn.scoring.novelty import Segment
from jaxrnn.storage import checkpoint
from jaxrnn.storage.checkpoint import SavedRun, WeightsChoice
from jaxrnn.storage.weights import read_weights


class Writer(NamedTuple):
    """A model to write with."""

    vocabulary: Vocabulary
    model: Model
    params: ModelParams
    text: str = ""  # what it was trained on, by its name or path; "" if that is not known
    segments: Sequence[Segment] = ()  # that text, if asked for


def load_writer(path: Path, which: WeightsChoice, trust: Sequence[str], mixed: bool = False, novelty: bool = False) -> Writer:
    """Load the folder of a run or a file of weights.

    Args:
      which: the weights of the run to use.
      mixed: mix in counts of the run's text.
      novelty: also read the text that the run was trained on.
    Raises:
      InputError: there is no run; a file of weights has none of what is asked for; the run's text is gone or has changed.
    """
    if not _is_file(path):
        return _load_run(path, which, trust, mixed, novelty)
    wanted = {"--mixed": mixed, "--novelty": novelty, f"--weights {which}": which != "auto"}
    for flag in (flag for flag, is_wanted in wanted.items() if is_wanted):
        raise InputError(f"{flag} needs the folder of a run; {str(path)!r} is a file of weights: leave {flag} out")
    weights = read_weights(path, trust)
    precision.use_float32()
    return Writer(weights.vocabulary, build.build_model(weights.config, weights.vocabulary), weights.params)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # an impossible file name
        return False


def _load_run(path: Path, which: WeightsChoice, trust: Sequence[str], mixed: bool, novelty: bool) -> Writer:
    screen = report.make_screen()
    with report.show_status(screen):
        run = checkpoint.load_run(path, trust=trust)
    report.warn_of_rejected(run.rejected)
    precision.use_float32()  # before the network reads, with --mixed
    params = checkpoint.select_params(run, which)
    writer, data = Writer(run.vocabulary, run.model, params, list_names(as_tuple(run.config.text.text), 3)), None
    if mixed and run.config.learning.counts:
        model, params = mix_as_learned(run, params)
        writer = writer._replace(model=model, params=params)
    elif mixed:
        with report.show_status(screen, "counting"):
            data = _load_data(run, "leave --mixed out", "which --mixed counts")
            model, params = mix_with_counts(run, params, data)
        writer = writer._replace(model=model, params=params)
    if novelty:
        with report.show_status(screen, "reading the text"):
            data = data or _load_data(run, "leave --novelty out", "in which --novelty searches")
            writer = writer._replace(segments=training_segments(data))
    return writer


def _load_data(run: SavedRun, remedy: str, what_for: str) -> Data:
    return load_own_data(run.config, run.vocabulary, run.about["text"]["sha256"], remedy, f"{what_for}; {remedy}")

"""Measure how well a model predicts a text: with frozen weights, with dynamic evaluation (learning goes on), and with counts.

By default that is the run's own text: its training part and its held-out part.
"""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import run_program

    run_program("evaluate")

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from jaxrnn.config.build import Data
from jaxrnn.config.flags import CompilationCache, Flag, Trust
from jaxrnn.config.settings import AUTO, Config, TextConfig
from jaxrnn.config.trust import trusted_by
from jaxrnn.console import cli, report, verdict
from jaxrnn.console.program_flags import AsJson, RunFolder, SkipUnknown, WhichWeights
from jaxrnn.data.array_types import Params
from jaxrnn.data.files import Names
from jaxrnn.errors import InputError, check_rate, check_value, pluralize
from jaxrnn.runs import testing
from jaxrnn.runs.limits import TestLimits
from jaxrnn.runs.loaded import read_dynamic
from jaxrnn.runs.other_text import OtherText, read_other_text
from jaxrnn.runs.own_text import load_own_data
from jaxrnn.runs.testing import resolve_dynamic, source_nats
from jaxrnn.runtime import devices, precision
from jaxrnn.runtime.compilation_cache import keep_programs
from jaxrnn.scoring.counting import run_to_end
from jaxrnn.scoring.evaluation import DynamicSettings, describe_dynamic
from jaxrnn.storage import checkpoint, logs


@dataclass(frozen=True)
class EvaluateConfig:
    """Options."""

    run: RunFolder
    text: Annotated[Names, Flag("NAME|FILE|FOLDER|-|MODULE:NAME ...", default="the parts of the run's own text")] = ""
    """Another text to evaluate on, or several, which are joined."""
    encoding: str = TextConfig.encoding
    """Encoding of --text."""
    separator: Annotated[str, Flag("TEXT", default="each file is one document")] = ""
    """What stands between documents of --text, as in training."""
    reset: bool = True
    """Carry the state on from one document of --text to the next."""
    dynamic: Annotated[float | Literal["auto"] | None, Flag("FLOAT|auto", default="as in the run")] = None
    """Learning rate of dynamic evaluation; auto = the optimizer and rate, or mixture of rates, that does best on the validation
    part of the run's own text."""
    test_characters: int = 0
    """Number of characters to read of the held-out part (or the other text), from its beginning, and of the training part; 0 =
    all."""
    weights: WhichWeights = "auto"
    skip_unknown: SkipUnknown = False
    json: AsJson = False
    trust: Trust = ""
    compilation_cache: CompilationCache = True


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    with cli.exit_on_error(), contextlib.ExitStack() as inside:
        options = cli.parse(EvaluateConfig, "evaluate", __doc__, arguments)
        if isinstance(options.dynamic, float):
            check_rate("dynamic", options.dynamic)
        check_value("test-characters", options.test_characters, options.test_characters >= 0, "0 (all) or more")
        _check_form(options)
        devices.start_backend()
        screen = report.make_screen()
        with report.show_status(screen):
            inside.enter_context(keep_programs(options.compilation_cache))
            run = checkpoint.load_run(options.run, trust=trusted_by(vars(options)))
        report.warn_of_rejected(run.rejected)
        precision.use_float32()
        params, config = checkpoint.select_params(run, options.weights), _with_dynamics(run.config, options.dynamic)
        saved = read_dynamic(run.path, run.config) if options.dynamic is None and options.weights == "auto" else None
        needed = not options.text or (config.evaluation.dynamic == AUTO and saved is None)
        with report.show_status(screen, "compiling and testing"):
            if not options.text and not run.config.text.heldout_fraction:
                raise InputError(f"the run in {str(run.path)!r} has no held-out part to test on: name a text with --text")
            data = _own_data(run, config) if needed else None
            how = saved or resolve_dynamic(config, data, run.model, params)
            own = None if options.text else data
            facts = {}
            if own is None:
                form = _form_of(options)
                other = read_other_text(run.config, run.vocabulary, form, options.skip_unknown)
                facts, (numbers, tested) = other.facts, _other_text(run, params, options, how, other)
            else:
                numbers, tested = _own_text(run, config, own, params, how, options)
        if options.json:
            values = {name: value for name, (value, _) in numbers.items()}
            print(logs.to_json_line(values | tested | {"dynamic": how._asdict()}))
        else:
            weights = checkpoint.describe_weights(run, options.weights)
            report.show_facts(screen, {"run": str(run.path), "weights": weights, "dynamic": describe_dynamic(how), **facts})
            report.show_losses(screen, {meaning: value for value, meaning in numbers.values()})
            names = ("frozen_nats", "dynamic_nats") if own is None else ("heldout_nats", "heldout_dynamic_nats")
            report.show_verdicts(screen, _verdicts(config, how, *(numbers[name][0] for name in names)))


def _form_of(options: EvaluateConfig) -> TextConfig:
    """Return the settings of the other text: all of it is read."""
    form = {name: getattr(options, name) for name in ("text", "encoding", "separator", "reset")}
    return TextConfig(**form, max_characters=0)


def _check_form(options: EvaluateConfig) -> None:
    """Raise `InputError` if flags say how another text is read, and none is named."""
    for name, default in (("encoding", TextConfig.encoding), ("separator", ""), ("reset", True)):
        if not options.text and getattr(options, name) != default:
            flag = "--no-reset" if name == "reset" else f"--{name}"
            raise InputError(f"{flag} works only with --text: the run's own text is read as in training")


def _verdicts(config: Config, how: DynamicSettings, frozen_nats: float, dynamic_nats: float) -> list[str]:
    chosen, auto = config.evaluation.dynamic == AUTO, "--dynamic auto" if config.text.validation_fraction else ""
    line = verdict.judge_dynamic(frozen_nats, dynamic_nats, how.rates, chosen, "--dynamic", auto)
    return [line] if line else []


def _with_dynamics(config: Config, wanted: float | str | None) -> Config:
    if wanted is None:
        return config
    how = {"dynamic": AUTO} if isinstance(wanted, str) else {"dynamic": "fixed", "dynamic_rate": wanted}
    return dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, **how))


def _own_data(run: checkpoint.SavedRun, config: Config) -> Data:
    rate = " --dynamic RATE" if config.evaluation.dynamic == AUTO else ""  # auto chooses on the run's own text
    seen = "so its held-out part may have been seen; to test on it anyway, name it with --text"
    sha256 = run.about["text"]["sha256"]
    return load_own_data(config, run.vocabulary, sha256, f"test on any text with --text PATH{rate}", seen)


def _own_text(
    run: checkpoint.SavedRun, config: Config, data: Data, params: Params, how: DynamicSettings, options: EvaluateConfig
) -> tuple[dict[str, tuple[float, str]], dict[str, int]]:
    limits, expected = TestLimits(options.test_characters), run.snapshot.progress.best_nats
    found = run_to_end(testing.measure(config, data, run.model, params, how, limits, expected))
    of_parts = testing.describe_parts(config.learning.num_streams, data, found)
    names = ("train_nats", "heldout_nats", "heldout_dynamic_nats", "heldout_counts_nats", "heldout_mixed_nats")
    numbers = dict(zip(names, (found.train_nats, *found.scores[1:]), strict=True))
    floor = source_nats(data, found.scores.num_characters)
    of_source = f"held-out text, the source itself: no model is better on average{of_parts.get('heldout_nats', '')}"
    least = {} if floor is None else {"source_nats": (floor, of_source)}
    shown = {name: (value, report.MEANINGS[name] + of_parts.get(name, "")) for name, value in numbers.items()}
    return shown | least, testing.describe_extent(found)


def _other_text(
    run: checkpoint.SavedRun, params: Params, options: EvaluateConfig, how: DynamicSettings, other: OtherText
) -> tuple[dict[str, tuple[float, str]], dict[str, int]]:
    name, ids, _ = other
    if 0 < options.test_characters < len(ids) - 1:
        ids, name = ids[: options.test_characters + 1], f"{name}, its first {pluralize(options.test_characters, 'character')}"
    expected = run.snapshot.progress.best_nats
    scores = run_to_end(testing.score(run.config, run.vocabulary.characters, run.model, params, ids, how, expected))
    numbers = {
        "frozen_nats": (scores.frozen_nats, f"{name}, weights frozen"),
        "dynamic_nats": (scores.dynamic_nats, f"{name}, dynamic: {describe_dynamic(how)}"),
        "counts_nats": (scores.counts_nats, f"{name}, counts alone, of this text only: a table, no network"),
        "mixed_nats": (scores.mixed_nats, f"{name}, all together: network and counts"),
    }
    return numbers, {"characters": scores.num_characters}

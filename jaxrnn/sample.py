"""Sample text from a trained model and print it character by character."""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import run_program

    run_program("sample")

import contextlib
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxrnn.array_types import ModelParams, RandomKey
from jaxrnn.config import build
from jaxrnn.config.flags import CompilationCache, Flag, Seed, Trust
from jaxrnn.config.trust import trusted
from jaxrnn.console import cli, report
from jaxrnn.console.program_flags import RunOrFile, SkipUnknown, WhichWeights
from jaxrnn.data import paths, vocabulary
from jaxrnn.data import text as texts
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError, check_seed, check_value
from jaxrnn.models.model import Model
from jaxrnn.models.scalar_loops import on_host
from jaxrnn.runs.own_text import load_own_data, mix_as_learned, mix_with_counts
from jaxrnn.runtime import devices
from jaxrnn.runtime.compilation_cache import keep_programs
from jaxrnn.scoring.sampling import BLOCK, TEMPERATURE, check_sampling, default_prompt, sample_blocks
from jaxrnn.scoring.sampling import sample as sample  # jaxrnn.sample.sample
from jaxrnn.storage import checkpoint
from jaxrnn.storage.weights import read_weights


@dataclass(frozen=True)
class SampleConfig:
    """Options."""

    run: RunOrFile = None
    prompt: Annotated[str | None, Flag("TEXT", default="a full stop")] = None
    """Text for the model to continue; it may be long, and may begin with a dash."""
    length: int = 500
    """Number of characters to generate."""
    temperature: float = TEMPERATURE
    """0 = greedy; 1 = the model's own distribution; higher = more random."""
    top_k: int = 0
    """Sample from the k most likely characters only; 0 = from all."""
    top_p: float = 1.0
    """Sample from the smallest set of characters with at least this total probability; 1 = from all."""
    weights: WhichWeights = "auto"
    mixed: bool = False
    """Let network and counts write together: the run's text is read and counted first, which takes a few seconds."""
    seed: Seed = 0
    num_samples: int = 1
    """Number of samples, each with its own random numbers."""
    skip_unknown: SkipUnknown = False
    trust: Trust = ""
    compilation_cache: CompilationCache = True


def check_options(config: SampleConfig) -> None:
    """Raise `InputError`, naming the flag, if a value is not allowed."""
    check_value("length", config.length, config.length >= 0, "0 or more")
    check_sampling(config.temperature, config.top_k, config.top_p)
    check_value("num-samples", config.num_samples, config.num_samples >= 1, "1 or more")
    check_seed(config.seed)
    if config.prompt is not None and not texts.normalise_newlines(config.prompt):
        raise InputError("--prompt is empty; give at least one character")


def encode_prompt(known: Vocabulary, prompt: str, skip_unknown: bool) -> Int[np.ndarray, " prompt"]:
    """Encode a prompt, with newlines normalised; unknown characters are skipped, or raise `InputError`."""
    prompt = texts.normalise_newlines(prompt)
    if skip_unknown:
        prompt = vocabulary.drop_unknown(known, prompt)
        if not prompt:
            raise InputError("--prompt has no character that is in the run's vocabulary")
    try:
        return vocabulary.encode(known, prompt)
    except InputError as error:
        raise InputError(f"--prompt: {error}; leave it out, or add --skip-unknown") from None


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    with cli.exit_on_error(), contextlib.ExitStack() as inside:
        config = cli.parse(SampleConfig, "sample", __doc__, arguments)
        check_options(config)
        devices.start_backend()
        inside.enter_context(keep_programs(config.compilation_cache))
        if config.mixed:
            inside.enter_context(on_host())
        path = paths.expand_home(config.run or checkpoint.newest_run())
        saved = (_load_file if _is_file(path) else _load_run)(path, config)
        known, (model, params) = saved.vocabulary, saved.writer
        prompt = default_prompt(known) if config.prompt is None else config.prompt
        prompt_ids = encode_prompt(known, prompt, config.skip_unknown)
        if config.run is None:
            print(f"from {path}", file=sys.stderr)
        for number in range(config.num_samples):
            if number:
                print(f"\n{'-' * 40}")
            _print_sample(known, model, params, prompt_ids, config, jax.random.fold_in(jax.random.key(config.seed), number))


class Saved(NamedTuple):
    """What was loaded for writing."""

    vocabulary: Vocabulary
    writer: tuple[Model, ModelParams]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # an impossible file name
        return False


def _load_run(path: Path, config: SampleConfig) -> Saved:
    with report.show_status(report.make_screen()):
        run = checkpoint.load_run(path, trust=trusted(config.trust))
    report.warn_of_rejected(run.rejected)
    devices.set_precision(run.config.device)  # before the network reads, with --mixed
    params = checkpoint.select_params(run, config.weights)
    writer = (run.model, params)
    if config.mixed and run.config.learning.counts:
        writer = mix_as_learned(run, params)
    elif config.mixed:
        remedy = "leave --mixed out"
        sha256, changed = run.about["text"]["sha256"], f"which --mixed counts; {remedy}"
        with report.show_status(report.make_screen(), "counting"):
            data = load_own_data(run.config, run.vocabulary, sha256, remedy, changed)
            writer = mix_with_counts(run, params, data)
    return Saved(run.vocabulary, writer)


def _load_file(path: Path, config: SampleConfig) -> Saved:
    """Load a file of weights, which says nothing about a text or epochs."""
    if config.mixed or config.weights != "auto":
        flag = "--mixed" if config.mixed else f"--weights {config.weights}"
        raise InputError(f"{flag} needs the folder of a run; {str(path)!r} is a file of weights: leave {flag} out")
    weights = read_weights(path, trusted(config.trust))
    devices.set_precision(weights.config.device)
    return Saved(weights.vocabulary, (build.build_model(weights.config, weights.vocabulary), weights.params))


def _print_sample(
    known: Vocabulary,
    model: Model,
    params: ModelParams,
    prompt_ids: Int[np.ndarray, " prompt"],
    config: SampleConfig,
    key: RandomKey,
) -> None:
    how = {"temperature": config.temperature, "top_k": config.top_k, "top_p": config.top_p}
    with report.show_status(report.make_screen(), "compiling"):
        blocks = sample_blocks(model, params, prompt_ids, key=key, **how)
        blocks = itertools.chain([next(blocks)], blocks)  # draw the first, slow one here
    print(vocabulary.decode(known, prompt_ids), end="", flush=True)
    for left in range(config.length, 0, -BLOCK):
        print(vocabulary.decode(known, next(blocks)[:left]), end="", flush=True)
    print()

"""Sample text from a trained model and print it character by character."""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import run_program

    run_program("sample")

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from jaxrnn.config.flags import CompilationCache, Flag, Seed, Trust
from jaxrnn.config.trust import trusted
from jaxrnn.console import cli, interactive, report, terminal
from jaxrnn.console.program_flags import RunOrFile, SkipUnknown, WhichWeights
from jaxrnn.data import paths
from jaxrnn.data import text as texts
from jaxrnn.errors import InputError, check_seed, check_value, pluralize
from jaxrnn.models.scalar_loops import on_host
from jaxrnn.runs.drawing import Prompts, Wanted, draw_as_json, draw_as_text
from jaxrnn.runs.prompts import Prompt, encode_prompt, read_prompts
from jaxrnn.runs.writer import Writer, load_writer
from jaxrnn.runtime import devices
from jaxrnn.runtime.compilation_cache import keep_programs
from jaxrnn.scoring.ending import Limits, check_stop, unescape
from jaxrnn.scoring.sampling import TEMPERATURE, check_sampling, default_prompt
from jaxrnn.scoring.sampling import sample as sample  # jaxrnn.sample.sample
from jaxrnn.storage import checkpoint
from jaxrnn.storage.new_file import check_new_file, write_new_file


@dataclass(frozen=True)
class SampleConfig:
    """Options."""

    run: RunOrFile = None
    prompt: Annotated[str | None, Flag("TEXT", default="a full stop")] = None
    """Text for the model to continue; it may be long, and may begin with a dash."""
    prompt_file: Annotated[Path | None, Flag("FILE|-", default="none")] = None
    """File whose whole content is the prompt, without the line end at its end; - = standard input."""
    prompt_lines: bool = False
    """Take each line of --prompt-file as a prompt of its own; empty lines are left out."""
    interactive: bool = False
    """Ask for one prompt after another; :help lists what else can be typed. --prompt is what an empty line stands for."""
    length: int = 500
    """Number of characters to generate. The text goes on to the end of the word, for at most 30 more characters."""
    exact_length: bool = False
    """End after exactly --length characters, even inside a word."""
    stop: Annotated[str | None, Flag("TEXT", default="none")] = None
    """End the text before this one, which is not printed; \\n stands for a line end, \\t for a tab, \\\\ for a backslash."""
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
    """Number of samples of each prompt, drawn side by side, each with its own random numbers."""
    novelty: bool = False
    """Quote the longest piece of each sample that stands in the text that the run was trained on."""
    format: Literal["text", "jsonl"] = "text"
    """jsonl = a JSON object per line: prompt, text (what follows the prompt), characters, nats (-ln of the text's probability
    in the model's own distribution, whatever the temperature), seed, number (from 0)."""
    output: Annotated[Path | None, Flag("FILE", default="standard output")] = None
    """New file to write the samples to, all at once at the end; an existing file is never overwritten."""
    skip_unknown: SkipUnknown = False
    trust: Trust = ""
    compilation_cache: CompilationCache = True


def check_options(config: SampleConfig) -> None:
    """Raise `InputError`, naming the flag, if a value is not allowed."""
    check_value("length", config.length, config.length >= 0, "0 or more")
    check_sampling(config.temperature, config.top_k, config.top_p, as_flags=True)
    check_value("num-samples", config.num_samples, config.num_samples >= 1, "1 or more")
    check_seed(config.seed)
    for flag in ("prompt", "stop"):
        value = getattr(config, flag)
        if value is not None and not texts.normalise_newlines(value):
            raise InputError(f"--{flag} is empty; give at least one character")
    if config.prompt is not None and config.prompt_file:
        raise InputError("--prompt and --prompt-file are both given; leave one of them out")
    if config.prompt_lines and not config.prompt_file:
        raise InputError("--prompt-lines needs a --prompt-file")
    if config.interactive:
        for flag in ("prompt_file", "num_samples", "novelty", "format", "output"):
            if getattr(config, flag) != getattr(SampleConfig, flag):
                name = flag.replace("_", "-")
                raise InputError(f"--{name} is not possible with --interactive; leave one of them out")


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    with cli.exit_on_error(), contextlib.ExitStack() as inside:
        config = cli.parse(SampleConfig, "sample", __doc__, arguments)
        check_options(config)
        output = check_new_file(config.output, "--output") if config.output else None
        prompts = read_prompts(config.prompt_file, config.prompt_lines) if config.prompt_file else None
        devices.start_backend()
        inside.enter_context(keep_programs(config.compilation_cache))
        if config.mixed:
            inside.enter_context(on_host())
        path = paths.expand_home(config.run or checkpoint.newest_run())
        writer = load_writer(path, config.weights, trusted(config.trust), config.mixed, config.novelty)
        known, stop = writer.vocabulary, unescape(texts.normalise_newlines(config.stop or ""))
        check_stop(known, stop, "--stop")
        prompts = prompts or [Prompt(default_prompt(known) if config.prompt is None else config.prompt, "--prompt")]
        ids = [encode_prompt(known, prompt.text, config.skip_unknown, prompt.source) for prompt in prompts]
        if config.run is None:
            print(f"from {path}", file=sys.stderr)
        limits = Limits(config.length, stop, config.exact_length)
        how = {"temperature": config.temperature, "top_k": config.top_k, "top_p": config.top_p}
        if config.interactive:
            choices = interactive.Choices(limits=limits, seed=config.seed, skip_unknown=config.skip_unknown, **how)
            interactive.interact(known, writer.model, writer.params, ids[0], choices)
        else:
            _write(writer, ids, Wanted(limits, how, config.seed, config.num_samples, config.novelty), config.format, output)


def _write(writer: Writer, prompts: Prompts, wanted: Wanted, format_: str, output: Path | None) -> None:
    with report.show_status(report.make_screen(), "compiling"):
        if format_ == "jsonl":
            pieces = draw_as_json(writer, prompts, wanted, only_ascii=not (output or sys.stdout.encoding.startswith("utf")))
        else:
            pieces = draw_as_text(writer, prompts, wanted)
        first = next(pieces)
    if output:
        write_new_file(output, "".join([first, *pieces]), "--output")
        terminal.tolerate_closed_output()  # the file is the result
        print(f"{output}: {pluralize(len(prompts) * wanted.num_samples, 'sample')}")
        return
    print(first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)

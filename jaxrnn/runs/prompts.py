"""Read prompts as they are given: on the command line, in a file or on standard input."""

import stat
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxrnn.data import paths, vocabulary
from jaxrnn.data import text as texts
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError

STDIN = Path("-")


class Prompt(NamedTuple):
    """A prompt with normalised newlines, and what to call it in errors."""

    text: str
    source: str


def read_prompts(file: Path, one_per_line: bool) -> list[Prompt]:
    """Read a file, or standard input for `-`: as one prompt, without the line end at its end, or a prompt from each line.

    Lines without a character are left out.

    Raises:
      InputError: it cannot be read, is not UTF-8, or holds no prompt.
    """
    name = "standard input" if file == STDIN else f"--prompt-file {str(file)!r}"
    try:
        content = _read_stdin() if file == STDIN else _read_file(paths.expand_home(file))
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
    try:
        text = texts.normalise_newlines(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8: byte 0x{content[error.start]:02X} at offset {error.start} is not valid"
        ) from None
    if one_per_line:
        lines = enumerate(text.split("\n"), start=1)
        prompts = [Prompt(line, f"line {number} of {name}") for number, line in lines if line]
    else:
        prompts = [Prompt(text.removesuffix("\n"), name)]
    if not prompts or not prompts[0].text:
        raise InputError(f"{name} holds no prompt; it must hold at least one character")
    return prompts


def encode_prompt(known: Vocabulary, prompt: str, skip_unknown: bool, source: str = "--prompt") -> Int[np.ndarray, " prompt"]:
    """Encode a prompt, with newlines normalised; unknown characters are skipped, or raise `InputError`."""
    prompt = texts.normalise_newlines(prompt)
    if skip_unknown:
        prompt = vocabulary.drop_unknown(known, prompt)
        if not prompt:
            raise InputError(f"{source} has no character that is in the run's vocabulary")
    try:
        return vocabulary.encode(known, prompt)
    except InputError as error:
        raise InputError(f"{source}: {error}; leave it out, or add --skip-unknown") from None


def _read_stdin() -> bytes:
    if sys.stdin is None:
        return b""
    stream = getattr(sys.stdin, "buffer", None)
    return stream.read() if stream else sys.stdin.read().encode("utf-8", "surrogateescape")


def _read_file(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"--prompt-file {str(path)!r} is a folder; name a file")
        if not stat.S_ISREG(mode):
            raise InputError(f"--prompt-file {str(path)!r} is not a regular file; for a pipe, give it as - (standard input)")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"no file {str(path)!r} for --prompt-file") from None

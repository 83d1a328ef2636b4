"""The folder of a run: its name and the plain files in it (the checkpoints are `checkpoint.py`'s)."""

import itertools
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxrnn import config as configs
from jaxrnn.config import Config
from jaxrnn.errors import InputError

CONFIG, METRICS, SAMPLES, PICTURE = FILES = ("config.json", "metrics.jsonl", "samples.txt", "loss.png")


def choose(preset: str, config: Config) -> Path:
    """Where the run goes: the folder that was asked for, or the next free default name. Nothing is written.

    Raises:
      InputError: the folder that was asked for holds a run, or is no folder.
    """
    if not config.run.run_dir:
        text = re.sub(r"[^\w.-]+", "_", Path(config.text.text).stem)
        first = Path("runs", f"{preset}-{text}-{config.run.seed}")
        numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
        return next(path for path in itertools.chain([first], numbered) if not path.exists())
    path = Path(config.run.run_dir)
    if path.exists() and not path.is_dir():
        raise InputError(f"--run-dir {str(path)!r} is a file; name a folder")
    if any((path / name).exists() for name in (*FILES, "checkpoints")):
        raise InputError(
            f"--run-dir {str(path)!r} already holds a run, which is never overwritten: name another folder, "
            "leave --run-dir out for a numbered one, or remove that folder first"
        )
    return path


def create(path: Path, config: Config) -> None:
    """Makes the folder, with the settings of the run in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / CONFIG).write_text(json.dumps(configs.to_json(config), indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"the run's folder {str(path)!r} cannot be written: {error.strerror}") from None


def add_metrics(path: Path, event: str, values: Mapping[str, Any]) -> None:
    """Appends one line of JSON; numbers that JSON does not know become null."""
    values = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
    with (path / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": event, **values}, ensure_ascii=False, allow_nan=False) + "\n")


def add_sample(path: Path, title: str, sample: str) -> None:
    """Appends a text that the model wrote."""
    with (path / SAMPLES).open("a", encoding="utf-8", newline="\n") as file:
        file.write(f"=== {title} ===\n{sample}\n\n")

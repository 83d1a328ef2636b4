"""The folder of a run: its name and the plain files in it (the checkpoints are `checkpoint.py`'s)."""

import contextlib
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


def create(preset: str, config: Config) -> Path:
    """Makes the run's folder, with its settings in it: the one that was asked for, or the next free default name.

    Raises:
      InputError: the folder that was asked for holds a run, or is no folder, or cannot be written.
    """
    path = Path(config.run.run_dir)
    try:
        if config.run.run_dir:
            _check_free(path)
            path.mkdir(parents=True, exist_ok=True)
        else:
            path = _next_free(preset, config)
        settings = json.dumps(configs.to_json(config), indent=2, ensure_ascii=False)
        (path / CONFIG).write_text(f"{settings}\n", "utf-8")
    except OSError as error:
        raise InputError(f"the run's folder {str(error.filename or path)!r} cannot be written: {error.strerror}") from None
    return path


def _check_free(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"--run-dir {str(path)!r} is a file; name a folder")
    if any((path / name).exists() for name in (*FILES, "checkpoints")):
        raise InputError(
            f"--run-dir {str(path)!r} already holds a run, which is never overwritten: name another folder, "
            "leave --run-dir out for a numbered one, or remove that folder first"
        )


def _next_free(preset: str, config: Config) -> Path:
    text = re.sub(r"[^\w.-]+", "_", Path(config.text.text).stem)
    first = Path("runs", f"{preset}-{text}-{config.run.seed}")
    first.parent.mkdir(exist_ok=True)
    for number in itertools.count(1):
        path = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with contextlib.suppress(FileExistsError):  # another process may take a name between a look and the making
            path.mkdir()
            return path
    raise AssertionError("numbers do not end")


def to_json_line(values: Mapping[str, Any]) -> str:
    """One line of JSON; numbers that JSON does not know (NaN, infinity) become null."""
    known = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
    return json.dumps(known, ensure_ascii=False, allow_nan=False)


def add_metrics(path: Path, event: str, values: Mapping[str, Any]) -> None:
    """Appends an event to the run's metrics."""
    with (path / METRICS).open("a", encoding="utf-8") as file:
        file.write(to_json_line({"event": event, **values}) + "\n")


def add_sample(path: Path, title: str, sample: str) -> None:
    """Appends a text that the model wrote."""
    with (path / SAMPLES).open("a", encoding="utf-8", newline="\n") as file:
        file.write(f"=== {title} ===\n{sample}\n\n")

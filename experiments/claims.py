"""What the experiments share: a run by its flags, and a number that must lie where the README says."""

import contextlib
import io
import json
import tempfile
from pathlib import Path

from jaxrnn import train


def run(*flags: str) -> list[dict]:
    """The lines of metrics.jsonl that `python -m jaxrnn.train FLAGS` writes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        train.main([*flags, "--sample-length", "0", "--run-dir", folder])
        return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text("utf-8").splitlines()]


def expect(name: str, value: float, lowest: float, highest: float) -> None:
    """Ends the script unless the value lies between the two."""
    if not lowest <= value <= highest:
        raise SystemExit(f"{name} is {value:.4f}, which is not between {lowest:.4f} and {highest:.4f}")

"""How wide a GRU should be: its held-out loss by width and by the characters that it has learned from, on three texts.

    python experiments/width.py code.txt documentation.txt

Takes 90 minutes on two cores; downloads 1.7 MB once. The texts are the first 1.5 million characters of Molière, of the sources
of Python's standard library (the modules in its top folder, in alphabetical order), and of its documentation strings; and the
first 500,000 of each. `gru` reads them in several epochs, at widths of 256, 384 and 512, so that no loss depends on a machine.
How many characters a network reads in a given time does, and `--hidden-size auto` measures that.

Products were in bfloat16, one seed each. On the long texts 512 units are better than 256 at the same number of characters: in
the mean of frozen and dynamic by 0.06 nats after 2.6 million and by 0.02 to 0.04 after 16 million. But they read fewer of them.
On the short texts, read twelve times, they are worse with frozen weights, and dynamic by 0.02 better on the code and by 0.01 to
0.02 worse on the others. So a text of less than a million characters is always learned by 256 units.

To the losses of the long texts, the mean of frozen and dynamic, a sum is fitted: what the text costs every network, what a
network loses by its width, and what it loses by having read too little:

    loss = text + A * (256 / width) ** a + B * (1,000,000 / characters) ** b

`auto.predict_excess` has A, a, B and b, and `--hidden-size auto` takes the width for which it is lowest. Writes
results/width.json, which keeps what is measured if the script is stopped, and results/width.md.
"""

import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from claims import expect, write_table

from jaxrnn.config import auto

RESULTS = Path(__file__).with_name("results") / "width.json"
WIDTHS, LONG, SHORT = auto.HIDDEN_SIZES, 1_500_000, 500_000
EPOCHS = {LONG: (2, 5, 12), SHORT: (12,)}
TRAINED = 0.88  # of a long text: the rest is validation and held-out part
LOSSES = ("heldout_nats", "heldout_dynamic_nats", "heldout_mixed_nats")
FLAGS = ["--num-devices", "1", "--precision", "bfloat16", "--sample-length", "0"]
FLAGS += ["--test-characters", "60000", "--dynamic", "fixed", "--dynamic-rate", "0.05"]


class Fit(NamedTuple):
    """Constants of the sum, and how far it is from what was measured (root of the mean square, in nats)."""

    width_nats: float
    width_power: float
    reading_nats: float
    reading_power: float
    error: float


def main(code: Path, documentation: Path) -> None:
    """Measure what is not in the results yet.

    Args:
      code: sources, as a text.
      documentation: documentation, as a text.
    """
    texts = {"Molière": "moliere", "Python code": str(code), "documentation": str(documentation)}
    found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for (name, text), length in itertools.product(texts.items(), EPOCHS):
        for epochs, width in itertools.product(EPOCHS[length], WIDTHS):
            if (key := name_of(name, length, epochs, width)) not in found:
                found[key] = measure(text, length, epochs, width)
                RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    write_table("width", table(found, list(texts)))
    best = fit(found, list(texts))
    print(f"fitted: {best}")
    expect("fitted sum: distance from what was measured, in nats", best.error, 0.0, 0.02)
    constants = (auto.WIDTH_NATS, auto.WIDTH_POWER, auto.READING_NATS, auto.READING_POWER)
    for name, ours, fitted in zip(Fit._fields, constants, best, strict=False):
        expect(f"{name} of `auto`, as a multiple of the fitted one", ours / fitted, 0.8, 1.25)


def name_of(text: str, length: int, epochs: int, width: int) -> str:
    return f"{text} | {length} characters | {epochs} epochs | {width} units"


def measure(text: str, length: int, epochs: int, width: int) -> dict[str, float]:
    """Train a network and return its losses on the held-out part."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        sizes = ["--max-characters", str(length), "--epochs", str(epochs), "--hidden-size", str(width)]
        command = [sys.executable, "-m", "jaxrnn.train", "gru", "--text", text, *sizes, *FLAGS, "--run-dir", str(run_dir)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return read_losses(run_dir)


def read_losses(run_dir: Path) -> dict[str, float]:
    """Read the losses on the held-out part from the metrics of a run."""
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text("utf-8").splitlines())
    numbers: Any = next(line for line in lines if line["event"] == "final")
    return {name: numbers[name] for name in LOSSES}


def fit(found: dict[str, dict[str, float]], texts: list[str]) -> Fit:
    """Fit the sum to the losses of the long texts: powers by trying, the other constants by least squares."""
    keys = [key for key in found if f"| {LONG} characters" in key]
    numbers = np.array([[int(number) for number in re.findall(r"\d+", key.partition("|")[2])] for key in keys])
    _, epochs, width = numbers.T
    losses = np.array([np.mean([found[key][name] for name in LOSSES[:2]]) for key in keys])
    of_text = np.array([[key.startswith(text) for text in texts] for key in keys], float)
    fits = []
    for width_power, reading_power in itertools.product(np.arange(0.1, 2.05, 0.1), repeat=2):
        by_width, by_reading = (256 / width) ** width_power, (1e6 / (TRAINED * LONG * epochs)) ** reading_power
        terms = np.column_stack([of_text, by_width, by_reading])
        constants = np.linalg.lstsq(terms, losses)[0]
        error = float(np.sqrt(np.mean((terms @ constants - losses) ** 2)))
        fits.append(Fit(float(constants[-2]), float(width_power), float(constants[-1]), float(reading_power), error))
    return min(fits, key=lambda one: one.error)


def table(found: dict[str, dict[str, float]], texts: list[str]) -> list[str]:
    """Format the losses: a row for each text and number of epochs, a column for each width."""
    head = ["text", "epochs", *(f"{width} units" for width in WIDTHS)]
    rows = []
    for text, length in itertools.product(texts, EPOCHS):
        for epochs in EPOCHS[length]:
            of_widths = [found[name_of(text, length, epochs, width)] for width in WIDTHS]
            cells = [" / ".join(f"{losses[name]:.3f}" for name in LOSSES) for losses in of_widths]
            rows.append([f"{text}, {length:,} characters", str(epochs), *cells])
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


if __name__ == "__main__":
    tyro.cli(main)

"""How start-up, memory and the time of an update grow with the length of the text, from 1 MB to 1 GB.

    python experiments/scale.py

Takes two minutes and a gigabyte in the folder for temporary files; `--largest 100` measures up to 100 MB in one. The texts are
shuffled paragraphs of Molière. Each is read by a process of its own, which prepares `train gru --max-characters 0` and trains
for some seconds, without the final test. Dropout, which otherwise depends on the length, is fixed. Expected: reading grows in
proportion and takes at most 20 s a GB; memory is 3 bytes a character at most, and 600 MB, give or take a tenth, for JAX and its
compiler; the time of an update does not grow. Exit code 1 if one of the first two fails. Writes results/scale.json and
results/scale.md.
"""

import dataclasses
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
import tyro

from jaxrnn.config import auto, build
from jaxrnn.config.settings import PRESETS, Config
from jaxrnn.data import text
from jaxrnn.runs.advance import advance
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runs.task import prepare
from jaxrnn.runtime import devices

SIZES = (1, 10, 100, 1000)  # MB
UPDATES, REPEATS = 10, 7  # together fewer updates than the shortest text has
MOST_SECONDS, MOST_BYTES, BASE_BYTES = 20.0, 3.0, 600e6  # per GB; per character; besides those
RESULTS = Path(__file__).with_name("results")


class Measured(NamedTuple):
    """The measurements of one process."""

    characters: int
    read_seconds: float  # the file, in parts, as ids
    start_seconds: float  # from before reading the file to the end of the first update, compilation included
    peak_bytes: int  # physical memory of the process
    microseconds: float  # per update


def main(
    largest: int = SIZES[-1], measure: Annotated[Path | None, tyro.conf.arg(help="measure one file, and print JSON")] = None
) -> None:
    """Measure texts of up to `largest` MB, each in a process of its own."""
    if measure is not None:
        print(json.dumps(measure_file(measure)._asdict()))
        return
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in (size for size in SIZES if size <= largest):
            path = Path(folder) / "text.txt"
            write_text(path, size * 10**6)
            command = [sys.executable, __file__, "--measure", str(path)]
            found.append(Measured(**json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)))
            print(size, found[-1], flush=True)
    RESULTS.joinpath("scale.json").write_text(json.dumps([row._asdict() for row in found], indent=1) + "\n", "utf-8")
    table = "\n".join(table_of(found)) + "\n"
    RESULTS.joinpath("scale.md").write_text(table, "utf-8")
    print(table)
    raise SystemExit(0 if all(holds(row) for row in found) else 1)


def write_text(path: Path, size: int) -> None:
    """Write the paragraphs of Molière over and over, in a new order each time, up to `size` bytes."""
    paragraphs, draw, left = text.read("moliere").split("\n\n"), random.Random(0), size
    with path.open("wb") as file:
        while left > 0:
            draw.shuffle(paragraphs)
            data = "\n\n".join([*paragraphs, ""]).encode()[:left]
            left -= file.write(data.decode(errors="ignore").encode().ljust(len(data)))  # whole characters


def measure_file(path: Path) -> Measured:
    """Train as `train gru` does, without the test."""
    config = settings_of(path)
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    devices.make_core_devices(config.learning.rule, 0)
    devices.start_backend()
    started = time.perf_counter()
    data = build.load_data(config)
    read = time.perf_counter()
    task = prepare(devices.resolve_num_devices(auto.resolve_auto(config, data.num_used)), data)
    snapshot = advance(task, first_snapshot(task), 1).snapshot
    ready, seconds = time.perf_counter(), math.inf
    for _ in range(REPEATS):
        before = time.perf_counter()
        snapshot = advance(task, snapshot, UPDATES).snapshot
        seconds = min(seconds, (time.perf_counter() - before) / UPDATES)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Measured(data.num_used, read - started, ready - started, peak, 1e6 * seconds)


def settings_of(path: Path) -> Config:
    """Make the preset's settings, with the same work at any length of text."""
    gru = PRESETS["gru"]
    return dataclasses.replace(
        gru,
        text=dataclasses.replace(gru.text, text=str(path)),
        model=dataclasses.replace(gru.model, hidden_size=256),
        learning=dataclasses.replace(gru.learning, dropout=0.1, epochs=100),
    )


def holds(row: Measured) -> bool:
    """Return whether reading and memory are within bounds; the compiler's memory varies by a tenth."""
    in_time = row.read_seconds <= 1 + MOST_SECONDS * row.characters / 1e9
    return in_time and row.peak_bytes <= 1.1 * BASE_BYTES + MOST_BYTES * row.characters


def table_of(found: list[Measured]) -> list[str]:
    """Format a row for each length, and the exponents fitted to all of them."""
    lines = [
        "| characters | reading, s | start-up, s | peak memory, MB | 600 MB + 3 bytes a character | an update, ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        most = (BASE_BYTES + MOST_BYTES * row.characters) / 1e6
        seconds = f"{row.read_seconds:.2f} | {row.start_seconds:.1f}"
        peak = f"{row.peak_bytes / 1e6:,.0f} | {most:,.0f}"
        lines.append(f"| {row.characters:,} | {seconds} | {peak} | {row.microseconds / 1e3:.0f} |")
    if len(found) > 2:
        of = [exponent(found, name) for name in ("read_seconds", "start_seconds", "peak_bytes", "microseconds")]
        lines.append(f"| exponent | {of[0]:.2f} | {of[1]:.2f} | {of[2]:.2f} | | {of[3]:.2f} |")
    return lines


def exponent(found: list[Measured], name: str) -> float:
    """Fit the exponent of the length by least squares of logarithms: 1 = grows in proportion."""
    x, y = (np.log([getattr(row, which) for row in found]) for which in ("characters", name))
    return float(np.polyfit(x, y, 1)[0])


if __name__ == "__main__":
    tyro.cli(main)

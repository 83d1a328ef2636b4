"""The rows of `bench.py`, and their table."""

import json
import platform
from pathlib import Path
from typing import NamedTuple

import jax

RESULTS = Path(__file__).with_name("results")


class Measured(NamedTuple):
    """A row of the table."""

    name: str
    microseconds: dict[str, float]  # per character, by contestant
    build_seconds: float  # up to the compiled program
    times_as_fast: float  # relative to the best peer
    least: float


def in_words(measured: Measured) -> str:
    """Format a row of the table in Markdown."""
    times = ", ".join(f"{name} {float(f'{each:.3g}'):,g}" for name, each in measured.microseconds.items())
    short = "" if measured.times_as_fast >= measured.least else " (short of it)"
    least = f"{measured.least:.3g}{short}" if measured.least else ""
    built = f"{measured.build_seconds:.1f}" if measured.build_seconds else ""
    return f"| {measured.name} | **{measured.times_as_fast:.2f}** | {least} | {times} | {built} |"


def write(rows: list[Measured], cores: int, torch_version: str) -> None:
    """Write the JSON and the table, with the name of this machine and its number of cores."""
    versions = {"Python": platform.python_version(), "jax": jax.__version__, "PyTorch": torch_version}
    device = jax.devices()[0]
    machine = device.device_kind if device.platform == "gpu" else f"{platform.machine()}, {cores} cores, {device.device_kind}"
    name = "bench_gpu" if device.platform == "gpu" else "bench"
    RESULTS.mkdir(exist_ok=True)
    about = {"machine": machine, **versions}
    (RESULTS / f"{name}.json").write_text(json.dumps({**about, "rows": [row._asdict() for row in rows]}, indent=1) + "\n")
    head = "| | times as fast | wanted | µs a character (PyTorch's threads) | built in s |\n|---|---|---|---|---|\n"
    title = ", ".join([machine, *[f"{package} {version}" for package, version in versions.items()]])
    (RESULTS / f"{name}.md").write_text(f"{title}\n\n{head}" + "".join(f"{in_words(row)}\n" for row in rows), "utf-8")

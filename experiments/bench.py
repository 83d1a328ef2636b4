"""How many times as fast as PyTorch, and as hand-written C, jaxrnn is.

    pip install -e ".[bench]" && python experiments/bench.py

Takes six minutes. jaxrnn and its peers take turns on every row, several times, and the shortest time of each counts, because
whatever else the machine does only adds to it. PyTorch runs with one thread and with all, and the better one counts; jaxrnn
uses as many devices as `python -m jaxrnn.train` would. Where another precision than float32 is the default, blocks are measured
in both: float32 beside PyTorch's float32, and the default (bfloat16 on a CPU that multiplies it, TensorFloat-32 on an NVIDIA
GPU) beside the best of PyTorch's float32, the same precision and bfloat16 (autocast). The ratios are what carries over to
another machine; the rows below hold the goals. Writes results/bench.json, and results/bench.md for
docs/reference/performance.md. On a GPU, PyTorch runs there as well, and the script measures other rows, with fewer repeats, and
writes results/bench_gpu.*.

`--only REGEX` measures the rows whose name matches, and writes nothing. C is skipped where there is no gcc.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import c_peer
import jax
import numpy as np
import torch_peers
import tyro
from bench_tables import Measured, in_words, write

from jaxrnn import fast_driver, online, plain_driver
from jaxrnn.config import build
from jaxrnn.config.settings import Config, DeviceConfig, LearningConfig, ModelConfig
from jaxrnn.data import text, vocabulary
from jaxrnn.data.streams import to_streams
from jaxrnn.models.model import Model
from jaxrnn.models.network import network
from jaxrnn.rules import bptt, one_step, with_precision
from jaxrnn.runtime import devices, precision
from jaxrnn.scoring.sampling import sample
from jaxrnn.training.learner import Learner, copy_arrays
from jaxrnn.training.optimizers import make_optimizer

REPEATS, GPU_REPEATS, SECONDS = 7, 4, 0.4  # approximate length of a repeat
RATE, CHECKED = 0.1, 2_000
PLAIN, FAST, FLOOR, TORCH = "plain driver", "fast driver", "C", "PyTorch"

Run = Callable[[int], Any]  # runs a number of updates


class Row(NamedTuple):
    """One measurement, and how many times as fast as PyTorch it must be."""

    cell: str
    hidden: int
    streams: int
    length: int  # characters in a block
    least: float
    least_rounded: float = 0.0  # the same for bfloat16

    @property
    def name(self) -> str:
        streams = "one stream" if self.streams == 1 else f"{self.streams} streams"
        block = "an update after each character" if self.length == 1 else f"blocks of {self.length}"
        return f"{'Elman' if self.cell == 'elman' else self.cell.upper()} {self.hidden}, {streams}, {block}"


ROWS = [
    *[Row("elman", hidden, 1, 1, 1.5) for hidden in (256, 512, 1024)],
    *[Row("elman", hidden, streams, 1, 1.5) for hidden in (128, 512) for streams in (8, 32, 128, 512)],
    *[Row("gru", hidden, 32, 50, 2.0, 1.5) for hidden in (128, 256, 512)],
    *[Row("lstm", hidden, 32, 50, 1.3, 1.5) for hidden in (128, 256, 512)],
    Row("lstm", 128, 1, 32, 2.5),
]
GPU_ROWS = [
    *[Row("elman", hidden, streams, 1, 0.0) for hidden, streams in ((512, 1), (512, 32), (512, 512), (2048, 1))],
    *[Row(cell, hidden, 32, 50, 0.0) for cell in ("gru", "lstm") for hidden in (256, 512, 1024)],
    *[Row(cell, hidden, 256, 50, 0.0) for cell in ("gru", "lstm") for hidden in (256, 1024)],
]
COURSE = "Elman 128, one stream, an update after each character"
DRAWING = "Elman 128, drawing a text"
START = "a fresh process: the course's ten epochs"


def main(only: str = "") -> None:
    """Measure all rows, or those whose name matches."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    jax.config.update("jax_default_matmul_precision", "float32")
    torch_peers.use_precision()
    devices.make_core_devices("bptt", 0)
    characters = text.read("comedie")
    known = vocabulary.of_text(characters)
    ids = vocabulary.encode(known, characters)
    on_gpu = jax.default_backend() == "gpu"
    wanted = re.compile(only, re.IGNORECASE)
    rows = []

    def add(measured: Measured) -> None:
        rows.append(measured)
        print(in_words(measured), flush=True)

    for least, name, measure in ((0.0, COURSE, course), (12.0, DRAWING, drawing)):
        if wanted.search(name):
            for measured in measure(name, least, ids, len(known.characters)):
                add(measured)
    for row in GPU_ROWS if on_gpu else ROWS:
        if wanted.search(row.name):
            for measured in measure_row(row, np.tile(ids, 20) if on_gpu else ids, len(known.characters)):
                add(measured)
    if wanted.search(START) and not on_gpu:
        add(fresh_process(rows))
    if not only:
        write(rows, numbers_of_threads()[-1], torch_peers.torch.__version__)


def course(name: str, least: float, ids: np.ndarray, vocab_size: int) -> list[Measured]:
    """Time the course's network: both drivers, PyTorch and C, from the same weights, with the same losses."""
    del least
    model, stream = network("elman", vocab_size), to_streams(ids)
    learner = online(model, one_step(model), make_optimizer("sgd", RATE))
    start = jax.jit(learner.init)(build.make_keys(0).init)
    on_device = devices.shard_stream(stream, None)
    most = len(ids) - 1
    drives = {PLAIN: plain_driver(learner), FAST: fast_driver(learner, most)}
    losses = {name: drive(copy_arrays(start), on_device, CHECKED)[1] for name, drive in drives.items()}
    losses[TORCH] = np.array(torch_peers.one_step(start, stream, RATE, CHECKED, 1)())
    peers = {f"{TORCH} ({threads})": threads for threads in numbers_of_threads()}
    runs: dict[str, Run] = {
        name: lambda n, drive=drive: drive(copy_arrays(start), on_device, n) for name, drive in drives.items()
    }
    for peer, threads in peers.items():
        runs[peer] = lambda n, threads=threads: torch_peers.one_step(start, stream, RATE, n, threads)()
    if shutil.which("gcc") and jax.default_backend() == "cpu":
        program = c_peer.floor(start, RATE)
        losses[FLOOR] = program(ids, CHECKED)
        runs[FLOOR] = lambda n: program(ids, n)
    np.testing.assert_allclose(losses[FAST], losses[PLAIN], rtol=1e-5)
    for others in losses.values():
        np.testing.assert_allclose(others, losses[PLAIN], rtol=1e-3)
    seconds, _ = interleaved(runs, most)
    named = {name: 1e6 * each for name, each in seconds.items()}
    beside = [Measured(f"{name}: {driver} beside PyTorch", {k: named[k] for k in (driver, *peers)}, 0.0,
                       min(seconds[peer] for peer in peers) / seconds[driver], least)
              for driver, least in ((PLAIN, 8.0), (FAST, 30.0))]  # fmt: skip
    if FLOOR in seconds:
        least = 1 / 2.0 if jax.__version_info__ < (0, 12) else 1 / 1.35
        times = {k: named[k] for k in (FAST, FLOOR)}
        beside.append(Measured(f"{name}: {FAST} beside C", times, 0.0, seconds[FLOOR] / seconds[FAST], least))
    return beside


def drawing(name: str, least: float, ids: np.ndarray, vocab_size: int) -> list[Measured]:
    """Time sampling, character by character."""
    model = network("elman", vocab_size)
    learner = online(model, one_step(model), make_optimizer("sgd", RATE))
    start = jax.jit(learner.init)(build.make_keys(0).init)
    key = jax.random.key(0)
    runs: dict[str, Run] = {"jaxrnn": lambda n: sample(model, start.params, ids[:1], n, key=key)}
    for threads in numbers_of_threads():
        runs[f"{TORCH} ({threads})"] = lambda n, threads=threads: torch_peers.sample(start, n, threads)()
    return [measured_of(name, *interleaved(runs, 100_000), 1, least)]


def measure_row(row: Row, ids: np.ndarray, vocab_size: int) -> list[Measured]:
    """Time one row beside PyTorch, in float32 and, if that is the default, in bfloat16."""
    stream, default = to_streams(ids, row.streams), precision.resolve_precision(settings_of(row, "auto")).device.precision
    both = ["float32"] if default == "float32" else ["float32", default]
    most = (len(stream) - 1) // row.length
    runs: dict[str, Run] = {f"jaxrnn {name}": in_jax(row, stream, vocab_size, most, name) for name in both}
    for name in both if both[-1] in ("float32", "bfloat16") else [*both, "bfloat16"]:
        for threads in numbers_of_threads():
            runs[f"{TORCH} {name} ({threads})"] = in_torch(row, stream, vocab_size, threads, name)
    seconds, build_seconds = interleaved(runs, most)
    found = []
    for name, least in zip(both, (row.least, row.least_rounded), strict=False):
        peers = [other for other in runs if other.startswith(TORCH) and (name != "float32" or f"{TORCH} float32" in other)]
        times = {"jaxrnn": seconds[f"jaxrnn {name}"], **{other: seconds[other] for other in peers}}
        title = row.name if name == "float32" else f"{row.name}, in {name}"
        found.append(measured_of(title, times, build_seconds, row.streams * row.length, least))
    return found


def in_jax(row: Row, stream: np.ndarray, vocab_size: int, most: int, products: str) -> Run:
    """Train a row with products of this precision."""
    model = network(row.cell, vocab_size, row.hidden, embedding_size=0 if row.cell == "elman" else row.hidden)
    learner = learner_of(row, model, products)
    mesh = devices.make_mesh(devices.resolve_num_devices(settings_of(row, products)))
    on_device = devices.shard_stream(stream, mesh)
    start = devices.shard_state(jax.jit(learner.init)(build.make_keys(0).init), mesh)
    drive = fast_driver(learner, most)
    return lambda n: drive(copy_arrays(start), on_device, n)


def learner_of(row: Row, model: Model, products: str) -> Learner:
    """Make a learner: for single characters the course's, for blocks that of `--rule bptt`."""
    streams = () if row.streams == 1 else (row.streams,)
    if row.length == 1:
        return online(model, one_step(model), make_optimizer("sgd", RATE), streams)
    rule = bptt(model, row.length)
    rule = rule if products == "float32" else with_precision(rule, products)
    return online(model, rule, make_optimizer("adam", 1e-3, clip_norm=1.0), streams)


def settings_of(row: Row, products: Any) -> Config:
    """Make the settings that decide the number of devices and the precision."""
    rule = "one_step" if row.length == 1 else "bptt"
    return Config(
        model=ModelConfig(cell=row.cell, hidden_size=row.hidden),
        learning=LearningConfig(rule=rule, rule_length=row.length, num_streams=row.streams),
        device=DeviceConfig(precision=products),
    )


def in_torch(row: Row, stream: np.ndarray, vocab_size: int, threads: int, products: str) -> Run:
    """Train the same row in PyTorch."""
    if row.length == 1:
        model = network(row.cell, vocab_size, row.hidden)
        start = jax.jit(learner_of(row, model, products).init)(build.make_keys(0).init)
        return lambda n: torch_peers.one_step(start, stream, RATE, n, threads)()
    return lambda n: torch_peers.blocks(row.cell, vocab_size, row.hidden, stream, row.length, n, threads, products)()


def numbers_of_threads() -> list[int]:
    """List the numbers of threads to try in PyTorch; one suffices to feed a GPU."""
    if jax.default_backend() != "cpu":
        return [1]
    return sorted({1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1})


def interleaved(runs: dict[str, Run], most: int) -> tuple[dict[str, float], float]:
    """Measure each contestant's shortest time of an update, and the time until the first one had made its first update."""
    started = time.perf_counter()
    next(iter(runs.values()))(1)
    build_seconds, counts, shortest = time.perf_counter() - started, {}, dict.fromkeys(runs, float("inf"))
    for name, run in runs.items():
        count = min(10, most)
        run(count)
        started = time.perf_counter()
        run(count)
        counts[name] = max(1, min(most, int(count * SECONDS / (time.perf_counter() - started))))
    for _ in range(REPEATS if jax.default_backend() == "cpu" else GPU_REPEATS):
        for name, run in runs.items():
            started = time.perf_counter()
            run(counts[name])
            shortest[name] = min(shortest[name], (time.perf_counter() - started) / counts[name])
    return shortest, build_seconds


def measured_of(name: str, seconds: dict[str, float], build_seconds: float, characters: int, least: float) -> Measured:
    """Compare jaxrnn with the best of its peers."""
    peer = min(each for contestant, each in seconds.items() if contestant != "jaxrnn")
    microseconds = {contestant: 1e6 * each / characters for contestant, each in seconds.items()}
    return Measured(name, microseconds, build_seconds, peer / seconds["jaxrnn"], least)


def fresh_process(rows: list[Measured]) -> Measured:
    """Time the whole command, with a cold and a warm compilation cache, beside PyTorch's bare loop over as many characters."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        for name in ("cold", *["with compiled programs"] * 3):
            started = time.perf_counter()
            command = [sys.executable, "-m", "jaxrnn.train"]
            subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
            seconds[name] = min(seconds.get(name, float("inf")), time.perf_counter() - started)
    characters = 450_000
    of_course = (row.microseconds for row in rows if row.name.startswith(COURSE))
    peer = [each for row in of_course for name, each in row.items() if name.startswith(TORCH)]
    microseconds = {name: 1e6 * each / characters for name, each in seconds.items()}
    if peer:
        microseconds[f"{TORCH}, the loop alone"] = min(peer)
    ratio = min(peer) / microseconds["cold"] if peer else float("nan")
    print(", ".join(f"{name} {each:.1f} s" for name, each in seconds.items()))
    return Measured(START, microseconds, 0.0, ratio, 0.0)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

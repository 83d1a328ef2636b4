"""How the time of an update grows with hidden units, streams, characters in a block, layers and length of the text.

    python experiments/cost.py

Takes four minutes. Each time is compared with a roofline: the time that the update's matrix products would take at this
machine's best rate in the precision of the row, or the time to read and write the weights at full speed, whichever is longer.
Rows are in float32 unless they say bfloat16, in which a processor that lacks it is slow. Time and roofline each have
an exponent from one row to the next: 1 = grows in proportion to the quantity varied. Expected: where there is much to do, the
time grows like the roofline; with few streams and in small networks it is far above the roofline, and so grows less.
Writes results/cost.json, results/cost.md and results/cost.png.
"""

import functools
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from pictures import GREY, add_legend, cell_look, draw_picture, new_figure

from jaxrnn import fast_driver, online
from jaxrnn.config.settings import Config, DeviceConfig, LearningConfig, ModelConfig
from jaxrnn.data import text, vocabulary
from jaxrnn.data.streams import to_streams
from jaxrnn.models.cells import CELLS
from jaxrnn.models.network import network
from jaxrnn.rules import bptt, one_step, with_precision
from jaxrnn.runtime import devices
from jaxrnn.training.learner import Learner, copy_arrays
from jaxrnn.training.optimizers import make_optimizer

REPEATS, SECONDS = 9, 0.2  # approximate length of a repeat
RESULTS = Path(__file__).with_name("results")


class Work(NamedTuple):
    """One update, or a text to read by updates."""

    cell: str = "gru"
    hidden: int = 256
    streams: int = 32
    length: int = 50  # characters in a block
    layers: int = 1
    characters: int = 0  # to read from each stream in a call; 0 = as many as fill a repeat
    products: Literal["float32", "bfloat16"] = "float32"

    def __str__(self) -> str:
        name = "Elman" if self.cell == "elman" else self.cell.upper()
        layers = "" if self.layers == 1 else f"{self.layers} layers of "
        read = f", {self.characters:,} characters" if self.characters else ""
        rounded = "" if self.products == "float32" else f", {self.products}"
        return f"{name} {layers}{self.hidden}, B = {self.streams}, k = {self.length}{read}{rounded}"


class Cost(NamedTuple):
    """A measured time beside its roofline."""

    num_devices: int
    microseconds: float  # per update, or for the whole text
    roofline: float  # microseconds
    exponent: float | None  # growth of the time since the previous row
    expected: float | None  # growth of the roofline


COURSE = Work("elman", 128, 1, 1)
GROWING: dict[str, list[Work]] = {
    "hidden units, one stream": [COURSE._replace(hidden=hidden) for hidden in (64, 128, 256, 512, 1024)],
    "hidden units": [Work(hidden=hidden) for hidden in (64, 128, 256, 512)],
    "hidden units, bfloat16": [Work(hidden=hidden, products="bfloat16") for hidden in (64, 128, 256, 512)],
    "streams": [Work(streams=streams) for streams in (1, 8, 32, 128)],
    "characters in a block": [Work(length=length) for length in (8, 16, 32, 64, 128)],
    "layers": [Work(hidden=128, layers=layers) for layers in (1, 2, 4)],
    "length of the text": [COURSE._replace(characters=characters) for characters in (1_000, 10_000, 100_000, 1_000_000)],
}


def main() -> None:
    """Measure, print and write everything."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    devices.make_core_devices("bptt", 0)
    characters = text.read("comedie")
    known = vocabulary.of_text(characters)
    ids, vocab_size = np.resize(vocabulary.encode(known, characters), 1_000_001), len(known.characters)
    seconds, speed = {}, {}
    kinds = itertools.product((1, jax.device_count()), ("float32", "bfloat16"))
    flops: dict[tuple[int, str], float] = dict.fromkeys(kinds, 0.0)
    for what, works in GROWING.items():
        print(f"measuring: {what}", flush=True)
        seconds[what] = []
        for work in works:
            seconds[what].append(seconds_of(work, ids, vocab_size))
            size = sum(num_weights(work, vocab_size))
            speed[size] = max(speed.get(size, 0.0), best_change(size))  # best of several: other processes slow it down, too
        flops = {kind: max(best, best_product(*kind)) for kind, best in flops.items()}
    found = {what: costs_of(what, seconds[what], vocab_size, flops, speed) for what in GROWING}
    write(found)
    draw_picture("cost", picture)


def costs_of(
    what: str, seconds: list[float], vocab_size: int, flops: dict[tuple[int, str], float], speed: dict[int, float]
) -> list[Cost]:
    """Compare each row with its roofline and the previous row."""
    found = []
    for work, taken in zip(GROWING[what], seconds, strict=True):
        num_devices = devices.resolve_num_devices(settings_of(work)).device.num_devices
        least = roofline(work, vocab_size, flops[num_devices, work.products], speed[sum(num_weights(work, vocab_size))])
        cost = Cost(num_devices, 1e6 * taken, 1e6 * least, None, None)
        if found:
            earlier = GROWING[what][len(found) - 1]
            (grown,) = (b / a for a, b in zip(earlier[1:-1], work[1:-1], strict=True) if a != b)
            powers = (math.log(getattr(cost, name) / getattr(found[-1], name), grown) for name in ("microseconds", "roofline"))
            cost = Cost(*cost[:3], *powers)
        found.append(cost)
    return found


def settings_of(work: Work) -> Config:
    """Make the settings that decide the number of devices."""
    return Config(
        model=ModelConfig(cell=work.cell, hidden_size=work.hidden),
        learning=LearningConfig(rule="one_step" if work.length == 1 else "bptt", num_streams=work.streams),
        device=DeviceConfig(precision=work.products),
    )


def seconds_of(work: Work, ids: np.ndarray, vocab_size: int) -> float:
    """Time an update, or reading `work.characters` characters where that is set."""
    learner, mesh = learner_of(work, vocab_size), devices.make_mesh(devices.resolve_num_devices(settings_of(work)))
    stream = devices.shard_stream(to_streams(ids, work.streams), mesh)
    start = devices.shard_state(jax.jit(learner.init)(jax.random.key(0)), mesh)
    most = (len(ids) // work.streams - 1) // work.length
    drive = fast_driver(learner, work.characters or min(most, 20_000))

    def read(num_updates: int) -> None:
        drive(copy_arrays(start), stream, num_updates)

    if work.characters:
        return shortest(lambda: read(work.characters))
    few = min(10, most)
    count = max(1, min(most, int(few * SECONDS / shortest(lambda: read(few), 2))))
    return shortest(lambda: read(count)) / count


def learner_of(work: Work, vocab_size: int) -> Learner:
    """Make a learner: SGD after each character, Adam after each block."""
    model, streams = network(work.cell, vocab_size, work.hidden, num_layers=work.layers), (work.streams,)
    if work.length == 1:
        return online(model, one_step(model), make_optimizer("sgd", 0.01), () if work.streams == 1 else streams)
    rule = bptt(model, work.length)
    rule = rule if work.products == "float32" else with_precision(rule, work.products)
    return online(model, rule, make_optimizer("adam", 1e-3), () if work.streams == 1 else streams)


def shortest(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the least of several times in seconds, after a warm-up."""
    run()
    found = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        found = min(found, time.perf_counter() - started)
    return found


def num_weights(work: Work, vocab_size: int) -> tuple[int, int, int]:
    """Count the weights in products: recurrent, between layers, readout. A one-hot input is a row gather, not a product."""
    of_layer = {"elman": 1, "gru": 3, "lstm": 4}[work.cell] * work.hidden**2
    return work.layers * of_layer, (work.layers - 1) * of_layer, vocab_size * work.hidden


def roofline(work: Work, vocab_size: int, flops: float, speed: float) -> float:
    """Return the seconds if nothing but matrix products, or memory traffic of the weights, took time.

    A weight takes part in three products of two operations each: one forward, and two backward, for itself and for its
    input. A recurrent weight takes part in two if the gradient stops before the character. A weight is read in the forward
    pass, and read and written by the update; in blocks recurrent weights are read for each character, forward and backward,
    with half as many bytes in bfloat16.
    """
    recurrent, between, readout = num_weights(work, vocab_size)
    every, characters = recurrent + between + readout, work.characters or work.length
    one = work.length == 1
    products = (4 * recurrent if one else 6 * recurrent) + 6 * (between + readout)
    moved = (
        12 * every * characters if one else 12 * every + 2 * (4 if work.products == "float32" else 2) * recurrent * characters
    )
    return max(products * work.streams * characters / flops, moved / speed)


def best_product(number: int, dtype: str) -> float:
    """Measure floating-point operations per second: a large matrix product on each of `number` devices at the same time."""
    side = 1024
    mesh = jax.make_mesh((number,), ("devices",), devices=jax.devices()[:number])
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices"))
    a = jax.device_put(jnp.ones((number * side, side), dtype), rows)
    b = jax.device_put(jnp.ones((side, side), dtype), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    product = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
    return 2 * number * side**3 / shortest(lambda: product(a, b).block_until_ready(), 30)


def best_change(size: int) -> float:
    """Measure bytes per second read and written while an array of `size` numbers is changed in place."""
    rounds = 200

    def one(loop: tuple) -> tuple:
        done, w = loop
        return done + 1, w * 0.999 + 1e-3

    program, w = jax.jit(lambda w: jax.lax.while_loop(lambda loop: loop[0] < rounds, one, (0, w))[1]), jnp.ones(size)
    return 8 * size * rounds / shortest(lambda: program(w).block_until_ready())


def in_words(work: Work, cost: Cost) -> str:
    """Format a row of the table in Markdown."""
    powers = " | ".join("" if each is None else f"{each:.2f}" for each in (cost.exponent, cost.expected))
    times = f"{cost.microseconds:,.1f} | {cost.roofline:,.1f} | {cost.roofline / cost.microseconds:.0%}"
    return f"| {work} | {cost.num_devices} | {times} | {powers} |"


def write(found: dict[str, list[Cost]]) -> None:
    """Write the numbers and the table."""
    RESULTS.mkdir(exist_ok=True)
    rows = {what: [{"work": str(work), **cost._asdict()} for work, cost in zip(GROWING[what], costs, strict=True)]
            for what, costs in found.items()}  # fmt: skip
    (RESULTS / "cost.json").write_text(json.dumps(rows, indent=1) + "\n")
    head = "| | devices | µs | roofline, µs | of it reached | exponent | of the roofline |\n|---|---|---|---|---|---|---|\n"
    lines = [in_words(work, cost) for what, costs in found.items() for work, cost in zip(GROWING[what], costs, strict=True)]
    table = head + "\n".join(lines) + "\n"
    print(table)
    (RESULTS / "cost.md").write_text(table, "utf-8")


def picture(found: dict[str, list[dict]]) -> Figure:
    """Draw time and roofline against what grows, a panel for each."""
    last, first = ([rows[end]["microseconds"] / rows[end]["roofline"] for rows in found.values()] for end in (-1, 0))
    figure = new_figure(
        5.4,
        f"At the largest sizes the time is {min(last):.1f} to {max(last):.1f} times the roofline,\n"
        f"at the smallest {min(first):.1f} to {max(first):.1f} times",
    )
    panels = figure.subplots(2, 4)
    panels.flat[len(found)].axis("off")
    for axes, (what, rows) in zip(panels.flat, found.items(), strict=False):
        works = GROWING[what]
        changing = next(name for name in Work._fields[1:] if getattr(works[0], name) != getattr(works[1], name))
        grown, cell = [getattr(work, changing) for work in works], works[0].cell
        axes.loglog(grown, [row["microseconds"] for row in rows], **cell_look(cell), label=f"measured, {CELLS[cell].title}")
        axes.loglog(grown, [row["roofline"] for row in rows], "--", color=GREY, label="roofline")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter(lambda microseconds, place: shorten(microseconds))
        axes.set(xlabel=what, xticks=grown, xticklabels=map(shorten, grown))
        axes.minorticks_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("µs (log scale)")
    add_legend(figure, list(panels.flat[: len(found)]), 3)
    return figure


def shorten(number: float) -> str:
    """Write 1,000 as 1k and 1,000,000 as 1M."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= unit and number % unit == 0:
            return f"{number / unit:g}{letter}"
    return f"{number:g}"


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

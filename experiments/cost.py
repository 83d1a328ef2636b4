"""How the time of an update grows with the work: hidden units, streams, characters in a block, layers, length of the text.

    python experiments/cost.py

Takes three minutes. Beside each time stands a roofline: the time that the products of the update would take at the rate of
this machine's best product, or, with one stream, the time to read and write the weights as fast as it can, whichever is
longer. The exponent is that of the time from one row to the next: 1 = as the quantity that grows. Expected: one stream
grows with an exponent near 2 in hidden units, as the weights do; streams under 1, as long as the products of few of them
are less than what the processor can do; blocks, layers and the length of the text near 1. Writes results/cost.json,
results/cost.md and results/cost.png.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxrnn import devices, fast_driver, online, text, vocabulary
from jaxrnn.config import Config, LearningConfig
from jaxrnn.learner import Learner
from jaxrnn.loop import copy
from jaxrnn.model import network
from jaxrnn.optimizer import optimizer
from jaxrnn.rules import bptt, one_step
from jaxrnn.stream import to_streams

REPEATS, SECONDS = 9, 0.2  # of each repeat, about
RESULTS = Path(__file__).with_name("results")


class Work(NamedTuple):
    """One update, and how often it is made."""

    cell: str = "gru"
    hidden: int = 256
    streams: int = 32
    length: int = 50  # characters in a block
    layers: int = 1
    characters: int = 0  # of each stream that are read in one call; 0 = as many as take the time of a repeat

    def __str__(self) -> str:
        name = "Elman" if self.cell == "elman" else self.cell.upper()
        layers = "" if self.layers == 1 else f"{self.layers} layers of "
        read = f", {self.characters:,} characters" if self.characters else ""
        return f"{name} {layers}{self.hidden}, B = {self.streams}, k = {self.length}{read}"


class Machine(NamedTuple):
    """The best that it does."""

    flops: float  # a second, of a product of matrices, on all devices
    bytes: float  # a second, read and written


class Cost(NamedTuple):
    """What was measured."""

    microseconds: float  # an update, or the whole text
    roofline: float  # microseconds
    exponent: float | None  # from the row before


COURSE = Work("elman", 128, 1, 1)
GROWING: dict[str, list[Work]] = {
    "hidden units, one stream": [COURSE._replace(hidden=hidden) for hidden in (64, 128, 256, 512, 1024)],
    "hidden units": [Work(hidden=hidden) for hidden in (64, 128, 256, 512)],
    "streams": [Work(streams=streams) for streams in (1, 8, 32, 128)],
    "characters in a block": [Work(length=length) for length in (8, 16, 32, 64, 128)],
    "layers": [Work(hidden=128, layers=layers) for layers in (1, 2, 4)],
    "length of the text": [COURSE._replace(characters=characters) for characters in (1_000, 10_000, 100_000, 1_000_000)],
}


def main() -> None:
    """Measures all of it."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    devices.use_cores("bptt", 0)
    characters = text.read("comedie")
    known = vocabulary.of_text(characters)
    ids, vocab_size = np.resize(vocabulary.encode(known, characters), 1_000_001), len(known.characters)
    seconds, flops = {}, dict.fromkeys((1, jax.device_count()), 0.0)
    for what, works in GROWING.items():
        print(f"measuring: {what}", flush=True)
        seconds[what] = [seconds_of(work, ids, vocab_size) for work in works]
        flops = {number: max(best, best_product(number)) for number, best in flops.items()}  # what else runs slows it, too
    found = {what: costs(what, seconds[what], vocab_size, flops) for what in GROWING}
    write(found)


def costs(what: str, seconds: list[float], vocab_size: int, flops: dict[int, float]) -> list[Cost]:
    """Each row beside its roofline and the row before."""
    found = []
    for work, taken in zip(GROWING[what], seconds, strict=True):
        machine = Machine(flops[devices.chosen(settings_of(work)).device.num_devices], best_copy(work, vocab_size))
        before = found[-1].microseconds if found else None
        power = exponent(GROWING[what], work, 1e6 * taken, before)
        found.append(Cost(1e6 * taken, 1e6 * roofline(work, vocab_size, machine), power))
    return found


def settings_of(work: Work) -> Config:
    """From which the number of devices follows."""
    return Config(learning=LearningConfig(rule="one_step" if work.length == 1 else "bptt", num_streams=work.streams))


def seconds_of(work: Work, ids: np.ndarray, vocab_size: int) -> float:
    """An update, or all of a text, at least."""
    learner, mesh = learner_of(work, vocab_size), devices.mesh(devices.chosen(settings_of(work)))
    stream = devices.place_stream(to_streams(ids, work.streams), mesh)
    start = devices.place(jax.jit(learner.init)(jax.random.key(0)), mesh)
    most = (len(ids) // work.streams - 1) // work.length
    drive = fast_driver(learner, work.characters or min(most, 20_000))

    def read(num_updates: int) -> None:
        drive(copy(start), stream, num_updates)

    if work.characters:
        return shortest(lambda: read(work.characters))
    few = min(10, most)
    count = max(1, min(most, int(few * SECONDS / shortest(lambda: read(few), 2))))
    return shortest(lambda: read(count)) / count


def learner_of(work: Work, vocab_size: int) -> Learner:
    """SGD after each character, Adam after blocks."""
    model, streams = network(work.cell, vocab_size, work.hidden, num_layers=work.layers), (work.streams,)
    if work.length == 1:
        return online(model, one_step(model), optimizer("sgd", 0.01), () if work.streams == 1 else streams)
    return online(model, bptt(model, work.length), optimizer("adam", 1e-3), () if work.streams == 1 else streams)


def shortest(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds, after one time that counts for nothing."""
    run()
    found = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        found = min(found, time.perf_counter() - started)
    return found


def num_weights(work: Work, vocab_size: int) -> int:
    """Those that take part in products at each character: not the rows of a one-hot input."""
    gates = {"elman": 1, "gru": 3, "lstm": 4}[work.cell]
    between = (work.layers - 1) * gates * work.hidden**2
    return work.layers * gates * work.hidden**2 + between + vocab_size * work.hidden


def roofline(work: Work, vocab_size: int, machine: Machine) -> float:
    """Seconds, if only its products, or its weights, took time.

    A weight takes part in a product forward and in two backward, of two operations each. With one stream and an update after
    each character it is read forward, read backward, and written.
    """
    weights, characters = num_weights(work, vocab_size), work.characters or work.length
    products = 6 * weights * work.streams * characters / machine.flops
    moved = 12 * weights * (characters if work.length == 1 else 1) / machine.bytes
    return max(products, moved)


def best_product(number: int) -> float:
    """Floating-point operations a second, of a large product of matrices on each of so many devices at the same time."""
    side = 1024
    mesh = jax.make_mesh((number,), ("devices",), devices=jax.devices()[:number])
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices"))
    a = jax.device_put(jnp.ones((number * side, side)), rows)
    b = jax.device_put(jnp.ones((side, side)), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    product = jax.jit(jnp.matmul)
    return 2 * number * side**3 / shortest(lambda: product(a, b).block_until_ready(), 30)


def best_copy(work: Work, vocab_size: int) -> float:
    """Bytes a second that are read and written when an array as large as the weights is changed in place."""
    size, rounds = num_weights(work, vocab_size), 200

    def change(w: jax.Array) -> jax.Array:
        step = lambda loop: (loop[0] + 1, loop[1] * 0.999 + 1e-3)  # noqa: E731
        return jax.lax.while_loop(lambda loop: loop[0] < rounds, step, (0, w))[1]

    program, w = jax.jit(change), jnp.ones(size)
    return 8 * size * rounds / shortest(lambda: program(w).block_until_ready())


def exponent(works: list[Work], work: Work, microseconds: float, before: float | None) -> float | None:
    """p in time ~ quantity^p, from the row before to this one."""
    if before is None:
        return None
    earlier = works[works.index(work) - 1]
    (grown,) = (b / a for a, b in zip(earlier[1:], work[1:], strict=True) if a != b)
    return math.log(microseconds / before) / math.log(grown)


def in_words(work: Work, cost: Cost) -> str:
    """A row of the table in Markdown."""
    power = "" if cost.exponent is None else f"{cost.exponent:.2f}"
    return f"| {work} | {cost.microseconds:,.1f} | {power} | {cost.roofline:,.1f} | {cost.roofline / cost.microseconds:.0%} |"


def write(found: dict[str, list[Cost]]) -> None:
    """The numbers, the table and the picture."""
    from matplotlib.figure import Figure

    RESULTS.mkdir(exist_ok=True)
    rows = {what: [{"work": str(work), **cost._asdict()} for work, cost in zip(GROWING[what], costs, strict=True)]
            for what, costs in found.items()}  # fmt: skip
    (RESULTS / "cost.json").write_text(json.dumps(rows, indent=1) + "\n")
    head = "| | µs an update | exponent | roofline, µs | of it reached |\n|---|---|---|---|---|\n"
    lines = [in_words(work, cost) for what, costs in found.items() for work, cost in zip(GROWING[what], costs, strict=True)]
    table = head + "\n".join(lines) + "\n"
    print(table)
    (RESULTS / "cost.md").write_text(table, "utf-8")
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (what, costs) in zip(figure.subplots(2, 3).flat, found.items(), strict=True):
        works = GROWING[what]
        changing = next(name for name in Work._fields[1:] if getattr(works[0], name) != getattr(works[1], name))
        grown = [getattr(work, changing) for work in works]
        axes.loglog(grown, [cost.microseconds for cost in costs], ".-", label="measured")
        axes.loglog(grown, [cost.roofline for cost in costs], "--", label="roofline")
        axes.set(title=what, ylabel="µs", xticks=grown, xticklabels=[f"{each:,}" for each in grown])
        axes.minorticks_off()
        axes.legend()
    figure.savefig(RESULTS / "cost.png", dpi=120)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

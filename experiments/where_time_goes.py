"""Where the time of an update in blocks goes, by the parts of the program that XLA makes of it.

    python experiments/where_time_goes.py

Takes two minutes. Networks of `bench.py` are traced for some updates on a CPU, in float32 and in bfloat16, on as many devices
as `python -m jaxrnn.train` would use. Every operation of the compiled program is assigned to one kind, by where it came from.
"Between" is the time of the update, measured without the trace, that belongs to no operation: waiting for the other device, or
for threads to which a product was handed. The bound is the time that all products of the update would take at the best rate
that one large product reaches in that precision. Expected: most of the time goes into products; those inside the loops, which
are small, take up to twice their bound.
Writes results/where_time_goes.md.
"""

import collections
import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cost
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from cost import Work

from jaxrnn.data import text, vocabulary
from jaxrnn.data.streams import to_streams
from jaxrnn.runtime import devices
from jaxrnn.training.drivers import compiler_options, update_many
from jaxrnn.training.learner import copy_arrays

NUM_UPDATES, REPEATS = 50, 3
RESULTS = Path(__file__).with_name("results")
KINDS = ("products in the loops", "other products", "gates and their derivatives", "storing", "optimizer", "the rest")
PRECISIONS: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
WORKS = [Work(cell, hidden, products=products) for cell in ("gru", "lstm") for hidden in (256, 512) for products in PRECISIONS]


class Found(NamedTuple):
    """Microseconds per character of one network."""

    work: Work
    num_devices: int
    by_kind: dict[str, float]  # a mean over devices
    total: float  # the shortest time without a trace
    bound: float


def main() -> None:
    """Trace all networks, print the table and write it."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    devices.make_core_devices("bptt", 0)
    characters = text.read("comedie")
    known = vocabulary.of_text(characters)
    ids = vocabulary.encode(known, characters)
    columns = (*KINDS, "between", "all", "bound")
    head = f"| | devices | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}\n"
    lines = []
    for work in WORKS:
        found = trace(work, ids, len(known.characters))
        between = max(0.0, found.total - sum(found.by_kind.values()))
        times = (*found.by_kind.values(), between, found.total, found.bound)
        lines.append(f"| {work} | {found.num_devices} | {' | '.join(f'{each:.1f}' for each in times)} |")
        print(lines[-1], flush=True)
    (RESULTS / "where_time_goes.md").write_text(head + "\n".join(lines) + "\n", "utf-8")


def trace(work: Work, ids: np.ndarray, vocab_size: int) -> Found:
    """Run some updates with and without a trace."""
    learner, settings = cost.learner_of(work, vocab_size), devices.resolve_num_devices(cost.settings_of(work))
    number, mesh = settings.device.num_devices, devices.make_mesh(settings)
    stream = devices.shard_stream(to_streams(ids, work.streams), mesh)
    start = devices.shard_state(jax.jit(learner.init)(jax.random.key(0)), mesh)
    update = update_many(learner, NUM_UPDATES)
    program = jax.jit(update, donate_argnums=0, compiler_options=compiler_options())
    compiled = program.lower(start, stream, jnp.int32(NUM_UPDATES)).compile()
    states = [copy_arrays(start) for _ in range(REPEATS + 2)]

    def run() -> None:
        jax.block_until_ready(compiled(states.pop(), stream, jnp.int32(NUM_UPDATES)))

    per_character = 1e6 / (NUM_UPDATES * work.length * work.streams)
    total = per_character * cost.shortest(run, REPEATS)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            run()
        (file,) = Path(folder).rglob("perfetto_trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    seconds = sum_by_kind(events, kinds_of(compiled.as_text() or ""))
    by_kind = {kind: per_character * seconds[kind] / number for kind in KINDS}
    recurrent, between, readout = cost.num_weights(work, vocab_size)
    flops = cost.best_product(number, work.products)
    return Found(work, number, by_kind, total, 1e6 * 6 * (recurrent + between + readout) / flops)


def sum_by_kind(events: list[dict[str, Any]], kinds: dict[str, str]) -> collections.Counter[str]:
    """Sum the seconds of a trace's operations."""
    seconds: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("ph") == "X" and event["name"] in kinds:
            seconds[kinds[event["name"]]] += event["dur"] / 1e6
    return seconds


def kinds_of(program: str) -> dict[str, str]:
    """Find the kind of each operation of a compiled program, by its name; loops and calls are no operations themselves."""
    found = {}
    for line in program.splitlines():
        named = re.match(r"\s*(?:ROOT )?%([\w.\-]+) = \S+ (\S+?)\(", line) or re.match(
            r"\s*(?:ROOT )?%([\w.\-]+) = .*? (while|call)\(", line
        )
        if named and named.group(2) not in ("while", "call", "parameter", "tuple", "get-tuple-element"):
            found[named.group(1)] = kind_of(named.group(1), line)
    return found


def kind_of(name: str, line: str) -> str:
    """Tell what an operation is for, from where in the program it comes."""
    origin = re.search(r'op_name="([^"]*)"', line)
    place = origin.group(1) if origin else ""
    in_loops = place.count("while/body") > 1
    if "dot_general" in place and (" dot(" in line or "__ynn_fusion" in line):
        return "products in the loops" if in_loops else "other products"
    if in_loops:
        return "storing" if "dynamic-update-slice" in name or "dynamic_update_slice" in place else "gates and their derivatives"
    return "optimizer" if re.fullmatch(r"jit\(advance\)/while/body/\w+", place) else "the rest"


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

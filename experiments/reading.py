"""How well a text can be predicted while it is read, and how long it takes: jaxrnn beside compressors, on Molière.

    pip install -e ".[bench]" && python experiments/reading.py

Takes 23 minutes on two cores: 2 for compressors and counts, 13 for a network, 8 for reading once; downloads 1.7 MB once.
`--minutes 1.5 10` gives `train gru` its time, a run for each; `--minutes` with nothing leaves all networks out. zpaq, paq8px
and lstm-compress are measured where programs of these names are found. What is measured replaces its rows in
results/reading.json; others are kept.

A compressor that goes on reading is a model that learns as it reads, and its size is its loss. Two questions, in nats:

- The held-out part as `train` takes it, characters 1,518,562 to 1,687,290 of 1,687,290, after all those before: the bytes of
  the compressed text less those of the compressed text before the held-out part, times 8 ln 2 / 168,729.
- One reading of the first 300,000 characters, and of all: the bytes of the compressed text, less those of a compressed text of
  one character, times 8 ln 2 / its characters. That character is for zpaq: its archives hold a thousand bytes of tables about
  files (with them 1.370 and 1.181). A program that has to describe a text in bytes does not know which characters there are;
  jaxrnn knows them before it reads, which is worth 0.002 nats of 300,000 characters at most.

jaxrnn scores all characters but the first, each before anything learns from it. Seconds are for all that is read: for counts
with compilation, for a network with `train`, and with `evaluate` if `train` had no time to test all of the held-out part.
Expected, in nats (held out, first 300,000, all):

    xz -9e                          1.466  1.788  1.580
    bz2 -9                          1.366  1.578  1.449
    PPMd, order 8                   1.174  1.419  1.249
    counts of characters            1.168  1.424  1.247
    zpaq -m5                        1.099  1.351  1.177
    counts, mixed                   1.067  1.333  1.155
    reader                                 1.307  1.123
    reader --replay 8                      1.296
    paq8px -8                       0.960  1.236  1.055

For a network: frozen above dynamic, dynamic above all together, which is below counts, and below zpaq from 1.5 minutes on. For
a reader: below counts, mixed. Exit code 1 if one of these fails. Writes results/reading.json, results/reading.md and
results/reading.png.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from claims import expect, write_table
from compressors import Compressor, find_compressors
from pictures import draw_picture
from reading_tables import (
    FIRST,
    HELDOUT,
    NUM_FIRST,
    OURS,
    PEER,
    WHOLE,
    Row,
    joined,
    keep_rows,
    kept_rows,
    picture,
    tables,
)

from jaxrnn.config.settings import PRESETS
from jaxrnn.data import splitting, vocabulary
from jaxrnn.data import text as texts
from jaxrnn.models.counts import CountModel, Counts
from jaxrnn.models.network import network
from jaxrnn.scoring import counting, together
from jaxrnn.storage.logs import read_events
from jaxrnn.training.drivers import compiler_options

MINUTES, REPLAY = (1.5, 10.0), 8
NOTHING = Row(OURS, {}, {})
CHARACTERS, MIXED, ZPAQ, READER = "counts of characters", "counts, mixed", "zpaq -m5", "reader"
# A run's numbers for the held-out part, as its last table names them.
TESTED = {"frozen": "heldout", "dynamic": "heldout_dynamic", "counts": "heldout_counts", "all together": "heldout_mixed"}
EXPECTED = {
    "xz -9e": (1.466, 1.788, 1.580),
    "bz2 -9": (1.366, 1.578, 1.449),
    "PPMd, order 8": (1.174, 1.419, 1.249),
    CHARACTERS: (1.168, 1.424, 1.247),
    ZPAQ: (1.099, 1.351, 1.177),
    MIXED: (1.067, 1.333, 1.155),
}


class Texts(NamedTuple):
    """A text, and the part of it before the held-out part."""

    whole: str
    before: str


def main(minutes: tuple[float, ...] = MINUTES) -> None:
    """Measure everything that is installed.

    Args:
      minutes: lengths of the runs of `train gru`; none = no network.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    of, rows = split(texts.read("moliere")), kept_rows()
    compressors, missing = find_compressors()
    to_measure = [
        *[partial(measure_compressor, compressor, of) for compressor in compressors],
        partial(measure_counts, of),
        *[partial(measure_gru, each, of) for each in minutes],
        *[partial(measure_reader, *each) for each in ((NUM_FIRST, 0), (NUM_FIRST, REPLAY), (0, 0)) if minutes],
    ]
    for measure in to_measure:
        found = measure()
        for name, row in found.items():
            print(name, row.nats, row.seconds, flush=True)
            rows[name] = joined(rows[name], row) if name in rows and name == READER else row
        keep_rows(rows)
    for line in missing:
        print(line)
    write_table("reading", tables(rows))
    draw_picture("reading", picture)
    check(rows)


def split(whole: str) -> Texts:
    """Split off the held-out part, as `train` does."""
    lengths = splitting.split_lengths(len(whole), 0.0, PRESETS["gru"].text.heldout_fraction)
    return Texts(whole, whole[: lengths.train])


def nats_per_character(num_bytes: int, num_characters: int) -> float:
    """Compute the loss of a model that compresses `num_characters` to `num_bytes`."""
    return 8 * math.log(2) * num_bytes / num_characters


def measure_compressor(compressor: Compressor, of: Texts) -> dict[str, Row]:
    """Compress the text before the held-out part, all of it, and its beginning."""
    parts = {"before": of.before, FIRST: of.whole[:NUM_FIRST], WHOLE: of.whole, "one": of.whole[:1]}
    sizes, seconds = {}, {}
    for part, characters in parts.items():
        data, started = characters.encode(), time.perf_counter()
        sizes[part] = compressor.size(data)
        seconds[part] = time.perf_counter() - started
    nats = losses_of_sizes(sizes, of)
    return {compressor.name: Row(PEER, nats, {HELDOUT: seconds[WHOLE], FIRST: seconds[FIRST], WHOLE: seconds[WHOLE]})}


def losses_of_sizes(sizes: dict[str, int], of: Texts) -> dict[str, float]:
    """Compute the losses from the bytes of compressed parts."""
    num_whole = len(of.whole)
    return {
        HELDOUT: nats_per_character(sizes[WHOLE] - sizes["before"], num_whole - len(of.before)),
        FIRST: nats_per_character(sizes[FIRST] - sizes["one"], min(NUM_FIRST, num_whole) - 1),
        WHOLE: nats_per_character(sizes[WHOLE] - sizes["one"], num_whole - 1),
    }


def measure_counts(of: Texts) -> dict[str, Row]:
    """Count in one process: characters alone, and mixed with words as in the last table of a run."""
    parts = {HELDOUT: (of.whole, len(of.before)), FIRST: (of.whole[:NUM_FIRST], 0), WHOLE: (of.whole, 0)}
    rows = {CHARACTERS: Row(OURS, {}, {}), MIXED: Row(OURS, {}, {})}
    for part, (characters, start) in parts.items():
        known = vocabulary.of_text(characters)
        ids = vocabulary.encode(known, characters)
        models = counting.make_counts(known.characters, len(ids))
        for name, row in rows.items():
            started = time.perf_counter()
            row.nats[part] = count_characters(models[0], ids, start) if name == CHARACTERS else count_all(models, ids, start)
            row.seconds[part] = time.perf_counter() - started
    return rows


def count_characters(model: CountModel, ids: np.ndarray, start: int) -> float:
    """Read a text once. Returns its loss from `start` on, but for the first character there."""

    def read(counts: Counts, text: jax.Array) -> tuple[Counts, jax.Array]:
        def learn(loop: tuple) -> tuple:
            t, counts, losses = loop
            counts, probability = model.learn(counts, text[t])
            return t + 1, counts, losses.at[t].set(-jnp.log(probability))

        nothing = (jnp.int32(0), counts, jnp.zeros(text.shape, jnp.float32))
        return jax.lax.while_loop(lambda loop: loop[0] < len(text), learn, nothing)[1:]

    program = jax.jit(read, donate_argnums=0, compiler_options=compiler_options())
    _, losses = program(model.init(), jnp.asarray(ids))
    return float(np.asarray(losses)[start + 1 :].mean(dtype=np.float64))


def count_all(models: tuple[CountModel, ...], ids: np.ndarray, start: int) -> float:
    """Read a text once with characters and words mixed, as a run does. Returns its loss from `start` on, but for the first."""
    of_vocabulary = network("elman", int(ids.max()) + 1, hidden_size=1)  # only for its vocabulary
    reader = together.make_reader(of_vocabulary, None, models)
    before = counting.read_before(of_vocabulary, models, ids[:start], start) if start else None
    pieces = together.read_on(reader, {}, before, ids[start:], jax.random.key(0))
    return float(np.concatenate([piece.of_all for piece in pieces]).mean(dtype=np.float64))


def measure_gru(minutes: float, of: Texts) -> dict[str, Row]:
    """Train a network by the program, and test it on all of the held-out part."""
    with tempfile.TemporaryDirectory() as folder:
        run, started = Path(folder, "run"), time.perf_counter()
        settings = ("gru", "--text", "moliere", "--max-characters", "0", "--minutes", f"{minutes:g}")
        run_program("train", *settings, "--run-dir", str(run))
        (found,) = [event for event in read_events(run) if event["event"] == "final"]
        if found["heldout_characters"] < len(of.whole) - len(of.before) - 1:
            print(f"train took {time.perf_counter() - started:.0f} s")
            found = json.loads(run_program("evaluate", str(run), "--test-characters", "0", "--json"))
        seconds = {HELDOUT: time.perf_counter() - started}
    return {
        f"GRU {minutes:g} min, {what}": Row(OURS, {HELDOUT: found[f"{name}_nats"]}, seconds) for what, name in TESTED.items()
    }


def measure_reader(most: int, replay: int) -> dict[str, Row]:
    """Read the first `most` characters once (0 = all) by the program, network and counts learning throughout."""
    part = FIRST if most else WHOLE
    with tempfile.TemporaryDirectory() as folder:
        run, started = Path(folder, "run"), time.perf_counter()
        settings = ("reader", "--text", "moliere", "--max-characters", str(most), "--replay", str(replay))
        run_program("train", *settings, "--run-dir", str(run))
        (found,) = [event for event in read_events(run) if event["event"] == "final"]
        seconds = time.perf_counter() - started
    name = f"{READER} --replay {replay}" if replay else READER
    return {name: Row(OURS, {part: found["online_nats"]}, {part: seconds})}


def run_program(name: str, *arguments: str) -> str:
    """Run a program of jaxrnn. Returns its output."""
    command = [sys.executable, "-m", f"jaxrnn.{name}", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, encoding="utf-8").stdout


def check(rows: dict[str, Row]) -> None:
    """Compare with what is expected."""
    for name, nats in EXPECTED.items():
        for part, level in zip((HELDOUT, FIRST, WHOLE), nats, strict=True):
            if name in rows:
                expect(f"{name}, {part}", rows[name].nats[part], level - 0.003, level + 0.003)
    counts, zpaq = (rows[name].nats[HELDOUT] if name in rows else math.inf for name in (MIXED, ZPAQ))
    for run in [name.removesuffix(", frozen") for name in rows if name.startswith("GRU") and name.endswith(", frozen")]:
        frozen, dynamic, of_run, mixed = (rows[f"{run}, {what}"].nats[HELDOUT] for what in TESTED)
        enough = float(run.split()[1]) >= MINUTES[0]
        expect(f"{run}, counts", of_run, counts - 0.003, counts + 0.01)  # mixed over the last 300,000 characters only
        expect(f"{run}, dynamic", dynamic, 0.0, frozen)
        expect(f"{run}, all together", mixed, 0.0, min(dynamic, counts, zpaq if enough else math.inf))
    for part in (FIRST, WHOLE):
        if part in rows.get(READER, NOTHING).nats:
            expect(f"{READER}, {part}", rows[READER].nats[part], 0.0, rows[MIXED].nats[part])


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

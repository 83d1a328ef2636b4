"""What looking back further is worth on a text: online rules on Molière, at equal characters and at equal time.

    python experiments/rules_on_text.py

Takes three minutes; downloads 1.7 MB once. Networks of 128 units read the first 180,000 characters once by SGD, and then again
and again until each rule has had 10 seconds. Expected: after equal characters every rule that looks back is better online than
one_step with the same cell; snap1_lookahead gains about as much as a window of 8 characters, in a quarter to a third of its
time, and snap1 less. Results after equal time depend on the machine, and vary by 0.1 nats with the place in the text where
time runs out.
Writes results/rules_on_text.json, results/rules_on_text.md and results/rules_on_text.png.
"""

import functools
import json
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from claims import SNAP_NOTE, expect
from matplotlib.figure import Figure
from pictures import add_legend, draw_picture, new_figure, rule_look

from jaxrnn import Model, fast_driver, online
from jaxrnn.data import text, vocabulary
from jaxrnn.models.cells import CELLS
from jaxrnn.models.network import network
from jaxrnn.rules import RULES, make_rule
from jaxrnn.scoring import evaluation
from jaxrnn.training.learner import copy_arrays
from jaxrnn.training.optimizers import make_optimizer

RESULTS = Path(__file__).with_name("results")
NUM_CHARACTERS, NUM_TRAIN = 200_000, 180_000
SECONDS = 10.0
PER_CALL = 5_000  # characters
RATES = {"elman": 0.1, "gru": 0.03, "lru": 0.03}
COMPARED = (
    ("elman", "one_step", 1),
    ("elman", "snap1", 1),
    ("elman", "snap1_lookahead", 1),
    ("elman", "tbptt_sliding", 8),
    ("gru", "one_step", 1),
    ("gru", "rflo", 1),
    ("gru", "snap1", 1),
    ("gru", "snap1_lookahead", 1),
    ("gru", "tbptt_sliding", 8),
    ("lru", "one_step", 1),
    ("lru", "rtrl_diagonal", 1),
)


class Run(NamedTuple):
    """The result of a rule with a cell, in nats per character."""

    cell: str
    rule: str
    once_online: float  # while the text was read for the first time
    once_heldout: float  # frozen, after that
    heldout: float  # frozen, when time was up
    epochs: float  # read in that time
    curve: list[tuple[float, float]]  # seconds, nats while learning


def main(seconds: float = SECONDS) -> None:
    """Run every rule with every cell."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    used = text.read("moliere")[:NUM_CHARACTERS]
    known = vocabulary.of_text(used)
    ids = vocabulary.encode(known, used)
    runs = []
    for compared in COMPARED:
        runs.append(run_of(*compared, ids, len(known.characters), seconds))
        print(in_words(runs[-1]), flush=True)
    if seconds == SECONDS:  # another time does not overwrite the table
        write(runs)
        draw_picture("rules_on_text", picture)
    check(runs)


@functools.cache
def network_of(cell: str, vocab_size: int) -> tuple[Model, evaluation.Evaluation]:
    """Make a network, and the test that all rules share, which is compiled once."""
    model = network(cell, vocab_size, 128, initialisation="pytorch")
    return model, evaluation.frozen_evaluation(model)


def run_of(cell: str, rule: str, length: int, ids: np.ndarray, vocab_size: int, seconds: float) -> Run:
    """Read the text once, test, and read on until time is up; only learning counts towards the time."""
    model, frozen = network_of(cell, vocab_size)
    learner = online(model, make_rule(RULES[rule], model, length), make_optimizer("sgd", RATES[cell]))
    drive, train = fast_driver(learner, PER_CALL), jnp.asarray(ids[: NUM_TRAIN + 1])
    state = learner.init(jax.random.key(0))
    drive(copy_arrays(state), train, 1)  # compiles

    def heldout() -> float:
        return evaluation.mean_nats(frozen(copy_arrays(state.params), ids[NUM_TRAIN:], jax.random.key(1)))

    taken, curve, once = 0.0, [], None
    while taken < seconds or once is None:
        if len(curve) and len(curve) % (NUM_TRAIN // PER_CALL) == 0:
            once = once or (float(np.mean([nats for _, nats in curve])), heldout())
            state = learner.restart(state, jax.random.key(len(curve)))
        started = time.perf_counter()
        state, losses = drive(state, train, PER_CALL)
        taken += time.perf_counter() - started
        curve.append((taken, float(losses.mean())))
    name = rule if length == 1 else f"{rule} {length}"
    return Run(cell, name, *once, heldout(), len(curve) * PER_CALL / NUM_TRAIN, curve)


def in_words(run: Run) -> str:
    """Format a row of the table in Markdown."""
    once = f"{run.once_online:.4f} | {run.once_heldout:.4f}"
    return f"| {run.cell} | {run.rule} | {once} | {run.heldout:.4f} | {run.epochs:.1f} |"


def write(runs: list[Run]) -> None:
    """Write the numbers and the table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "rules_on_text.json").write_text(json.dumps([run._asdict() for run in runs]) + "\n")
    head = "| cell | rule | read once: online | held out, frozen | after equal time: held out, frozen | readings |\n"
    (RESULTS / "rules_on_text.md").write_text(
        head + "|---" * 6 + "|\n" + "\n".join(map(in_words, runs)) + "\n" + SNAP_NOTE, "utf-8"
    )


def picture(runs: list[dict]) -> Figure:
    """Draw the loss while learning against the time, a panel for each cell."""
    figure = new_figure(4.0, "Rules that look back learn more from one reading (first mark), but read more slowly")
    panels = figure.subplots(1, len(RATES), sharex=True, sharey=True)
    for axes, cell in zip(panels, RATES, strict=True):
        for run in runs:
            if run["cell"] == cell:
                at, nats = np.array(run["curve"]).T
                width = min(NUM_TRAIN // PER_CALL, len(nats))  # means over a reading: parts of a text differ
                means = np.convolve(nats, np.full(width, 1 / width), "valid")
                axes.semilogx(at[width - 1 :], means, **rule_look(run["rule"]), markevery=[0], label=run["rule"])
        axes.set(title=CELLS[cell].title, xlabel="seconds (log scale)")
        axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        axes.minorticks_off()
    panels[0].set_ylabel("nats per character over the last reading")
    add_legend(figure, panels, 5)
    return figure


def check(runs: list[Run]) -> None:
    """Check what the header says about equal characters; times depend on the machine."""
    base = {run.cell: run.once_online for run in runs if run.rule == "one_step"}
    for run in runs:
        if run.rule != "one_step":
            expect(f"online, {run.rule} with {run.cell}, beside one_step", run.once_online - base[run.cell], -1.0, 0.0)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

"""What each online rule costs: the time of an update relative to `one_step`, and the bytes of its memory.

    python experiments/cost_of_rules.py

Takes four minutes. One stream, the fast driver, SGD, the characters of the comedy; all rules of a cell and `one_step` take
turns, and the shortest of several repeats counts. The table also has the exponents from 64 to 128 units, and the order in
theory for H units and P weights: P for one_step, snap1 and its lookahead, rflo, e-prop, uoro and the diagonal form, k P for a
window of k, r H P for r = 4 Kronecker products, H^2 P for rtrl. P grows as H^2 through the recurrent weights and as H through
the others. Expected at 128 units: snap1 at most 6 times one_step for Elman and GRU, uoro at most 15 times, rtrl_diagonal for
LRU at most 3 times.
Writes results/cost_of_rules.json, results/cost_of_rules.md and results/cost_of_rules.png.
"""

import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import tyro
from claims import NAMED_RULES, SNAP_NOTE, expect
from matplotlib.figure import Figure
from pictures import add_legend, draw_picture, new_figure, rule_look

from jaxrnn import fast_driver, online
from jaxrnn.data import text, vocabulary
from jaxrnn.models.cells import CELLS
from jaxrnn.models.network import network
from jaxrnn.rules import _influence, make_rule
from jaxrnn.training.learner import copy_arrays
from jaxrnn.training.optimizers import make_optimizer

RESULTS = Path(__file__).with_name("results")
SIZES = (16, 64, 128)
REPEATS, SECONDS = 7, 0.04  # approximate length of a repeat
MOST_CHARACTERS = 20_000
ORDERS = {"one_step": "P", "tbptt_sliding": "k P", "rflo": "P", "snap1": "P", "uoro": "P", "rtrl": "H^2 P", "snap_n": "H^2 P",
          "rtrl_diagonal": "P", "snap1_lookahead": "P", "eprop": "P", "rtrl_kronecker": "r H P"}  # fmt: skip
DENSE = (("tbptt_sliding", 8), ("rflo", 1), ("eprop random", 1), ("snap1", 1), ("snap1_lookahead", 1), ("uoro", 1),
         ("rtrl_kronecker", 1), ("rtrl", 1), ("snap_n", 2))  # fmt: skip
DIAGONAL = (("snap1", 1), ("uoro", 1), ("rtrl_diagonal", 1))
COMPARED = {"elman": DENSE, "gru": DENSE, "lstm": DENSE, "indrnn": DIAGONAL, "lru": DIAGONAL}


class Cost(NamedTuple):
    """The cost of a rule with a cell of some size."""

    cell: str
    rule: str
    hidden: int
    microseconds: float  # per update
    one_step: float  # microseconds, measured in turns with the rule
    memory: int  # bytes

    @property
    def ratio(self) -> float:
        """The time relative to one_step."""
        return self.microseconds / self.one_step


def main(cells: tuple[str, ...] = tuple(COMPARED)) -> None:
    """Measure, print and write everything."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    characters = text.read("comedie")[: MOST_CHARACTERS + 1]
    known = vocabulary.of_text(characters)
    stream, vocab_size = jnp.asarray(vocabulary.encode(known, characters)), len(known.characters)
    found = []
    for cell in cells:
        of_sizes = [costs_of(cell, hidden, stream, vocab_size) for hidden in SIZES]
        for of_rule in zip(*of_sizes, strict=True):
            found.append(of_rule)
            print(in_words(of_rule), flush=True)
    if cells == tuple(COMPARED):  # some cells alone do not overwrite the table
        write(found)
        draw_picture("cost_of_rules", picture)
    check(found)


def costs_of(cell: str, hidden: int, stream: jax.Array, vocab_size: int) -> list[Cost]:
    """Time all rules of the cell and `one_step` in turns."""
    model = network(cell, vocab_size, hidden, initialisation="orthogonal")
    rules = (("one_step", 1), *COMPARED[cell])
    learners = [
        online(model, make_rule(NAMED_RULES[rule], model, length), make_optimizer("sgd", 1e-3)) for rule, length in rules
    ]
    drives = [fast_driver(learner, MOST_CHARACTERS) for learner in learners]
    params = jax.jit(model.init)(jax.random.key(0))  # once: compiling it takes longer than compiling an update
    states = [learner.begin(params, jax.random.key(0)) for learner in learners]

    def seconds(which: int, characters: int) -> float:
        state = copy_arrays(states[which])
        started = time.perf_counter()
        drives[which](state, stream, characters)
        return time.perf_counter() - started

    def count(which: int) -> int:
        """Choose how many characters fill a repeat."""
        characters = 2
        for _ in range(2):
            characters = min(MOST_CHARACTERS, max(2, int(characters * SECONDS / seconds(which, characters))))
        return characters

    with ThreadPoolExecutor() as threads:  # compiles all programs, several at a time
        list(threads.map(lambda which: seconds(which, 2), range(len(rules))))
    counts, least = [count(which) for which in range(len(rules))], [math.inf] * len(rules)
    for _ in range(REPEATS):
        least = [min(best, seconds(which, counts[which]) / counts[which]) for which, best in enumerate(least)]

    def cost(which: int) -> Cost:
        rule, length = rules[which]
        name = rule if length == 1 else f"{rule} {length}"
        return Cost(cell, name, hidden, 1e6 * least[which], 1e6 * least[0], _influence.count_bytes(states[which].memory))

    return [cost(which) for which in range(1, len(rules))]


def exponents(costs: Sequence[Cost]) -> tuple[float, float]:
    """Return the exponents of time and memory, from the last size but one to the last."""
    before, after = costs[-2:]
    grown = after.hidden / before.hidden
    return math.log(after.microseconds / before.microseconds, grown), math.log(after.memory / max(1, before.memory), grown)


def in_words(costs: Sequence[Cost]) -> str:
    """Format a row of the table in Markdown."""
    cell = {"elman": "Elman", "indrnn": "IndRNN"}.get(costs[0].cell, costs[0].cell.upper())
    ratios = " | ".join(f"{cost.ratio:.1f}" for cost in costs)
    of_time, of_memory = exponents(costs)
    order, memory = ORDERS[costs[0].rule.split()[0]], _influence.format_bytes(costs[-1].memory)
    at_most = f"{costs[-1].microseconds:,.1f} | {memory}"
    return f"| {cell} | {costs[0].rule} | {ratios} | {at_most} | {of_time:.1f} | {of_memory:.1f} | {order} |"


def write(found: Sequence[Sequence[Cost]]) -> None:
    """Write the numbers and the table."""
    RESULTS.mkdir(exist_ok=True)
    rows = [cost._asdict() for costs in found for cost in costs]
    (RESULTS / "cost_of_rules.json").write_text(json.dumps(rows, indent=1) + "\n")
    sizes = " | ".join(f"H = {hidden}" for hidden in SIZES)
    head = f"| cell | rule | {sizes} | µs at {SIZES[-1]} | memory there | exponent | of memory | theory |\n"
    table = head + "|---" * (7 + len(SIZES)) + "|\n" + "\n".join(map(in_words, found)) + "\n" + SNAP_NOTE
    (RESULTS / "cost_of_rules.md").write_text(table, "utf-8")


def picture(rows: list[dict]) -> Figure:
    """Draw microseconds of an update against the units, a panel for each cell."""
    costs = [Cost(**row) for row in rows]
    largest = [cost for cost in costs if cost.hidden == SIZES[-1]]
    costly, sums, others = (
        [cost.ratio for cost in largest if ORDERS[cost.rule.split()[0]] in orders]
        for orders in (("H^2 P",), ("r H P",), ("P", "k P"))
    )
    least, most = round(min(costly), -2), round(max(costly), -2)
    figure = new_figure(
        5.4,
        f"At {SIZES[-1]} units rtrl and snap_n take {least:,.0f} to {most:,.0f} times as long as one_step,\n"
        f"rtrl_kronecker {min(sums):.0f} to {max(sums):.0f} times, all other rules at most {max(others):.0f} times",
    )
    panels = figure.subplots(2, 3, sharey=True)
    for axes, cell in zip(panels.flat, COMPARED, strict=False):
        of_cell = [cost for cost in costs if cost.cell == cell]
        base = [min(cost.one_step for cost in of_cell if cost.hidden == hidden) for hidden in SIZES]
        axes.loglog(SIZES, base, **rule_look("one_step"), label="one_step")
        for rule in dict.fromkeys(cost.rule for cost in of_cell):
            times = [cost.microseconds for cost in of_cell if cost.rule == rule]
            axes.loglog(SIZES, times, **rule_look(rule), label=rule)
        axes.set(title=CELLS[cell].title, xlabel="hidden units", xticks=SIZES, xticklabels=SIZES)
        axes.minorticks_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("µs per character (log scale)")
    add_legend(figure, list(panels.flat), 1, empty=panels[-1, -1])  # five cells, six places
    return figure


def check(found: Sequence[Sequence[Cost]]) -> None:
    """Check the ratios that the header expects."""
    ratio = {(costs[-1].cell, costs[-1].rule): costs[-1].ratio for costs in found}
    most = {("elman", "snap1"): 6, ("gru", "snap1"): 6, ("elman", "uoro"): 15, ("gru", "uoro"): 15, ("lstm", "uoro"): 15,
            ("lru", "rtrl_diagonal"): 3}  # fmt: skip
    for (cell, rule), highest in most.items():
        if (cell, rule) in ratio:
            expect(f"{rule} beside one_step, {cell} of {SIZES[-1]} units", ratio[cell, rule], 0.5, highest)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

"""How our online rules compare with those of braintrace: the same gradients, and the time of an update.

    pip install -e ".[bench]" && python experiments/peers.py

Takes two minutes. The same networks get the same weights in both. In braintrace's words, `snap1` is SnAp with n = 1, `rflo` is
D_RTRL on an Elman network or a GRU, and `rtrl_diagonal` is D_RTRL on an LRU. Expected, in float32: gradients with respect to
the recurrent weights, summed over 12 characters, that differ by at most 1e-6 of their norm, and losses of the first 1,000
updates that differ by at most 1e-5 nats. Times are for one stream of the comedy, 128 units and SGD, in the fast driver and in
braintrace's loop: `for_loop` inside `jit`. Both take turns, and the shortest of several repeats counts. Expected, times of
theirs over ours: at least 3 for SnAp, and for D_RTRL 0.8 on the Elman network, 1.1 on the same GRU, 0.5 on their own
GRU and 1.5 on the LRU.

Our GRU applies the reset gate after the recurrent product, braintrace's own before it. There D_RTRL does not train the reset
gate (its gradient is zero), so an update is cheaper than one of `rflo`; the table has that row, too.
Writes results/peers.json and results/peers.md.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from claims import expect, write_table

from jaxrnn import fast_driver, online
from jaxrnn.data import text, vocabulary
from jaxrnn.data.array_types import Params
from jaxrnn.models.cells import CELLS
from jaxrnn.models.model import Model
from jaxrnn.models.network import network
from jaxrnn.rules import RULES, make_rule
from jaxrnn.training.learner import copy_arrays
from jaxrnn.training.optimizers import make_optimizer

try:
    import braintrace_peers
    from braintrace_peers import RATE, Peer
except ImportError as error:
    print(f"error: no module named {error.name}; install it: pip install -e '.[bench]'", file=sys.stderr)
    raise SystemExit(2) from None

RESULTS = Path(__file__).with_name("results")
CHECKED, HIDDEN_CHECKED, MOST_ERROR = 12, 16, 1e-6
COMPARED, MOST_NATS = 1_000, 1e-5
HIDDEN, CHARACTERS, REPEATS = 128, 10_000, 9


class Pair(NamedTuple):
    """A network and an algorithm of theirs, and what we compare them with."""

    peer: str  # a name of `braintrace_peers.CELLS`
    algorithm: str
    cell: str
    rule: str
    least: float  # the time of theirs over ours

    @property
    def is_same(self) -> bool:
        """Whether both are the same network."""
        return self.peer == self.cell

    @property
    def names(self) -> str:
        """The first columns of a table."""
        note = "" if self.is_same else " (braintrace's own, its reset gate untrained, beside ours)"
        return f"| {CELLS[self.cell].title}{note} | `{self.algorithm}` | `{self.rule}` |"


PAIRS = (
    Pair("elman", "SnAp(1)", "elman", "snap1", 3.0),
    Pair("gru", "SnAp(1)", "gru", "snap1", 3.0),
    Pair("elman", "D_RTRL", "elman", "rflo", 0.8),
    Pair("gru", "D_RTRL", "gru", "rflo", 1.1),
    Pair("their gru", "D_RTRL", "gru", "rflo", 0.5),
    Pair("lru", "D_RTRL", "lru", "rtrl_diagonal", 1.5),
)


class Timed(NamedTuple):
    """The time of an update."""

    pair: Pair
    theirs: float  # microseconds
    ours: float
    difference: float | None  # the largest of two losses at the same character, nats; None if the networks differ

    @property
    def ratio(self) -> float:
        """Theirs over ours."""
        return self.theirs / self.ours


def main() -> None:
    """Compare, print and write everything."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    jax.config.update("jax_default_matmul_precision", "float32")
    characters = text.read("comedie")[: CHARACTERS + 1]
    known = vocabulary.of_text(characters)
    ids, vocab_size = jnp.asarray(vocabulary.encode(known, characters)), len(known.characters)
    errors = {pair: relative_error(pair, ids[: CHECKED + 1], vocab_size) for pair in PAIRS if pair.is_same}
    timed = [measure(pair, ids, vocab_size) for pair in PAIRS]
    rows = [each._asdict() | {"pair": each.pair._asdict(), "error": errors.get(each.pair)} for each in timed]
    (RESULTS / "peers.json").write_text(json.dumps(rows, indent=1) + "\n")
    write_table("peers", [*agreement_table(errors), "", *time_table(timed)])
    check(errors, timed)


def our_network(cell: str, vocab_size: int, hidden: int) -> Model:
    """Make one of our networks; the Elman network has tanh, as theirs has."""
    return network(cell, vocab_size, hidden, activation="tanh" if cell == "elman" else "sigmoid")


def relative_error(pair: Pair, ids: jax.Array, vocab_size: int) -> float:
    """Compare the gradients with respect to the recurrent weights, summed over a text that is read with constant weights."""
    model = our_network(pair.cell, vocab_size, HIDDEN_CHECKED)
    params = model.init(jax.random.key(0))
    peer = Peer(pair.peer, vocab_size, HIDDEN_CHECKED, pair.algorithm)
    peer.load(params)
    theirs, ours = peer.recurrent_gradient(ids), our_gradient(model, pair.rule, params, ids)
    return float(jnp.linalg.norm(theirs - ours) / jnp.linalg.norm(ours))


def our_gradient(model: Model, rule_name: str, params: Params, ids: jax.Array) -> jax.Array:
    """Sum our gradients over a text, from a carry of zeros, as braintrace starts."""
    rule = make_rule(RULES[rule_name], model, 1)
    carry = jax.tree.map(jnp.zeros_like, model.initial_carry(jax.random.key(0), ()))
    memory, total = rule.init(params, carry, jax.random.key(0)), 0
    for t in range(len(ids) - 1):
        found = rule.gradient(params, memory, carry, ids[t : t + 1], ids[t + 1 : t + 2])
        memory, carry = found.memory, found.carry
        total += braintrace_peers.our_recurrent_weights(found.grads)
    return jnp.asarray(total)


def measure(pair: Pair, ids: jax.Array, vocab_size: int) -> Timed:
    """Time an update, theirs and ours in turns, from the same weights if the networks are the same."""
    model = our_network(pair.cell, vocab_size, HIDDEN)
    learner = online(model, make_rule(RULES[pair.rule], model, 1), make_optimizer("sgd", RATE))
    start = jax.jit(learner.init)(jax.random.key(0))
    start = start._replace(carry=jax.tree.map(jnp.zeros_like, start.carry))  # as braintrace starts
    peer, drive = Peer(pair.peer, vocab_size, HIDDEN, pair.algorithm), fast_driver(learner, CHARACTERS)
    if pair.is_same:
        peer.load(start.params)
    train = peer.trainer()
    first_losses = train(ids), drive(copy_arrays(start), ids, CHARACTERS)[1]  # both compile
    difference = jnp.abs(first_losses[0] - first_losses[1])[:COMPARED].max()
    theirs, ours = math.inf, math.inf
    for _ in range(REPEATS):
        theirs = min(theirs, seconds(lambda: train(ids)))
        ours = min(ours, seconds(lambda: drive(copy_arrays(start), ids, CHARACTERS)))
    difference = float(difference) if pair.is_same else None
    return Timed(pair, 1e6 * theirs / CHARACTERS, 1e6 * ours / CHARACTERS, difference)


def seconds(run: Callable[[], Any]) -> float:
    """Time a run."""
    started = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - started


def agreement_table(errors: dict[Pair, float]) -> list[str]:
    """Format the differences of gradients as the lines of a table."""
    head = ["| cell | braintrace | jaxrnn | relative difference of the gradients |", "|---|---|---|---|"]
    return head + [f"{pair.names} {error:.1e} |" for pair, error in errors.items()]


def time_table(timed: list[Timed]) -> list[str]:
    """Format the times as the lines of a table."""
    head = ["| cell | braintrace | jaxrnn | braintrace, µs | jaxrnn, µs | ratio |", "|---|---|---|---|---|---|"]
    return head + [f"{each.pair.names} {each.theirs:.1f} | {each.ours:.1f} | {each.ratio:.2f} |" for each in timed]


def check(errors: dict[Pair, float], timed: list[Timed]) -> None:
    """Check the numbers that the header expects."""
    for pair, error in errors.items():
        expect(f"the difference of {pair.rule} from {pair.algorithm}, {pair.cell}", error, 0, MOST_ERROR)
    for each in timed:
        name = f"{each.pair.algorithm}, {each.pair.peer}, beside {each.pair.rule}"
        if each.difference is not None:
            expect(f"the difference of losses, {name}", each.difference, 0, MOST_NATS)
        expect(f"the time of {name}", each.ratio, each.pair.least, math.inf)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

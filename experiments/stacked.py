"""How close each rule's gradient is to that of full backpropagation through time, in one layer and in several.

    python experiments/stacked.py

Takes two minutes for GRU (`--cells elman lru` for others). Networks with random weights read 40 characters of the
comedy at fixed weights; the gradients of all characters, summed, are compared with the gradient of the summed loss, in float64:
the cosine of the angle between the two, the mean of five draws of the weights. Expected: rtrl 1.0000 whatever the number of
layers; snap1, snap1_lookahead and rflo lose some with each layer, as they leave out what a layer does to the states of those
above; one_step loses most. The mean of uoro is rtrl, but a single draw is mostly noise. Writes results/stacked.json and
results/stacked.md.
"""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from claims import NAMED_RULES, SNAP_NOTE, expect

from jaxrnn import network
from jaxrnn.data import text, vocabulary
from jaxrnn.data.array_types import Carry, Params
from jaxrnn.models.model import Model
from jaxrnn.rules import bptt, make_rule

RESULTS = Path(__file__).with_name("results")
HIDDEN, NUM_CHARACTERS, DRAWS, LAYERS = 12, 40, 5, (1, 2, 3)
full = functools.cache(lambda model: bptt(model, NUM_CHARACTERS))
weights_and_carry = functools.cache(lambda model: jax.jit(lambda key: (model.init(key), model.initial_carry(key, ()))))
# Unoptimised: compiling takes nearly all of the time.
compiled = functools.cache(lambda rule: jax.jit(rule.gradient, compiler_options={"xla_backend_optimization_level": 0}))
COMPARED = (("one_step", 1), ("tbptt_sliding", 4), ("rflo", 1), ("snap1", 1), ("snap1_lookahead", 1), ("rtrl", 1), ("uoro", 1),
            ("rtrl_kronecker", 1), ("eprop random", 1))  # fmt: skip


class Draw(NamedTuple):
    """Weights, a carry, and the gradient of full backpropagation there."""

    params: Params
    carry: Carry
    true: jax.Array


def main(cells: tuple[str, ...] = ("gru",)) -> None:
    """Compare all rules with all cells and numbers of layers."""
    characters = text.read("comedie")[1000 : 1000 + NUM_CHARACTERS + 1]
    known = vocabulary.of_text(characters)
    ids = jnp.asarray(vocabulary.encode(known, characters))
    rows = []
    for cell in cells:
        models = [network(cell, len(known.characters), HIDDEN, num_layers=n, initialisation="orthogonal") for n in LAYERS]
        draws = [[drawn(model, ids, seed) for seed in range(DRAWS)] for model in models]
        for rule, length in COMPARED:
            pairs = zip(models, draws, strict=True)
            cosines = [float(np.mean(cosines_of(model, rule, length, ids, of_model))) for model, of_model in pairs]
            rows.append({"cell": cell, "rule": rule if length == 1 else f"{rule} {length}", "cosines": cosines})
            print(in_words(rows[-1]), flush=True)
    write(rows)
    for row in rows:
        if row["rule"] == "rtrl":
            expect(f"the least cosine of rtrl, {row['cell']}", min(row["cosines"]), 1 - 1e-9, 1 + 1e-9)


def drawn(model: Model, ids: jax.Array, seed: int) -> Draw:
    """Draw weights and a carry in float64, and compute the true gradient."""
    with jax.enable_x64(False):
        start = weights_and_carry(model)(jax.random.key(seed))
    with jax.enable_x64(True):
        params, carry = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), start)
        gradient = compiled(full(model))
        return Draw(params, carry, flat(gradient(params, (), carry, ids[:-1], ids[1:]).grads))


def cosines_of(model: Model, rule: str, length: int, ids: jax.Array, draws: list[Draw]) -> list[float]:
    """Compute the cosine of the angle between the rule's gradient and the true one, for each draw."""
    online, found = make_rule(NAMED_RULES[rule], model, length), []
    step = compiled(online)
    for seed, (params, carry, true) in enumerate(draws):
        with jax.enable_x64(True):
            memory, total = online.init(params, carry, jax.random.key(seed)), jnp.zeros_like(true)
            for t in range(NUM_CHARACTERS):
                gradient = step(params, memory, carry, ids[t : t + 1], ids[t + 1 : t + 2])
                memory, carry, total = gradient.memory, gradient.carry, total + flat(gradient.grads)
            found.append(float(total @ true / jnp.linalg.norm(total) / jnp.linalg.norm(true)))
    return found


def flat(grads: Params) -> jax.Array:
    """Flatten the gradient of all weights but the readout's, whose gradient is the same for all rules."""
    leaves = [leaf.ravel() for name, of_name in grads.items() if name != "readout" for leaf in jax.tree.leaves(of_name)]
    return jnp.concatenate(leaves)


def in_words(row: dict) -> str:
    """Format a row of the table in Markdown."""
    return f"| {row['cell']} | {row['rule']} | " + " | ".join(f"{cosine:.4f}" for cosine in row["cosines"]) + " |"


def write(rows: list[dict]) -> None:
    """Write the numbers and the table."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "stacked.json").write_text(json.dumps(rows, indent=1) + "\n")
    head = "| cell | rule | " + " | ".join(f"{n} layers" if n > 1 else "1 layer" for n in LAYERS) + " |\n"
    table = head + "|---" * (2 + len(LAYERS)) + "|\n" + "\n".join(map(in_words, rows)) + "\n"
    (RESULTS / "stacked.md").write_text(table + SNAP_NOTE, "utf-8")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

"""The loss at several learning rates, with several seeds each, and whether a sweep equals its runs one by one.

    python experiments/sweep.py
    python experiments/sweep.py --compare

The first takes half a minute. Expected, for the course's network over 45,000 characters read twice, in the last quarter: 2.76,
2.42, 2.12, 2.07 and 2.32 nats per character, and seeds that differ by at most 0.04. Writes results/sweep.json and
results/sweep.png.

The second takes a quarter of a minute: 3 rates and 8 seeds over 5,000 characters, as one sweep and one run after another, in
turns. Expected: losses that differ by at most 1e-5, and at most 1.1 times the time.

A sweep is one compiled program. On a GPU or TPU all runs train side by side; on a CPU each core trains its share of them.
"""

import json
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from claims import expect
from matplotlib.figure import Figure
from pictures import WIDTH, draw_picture

from jaxrnn import Learner, fast_driver, network, online, sweep
from jaxrnn.console.sweep_report import SweepCurves, average_sweep, sweep_figure, sweep_table
from jaxrnn.data import text, vocabulary
from jaxrnn.data.streams import count_updates, to_streams
from jaxrnn.rules import RULES, make_rule
from jaxrnn.training.optimizers import make_optimizer, with_learning_rate
from jaxrnn.training.stacked import UPDATES_PER_CALL

RESULTS = Path(__file__).with_name("results")
COMPARED_RATES, COMPARED_SEEDS, COMPARED_UPDATES, REPEATS = (0.03, 0.1, 0.3), 8, 5_000, 3


def main(
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0),
    seeds: int = 8,
    text_name: str = "comedie",
    characters: int = 45_000,
    epochs: int = 2,
    cell: str = "elman",
    hidden_size: int = 128,
    rule: str = "one_step",
    rule_length: int = 1,
    num_streams: int = 1,
    optimizer_name: str = "sgd",
    side_by_side: bool | None = None,
    compare: bool = False,
) -> None:
    """Train all models."""
    used = text.read(text_name)[: characters + 1]
    known = vocabulary.of_text(used)
    stream = jnp.asarray(to_streams(vocabulary.encode(known, used), num_streams))
    model = network(cell, len(known.characters), hidden_size)
    streams = () if num_streams == 1 else (num_streams,)
    learner = online(model, make_rule(RULES[rule], model, rule_length), make_optimizer(optimizer_name, rates[0]), streams)
    if compare:
        compare_with_single_runs(learner, stream, side_by_side)
        return
    found = sweep(
        learner, rates, range(seeds), stream, count_updates(stream, learner.length) * epochs, side_by_side=side_by_side
    )
    averaged = average_sweep(found)
    print(sweep_table(averaged))
    write(averaged)
    draw_picture("sweep", picture)


def compare_with_single_runs(learner: Learner, stream: jax.Array, side_by_side: bool | None) -> None:
    """Train the same runs both ways, and print how far apart they are, and the ratio of the times."""
    drive, init = fast_driver(learner, UPDATES_PER_CALL), jax.jit(learner.init)

    def in_one() -> np.ndarray:
        seeds = range(COMPARED_SEEDS)
        return sweep(learner, COMPARED_RATES, seeds, stream, COMPARED_UPDATES, side_by_side=side_by_side).losses

    def alone() -> np.ndarray:
        losses = []
        for rate in COMPARED_RATES:
            for seed in range(COMPARED_SEEDS):
                state = init(jax.random.key(seed))
                state = state._replace(opt_state=with_learning_rate(state.opt_state, rate))
                losses.append(drive(state, stream, COMPARED_UPDATES)[1])
        return np.array(losses).reshape(len(COMPARED_RATES), COMPARED_SEEDS, -1)

    apart, seconds = float(np.abs(in_one() - alone()).max()), {in_one: math.inf, alone: math.inf}  # which also compiles
    for _ in range(REPEATS):
        for train in seconds:
            started = time.perf_counter()
            train()
            seconds[train] = min(seconds[train], time.perf_counter() - started)
    ratio = seconds[in_one] / seconds[alone]
    print(f"largest difference of a loss {apart:.1e}; one sweep {seconds[in_one]:.2f} s, one run after another ", end="")
    print(f"{seconds[alone]:.2f} s: {ratio:.2f} times")
    expect("the largest difference", apart, 0, 1e-5)
    expect("the ratio of the times", ratio, 0, 1.1)


def write(averaged: SweepCurves) -> None:
    """Write the numbers."""
    RESULTS.mkdir(exist_ok=True)
    rounded = averaged._replace(means=averaged.means.round(4), curves=averaged.curves.round(4))
    rows = {name: np.asarray(value).tolist() for name, value in rounded._asdict().items()}
    (RESULTS / "sweep.json").write_text(json.dumps(without_nan(rows)) + "\n")


def without_nan(value: object) -> object:
    """Replace NaN and infinity, which JSON cannot hold, with None."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def picture(found: dict) -> Figure:
    """Draw the loss at each learning rate, and along the stream."""
    arrays = {name: np.array(found[name], np.float64) for name in ("means", "places", "curves")}  # None becomes NaN
    figure = sweep_figure(SweepCurves(tuple(found["rates"]), tuple(found["seeds"]), found["last"], **arrays))
    figure.set_size_inches(WIDTH, 3.8)
    return figure


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

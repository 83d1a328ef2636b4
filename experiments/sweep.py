"""The loss at several learning rates, with several seeds each.

    python experiments/sweep.py --rates 0.01 0.03 0.1 0.3 --seeds 3

Takes a minute. Expected, for the course's network over 20,000 characters read twice (`--characters 20000`): 3.23, 2.80, 2.44
and 2.27 nats (in so short a time, the higher the rate the better), and seeds that differ by 0.02. Writes results/sweep.json and
results/sweep.png.

One compiled function trains all models. On a GPU or TPU, where a small network leaves most of the device idle, they train side
by side (`jax.vmap`); on a CPU, where that gains nothing, one after another; `--side-by-side` and `--no-side-by-side` choose.
`--compare` does both, checks that the losses are the same, and shows which was faster.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from pictures import CELL_COLOURS, INK, add_legend, draw_picture, new_figure

from jaxrnn import State, online
from jaxrnn.data import text, vocabulary
from jaxrnn.data.streams import count_updates, to_streams
from jaxrnn.models.network import network
from jaxrnn.rules import RULES, make_rule
from jaxrnn.training.drivers import compiler_options, update_many
from jaxrnn.training.learner import Learner
from jaxrnn.training.optimizers import make_optimizer, with_learning_rate

RESULTS = Path(__file__).with_name("results")
Losses = np.ndarray  # f32[rates, seeds, characters], nats


def main(
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3),
    seeds: int = 3,
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
    many = jax.default_backend() != "cpu" if side_by_side is None else side_by_side
    ways: dict[bool, Callable[..., Losses]] = {True: at_once, False: in_turn}
    losses, seconds = timed(ways[many], learner, stream, rates, seeds, epochs)
    if compare:
        others, others_seconds = timed(ways[not many], learner, stream, rates, seeds, epochs)
        np.testing.assert_allclose(losses.mean(-1), others.mean(-1), rtol=1e-3)
        names = {True: "side by side", False: "in turn"}
        print(f"{names[many]} {seconds:.1f} s, {names[not many]} {others_seconds:.1f} s, the same losses")
    of_last = losses[..., -(losses.shape[-1] // epochs) :].mean(-1, dtype=np.float64)
    show(rates, of_last)
    write(rates, of_last, f"{cell} {hidden_size} on {text_name}, {rule}, {optimizer_name}")
    draw_picture("sweep", picture)


def timed(train: Callable[..., Losses], *how: object) -> tuple[Losses, float]:
    """Train. Returns the losses, and the seconds, compilation included."""
    started = time.perf_counter()
    return train(*how), time.perf_counter() - started


def in_turn(learner: Learner, stream: jax.Array, rates: tuple[float, ...], seeds: int, epochs: int) -> Losses:
    """Train one model after another, by the same compiled function."""
    updates = count_updates(stream, learner.length) * epochs
    train, begin = jax.jit(update_many(learner, updates), compiler_options=compiler_options()), jax.jit(learner.init)
    found = [
        [train(at_rate(begin(jax.random.key(seed)), rate), stream, jnp.int32(updates))[1] for seed in range(seeds)]
        for rate in rates
    ]
    return np.array(found)


def at_once(learner: Learner, stream: jax.Array, rates: tuple[float, ...], seeds: int, epochs: int) -> Losses:
    """Train all models side by side, along two more axes."""
    updates = count_updates(stream, learner.length) * epochs

    def train(seed: jax.Array, rate: jax.Array) -> jax.Array:
        return update_many(learner, updates)(at_rate(learner.init(jax.random.key(seed)), rate), stream, jnp.int32(updates))[1]

    of_seeds = jax.vmap(train, in_axes=(0, None))
    return np.array(jax.jit(jax.vmap(of_seeds, in_axes=(None, 0)))(jnp.arange(seeds), jnp.asarray(rates)))


def at_rate(state: State, rate: float | jax.Array) -> State:
    """Return the state with its learning rate set."""
    return state._replace(opt_state=with_learning_rate(state.opt_state, rate))


def show(rates: tuple[float, ...], nats: np.ndarray) -> None:
    """Print a table in Markdown: online nats per character in the last epoch."""
    print("| rate | mean | " + " | ".join(f"seed {seed}" for seed in range(nats.shape[1])) + " |")
    print("|---" * (2 + nats.shape[1]) + "|")
    for rate, row in zip(rates, nats, strict=True):
        print(f"| {rate:g} | {row.mean():.4f} | " + " | ".join(f"{each:.4f}" for each in row) + " |")


def write(rates: tuple[float, ...], nats: np.ndarray, title: str) -> None:
    """Write the numbers."""
    RESULTS.mkdir(exist_ok=True)
    rows = [
        {"rate": rate, "online_nats": [each if math.isfinite(each) else None for each in row]}
        for rate, row in zip(rates, nats.tolist(), strict=True)
    ]
    (RESULTS / "sweep.json").write_text(json.dumps({"what": title, "rows": rows}, indent=1) + "\n")


def picture(found: dict) -> Figure:
    """Draw the loss at each learning rate: each seed, and their mean."""
    rates = [row["rate"] for row in found["rows"]]
    nats = np.array([row["online_nats"] for row in found["rows"]], np.float64)  # None becomes NaN
    means = nats.mean(axis=1)
    best = int(np.argmin(np.where(np.isfinite(means), means, np.inf)))
    figure = new_figure(
        3.8, f"Rate {rates[best]:g} is the best of {len(rates)}: {means[best]:.2f} nats per character in the last epoch"
    )
    axes, cell = figure.subplots(), found["what"].split()[0]
    colour = CELL_COLOURS.get(cell, INK)
    axes.semilogx(rates, means, color=colour, label="mean of the seeds")
    axes.semilogx(rates, nats, "o", color=colour, markerfacecolor="none", label=["a seed", *[None] * (nats.shape[1] - 1)])
    axes.set(xlabel="learning rate (log scale)", ylabel="online nats per character, last epoch", title=found["what"])
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    add_legend(figure, [axes], 2)
    return figure


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

"""How far back a gradient reaches in each cell, and how far back each cell learns to copy.

    python experiments/vanishing_gradient.py

Takes two minutes.

Influence. How much the loss at one character moves with the character read `lag` steps before: the norm of its derivative with
respect to that one-hot vector, averaged over 256 places of the text, relative to lag 0: with initial weights, and after four
readings of 50,000 characters of the comedy. Expected at lag 10, at first: Elman 3e-10 (sigmoid) and 4e-4 (tanh), GRU 4e-3, LSTM
0.1, LRU 0.2. Training moves both Elman networks and the GRU up, to 3e-3, 3e-2 and 2e-2, and LSTM and LRU down, to 8e-3 and
5e-2: what comes next in this text is said mostly by the last few characters. At lag 60 only the LRU is left, with 4e-3.

Copy. Each letter is the one `lag` before, except for noise. The part that is not copied: 1 = as without memory, 0 = as good as
the source itself (`automaton.source_losses`). In 300,000 letters, blocks of 32 letters teach all cells to copy over 4 letters,
all but the sigmoid's over 8, and the LRU over 16. One step leaves 0.6 to 0.9 of 8 letters in every cell, and half of 4 letters
in GRU, LSTM and LRU; the Elman network with tanh copies over 4: its state keeps enough without being taught.

What follows: a sigmoid's derivative is at most 1/4, so that at first each step back in the course's network takes nine tenths
of the gradient away; tanh, gates and linear units let more of it pass. The course's gradient of one step does not go back at
all: such a network uses what its state happens to keep, and is never taught to keep what matters. A gradient that goes back
further than the dependency teaches the same cells to keep it, as far as they let the gradient through.

Writes results/vanishing_gradient.json, results/vanishing_gradient.md and results/vanishing_gradient.png.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from claims import expect
from matplotlib.figure import Figure
from pictures import CELL_COLOURS, add_legend, cell_look, draw_picture, new_figure

from jaxrnn import Model, State, bptt, fast_driver, nats, network, one_step, online
from jaxrnn.data import automaton, synthetic, text, vocabulary
from jaxrnn.data.array_types import Params
from jaxrnn.data.streams import count_updates, to_streams
from jaxrnn.models.cells import CELLS, TANH_RELU_RATES
from jaxrnn.rules._unroll import unroll_layer
from jaxrnn.training.drivers import Driver
from jaxrnn.training.learner import Learner
from jaxrnn.training.optimizers import make_optimizer

RESULTS = Path(__file__).with_name("results")
BLOCK, STREAMS = 32, 4  # for bptt, with Adam
HIDDEN, CHARACTERS, EPOCHS, RATE = 128, 50_000, 4, 3e-3  # for the influence
MOST_LAG, WARM, PLACES = 60, 100, 256  # characters read before the first that counts; places in the text
COPY_HIDDEN, COPY_LETTERS, COPY_NOISE, COPY_RATE = 32, 300_000, 0.1, 5e-3
COPY_LAGS = (1, 2, 4, 8, 16)
SHOWN_LAGS = (1, 3, 10, 30, 60)


class Kind(NamedTuple):
    """Hidden units, and the rate that suits them after one character."""

    cell: str
    rate: float
    activation: str = "sigmoid"


class Reach(NamedTuple):
    """Influence by lag, relative to lag 0, before and after training."""

    at_first: np.ndarray
    trained: np.ndarray


KINDS = {
    "Elman, sigmoid": Kind("elman", CELLS["elman"].sgd_rates[0]),
    "Elman, tanh": Kind("elman", TANH_RELU_RATES[0], "tanh"),
    "GRU": Kind("gru", CELLS["gru"].sgd_rates[0]),
    "LSTM": Kind("lstm", CELLS["lstm"].sgd_rates[0]),
    "LRU": Kind("lru", CELLS["lru"].sgd_rates[0]),
}
COURSE = "Elman, sigmoid, one step"
RULES = {"blocks": f"blocks of {BLOCK}", "one_step": "one step"}


def main() -> None:
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    reaches = {name: reach_of(name, "blocks") for name in KINDS} | {COURSE: reach_of("Elman, sigmoid", "one_step")}
    sources = {lag: copy_text(lag) for lag in COPY_LAGS}
    missed = {rule: {name: missed_by(name, rule, sources) for name in KINDS} for rule in RULES}
    write(reaches, missed)
    draw_picture("vanishing_gradient", picture)
    check(reaches, missed)


def learner_of(model: Model, kind: Kind, rule: str, rate: float) -> Learner:
    """Make a learner: blocks with Adam at this rate, or one step as in the course."""
    if rule == "one_step":
        return online(model, one_step(model), make_optimizer("sgd", kind.rate))
    return online(model, bptt(model, BLOCK), make_optimizer("adam", rate), (STREAMS,))


def streams_of(learner: Learner, characters: np.ndarray) -> np.ndarray:
    """Make one stream for one step, several parallel streams for blocks."""
    return to_streams(characters, 1 if learner.length == 1 else STREAMS)


def reach_of(name: str, rule: str) -> Reach:
    """Measure the influence in a cell before and after training on the comedy."""
    kind = KINDS[name]
    used = text.read("comedie")[: CHARACTERS + 1]
    known = vocabulary.of_text(used)
    ids = vocabulary.encode(known, used)
    model = network(kind.cell, len(known.characters), HIDDEN, activation=kind.activation)
    learner = learner_of(model, kind, rule, RATE)
    stream = jnp.asarray(streams_of(learner, ids))
    updates = EPOCHS * count_updates(stream, learner.length)
    state: State = learner.init(jax.random.key(0))
    influence = influence_of(model, ids)
    at_first = influence(state.params)
    state, losses = fast_driver(learner, updates)(state, stream, updates)
    print(f"{name}, {RULES[rule]}: {losses[-len(losses) // EPOCHS :].mean():.3f} nats", flush=True)
    return Reach(at_first, influence(state.params))


def influence_of(model: Model, ids: np.ndarray) -> Callable[[Params], np.ndarray]:
    """Make a function that computes the mean norm of dloss_t / dx_(t - lag), relative to lag 0: params -> f64[lags].

    x is one-hot, and the mean is taken over places t of the text.
    """
    (layer,) = model.layers
    run = unroll_layer(layer)
    t = np.random.default_rng(0).integers(WARM + MOST_LAG, len(ids) - 1, PLACES)
    x, y = ids[t + np.arange(-WARM - MOST_LAG, 1)[:, None]], jnp.asarray(ids[t + 1])

    def loss(x: jax.Array, params: Params) -> jax.Array:
        weights = params[layer.name]
        carry = model.initial_carry(jax.random.key(0), (PLACES,))
        _, h = run(weights, carry, layer.project(weights, x))
        return nats(model.read_out(params, layer.output(weights, h[-1])), y).mean()

    gradient = jax.jit(jax.grad(loss))

    def influence(params: Params) -> np.ndarray:
        grads = np.asarray(gradient(jax.nn.one_hot(x, model.vocab_size), params), np.float64)
        norms = np.linalg.norm(grads, axis=-1).mean(axis=1)[::-1][: MOST_LAG + 1]
        return norms / norms[0]

    return influence


def copy_text(lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of the noisy copy, and the loss of its source at each of them."""
    source = synthetic.noisy_copy(lag, num_letters=2, noise=COPY_NOISE)
    letters = automaton.write_text(source, COPY_LETTERS + 1, seed=0)
    return vocabulary.encode(vocabulary.of_text(letters), letters), automaton.source_losses(source, letters)


def missed_by(name: str, rule: str, sources: dict[int, tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Measure, for each lag, the part of the copy that is not learned."""
    kind = KINDS[name]
    model = network(kind.cell, 2, COPY_HIDDEN, activation=kind.activation)
    learner = learner_of(model, kind, rule, COPY_RATE)
    drive = fast_driver(learner, COPY_LETTERS)
    parts = [missed_part(learner, drive, *source) for source in sources.values()]
    print(f"{name}, {RULES[rule]}: " + " ".join(f"{part:.3f}" for part in parts), flush=True)
    return parts


def missed_part(learner: Learner, drive: Driver, ids: np.ndarray, floor: np.ndarray) -> float:
    """Compute the online regret over the last quarter, relative to that of a predictor without memory."""
    stream, lowest = streams_of(learner, ids), streams_of(learner, floor)[1:]
    updates = count_updates(stream, learner.length)
    _, losses = drive(learner.init(jax.random.key(0)), jnp.asarray(stream), updates)
    last = slice(len(losses) * 3 // 4, len(losses))
    floor_nats = lowest[last].mean()
    return float((losses[last].mean(dtype=np.float64) - floor_nats) / (math.log(2) - floor_nats))


def first_lag_under(part: float, influences: np.ndarray) -> str:
    """Format the first lag at which the influence is below a part, in characters."""
    under = np.flatnonzero(influences < part)
    return str(under[0]) if under.size else f"> {MOST_LAG}"


def e_folding(influences: np.ndarray) -> float:
    """Compute in how many characters the influence falls by the factor e, between lags 10 and 20."""
    return float(10 / np.log(influences[10] / influences[20]))


def write(reaches: dict[str, Reach], missed: dict[str, dict[str, list[float]]]) -> None:
    """Write the numbers and the tables."""
    RESULTS.mkdir(exist_ok=True)
    influences = {name: {when: rounded(row) for when, row in reach._asdict().items()} for name, reach in reaches.items()}
    found = {"influence": influences, "copy_lags": COPY_LAGS, "not_copied": missed}
    (RESULTS / "vanishing_gradient.json").write_text(json.dumps(found, indent=1) + "\n")
    tables = influence_table(reaches) + "\n" + copy_table(missed)
    print("\n" + tables)
    (RESULTS / "vanishing_gradient.md").write_text(tables, "utf-8")


def rounded(numbers: np.ndarray) -> list[float]:
    return [float(f"{number:.4g}") for number in numbers.tolist()]


def influence_table(reaches: dict[str, Reach]) -> str:
    """Format a row for each cell before training, and one after."""
    lags = " | ".join(f"lag {lag}" for lag in SHOWN_LAGS)
    lines = [f"| influence of a character | {lags} | under 1/2 | under 1 % | e-folding |", "|---" * (4 + len(SHOWN_LAGS)) + "|"]
    for name, reach in reaches.items():
        for when, row in reach._asdict().items():
            if name == COURSE and when == "at_first":  # the weights that blocks start from, too
                continue
            numbers = " | ".join(f"{row[lag]:.1e}" for lag in SHOWN_LAGS)
            firsts = " | ".join(first_lag_under(part, row) for part in (0.5, 0.01))
            lines.append(f"| {name}, {when.replace('_', ' ')} | {numbers} | {firsts} | {e_folding(row):.1f} |")
    return "\n".join(lines) + "\n"


def copy_table(missed: dict[str, dict[str, list[float]]]) -> str:
    """Format a row for each cell and rule."""
    lines = ["| not copied | " + " | ".join(f"lag {lag}" for lag in COPY_LAGS) + " |", "|---" * (1 + len(COPY_LAGS)) + "|"]
    for rule, rows in missed.items():
        lines += [
            f"| {name}, {RULES[rule]} | " + " | ".join(f"{part:.3f}" for part in row) + " |" for name, row in rows.items()
        ]
    return "\n".join(lines) + "\n"


def picture(found: dict) -> Figure:
    """Draw how far back influence and copying reach, before and after training, by blocks and by one step."""
    figure = new_figure(
        6.6, f"Blocks of {BLOCK} teach the LRU to copy over 16 letters;\none step teaches no cell to copy over 8"
    )
    panels = figure.subplots(2, 2, sharey="row", sharex="row")
    for name, kind in KINDS.items():
        look = cell_look(kind.cell) | ({"linestyle": "--", "zorder": 3} if kind.activation == "tanh" else {})
        for axes, when in zip(panels[0], Reach._fields, strict=True):
            axes.semilogy(found["influence"][name][when], **look, markevery=(4, 10), label=name)
        for axes, rule in zip(panels[1], ("one_step", "blocks"), strict=True):
            axes.semilogx(found["copy_lags"], found["not_copied"][rule][name], **look, label=name)
    panels[0, 1].semilogy(found["influence"][COURSE]["trained"], ":", color=CELL_COLOURS["elman"], label=COURSE)
    panels[0, 0].set(title="Influence before training", ylabel="influence on the loss, lag 0 = 1", ylim=(1e-8, 2))
    panels[0, 1].set_title(f"Influence after training by blocks of {BLOCK}")
    panels[1, 0].set(title="Copying, trained by one step", ylabel="part that is not copied", ylim=(-0.05, 1.1))
    panels[1, 1].set_title(f"Copying, trained by blocks of {BLOCK}")
    for top, bottom in panels.T:
        top.set_xlabel("lag in characters")
        bottom.set(xlabel="lag in letters", xticks=found["copy_lags"], xticklabels=found["copy_lags"])
        bottom.minorticks_off()
    add_legend(figure, list(panels.flat), 3)
    return figure


def check(reaches: dict[str, Reach], missed: dict[str, dict[str, list[float]]]) -> None:
    """Check what must hold on any machine and with any seed, with wide margins."""
    for name, lowest, highest in (
        ("Elman, sigmoid", 0, 1e-6),
        ("Elman, tanh", 1e-6, 1e-2),
        ("LSTM", 0.01, 1),
        ("LRU", 0.03, 1),
    ):
        expect(f"influence at lag 10, {name}, at first", reaches[name].at_first[10], lowest, highest)
    for name in ("Elman, sigmoid", COURSE):
        expect(f"influence at lag 30, {name}, trained", reaches[name].trained[30], 0, 1e-4)
    expect("influence at lag 30, LRU, trained", reaches["LRU"].trained[30], 1e-3, 1)
    for name in KINDS:
        blocks, one = (dict(zip(COPY_LAGS, missed[rule][name], strict=True)) for rule in RULES)
        expect(f"not copied over 4 letters, {name}, blocks", blocks[4], -0.02, 0.1)
        expect(f"not copied over 8 letters, {name}, one step", one[8], 0.4, 2)
    for name in ("GRU", "LSTM", "LRU"):
        expect(f"not copied over 8 letters, {name}, blocks", missed["blocks"][name][COPY_LAGS.index(8)], -0.02, 0.3)
    expect("not copied over 16 letters, LRU, blocks", missed["blocks"]["LRU"][-1], -0.02, 0.1)
    expect("not copied over 16 letters, Elman, sigmoid, blocks", missed["blocks"]["Elman, sigmoid"][-1], 0.8, 1.2)


if __name__ == "__main__":
    main()

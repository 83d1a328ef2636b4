"""Learning online from something other than text: real vectors, and questions about the past, asked now and then.

    python experiments/beyond_text.py

Takes four minutes. One pass over each stream, the rate falling to nothing as a cosine, three seeds. The lowest possible loss is
known for both, on the very same numbers. A row shows regret: the loss above it, over the last sixth of the stream.

- regression: two damped rotations of the plane, seen through noise. The target is the next vector, the loss the squared error,
  and the best predictor the Kalman filter. Expected of an LRU of 16 units by SGD: rtrl, rtrl_diagonal and both forms of
  snap1, which are exact for it, end within 0.02 of the filter, one_step 0.2 or more above it.
- recall: a stream of four letters. At one in four, at random, the network is asked for the letter four back; a tenth of the
  answers are drawn anew. Elsewhere the loss is masked. The floor is 0.3488 nats per answer, 1.3863 without memory. Expected of
  a GRU of 24 units by Adam: rtrl and a window of 5 end within 0.05 of the floor, rtrl_kronecker within 0.1; a window of 4
  learns nothing, as it ends one character short of the letter.

Writes results/beyond_text.json, results/beyond_text.md and results/beyond_text.png.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from claims import NAMED_RULES, expect, write_table
from matplotlib.figure import Figure
from pictures import add_legend, draw_picture, new_figure, rule_look

from jaxrnn import Model, Pairs, fast_driver, masked, nats, network, online
from jaxrnn.models.losses import Loss
from jaxrnn.rules import make_rule
from jaxrnn.training.optimizers import make_optimizer

RESULTS = Path(__file__).with_name("results")
SEEDS = (0, 1, 2)
NUM_POINTS = 40  # of each curve
LETTERS, LAG, ASKED, REDRAWN = 4, 4, 0.25, 0.1
TURNS = ((0.98, 0.3), (0.95, 1.1))  # damping and angle of each rotation, per step
STATE_NOISE, SENSOR_NOISE = 0.2, 0.5  # standard deviations
SEEN = np.array([[1.0, 0, 1, 0], [0, 1, 0, -1]])  # the matrix of the sensor
CLIP_NORM = 5.0  # without it the gradient of an LRU may explode, whatever the rule
TITLES = {
    "regression": "the next of two noisy rotations,\nregret in squared error",
    "recall": "the letter 4 back, asked now and then,\nregret in nats per answer",
}


class Sample(NamedTuple):
    """A stream, the lowest possible loss at each of its steps, and where it is asked for."""

    pairs: Pairs
    floor: np.ndarray
    asked: np.ndarray


class Task(NamedTuple):
    """A kind of stream, the model that reads it, and the rules that are compared: name, length and learning rate."""

    name: str
    steps: int
    sample: Callable[[int, int], Sample]  # (steps, seed)
    model: Model
    loss: Loss
    optimizer: str
    rules: tuple[tuple[str, int, float], ...]


def main() -> None:
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    rows = []
    for task in TASKS:
        samples = [task.sample(task.steps, seed) for seed in SEEDS]
        for rule in task.rules:
            rows.append(row_of(task, *rule, samples))
            print(in_words(rows[-1]), flush=True)
    (RESULTS / "beyond_text.json").write_text(json.dumps(rows) + "\n")
    head = "| stream | rule | " + " | ".join(f"regret, seed {seed}" for seed in SEEDS) + " | mean |"
    write_table("beyond_text", [head, "|---" * (3 + len(SEEDS)) + "|", *map(in_words, rows)])
    draw_picture("beyond_text", picture)
    check(rows)


def rotations(steps: int, seed: int) -> Sample:
    """Draw the noisy view of two damped rotations, and run the Kalman filter over it."""
    A = np.zeros((4, 4))
    for place, (damping, angle) in zip((0, 2), TURNS, strict=True):
        turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        A[place : place + 2, place : place + 2] = damping * np.array(turn)
    rng = np.random.default_rng(seed)
    noise = STATE_NOISE * rng.normal(size=(steps + 1, 4)), SENSOR_NOISE * rng.normal(size=(steps + 1, 2))
    s, seen = np.zeros(4), np.zeros((steps + 1, 2))
    for t, (of_state, of_sensor) in enumerate(zip(*noise, strict=True)):
        s = A @ s + of_state
        seen[t] = SEEN @ s + of_sensor
    pairs = Pairs(jnp.asarray(seen[:-1], jnp.float32), jnp.asarray(seen[1:], jnp.float32))
    return Sample(pairs, kalman_errors(A, seen)[1:], np.ones(steps, bool))


def kalman_errors(transition: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Compute the squared error of the best prediction of each vector from those before it.

    Source: Kalman (1960), J. Basic Engineering 82(1).
    """
    A, m, P, errors = transition, np.zeros(4), np.eye(4), np.zeros(len(seen))
    settled, gain = False, np.zeros((4, 2))
    for t, x in enumerate(seen):
        m = A @ m
        if not settled:  # the gain does not depend on the data, and converges
            before, P = P, A @ P @ A.T + STATE_NOISE**2 * np.eye(4)
            gain = P @ SEEN.T @ np.linalg.inv(SEEN @ P @ SEEN.T + SENSOR_NOISE**2 * np.eye(2))
            P -= gain @ SEEN @ P
            settled = np.allclose(P, before, rtol=0, atol=1e-15)
        error = x - SEEN @ m
        errors[t] = error @ error
        m += gain @ error
    return errors


def recall(steps: int, seed: int) -> Sample:
    """Draw letters, where the one `LAG` back is asked for, and the answers."""
    rng = np.random.default_rng(seed)
    x, asked = rng.integers(0, LETTERS, steps), rng.random(steps) < ASKED
    asked[:LAG] = False
    true = np.roll(x, LAG)
    y = np.where(rng.random(steps) < REDRAWN, rng.integers(0, LETTERS, steps), true)
    floor = -np.log(np.where(y == true, 1 - REDRAWN + REDRAWN / LETTERS, REDRAWN / LETTERS))
    return Sample(Pairs(jnp.asarray(x, jnp.int32), (jnp.asarray(y, jnp.int32), jnp.asarray(asked))), floor, asked)


def squared_error(outputs: jax.Array, y: jax.Array) -> jax.Array:
    """Return the squared error of the whole vector."""
    return optax.squared_error(outputs, y).sum(-1)


TASKS = (
    Task(
        name="regression",
        steps=150_000,
        sample=rotations,
        model=network("lru", 2, 16, inputs=2),
        loss=squared_error,
        optimizer="sgd",
        rules=(
            ("one_step", 1, 0.01),
            ("tbptt_sliding", 8, 0.01),
            ("snap1", 1, 0.01),
            ("snap1_lookahead", 1, 0.01),
            ("rtrl_diagonal", 1, 0.01),
            ("rtrl", 1, 0.01),
            ("uoro", 1, 0.001),
        ),
    ),
    Task(
        name="recall",
        steps=200_000,
        sample=recall,
        model=network("gru", LETTERS, 24),
        loss=masked(nats),
        optimizer="adam",
        rules=(
            ("one_step", 1, 0.003),
            ("tbptt_sliding", LAG, 0.003),
            ("tbptt_sliding", LAG + 1, 0.003),
            ("rflo", 1, 0.003),
            ("snap1", 1, 0.003),
            ("snap1_lookahead", 1, 0.003),
            ("rtrl", 1, 0.003),
            ("rtrl_kronecker", 1, 0.003),
            ("uoro", 1, 0.0003),
        ),
    ),
)


def row_of(task: Task, rule: str, length: int, rate: float, samples: list[Sample]) -> dict:
    """Read each stream once; the seed of the network is the number of its stream."""
    optimizer = make_optimizer(task.optimizer, rate, cosine_over=task.steps, clip_norm=CLIP_NORM)
    learner = online(task.model, make_rule(NAMED_RULES[rule], task.model, length), optimizer, loss=task.loss)
    drive, found, curves = fast_driver(learner, task.steps), [], []
    for seed, sample in enumerate(samples):
        state = learner.init(jax.random.key(seed))  # not jitted: as a whole it would compile for two seconds with each rule
        _, losses = drive(state, sample.pairs, task.steps)
        regrets = (losses.astype(np.float64) - sample.floor)[sample.asked]
        found.append(float(regrets[-(len(regrets) // 6) :].mean()))
        curves.append([float(part.mean()) for part in np.array_split(regrets, NUM_POINTS)])
    name = rule if length == 1 else f"{rule} {length}"
    return {"task": task.name, "rule": name, "regrets": found, "curve": np.mean(curves, axis=0).tolist()}


def in_words(row: dict) -> str:
    """Format a row of the table in Markdown."""
    regrets = " | ".join(f"{regret:.4f}" for regret in row["regrets"])
    return f"| {row['task']} | {row['rule']} | {regrets} | {np.mean(row['regrets']):.4f} |"


def picture(rows: list[dict]) -> Figure:
    """Draw the regret of each rule along each stream, a panel for each."""
    figure = new_figure(4.2, "Rules that see far enough come close to the best possible prediction")
    panels = figure.subplots(1, len(TASKS))
    for axes, task in zip(panels, TASKS, strict=True):
        of_task = [row for row in rows if row["task"] == task.name]
        for place, row in enumerate(of_task):
            at = (np.arange(NUM_POINTS) + 0.5) * task.steps / NUM_POINTS / 1000
            look = rule_look(row["rule"]) | ({"linestyle": ":"} if row["rule"] == f"tbptt_sliding {LAG}" else {})
            axes.plot(at, row["curve"], **look, markevery=(3 * place, 20), label=row["rule"])
        axes.set(title=TITLES[task.name], xlabel="thousand steps", ylim=(0, None))
    panels[0].set_ylabel("regret")
    add_legend(figure, panels, 4)
    return figure


def check(rows: list[dict]) -> None:
    """Check what the header says."""
    mean = {(row["task"], row["rule"]): float(np.mean(row["regrets"])) for row in rows}
    for rule in ("rtrl", "rtrl_diagonal", "snap1", "snap1_lookahead"):
        expect(f"regression, {rule}", mean["regression", rule], 0.0, 0.02)
    expect("regression, one_step", mean["regression", "one_step"], 0.2, 1.0)
    for rule in ("rtrl", f"tbptt_sliding {LAG + 1}"):
        expect(f"recall, {rule}", mean["recall", rule], 0.0, 0.05)
    expect("recall, rtrl_kronecker", mean["recall", "rtrl_kronecker"], 0.0, 0.1)
    for rule in ("one_step", f"tbptt_sliding {LAG}", "uoro"):
        expect(f"recall, {rule}", mean["recall", rule], 0.9, 1.1)
    for rule in ("rflo", "snap1", "snap1_lookahead"):
        expect(f"recall, {rule}", mean["recall", rule], 0.5, 0.8)


if __name__ == "__main__":
    main()

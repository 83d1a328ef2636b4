"""Influence balancing: rules that look back too few steps diverge; rules that look back far enough find the optimum.

    python experiments/influence_balancing.py

Takes 15 seconds. n = 23 units, s' = A s + theta b with A = (I + upper shift) / 2, and one weight theta: b is +1 on the first p
= 10 units and -1 on the others. The loss is (s_1 - 1)^2 / 2. At first theta raises s_1; in the long run it lowers it six times
as much, s_1 = 2 (2 p - n) theta. A rule that looks back too few steps climbs the loss instead of descending it.

The influence that a window of k steps sees, the sum of e_1^T A^j b over j < k, is 1 for k = 1, 10 for k = 10, below 0 only
from k = 41 on, and in the end -6. Expected: windows of 1 and 10 steps diverge; windows of 50, 100 and 200, RTRL and UORO end
at theta = 1 / (2 (2 p - n)) = -1/6. Writes results/influence_balancing.json and results/influence_balancing.png.

Source: Tallec & Ollivier (2017), "Unbiased online recurrent optimization", arXiv:1702.05043.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from claims import expect
from matplotlib.figure import Figure
from pictures import GREY, RULE_COLOURS, add_legend, draw_picture, new_figure

from jaxrnn import Model, Pairs, Rule, fast_driver, online
from jaxrnn.data.array_types import Carry, Ids, Outputs, Params, RandomKey, Targets
from jaxrnn.rules import rtrl, tbptt_sliding, uoro
from jaxrnn.training.optimizers import make_optimizer

NUM_UNITS, NUM_POSITIVE = 23, 10  # n and p
START, GOAL = -0.1, 1 / (2 * (2 * NUM_POSITIVE - NUM_UNITS))
NUM_STEPS, STEPS_PER_POINT = 25_000, 100
RATE, RATE_OF_UORO = 1e-4, 1e-5
A = (np.eye(NUM_UNITS) + np.eye(NUM_UNITS, k=1)) / 2
B = np.where(np.arange(NUM_UNITS) < NUM_POSITIVE, 1.0, -1.0)
RESULTS = Path(__file__).with_name("results")


class Case(NamedTuple):
    """A rule, and what should become of it."""

    rule: Callable[[Model], Rule]
    reaches: bool  # the optimum; otherwise it diverges
    window: int | None  # steps that it looks back; None = all
    rate: float = RATE


CASES = {f"TBPTT({k})": Case(lambda model, k=k: tbptt_sliding(model, k), k > 10, k) for k in (1, 10, 50, 100, 200)} | {
    "RTRL": Case(rtrl, True, None),
    "UORO": Case(uoro, True, None, RATE_OF_UORO),
}

WINDOW = RULE_COLOURS["tbptt_sliding"]
LOOKS = {  # colour, line style and width in the picture: three of the lines lie on each other
    "TBPTT(1)": (WINDOW, ":", 1.5),
    "TBPTT(10)": (WINDOW, "-.", 1.5),
    "TBPTT(50)": (WINDOW, "--", 1.5),
    "TBPTT(100)": (f"{WINDOW}50", "-", 8),
    "TBPTT(200)": (WINDOW, "-", 4),
    "RTRL": (RULE_COLOURS["rtrl"], "-", 1.5),
    "UORO": (RULE_COLOURS["uoro"], "-", 1.2),
}


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    thetas = {name: thetas_of(case.rule, case.rate) for name, case in CASES.items()}
    print("| rule | rate | influence that it sees | theta at the end | relative to -1/6 |\n|---|---|---|---|---|")
    for name, case in CASES.items():
        end = thetas[name][-1]
        print(f"| {name} | {case.rate:g} | {influence_within(case.window):.2f} | {end:.6g} | {end / GOAL:.6g} |")
    write(thetas)
    draw_picture("influence_balancing", picture)
    for name, case in CASES.items():
        distance = abs(thetas[name][-1] / GOAL - 1)
        expect(f"the distance from -1/6 with {name}", distance, *((0, 0.01) if case.reaches else (100, np.inf)))


def network() -> Model:
    """Make the linear network, whose output is s_1. It ignores its input."""

    def initial_carry(key: RandomKey, streams: tuple[int, ...]) -> Carry:
        del key
        return jnp.zeros((*streams, NUM_UNITS), float)

    def step(params: Params, s: Carry, x: Ids) -> tuple[Carry, Outputs]:
        del x
        s = s @ jnp.asarray(A.T, s.dtype) + params["theta"] * jnp.asarray(B, s.dtype)
        return s, s[..., 0]

    return Model(lambda key: {"theta": jnp.asarray(START, float)}, initial_carry, step, vocab_size=1)


def loss(s_1: Outputs, y: Targets) -> jax.Array:
    """Return half of the squared error."""
    return (s_1 - y) ** 2 / 2


def thetas_of(rule: Callable[[Model], Rule], rate: float = RATE, num_steps: int = NUM_STEPS, seed: int = 0) -> list[float]:
    """Return theta at the start and after every `STEPS_PER_POINT` steps of gradient descent; float64 if x64 is enabled."""
    model = network()
    learner = online(model, rule(model), make_optimizer("sgd", rate), loss=loss)
    drive, state = fast_driver(learner, STEPS_PER_POINT), learner.init(jax.random.key(seed))
    pairs, thetas = Pairs(jnp.zeros(STEPS_PER_POINT, jnp.int32), jnp.ones(STEPS_PER_POINT, float)), [START]
    for _ in range(num_steps // STEPS_PER_POINT):
        state, _ = drive(state, pairs, STEPS_PER_POINT)
        thetas.append(float(state.params["theta"]))
    return thetas


def influence_within(window: int | None) -> float:
    """Compute ds_1 / dtheta through a window of steps: the sum of e_1^T A^j b over j < window; None = over all."""
    if window is None:
        return float(np.linalg.solve(np.eye(NUM_UNITS) - A, B)[0])
    total, row = 0.0, np.eye(NUM_UNITS)[0]
    for _ in range(window):
        total, row = total + row @ B, row @ A
    return float(total)


def write(thetas: dict[str, list[float]]) -> None:
    """Write the numbers and the curves."""
    RESULTS.mkdir(exist_ok=True)
    rows = [
        {
            "rule": name,
            "rate": case.rate,
            "influence": influence_within(case.window),
            "theta": thetas[name][-1],
            "curve": [float(f"{theta:.6g}") for theta in thetas[name]],
        }
        for name, case in CASES.items()
    ]
    found = {"goal": GOAL, "start": START, "steps": NUM_STEPS, "rows": rows}
    (RESULTS / "influence_balancing.json").write_text(json.dumps(found) + "\n")


def picture(found: dict) -> Figure:
    """Draw theta along the run; lines that lie on each other have different widths."""
    title = "Windows of 1 and 10 steps drive the weight the wrong way;\nwindows of 50 and more, RTRL and UORO find −1/6"
    axes = (figure := new_figure(4.4, title)).subplots()
    for row in found["rows"]:
        colour, linestyle, width = LOOKS[row["rule"]]
        steps = STEPS_PER_POINT * np.arange(1, len(row["curve"]))
        axes.plot(steps, row["curve"][1:], linestyle, color=colour, linewidth=width, label=row["rule"])
    axes.axhline(found["goal"], color=GREY, linewidth=0.8, linestyle=":", label="−1/6")
    axes.set(xlabel="steps (log scale)", ylabel="theta", xscale="log", ylim=(-0.2, 0.1))
    add_legend(figure, [axes], 4)
    return figure


if __name__ == "__main__":
    main()

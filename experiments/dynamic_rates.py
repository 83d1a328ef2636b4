"""Loss against the rate of dynamic evaluation: how fast a network should go on learning while it is tested.

    python experiments/dynamic_rates.py

Takes half a minute; downloads 1.7 MB once. The course's network reads the first 180,000 characters of Molière five times; then
the next 20,000 are read, each character scored before the network learns from it, at one rate after another. Expected: a rate
near that of training is best, 0.2 nats below the frozen network; rates far above it destroy what was learned. The mixture of
all, whose weights follow the losses, is better than the best rate, without knowing which that is. Writes
results/dynamic_rates.json and results/dynamic_rates.png.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from claims import expect
from matplotlib.figure import Figure
from pictures import GREY, cell_look, draw_picture, new_figure

from jaxrnn import elman, fast_driver, one_step, online
from jaxrnn.data import text, vocabulary
from jaxrnn.scoring import evaluation
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.training.optimizers import make_optimizer

RESULTS = Path(__file__).with_name("results")
NUM_CHARACTERS, NUM_TRAIN, EPOCHS = 200_000, 180_000, 5
RATES = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def main() -> None:
    """Train once, and test at every rate."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    used = text.read("moliere")[:NUM_CHARACTERS]
    known = vocabulary.of_text(used)
    ids, model = vocabulary.encode(known, used), elman(len(known.characters))
    learner = online(model, one_step(model), make_optimizer("sgd", 0.1))
    drive, state = fast_driver(learner, NUM_TRAIN), jax.jit(learner.init)(jax.random.key(0))
    for _ in range(EPOCHS):
        state, _ = drive(state, jnp.asarray(ids[: NUM_TRAIN + 1]), NUM_TRAIN)
    heldout, key = ids[NUM_TRAIN:], jax.random.key(1)
    read = evaluation.rate_evaluation(model, DynamicSettings("sgd", RATES, 1))
    losses = np.array(
        [evaluation.frozen_evaluation(model)(state.params, heldout, key), *(read(state.params, heldout, key, r) for r in RATES)]
    )
    mixed = evaluation.mix_losses(list(losses))
    nats = {"frozen": losses[0].mean(), **dict(zip(map(str, RATES), losses[1:].mean(1), strict=True)), "mixture": mixed.mean()}
    nats = {name: float(value) for name, value in nats.items()}
    print("| rate | nats |\n|---|---|\n" + "\n".join(f"| {name} | {value:.4f} |" for name, value in nats.items()))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "dynamic_rates.json").write_text(json.dumps(nats, indent=1) + "\n")
    draw_picture("dynamic_rates", picture)
    best = min(nats[str(rate)] for rate in RATES)
    expect("the best rate beside the frozen network", best - nats["frozen"], -0.3, -0.1)
    expect("the mixture beside the best rate", nats["mixture"] - best, -0.1, 0.0)


def picture(nats: dict[str, float]) -> Figure:
    """Draw the loss against the rate."""
    of_rates = [nats[str(rate)] for rate in RATES]
    best = min(of_rates)
    gained = f"{nats['frozen'] - best:.2f} nats"
    title = f"Learning on at rate {RATES[of_rates.index(best)]:g} gains {gained}; mixing all rates gains more"
    axes = (figure := new_figure(3.8, title)).subplots()
    axes.semilogx(RATES, of_rates, **cell_look("elman"))
    axes.annotate("dynamic, at one rate", (RATES[-2], of_rates[-2]), (-8, 6), textcoords="offset points", ha="right")
    for name, words in (("frozen", "frozen"), ("mixture", "mixture of frozen and all rates")):
        axes.axhline(nats[name], color=GREY, linestyle="--" if name == "frozen" else "-.")
        axes.annotate(words, (RATES[-1], nats[name]), (0, -4), textcoords="offset points", ha="right", va="top")
    axes.set(xlabel="learning rate during the test (log scale)", ylabel="nats per character")
    axes.set_title(f"Elman network of 128 units, Molière, {NUM_CHARACTERS - NUM_TRAIN:,} held-out characters")
    axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
    axes.minorticks_off()
    axes.set_ylim(nats["mixture"] - 0.1, None)
    return figure


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

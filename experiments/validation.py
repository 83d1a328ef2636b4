"""Where the validation part should stand, and what the network gains by reading the end of the training text once more.

    python experiments/austen.py novels.txt
    python experiments/validation.py --third novels.txt

Takes 40 minutes on two cores (`--seeds 3`: an hour and a half); downloads 1.7 MB once. The network of the preset `gru`, but
with dropout 0.1 (comedy: 0.4) and no weight decay, reads all of Molière and 1.6 million characters of Austen's novels three
times, and the comedy sixty times, which overfits. The validation part (5 %, at most 30,000 characters) stands just before the
held-out part, or 300,000 characters (a fifth of a short text) earlier, or in six pieces that are evenly spread over the text
before the held-out part; or nothing is kept for validation. Held-out nats with frozen weights, first seed (another differs by
up to 0.03), and in brackets with Adam at 1e-4 after the last 30,000 characters before the held-out part were read (once more):

                               Molière        comedie        Austen
    before the held-out part   1.374 (1.372)  1.457 (1.423)  1.321 (1.295)
    300,000 characters earlier 1.384 (1.387)  1.459 (1.434)  1.255 (1.248)
    6 pieces                   1.386 (1.386)  1.490 (1.444)  1.251 (1.242)
    none                       1.399 (1.399)  1.583 (1.591)  1.254 (1.245)

- Before the held-out part costs 0.07 where that begins inside a work, whose people the network then hardly knows; in pieces the
  validation part costs nothing there. On Molière, whose last tenth are other plays, and on the comedy the places differ by no
  more than the seeds do: means of three 1.384, 1.388, 1.386 and 1.464, 1.454, 1.473 in the order of the table.
- Validation finds an epoch within 0.05 of the best of the comedy at every place; without it the last epoch is 0.16 worse.
- Dynamic settings that are chosen on pieces are as good: 1.105, 1.450 and 1.197 nats of at most 60,000 characters, with one
  piece before the held-out part 1.109, 1.429 and 1.229.
- Reading on gains most where the weights come from the middle of the schedule (comedie). The best rate is 5e-5 on Molière, 2e-4
  on Austen and 3e-4 on the comedy. Chosen on the second half of the validation part before the held-out part after reading the
  first it is 3e-4 on Molière, which costs 0.013; chosen on three of six pieces, each after reading the text before it, 1e-4 on
  Molière (+0.000) and Austen (-0.008) and 2e-4 on the comedy (-0.054). So it is safe with pieces only; `gru` does not do it.
- The comedy was read sixty times; a run now ends early once it overfits (`experiments/defaults.py`), after about 21 epochs.
- The average of the weights of the last 5 to 30 % of the updates is no better than the last weights on the long texts (0.000 to
  0.010 worse): the rate has fallen to zero by then.

Writes results/validation.json, which keeps what is measured if the script is stopped, and results/validation.md.
"""

import dataclasses
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from claims import expect, write_table

from jaxrnn import bptt, fast_driver, online
from jaxrnn.config import auto
from jaxrnn.config.build import Data
from jaxrnn.config.settings import PRESETS, Config
from jaxrnn.data import splitting, vocabulary
from jaxrnn.data import text as texts
from jaxrnn.models.model import Model
from jaxrnn.runs.advance import advance, is_finished
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runs.task import Task, prepare, updates_per_epoch
from jaxrnn.scoring import evaluation, together
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.training.learner import copy_arrays
from jaxrnn.training.optimizers import make_optimizer, with_learning_rate

RESULTS = Path(__file__).with_name("results") / "validation.json"
BEFORE, EARLIER, PIECES, NONE = "before the held-out part", "300,000 characters earlier", "6 pieces", "none"
WAYS = (BEFORE, EARLIER, PIECES, NONE)
HELDOUT = 0.1  # share of the text
RATES = (5e-5, 1e-4, 2e-4, 3e-4, 5e-4)  # for reading on, with Adam
RECENT, LENGTH = 30_000, 64  # characters to read on, and per block
TRIALS = 3  # validation pieces on which the rate of reading on is chosen, each after the text before it
DYNAMIC = 60_000  # at most, for dynamic evaluation
SHARES = (0.05, 0.1, 0.2, 0.3)  # of the last updates, over which weights are averaged
KEY = jax.random.key(1)


class Text(NamedTuple):
    """A text, and the settings to read it with."""

    name: str
    epochs: int
    num_streams: int  # parallel streams that read the held-out part
    dropout: float  # with no weight decay, as `gru` was when this was measured


class Split(NamedTuple):
    """A text whose validation part is split off in some way."""

    data: Data
    before: np.ndarray  # ids of everything before the held-out part
    pieces: list[tuple[int, int]]  # of the validation part in `before`: start, end


def main(third: str, seeds: int = 1) -> None:
    """Measure what is not in the results yet.

    Args:
      third: a text of over a million characters whose held-out part begins inside a work.
      seeds: runs of each; all but the first are tested with frozen weights only.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seed, text in itertools.product(
        range(seeds), (Text("moliere", 3, 8, 0.1), Text("comedie", 60, 1, 0.4), Text(third, 3, 8, 0.1))
    ):
        for way in WAYS:
            name = f"{Path(text.name).stem} | {way} | {seed}"
            if name not in found:
                found[name] = measure(text, way, seed)
                RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(name, f"{found[name]['frozen']:.4f}", flush=True)
    names = ("moliere", "comedie", Path(third).stem)
    write_table("validation", table(found, names))
    of_third = {way: found[f"{names[2]} | {way} | 0"]["frozen"] for way in (BEFORE, PIECES, NONE)}
    expect("the third text, pieces beside all nine tenths", of_third[PIECES] - of_third[NONE], -0.02, 0.02)
    expect("the third text, before the held-out part beside pieces", of_third[BEFORE] - of_third[PIECES], 0.03, 0.2)


def table(found: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """Format the frozen losses of the held-out parts, one for each seed."""
    lines = ["| validation part | Molière | comedie | Austen |", "|---|---|---|---|"]
    for way in WAYS:
        of_texts = [[found[key]["frozen"] for key in sorted(found) if key.startswith(f"{name} | {way} | ")] for name in names]
        lines.append(f"| {way} | " + " | ".join(", ".join(f"{nats:.3f}" for nats in of_text) for of_text in of_texts) + " |")
    return lines


def measure(text: Text, way: str, seed: int) -> dict[str, Any]:
    """Train with the validation part in one place, and test."""
    started, parts = time.perf_counter(), split(text.name, way)
    task = prepare(settings(text, parts.data, seed), parts.data)
    frozen = evaluation.frozen_evaluation(task.model, text.num_streams)

    def score(params: Any) -> float:
        return evaluation.mean_nats(frozen(params, parts.data.heldout, KEY))

    weights, rows = train(task, score if text.epochs > 10 else None)
    trained = weights["best" if parts.pieces else "last"]
    averages = {name: score(params) for name, params in weights.items() if name.startswith("average")}
    if seed:
        return {"epochs": rows, "frozen": score(trained), "seconds": time.perf_counter() - started}
    read = reading_on(task.model)
    recent = parts.before[-(RECENT + 1) :]
    return {
        "epochs": rows,
        "frozen": score(trained),
        "frozen last": score(weights["last"]),
        **averages,
        "on": {str(rate): score(read(trained, recent, rate)) for rate in RATES},
        **trials(task.model, trained, parts, read),
        "dynamic": dynamic(task.model, trained, read(trained, recent, 1e-4), parts.data),
        "seconds": time.perf_counter() - started,
    }


def split(name: str, way: str) -> Split:
    """Read a text, and split off its validation part."""
    characters = texts.read(name)
    known = vocabulary.of_text(characters)
    ids = np.asarray(vocabulary.encode(known, characters))
    num_heldout = round(len(ids) * HELDOUT)
    before, heldout = ids[:-num_heldout], ids[-num_heldout:]
    pieces = place(len(before), round(min(auto.AUTO_VALIDATION * len(ids), auto.MAX_VALIDATION)), way)
    inside = np.zeros(len(before), bool)
    for start, end in pieces:
        inside[start:end] = True
    data = Data(known, before[~inside], before[inside], heldout, len(ids), len(ids), sha256="")
    return Split(data, before, pieces)


def place(num_before: int, num_validation: int, way: str) -> list[tuple[int, int]]:
    """Return the start and end of each piece of the validation part."""
    if way == NONE:
        return []
    if way == EARLIER:
        end = num_before - min(300_000, num_before // 5)
        return [(end - num_validation, end)]
    num_pieces = 1 if way == BEFORE else int(way.split()[0])
    return splitting.place_validation(splitting.Lengths(num_before - num_validation, num_validation, 0), num_pieces)


def settings(text: Text, data: Data, seed: int) -> Config:
    """Make the settings: preset `gru`, for the text's number of epochs."""
    preset = PRESETS["gru"]
    config = dataclasses.replace(
        preset,
        text=dataclasses.replace(preset.text, text=text.name),
        learning=dataclasses.replace(preset.learning, epochs=text.epochs, weight_decay=0.0, dropout=text.dropout),
        run=dataclasses.replace(preset.run, seed=seed),
    )
    return auto.resolve_auto(config, data.num_used)


def train(task: Task, score: Callable[[Any], float] | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train. Returns the last and the best weights and averages of late ones, and the losses after each epoch."""
    snapshot, rows, sums, counts = first_snapshot(task), [], {}, dict.fromkeys(SHARES, 0)
    num_updates = updates_per_epoch(task) * task.config.learning.epochs
    while not is_finished(task, snapshot):
        snapshot, _, epoch = advance(task, snapshot, max(1, num_updates // 200))
        params = snapshot.state.params
        for share in SHARES:
            if int(snapshot.state.step) > num_updates * (1 - share):
                sums[share] = jax.tree.map(jnp.add, sums[share], params) if share in sums else copy_arrays(params)
                counts[share] += 1
        if epoch:
            heldout = {"heldout": score(params)} if score else {}
            rows.append({"online": epoch.online_nats, "validation": epoch.validation_nats, **heldout})
    averages = {
        f"average of the last {share:.0%}": jax.tree.map(lambda leaf, count=counts[share]: leaf / count, total)
        for share, total in sums.items()
    }
    return {"last": snapshot.state.params, "best": snapshot.best_params, **averages}, rows


def reading_on(model: Model) -> Callable[[Any, np.ndarray, float], Any]:
    """Make a function (params, ids, rate) -> weights after reading the ids once, in one stream, with a fresh Adam state."""
    learner = online(model, bptt(model, LENGTH), make_optimizer("adam", RATES[0], clip_norm=1.0))
    drive, begin = fast_driver(learner, RECENT // LENGTH), jax.jit(learner.begin)

    def read(params: Any, ids: np.ndarray, rate: float) -> Any:
        state = begin(params, KEY)
        state = copy_arrays(state._replace(opt_state=with_learning_rate(state.opt_state, rate)))
        num_updates = (len(ids) - 1) // LENGTH
        return drive(state, jnp.asarray(ids[-(num_updates * LENGTH + 1) :]), num_updates)[0].params

    return read


def trials(model: Model, params: Any, parts: Split, read: Callable[..., Any]) -> dict[str, dict[str, float]]:
    """Compute losses by the rate of reading on, from the text before the held-out part alone.

    They are those of the second half of the validation part after reading the first, and of pieces, each after the text
    before it.
    """
    frozen, validation = evaluation.frozen_evaluation(model), parts.data.validation
    half, last = len(validation) // 2, parts.pieces[-TRIALS:]

    def trial(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        def nats(rate: float) -> float:
            after = [read(params, before, rate) if rate else params for before, _ in pairs]
            return float(np.mean([frozen(weights, ids, KEY).mean() for weights, (_, ids) in zip(after, pairs, strict=True)]))

        return {"0": nats(0), **{str(rate): nats(rate) for rate in RATES}}

    found = {"trial halves": trial([(validation[: half + 1], validation[half:])])} if parts.pieces else {}
    if len(parts.pieces) > 1:
        pairs = [(parts.before[max(0, start - RECENT) : start + 1], parts.before[start:end]) for start, end in last]
        found["trial before pieces"] = trial(pairs)
    return found


def dynamic(model: Model, params: Any, after: Any, data: Data) -> dict[str, Any]:
    """Compute dynamic losses of the first held-out characters before and after reading on.

    The settings of dynamic evaluation are chosen on the validation part.
    """
    heldout, how = data.heldout[:DYNAMIC], DynamicSettings("adam", (1e-4, 3e-4, 1e-3), 16)
    if data.validation.size:
        how, _ = evaluation.choose_dynamic(model, params, data.validation, KEY, 16)
    learning = together.dynamic_evaluation(model, how)
    return {
        "how": str(how),
        "frozen": evaluation.mean_nats(evaluation.frozen_evaluation(model)(params, heldout, KEY)),
        "nats": evaluation.mean_nats(learning(params, heldout, KEY)),
        "after reading on at 1e-4": evaluation.mean_nats(learning(after, heldout, KEY)),
    }


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

"""Rate, dropout, streams and number of epochs of `gru` and `lstm` on three texts, judged by the validation loss.

    python experiments/austen.py novels.txt
    python experiments/defaults.py --third novels.txt

Takes an hour and a quarter on one core (an epoch of a long text: about 50 s); downloads 1.7 MB once. The presets read Molière
(1.7 million characters, French), three novels of Austen (1.6 million, English) and the comedy (74,000, French), with what
differs in each row, for 1, 3 and 9 epochs (of some 700 updates; two quiet cores read 3.7 in `--minutes 1.5`), the comedy for 12
and 60 (of 30 updates; early stopping ends the 60 after 21). The held-out part is never scored. The loss is the lowest after any
epoch, in nats per character. Seeds differ by 0.001 on the long texts and by 0.005 on the comedy (`experiments/validation.py`).

                     rate 0.005   0.01      0.02      0.04
    gru   comedie, 12   1.565     1.488     1.457     1.479
          Molière, 1    1.358     1.261     1.251     diverged
          Molière, 3    1.148     1.128     diverged
          Molière, 9    1.083     1.142
          Austen, 1     1.356     1.258     1.242     diverged
          Austen, 3     1.157     1.136     diverged
          Austen, 9     1.093     1.108
    lstm  comedie, 12   1.633     1.498     1.420
          Molière, 1              1.346     1.277
          Molière, 3              1.141     1.139
          Austen, 1               1.352     1.287
          Austen, 3                         1.169

- The more updates, the lower the best rate: by half for three times as many. 0.01 never diverged, but in 9 epochs of Molière
  the validation loss rises from 1.325 to 1.374 before the rate falls, and ends above that of 3 epochs. So `auto` is 0.005 for
  long runs on much text, and 0.01 for others: what is best in 700 updates (0.02) diverges in 2,100.
- An LSTM learns at 0.02 in 3 epochs and is better for it by 0.07 in one, but by 0.002 in three: `auto` is that of `gru`.
- Adam that forgets squared gradients sooner (b2 0.99) does not diverge at 0.02, but is no better for it: 1.237 on Molière.
- The comedy overfits: in 60 epochs without early stopping the lowest loss was 1.533, after 9 epochs; with it 1.490.
- Dropout: 0.4 is the best on the comedy (0.2: 1.494, 0.5: 1.500). In 3 epochs of the long texts none is 0.008 better than 0.1
  (1.120, 1.127), and 0.2 is 0.016 worse. It stays 0.1: the validation part is of the same works as the training part, so it
  says too little of what dropout is for.
- 16 streams instead of 32, twice as many updates, are better on the comedy by 0.022 and take 1.3 times as long.
- Not measured: `lstm` in long runs, 384 units at the lower rate, blocks other than of 64, more than 9 epochs.

Writes results/defaults.json, which keeps what is measured if the script is stopped, and results/defaults.md.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
import tyro
from claims import expect, write_table

from jaxrnn.config import auto, build
from jaxrnn.config.settings import PRESETS, Config
from jaxrnn.runs.advance import Divergence, advance, is_finished
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runs.task import prepare

FOLDER = Path(__file__).with_name("results")
RESULTS = FOLDER / "defaults.json"
MOLIERE, NOVELS, COMEDIE = "moliere", "novels", "comedie"
RATES = (0.005, 0.01, 0.02, 0.04)
TITLES = {MOLIERE: "Molière", NOVELS: "Austen", COMEDIE: "comedie"}
FORGETFUL = "defaults:forgetful_adam"


class Point(NamedTuple):
    """A run: a text, a number of epochs, and what differs from the preset."""

    text: str
    epochs: int
    preset: str = "gru"
    changes: tuple[tuple[str, Any], ...] = ()


def point(text: str, epochs: int, preset: str = "gru", **changes: Any) -> Point:
    """Make a point from settings by name."""
    return Point(text, epochs, preset, tuple(sorted(changes.items())))


# A rate of 0.01 for 3 epochs: `experiments/validation.py`, six pieces, has three seeds of Molière and two of Austen.
POINTS = (
    *(point(text, 1, learning_rate=rate) for rate in (0.005, 0.01, 0.02, 0.04) for text in (MOLIERE, NOVELS)),
    *(point(text, 3, learning_rate=rate) for rate in (0.005, 0.02) for text in (MOLIERE, NOVELS)),
    *(point(text, 9, learning_rate=rate) for rate in (0.005, 0.01) for text in (MOLIERE, NOVELS)),
    *(point(COMEDIE, 12, learning_rate=rate) for rate in (0.005, 0.01, 0.02, 0.04)),
    *(point(COMEDIE, 60, learning_rate=rate) for rate in (0.01, 0.02)),
    point(MOLIERE, 3, learning_rate=0.02, optimizer=FORGETFUL),
    *(point(COMEDIE, 12, learning_rate=0.01, dropout=dropout) for dropout in (0.2, 0.5)),
    *(point(NOVELS, 3, learning_rate=0.01, dropout=dropout) for dropout in (0.0, 0.2)),
    point(MOLIERE, 3, learning_rate=0.01, dropout=0.0),
    point(COMEDIE, 12, learning_rate=0.01, num_streams=16),
    *(point(text, 1, "lstm", learning_rate=rate) for rate in (0.02, 0.01) for text in (MOLIERE, NOVELS)),
    *(point(MOLIERE, 3, "lstm", learning_rate=rate) for rate in (0.02, 0.01)),
    point(NOVELS, 3, "lstm", learning_rate=0.02),
    *(point(COMEDIE, 12, "lstm", learning_rate=rate) for rate in (0.005, 0.01, 0.02)),
)


def main(third: str) -> None:
    """Measure what is not in the results yet.

    Args:
      third: Austen's novels (`experiments/austen.py`).
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for each in POINTS:
        name = name_of(each)
        if name not in found:
            found[name] = measure(each, third)
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        print(name, cell(found[name]), flush=True)
    write_table("defaults", table(found))
    for text in (MOLIERE, NOVELS):
        short, long = (lowest(found, text, epochs, 0.01) - lowest(found, text, epochs, 0.005) for epochs in (1, 9))
        expect(f"{text}, 1 epoch: a rate of 0.01 less one of 0.005", short, -0.15, -0.05)
        expect(f"{text}, 9 epochs: a rate of 0.01 less one of 0.005", long, 0.005, 0.1)


def forgetful_adam(learning_rate: float) -> optax.GradientTransformation:
    """Adam whose mean of squared gradients is over 100 updates instead of 1,000."""
    return optax.adam(learning_rate, b2=0.99)


def name_of(each: Point) -> str:
    """The name of a point in the results."""
    return f"{each.text} | {each.epochs} epochs | {each.preset} | {row_of(each)}"


def row_of(each: Point) -> str:
    """What is set, in words."""
    words = {"learning_rate": "rate", "num_streams": "streams", "hidden_size": "width"}
    return ", ".join(f"{words.get(name, name)} {value}" for name, value in each.changes)


def table(found: dict[str, Any]) -> list[str]:
    """Lowest validation losses: a row for each text and number of epochs, a column for each rate; then all other settings."""
    known = {key: cell(value) for key, value in found.items()} | measured_before()
    lines = [
        "| preset, text, epochs | " + " | ".join(f"rate {rate:g}" for rate in RATES) + " |",
        "|---" * (1 + len(RATES)) + "|",
    ]
    for preset, text, epochs in sorted({(each.preset, each.text, each.epochs) for each in POINTS}):
        cells = [known.get(f"{text} | {epochs} epochs | {preset} | rate {rate:g}", "") for rate in RATES]
        if any(cells):
            lines.append(f"| `{preset}`, {TITLES[text]}, {epochs} | {' | '.join(cells)} |")
    lines += ["", "| text, epochs | other setting | loss | without it |", "|---|---|---|---|"]
    for each in POINTS:
        rate, name = dict(each.changes)["learning_rate"], name_of(each)
        if len(each.changes) > 1 and name in known:
            place, setting = (
                f"{each.text} | {each.epochs} epochs | {each.preset}",
                row_of(each).replace(FORGETFUL, "Adam, b2 0.99"),
            )
            without = known.get(f"{place} | rate {rate:g}", "")
            lines.append(f"| {TITLES[each.text]}, {each.epochs} | {setting} | {known[name]} | {without} |")
    return lines


def cell(result: dict[str, Any]) -> str:
    """The lowest validation loss of a run, or that it diverged."""
    return "diverged" if "diverged" in result else f"{min(result['validation']):.3f}"


def lowest(found: dict[str, Any], text: str, epochs: int, rate: float) -> float:
    """The lowest validation loss of a run of `gru` at a rate."""
    return min(found[name_of(point(text, epochs, learning_rate=rate))]["validation"])


def measured_before() -> dict[str, str]:
    """The losses at a rate of 0.01 in 3 epochs, from `experiments/validation.py`: one for each seed."""
    before = json.loads((FOLDER / "validation.json").read_text())
    seeds = {
        text: [
            f"{min(row['validation'] for row in value['epochs']):.3f}"
            for key, value in before.items()
            if key.startswith(f"{text} | 6 pieces")
        ]
        for text in (MOLIERE, NOVELS)
    }
    return {f"{text} | 3 epochs | gru | rate 0.01": ", ".join(nats) for text, nats in seeds.items()}


def settings(each: Point, third: str) -> Config:
    """The preset with the changes, all of the text, and for a number of epochs."""
    preset = PRESETS[each.preset]
    changes: dict[str, Any] = {"text": third if each.text == NOVELS else each.text, "epochs": each.epochs, **dict(each.changes)}
    parts = {part.name: getattr(preset, part.name) for part in dataclasses.fields(preset)}
    return Config(
        **{
            name: dataclasses.replace(part, **{key: changes[key] for key in vars(part) if key in changes})
            for name, part in parts.items()
        }
    )


def measure(each: Point, third: str) -> dict[str, Any]:
    """Train. Returns the validation loss after each epoch; the held-out part is not scored."""
    started, config = time.perf_counter(), settings(each, third)
    data = build.load_data(config)
    task = prepare(auto.resolve_auto(config, data.num_used), data)
    snapshot, rows = first_snapshot(task), []
    try:
        while not is_finished(task, snapshot):
            snapshot, _, epoch = advance(task, snapshot, 100)
            if epoch:
                rows.append(epoch)
    except Divergence as problem:
        return {"diverged": str(problem), "validation": [row.validation_nats for row in rows]}
    return {
        "validation": [round(row.validation_nats or 0.0, 4) for row in rows],
        "online": round(rows[-1].online_nats, 4),
        "updates": int(snapshot.state.step),
        "seconds": round(time.perf_counter() - started, 1),
    }


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

"""Learning rate, dropout, weight decay, streams and epochs of `gru` and `lstm` on three texts, judged by unseen text.

    python experiments/austen.py novels.txt
    python experiments/defaults.py --third novels.txt

Takes three hours on one core (an epoch of a long text: 25 to 50 s); downloads 1.7 MB once. The presets read Molière (1.7
million characters, French), three novels of Austen (1.6 million, English) and the comedy (74,000, French). The held-out part is
never scored. Losses are in nats per character.

First the lowest validation loss after any epoch, with dropout 0.1 (comedy: 0.4) and no weight decay, in 1, 3 and 9 epochs (of
some 700 updates), of the comedy 12 and 60 (of 30 updates; early stopping ends the 60 after 21). Seeds differ by 0.001 on the
long texts and by 0.005 on the comedy (`experiments/validation.py`).

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

But the validation part is of the same works as the training part. So the network is trained on the first nine tenths of a text,
too, as if there were no more, and its loss on the last tenth of them is that of later works, weights frozen:

                                          validation  later works
    Molière, 4 epochs, dropout 0.1             1.178   1.215
        weight decay 0.1                       1.169   1.202
        weight decay 0.1, no dropout           1.154   1.183
    Austen, 4 epochs, dropout 0.1              1.133   1.218
        weight decay 0.1                       1.130   1.213
        weight decay 0.1, no dropout           1.106   1.188

- Weight decay helps a GRU on both long texts, and makes dropout superfluous there; without it no dropout is worse than 0.1
  (1.220). It is flat around its best: 0.05 gives 1.187, 0.2 1.198, 0.5 (with dropout) 1.278.
- With it the rate matters less: 0.02 does not diverge and gives 1.183, too, and in 9 epochs 0.01 (1.143) is better than 0.005
  (1.166), where without it the validation loss rises from 1.325 to 1.374 before the rate falls. So `auto` is 0.01 for all.
- The comedy gains nothing by 0.1 that its seeds do not explain, and 0.03 by 0.5. It keeps its dropout: 0.4 is the best of 0.2
  (1.494), 0.4 and 0.5 (1.500), without weight decay and with it. In 60 epochs without early stopping the lowest validation loss
  was 1.533, after 9 epochs; with it 1.490.
- Blocks of 32 help on Molière (1.206) and harm on Austen (1.228); 16 streams instead of 32, with twice as many updates, gain
  0.002 on Molière for 1.4 times the time, and 0.022 on the comedy; Muon gains 0.004 for 1.8 times the time.
- An LSTM gains nothing by it in 4 epochs of Molière: 1.233 instead of 1.232 on later works, and its validation loss is 0.022
  higher. `auto` is that of `gru`.
- Adam that forgets squared gradients sooner (b2 0.99) does not diverge at 0.02, but is no better for it: 1.237 on Molière.
- Not measured: more than 9 epochs, `lstm` in long runs, weight decay of more than 0.1 on texts of other sizes.

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
from jaxrnn.data import text as texts
from jaxrnn.runs.advance import Divergence, advance, is_finished
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runs.task import Task, prepare
from jaxrnn.scoring import evaluation

FOLDER = Path(__file__).with_name("results")
RESULTS = FOLDER / "defaults.json"
MOLIERE, NOVELS, COMEDIE = "moliere", "novels", "comedie"
RATES = (0.005, 0.01, 0.02, 0.04)
TITLES = {MOLIERE: "Molière", NOVELS: "Austen", COMEDIE: "comedie"}
FORGETFUL, MUON = "defaults:forgetful_adam", "optax.contrib:muon"
NUM_STREAMS = 8  # parallel streams that read the later works
SHORT, LONG = 4, 9  # epochs of the runs that are judged by later works


class Point(NamedTuple):
    """A run: a text, a number of epochs, and what differs from the preset."""

    text: str
    epochs: int
    preset: str = "gru"
    changes: tuple[tuple[str, Any], ...] = ()
    to_later: bool = False  # use nine tenths of the text, and score the last tenth of them


def point(text: str, epochs: int, preset: str = "gru", to_later: bool = False, **changes: Any) -> Point:
    """Make a point from settings by name."""
    return Point(text, epochs, preset, tuple(sorted(changes.items())), to_later)


def later(text: str, epochs: int, preset: str = "gru", **changes: Any) -> Point:
    """Make a point that is also judged by later works."""
    return point(text, epochs, preset, to_later=True, **{"learning_rate": 0.01, **unchanged(text), **changes})


def unchanged(text: str) -> dict[str, float]:
    """Return the settings of a run that changes nothing."""
    return {"dropout": 0.4 if text == COMEDIE else 0.1, "weight_decay": 0.0}


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
    *(later(text, SHORT, weight_decay=decay) for text in (MOLIERE, NOVELS) for decay in (0.0, 0.1)),
    *(later(text, SHORT, dropout=0.0, weight_decay=decay) for text in (MOLIERE, NOVELS) for decay in (0.1, 0.2)),
    *(later(MOLIERE, SHORT, dropout=0.0, weight_decay=decay) for decay in (0.0, 0.05)),
    later(MOLIERE, SHORT, weight_decay=0.5),
    *(later(MOLIERE, SHORT, dropout=dropout) for dropout in (0.2, 0.3)),
    later(MOLIERE, SHORT, dropout=0.0, weight_decay=0.1, learning_rate=0.02),
    *(later(MOLIERE, SHORT, rule_length=length) for length in (16, 32)),
    later(NOVELS, SHORT, rule_length=32),
    later(MOLIERE, SHORT, num_streams=16),
    later(MOLIERE, SHORT, optimizer=MUON, learning_rate=0.02),
    *(later(MOLIERE, SHORT, "lstm", dropout=dropout, weight_decay=decay) for dropout, decay in ((0.1, 0.0), (0.0, 0.1))),
    *(later(MOLIERE, LONG, dropout=0.0, weight_decay=0.1, learning_rate=rate) for rate in (0.005, 0.01)),
    later(NOVELS, LONG, dropout=0.0, weight_decay=0.1),
    *(
        later(MOLIERE, LONG, hidden_size=384, dropout=dropout, weight_decay=decay, learning_rate=0.005)
        for dropout, decay in ((0.2, 0.0), (0.2, 0.2), (0.0, 0.1))
    ),
    later(MOLIERE, LONG, hidden_size=384, dropout=0.0, weight_decay=0.1),
    *(later(COMEDIE, 60, weight_decay=decay) for decay in (0.0, 0.1, 0.5)),
    later(COMEDIE, 60, dropout=0.2, weight_decay=0.5),
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
        decaying = later(text, SHORT, dropout=0.0, weight_decay=0.1)
        gain = found[name_of(later(text, SHORT))]["later"] - found[name_of(decaying)]["later"]
        expect(f"{text}, later works: gain by weight decay instead of dropout", gain, 0.015, 0.05)


def forgetful_adam(learning_rate: float) -> optax.GradientTransformation:
    """Adam that averages squared gradients over 100 updates instead of 1,000."""
    return optax.adam(learning_rate, b2=0.99)


def name_of(each: Point) -> str:
    """Name a point in the results."""
    part = " (first nine tenths)" if each.to_later else ""
    return f"{each.text}{part} | {each.epochs} epochs | {each.preset} | {row_of(each)}"


def row_of(each: Point) -> str:
    """Describe the changed settings in words."""
    words = {
        "learning_rate": "rate",
        "num_streams": "streams",
        "hidden_size": "width",
        "weight_decay": "weight decay",
        "rule_length": "blocks of",
    }
    return ", ".join(f"{words.get(name, name)} {value}" for name, value in each.changes)


def table(found: dict[str, Any]) -> list[str]:
    """Format the lowest validation losses: a row per text and epochs, a column per rate; then all other settings."""
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
        if len(each.changes) > 1 and name in known and not each.to_later:
            place, setting = (
                f"{each.text} | {each.epochs} epochs | {each.preset}",
                row_of(each).replace(FORGETFUL, "Adam, b2 0.99"),
            )
            without = known.get(f"{place} | rate {rate:g}", "")
            lines.append(f"| {TITLES[each.text]}, {each.epochs} | {setting} | {known[name]} | {without} |")
    lines += ["", "| first nine tenths of a text, epochs | setting | validation | last tenth of them |", "|---|---|---|---|"]
    for each in POINTS:
        found_here = found.get(name_of(each))
        if each.to_later and found_here:
            setting = ", ".join(part for part in row_of(each).replace(MUON, "Muon").split(", ") if part != "weight decay 0.0")
            cells = f"{cell(found_here)} | {found_here['later']:.3f}"
            lines.append(f"| {TITLES[each.text]}, {each.epochs} | {setting} | {cells} |")
    return lines


def cell(result: dict[str, Any]) -> str:
    """Format the lowest validation loss of a run, or `diverged`."""
    return "diverged" if "diverged" in result else f"{min(result['validation']):.3f}"


def lowest(found: dict[str, Any], text: str, epochs: int, rate: float) -> float:
    """Return the lowest validation loss of a run of `gru` at a rate."""
    return min(found[name_of(point(text, epochs, learning_rate=rate))]["validation"])


def measured_before() -> dict[str, str]:
    """Read the losses at a rate of 0.01 in 3 epochs from the results of `experiments/validation.py`, one per seed."""
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
    """Make the settings of a point: the preset with its changes, text and number of epochs."""
    preset, text = PRESETS[each.preset], third if each.text == NOVELS else each.text
    changes: dict[str, Any] = {"text": text, "epochs": each.epochs, **unchanged(each.text), **dict(each.changes)}
    if each.to_later:
        changes["max_characters"] = len(texts.read(text)) * 9 // 10
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
        **({"later": score_later(task, snapshot.best_params)} if each.to_later else {}),
        "online": round(rows[-1].online_nats, 4),
        "updates": int(snapshot.state.step),
        "seconds": round(time.perf_counter() - started, 1),
    }


def score_later(task: Task, params: Any) -> float:
    """Compute the frozen loss of the last tenth of the text that is used."""
    losses = evaluation.frozen_evaluation(task.model, NUM_STREAMS)(params, task.data.heldout, jax.random.key(1))
    return round(evaluation.mean_nats(losses), 4)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

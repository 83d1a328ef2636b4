"""Collect what a page shows about a run, and make the page."""

import dataclasses
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxrnn.config import auto, build, parts
from jaxrnn.config.build import Data
from jaxrnn.config.settings import Config, ModelConfig, resolved
from jaxrnn.console import report
from jaxrnn.console.web_page import assemble_page
from jaxrnn.data import files
from jaxrnn.data.documents import unmark
from jaxrnn.data.vocabulary import class_ids, decode, encode
from jaxrnn.errors import InputError
from jaxrnn.models.cells import CELLS
from jaxrnn.runs.loaded import Run
from jaxrnn.runs.own_text import load_own_data
from jaxrnn.runtime import precision
from jaxrnn.scoring.evaluation import DynamicSettings, mean_nats, rate_evaluation
from jaxrnn.scoring.probes import make_probes, rank_units, read_units
from jaxrnn.scoring.sampling import default_prompt
from jaxrnn.storage import logs
from jaxrnn.storage.weights import Weights, list_arrays, weights_metadata

TRIED = 2_000  # characters on which the learning rate is chosen
PASSAGE = 6_000  # characters of the text that the page reads
MOST_POINTS, MOST_SAMPLES = 400, 60  # points of the curve, and texts that the network wrote
FRAME_HEIGHT = 900  # pixels in a notebook
EPOCH = re.compile(r"epoch (\d+), ([\d.]+) nats")
SAMPLE = re.compile(r"^=== (.*) ===\n", re.MULTILINE)


class Page(NamedTuple):
    """A page as HTML, which a notebook shows inline."""

    html: str

    def __repr__(self) -> str:
        return f"Page({len(self.html.encode()):,} bytes)"

    def _repr_html_(self) -> str:
        frame = f'style="width:100%;height:{FRAME_HEIGHT}px;border:0" title="jaxrnn"'
        return f'<iframe srcdoc="{html.escape(self.html)}" {frame}></iframe>'


def make_page(run: Run) -> tuple[Page, str]:
    """Make the page of a run; also return why it contains no passage of the run's text, "" if it does."""
    settings = run.config.model
    if settings.cell not in CELLS:
        raise InputError(f"a page supports only the cells {', '.join(CELLS)}; this run uses {settings.cell!r}")
    try:
        changed = "so the page holds no passage of it"
        data, problem = load_own_data(run.config, run.vocabulary, run.sha256, "paste a text into the page", changed), ""
    except InputError as error:
        data, problem = None, str(error)
    passage = _choose_passage(run, data)
    with precision.float32_products():
        units, rate = _units(run, passage), _rate(run, data)
    arrays = list_arrays(run.params)
    metadata = weights_metadata(Weights(_without_paths(run.config), run.vocabulary, run.params))
    content = {
        "name": report.replace_controls(run.path.resolve().name),
        "facts": _facts(run),
        "numbers": run.numbers._asdict() if run.numbers else {},
        "guess": math.log(len(run.vocabulary.characters)),
        "curve": _curve(run),
        "samples": _samples(run),
        "network": _network(run, arrays),
        "carries": _carries(run),
        "passage": passage,
        "heldout": bool(data is not None and data.heldout.size),
        "units": units,
        "numNamed": _count_named(units),
        "rate": rate,
        "typingRate": _usual_rate(run),
        "prompt": default_prompt(run.vocabulary),
        "metadata": metadata,
        "metadataJson": json.dumps(metadata, sort_keys=True),  # exactly as its SHA-256 was computed
    }
    weights = b"".join(np.asarray(array, "<f4").tobytes() for array in arrays.values())
    return Page(assemble_page(_without_nan(content), weights)), problem


def _choose_passage(run: Run, data: Data | None) -> str:
    """Choose the beginning of the held-out part; without one, the end of the text."""
    if data is None:
        return ""
    ids = data.heldout[:PASSAGE] if data.heldout.size else data.train[-PASSAGE:]
    return decode(run.vocabulary, ids)


def _without_paths(config: Config) -> Config:
    """Drop the paths of this machine, because a page is meant to be shared."""
    names = files.as_names(Path(name).name for name in files.as_tuple(config.text.text))
    text = dataclasses.replace(config.text, text=names)
    return dataclasses.replace(config, text=text, run=dataclasses.replace(config.run, init_from=""))


def _facts(run: Run) -> dict[str, Any]:
    settings = run.config
    return {
        "text": report.replace_controls(files.title(settings.text.text)),
        "characters": run.num_characters,
        "vocabulary": len(run.vocabulary.characters),
        "title": parts.find_cell(settings.model.cell).title,
        "weights": sum(leaf.size for leaf in jax.tree.leaves(run.params)),
        "epochs": run.snapshot.progress.epochs,
        "rule": settings.learning.rule,
        "length": parts.block_length(settings),
        "optimizer": settings.learning.optimizer,
        "streams": settings.learning.num_streams,
        "trained_rate": resolved(settings.learning.learning_rate),
    }


def _curve(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Collect losses by number of updates, in nats per character; a long curve is thinned."""
    losses = run.losses
    every = max(1, -(-len(losses.window_steps) // MOST_POINTS))
    pairs = {
        "windows": (losses.window_steps[every - 1 :: every], _thin(losses.window_nats, every)),
        "epochs": (losses.epoch_steps, losses.epoch_nats),
        "validation": (losses.epoch_steps, losses.validation_nats),
    }
    return {
        name: [(int(step), round(float(nats), 4)) for step, nats in zip(*pair, strict=True) if math.isfinite(nats)]
        for name, pair in pairs.items()
    }


def _thin(values: np.ndarray, every: int) -> np.ndarray:
    """Average groups of values; an unfinished group at the end is dropped."""
    return values[: len(values) // every * every].reshape(-1, every).mean(axis=1)


def _samples(run: Run) -> list[dict[str, Any]]:
    """Collect what the network wrote after some of the epochs, including the first and the last."""
    try:
        written = (run.path / logs.SAMPLES).read_text("utf-8", errors="replace")
    except OSError:
        return []
    _, *found = SAMPLE.split(written)
    texts = [_sample(title, text.removesuffix("\n\n")) for title, text in zip(found[::2], found[1::2], strict=True)]
    kept = np.unique(np.linspace(0, len(texts) - 1, MOST_SAMPLES).round().astype(int)) if texts else []
    return [texts[number] for number in kept]


def _sample(title: str, text: str) -> dict[str, Any]:
    named = EPOCH.match(title)
    return {"title": title, "text": text} | ({"epoch": int(named[1]), "nats": float(named[2])} if named else {})


def _network(run: Run, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    settings: ModelConfig = run.config.model
    classes = class_ids(run.vocabulary)
    return {
        "cell": settings.cell,
        "activation": settings.activation,
        "leak": settings.leak,
        "layers": settings.num_layers,
        "hidden": resolved(settings.hidden_size),
        "embedding": settings.embedding_size,
        "characters": run.vocabulary.characters,
        "classes": classes.tolist(),
        "classSizes": np.bincount(classes).tolist(),
        "arrays": [{"name": name, "shape": list(array.shape)} for name, array in arrays.items()],
    }


def _carries(run: Run) -> dict[str, list]:
    """Return the initial carries with which a test begins to read, and `sample` to write."""
    reading, _ = jax.random.split(build.make_keys(run.config.run.seed).evaluation)
    writing, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))
    return {name: _layers(run, key) for name, key in (("reading", reading), ("writing", writing))}


def _layers(run: Run, key: jax.Array) -> list[list[list[float]]]:
    """Draw an initial carry: for each layer a list of its vectors."""
    carry = run.model.initial_carry(key, ())
    layers = (carry,) if run.config.model.num_layers == 1 else carry
    return [[np.asarray(leaf, np.float64).tolist() for leaf in jax.tree.leaves(layer)] for layer in layers]


def _units(run: Run, passage: str) -> list[list[Any]]:
    """List all units, those that track a feature best first: layer, unit, probe, correlation."""
    if len(passage) < 2:
        settings = run.config.model
        return [
            [layer, unit, "", 0.0] for layer in range(settings.num_layers) for unit in range(resolved(settings.hidden_size))
        ]
    key = build.make_keys(run.config.run.seed).evaluation
    outputs = read_units(run.model, run.params, encode(run.vocabulary, passage), key)
    return [[*unit[:3], round(unit.correlation, 3)] for unit in rank_units(outputs, make_probes(passage))]


def _count_named(units: list[list[Any]]) -> int:
    """Count the units at the beginning, each of which is the best one for a probe."""
    probes = [probe for _, _, probe, _ in units if probe]
    return len(set(probes))


def _usual_rate(run: Run) -> float:
    """Choose the rate that suits one SGD step after each character."""
    learning = dataclasses.replace(run.config.learning, rule="one_step", rule_length=1, optimizer="sgd", counts=False)
    return auto.choose_rate(dataclasses.replace(run.config, learning=learning))


def _rate(run: Run, data: Data | None) -> float:
    """Choose the rate at which SGD keeps learning on the page: that of the test, or the best on a text before the passage."""
    how, usual = run.dynamic, _usual_rate(run)
    if how is not None and how.optimizer == "sgd" and how.length == 1:
        return min(how.rates)
    ids = np.zeros(0, np.int32) if data is None else (data.validation if data.validation.size > TRIED else data.train)[-TRIED:]
    if len(ids) < TRIED:
        return usual
    key, rates = build.make_keys(run.config.run.seed).evaluation, (usual, usual / 3, usual / 10, usual / 30, usual / 100)
    read, ids = rate_evaluation(run.model, DynamicSettings("sgd", rates, 1)), unmark(ids)  # the page reads on at a mark
    return min(rates, key=lambda rate: np.nan_to_num(mean_nats(read(run.params, ids, key, rate)), nan=np.inf))


def _without_nan(value: Any) -> Any:
    """Replace NaN and infinity, which JSON cannot hold, with None."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

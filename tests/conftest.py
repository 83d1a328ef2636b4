"""Strict from the first import on: shapes and types checked at each call, no silent promotion, eight simulated CPU devices."""

import contextlib
import dataclasses
import gc
import importlib
import itertools
import json
import os
import tempfile
from importlib.metadata import version

# Most of the time of a test is XLA's compiler: what runs once for a few numbers need not be optimised.
# Nor need its code be generated in parts, in threads of their own: that costs a third of the time of compiling.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] += " --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):  # later ones end the process at an option that they no longer have
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
# `JAX_PLATFORMS=cuda,cpu python -m pytest` tries a GPU, where those that need several devices fail.
if os.environ.setdefault("JAX_PLATFORMS", "cpu") != "cpu":
    os.environ["XLA_FLAGS"] += " --xla_gpu_autotune_level=0"
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes test on one GPU
# What one test has compiled, the others and the processes that they start need not compile again.
compiled = tempfile.TemporaryDirectory()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", compiled.name)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# For a process that may end in the middle of a write: it reads what was compiled and leaves nothing.
READS_COMPILED = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1000000"}

import checked
import filelock
import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
checked.install()

import kept
import numpy as np
import pytest

from jaxrnn import elman, train
from jaxrnn.config import auto, build
from jaxrnn.config import settings as config
from jaxrnn.console import plot
from jaxrnn.runs import advance, start, task
from jaxrnn.runtime import precision

if jax.default_backend() != "cpu":
    jax.config.update("jax_default_matmul_precision", "float32")

# A program that finds devices leaves them, and what is compiled for them.
jax.devices()
kept.install()

# A process of its own for the picture of each run would take half the time of the tests: `test_plot.py` tries it.
DRAWING_PROCESS = plot.drawing_process
plot.drawing_process = lambda: contextlib.nullcontext(plot.draw)

# What a run imports in a thread of its own is here before: Python 3.11 fails, if seldom, when two threads parse modules at once
# ("AST constructor recursion depth mismatch"), and the checks of types import and parse some when they are first used.
for module in ("jaxtyping._typeguard", "orbax.checkpoint", "matplotlib.figure", "matplotlib.backends.backend_agg"):
    importlib.import_module(module)

# What is imported by now stays: the garbage collector, a tenth of the time otherwise, need not look through it again and again.
gc.freeze()
gc.set_threshold(20_000, 20, 20)

VOCAB, HIDDEN = 7, 5
SMALL = ["--max-characters", "3000", "--hidden-size", "8", "--updates-per-call", "500", "--sample-length", "30"]


@pytest.fixture(scope="session", autouse=True)
def same_on_every_machine():
    """Products are in float32 unless a test wants something else, whatever the processor has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "multiplies_bfloat16", lambda: False)
        yield


@pytest.fixture(scope="session")
def model():
    return elman(VOCAB, HIDDEN)


@pytest.fixture(scope="session")
def params(model):
    return model.init(jax.random.key(1))


@pytest.fixture(scope="session")
def ids():
    return np.random.default_rng(0).integers(0, VOCAB, 400).astype(np.int32)


@pytest.fixture
def promoting():
    """Optax's Adam mixes types."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


TRAINED = {
    "notebook": ["--epochs", "2"],
    "mikolov2010": ["--num-streams", "2", "--epochs", "20", "--learning-rate", "0.5"],
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder in which both presets were trained, once for all processes that run tests; each of two begins with another."""
    shared, before = tmp_path_factory.getbasetemp(), os.getcwd()  # noqa: PTH109
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:  # each of them has a folder inside the common one
        shared = shared.parent
    path = shared / "trained"
    path.mkdir(exist_ok=True)
    for preset, flags in sorted(TRAINED.items(), reverse=worker.endswith("1")):
        with filelock.FileLock(shared / f"{preset}.lock"):
            if not (path / "runs" / f"{preset}-comedie-0").exists():
                os.chdir(path)
                train.main([preset, *SMALL, *flags])
                os.chdir(before)
    return path


def but(arguments, *flags):
    """The arguments with other values for flags that they hold, and with these flags besides: each may be given once."""
    pairs = dict(zip(flags[::2], flags[1::2], strict=True))
    kept = [pair for pair in itertools.pairwise(arguments) if pair[0].startswith("--") and pair[0] not in pairs]
    return [*(argument for pair in kept for argument in pair), *flags]


def task_of(preset="notebook", streams=1, updates_per_call=10_000, device=None, **learning):
    """The task of a run on 1,000 characters."""
    settings = config.PRESETS[preset]
    settings = config.Config(
        text=dataclasses.replace(settings.text, max_characters=1_000),
        model=dataclasses.replace(settings.model, hidden_size=8),
        learning=dataclasses.replace(settings.learning, num_streams=streams, **learning),
        device=device or config.DeviceConfig(),
        run=config.RunConfig(updates_per_call=updates_per_call),
    )
    data = build.load_data(settings)
    return task.prepare(auto.resolve_auto(settings, data.num_used), data)


def epochs_of(task):
    """What comes of reading each epoch in one go, the arrays copied before the next one overwrites them."""
    snapshot, epochs = start.first_snapshot(task), []
    while not advance.is_finished(task, snapshot):
        advanced = advance.advance(task, snapshot, 10**6)
        snapshot = advanced.snapshot
        epochs.append(advanced._replace(snapshot=jax.tree.map(np.array, snapshot)))
    return epochs


def events(run_dir):
    """The lines of a run's metrics."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()]


def metrics(run_dir):
    """Those of whole epochs, and the final one."""
    return [event for event in events(run_dir) if event["event"] in ("epoch", "final")]

"""A program called from Python leaves the process as it was, whether it succeeds or fails."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import pytest
from conftest import SMALL

from jaxrnn import evaluate, export, inspect, sample, train
from jaxrnn.runtime import compilation_cache, signals
from jaxrnn.storage.quiet import LOGGERS


def process_state():
    """What of the process a program changes."""
    return {
        "streams": (sys.stdout, sys.stderr, sys.stdout.errors, sys.stderr.errors),
        "hooks": (sys.unraisablehook, sys.excepthook),
        "logging": [(logging.getLogger(name).level, list(logging.getLogger(name).filters)) for name in (*LOGGERS, "jax")],
        "disabled": logging.root.manager.disable,
        "warnings": list(warnings.filters),
        "settings": {
            name: value for name, value in jax.config.values.items() if name not in ("jax_pjrt_client_create_options",)
        },
        "signals": [signal.getsignal(number) for number in signals.SIGNALS],
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "devices": jax.devices(),
    }


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (train.main, [*SMALL, "--epochs", "1", "--run-dir", "run"]),
        (train.main, [*SMALL, "--hidden-size", "0"]),
        (sample.main, ["RUN", "--length", "5"]),
        (sample.main, ["none"]),
        (evaluate.main, ["RUN", "--text", "short.txt", "--skip-unknown"]),
        (evaluate.main, ["none"]),
        (export.main, ["RUN", "weights"]),
        (export.main, ["none", "weights"]),
        (inspect.main, ["RUN"]),
        (inspect.main, ["none"]),
        (inspect.main, ["--help"]),
    ],
)
def test_a_program_leaves_the_process_as_it_was(trained, folder, monkeypatch, capsys, main, arguments):
    monkeypatch.setattr(compilation_cache, "programs_folder", lambda: folder / "cache")
    (folder / "short.txt").write_text("COLAS.\n" * 20)
    before = process_state()
    with contextlib.suppress(SystemExit):
        main([str(trained / "runs" / "notebook-comedie-0") if word == "RUN" else word for word in arguments])
    after = process_state()
    assert after == before


NEW_PROCESS = """
import jax
import jax.numpy as jnp
from jaxrnn.runtime.restored import restore_settings
first = dict(jax.config.values)
for _ in range(2):
    with restore_settings():
        jax.config.update("jax_num_cpu_devices", 2)
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        jax.config.update("jax_default_matmul_precision", "highest")
        assert jnp.ones(2).sum() == 2
        assert len(jax.devices()) == 2
    assert jax.config.values == first
kept = jnp.ones(3)
assert len(jax.devices()) == 1
with restore_settings():
    jax.config.update("jax_default_matmul_precision", "highest")
    assert jnp.ones(2).sum() == 2
assert jax.config.values == first
assert kept.sum() == 3  # what was there before stays good
"""


def test_devices_that_a_program_has_made_are_gone_at_its_end_and_those_of_before_stay():
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    result = subprocess.run([sys.executable, "-c", NEW_PROCESS], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")

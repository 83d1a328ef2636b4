"""A run folder with two checkpoints, for tests of what lies there."""

import shutil

import jax
import jax.numpy as jnp
import pytest
from conftest import task_of

from jaxrnn.runs.advance import advance
from jaxrnn.runs.start import first_snapshot
from jaxrnn.storage import checkpoint
from jaxrnn.training.progress import Snapshot


@pytest.fixture(scope="module")
def task():
    return task_of("mikolov2010", streams=2, epochs=2)


@pytest.fixture(scope="module")
def saved(task, tmp_path_factory):
    """A run folder with two checkpoints, and the snapshots in them."""
    run_dir, snapshots = tmp_path_factory.mktemp("run"), []
    snapshot = first_snapshot(task)
    for _ in range(2):
        snapshot = advance(task, snapshot, 300).snapshot
        checkpoint.save_checkpoint(run_dir, task.config, task.data, snapshot, {"metrics.jsonl": 7, "samples.txt": 8})
        snapshots.append(jax.tree.map(jnp.copy, (snapshot.state, snapshot.best_params)))
    return run_dir, snapshots, snapshot.progress


@pytest.fixture
def copied(saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved[0], tmp_path / "copy")


def snapshot_of(saved, number):
    """One of the two snapshots that were saved."""
    state, best_params = saved[1][number]
    return Snapshot(state, best_params, saved[2])


def metadata_of(run_dir):
    """The file that holds the newest checkpoint's metadata."""
    return run_dir / "checkpoints" / "2" / "about" / "metadata"

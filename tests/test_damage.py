"""Any damage to any file of a checkpoint is detected or harmless, and never gives other numbers."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import task_of

from jaxrnn.runs.advance import advance
from jaxrnn.runs.start import first_snapshot
from jaxrnn.storage import checkpoint
from jaxrnn.storage.manifest import hash_arrays


@pytest.fixture(autouse=True)
def no_records():
    """Pytest keeps what Orbax logs, and with it what a failed read has left unfinished."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


METADATA = Path("checkpoints", "2", "about", "metadata")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run with two checkpoints."""
    path, task = tmp_path_factory.mktemp("run"), task_of("mikolov2010", epochs=2)
    snapshot = first_snapshot(task)
    for _ in range(2):
        snapshot = advance(task, snapshot, 300).snapshot
        checkpoint.save_checkpoint(path, task.config, task.data, snapshot)
    return path


def delete(path):
    path.unlink()


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def flip(place):
    """Flips one bit at this part of the file."""

    def damage(path):
        data = bytearray(path.read_bytes())
        where = min(int(place * len(data)), len(data) - 1)
        data[where] ^= 1 << int(1_000 * place) % 8
        path.write_bytes(data)

    return damage


def content(run):
    """All that a run goes on from."""
    return hash_arrays((run.snapshot.state, run.snapshot.best_params), {"progress": run.snapshot.progress, "about": run.about})


def outcomes(run_dir, tmp_path, damages):
    """What reading gives after each damage to each file of the newest checkpoint: "fell back", "harmless", or a complaint."""
    newest, before = (checkpoint.read_checkpoint(run_dir, number) for number in (2, 1))
    names = [path.relative_to(run_dir) for path in sorted((run_dir / "checkpoints" / "2").rglob("*")) if path.is_file()]
    found = {}
    for name in names:
        for number, damage in enumerate(damages):
            copy = shutil.copytree(run_dir, tmp_path / "copy")
            damage(copy / name)
            run = checkpoint.load_run(copy)
            if run.rejected:
                found[name, number] = "fell back" if content(run) == content(before) else "fell back to other numbers"
            else:
                found[name, number] = "harmless" if content(run) == content(newest) else "OTHER NUMBERS"
            shutil.rmtree(copy)
    assert len(names) > 14
    return found


def check_never_other_numbers(found, capfd):
    assert set(found.values()) == {"fell back", "harmless"}
    by_file = {name: {outcome for (other, _), outcome in found.items() if other == name} for name, _ in found}
    assert by_file[METADATA] == {"fell back"}
    assert sum(outcomes == {"fell back"} for outcomes in by_file.values()) >= 3  # metadata, arrays, their index
    assert capfd.readouterr().err == ""


def test_no_damage_gives_other_numbers(run_dir, tmp_path, capfd):
    check_never_other_numbers(outcomes(run_dir, tmp_path, [flip(0.5)]), capfd)


@pytest.mark.slow
def test_no_flipped_bit_gives_other_numbers(run_dir, tmp_path, capfd):
    places = np.random.default_rng(0).uniform(size=12)
    check_never_other_numbers(outcomes(run_dir, tmp_path, [delete, halve, empty, *map(flip, places)]), capfd)

"""Which checkpoints a folder keeps, and which of them counts."""

import os

import numpy as np
from saved_checkpoints import copied, metadata_of, saved, snapshot_of, task

from jaxrnn.storage import checkpoint, store, verify
from jaxrnn.training.progress import Snapshot

__all__ = ["copied", "saved", "task"]  # fixtures


def test_the_newest_run_is_the_one_written_last(tmp_path):
    (tmp_path / "unfinished" / "checkpoints" / "7.orbax-checkpoint-tmp").mkdir(parents=True)  # the newest, but of no use
    for age, name in enumerate(["b", "c", "a"]):
        (tmp_path / name / "checkpoints" / "7").mkdir(parents=True)
        os.utime(tmp_path / name / "checkpoints", (1_000 - age, 1_000 - age))
    assert checkpoint.newest_run(tmp_path) == tmp_path / "b"


def test_as_many_as_are_wanted_are_kept_the_newest_ones(saved, copied, task):
    progress = saved[2]
    for step in range(1, 6):
        snapshot = Snapshot(saved[1][0][0]._replace(step=np.int32(step)), saved[1][0][1], progress)
        checkpoint.save_checkpoint(copied, task.config, task.data, snapshot)
    assert sorted(path.name for path in (copied / "checkpoints").iterdir()) == ["5", "6", "7"]
    assert checkpoint.load_run(copied).snapshot.state.step == 5


def test_what_a_killed_save_has_left_is_removed_by_the_next(saved, copied, task):
    left = [copied / "checkpoints" / name for name in ("3.orbax-checkpoint-tmp", "trash/1")]
    for path in left:
        path.mkdir(parents=True)
        (path / "file").write_text("half")
    assert checkpoint.load_run(copied).number == 2
    checkpoint.save_checkpoint(copied, task.config, task.data, snapshot_of(saved, 0))
    assert sorted(path.name for path in (copied / "checkpoints").iterdir()) == ["1", "2", "3"]


def test_an_old_checkpoint_leaves_its_place_whole_before_it_is_removed(saved, copied, task, monkeypatch):
    """Killed while its files are removed one after the other, it must not look like a damaged one."""
    monkeypatch.setattr(store, "remove_leftovers", lambda run_dir: None)
    for _ in range(2):
        checkpoint.save_checkpoint(copied, task.config, task.data, snapshot_of(saved, 0))
    assert store.list_numbers(copied) == [2, 3, 4]
    assert len(list((copied / "checkpoints" / "trash").rglob("metadata"))) == 1


def test_checkpoints_that_a_live_run_removes_meanwhile_are_not_damaged(saved, copied, monkeypatch):
    found = [[7]]  # the newest at the first look; then it is gone
    numbers = store.list_numbers
    monkeypatch.setattr(store, "list_numbers", lambda run_dir: found.pop() if found else numbers(run_dir))
    run = checkpoint.load_run(copied)
    assert (run.number, run.rejected) == (2, ())
    found.append([1, 2, 7])
    assert [(each.number, each.run is not None) for each in verify.verify_run(copied)] == [(1, True), (2, True)]


def test_damaged_checkpoints_are_set_aside_and_do_not_count(saved, copied, task):
    metadata_of(copied).unlink()
    store.set_aside(copied, checkpoint.load_run(copied).rejected)
    assert store.list_numbers(copied) == [1]
    assert (copied / "damaged" / "2").is_dir()
    checkpoint.save_checkpoint(copied, task.config, task.data, snapshot_of(saved, 1))
    assert checkpoint.load_run(copied).rejected == ()

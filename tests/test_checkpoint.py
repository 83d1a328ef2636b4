import json
import os
import shutil

import jax
import numpy as np
import pytest

from jaxrnn import build, checkpoint, config
from jaxrnn.errors import InputError
from jaxrnn.schedule import Schedule


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run folder with one checkpoint, and the state in it."""
    run_dir = tmp_path_factory.mktemp("run")
    small = config.PRESETS["mikolov2010"]
    learner = build.learner(small, build.model(small, build.data(small).vocabulary))
    state = jax.jit(learner.init)(build.keys(3).init)
    checkpoint.save(run_dir, state, checkpoint.metadata(small, build.data(small), 4, Schedule(0.1)))
    return run_dir, state


@pytest.fixture
def copied(saved, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(saved[0], tmp_path / "copy")


def test_a_state_comes_back_bit_for_bit(saved):
    run_dir, state = saved
    run = checkpoint.load(run_dir)
    assert jax.tree.structure(run.state) == jax.tree.structure(state)
    for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(run.state), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert (run.config, run.epochs) == (config.PRESETS["mikolov2010"], 4)
    assert run.vocabulary == build.data(run.config).vocabulary


def data_files(run_dir):
    """The files that hold the arrays and the metadata."""
    files = [path for path in run_dir.rglob("*") if path.is_file() and path.stat().st_size > 2_000]
    assert files
    return files


def test_a_flipped_bit_is_found(copied):
    largest = max(data_files(copied), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    with pytest.raises(InputError, match="damaged or incomplete"):
        checkpoint.load(copied)


def test_changed_metadata_is_found(copied):
    (about,) = copied.rglob("about/metadata")
    about.write_text(about.read_text().replace('"epochs": 4', '"epochs": 5').replace('"epochs":4', '"epochs":5'))
    with pytest.raises(InputError, match="damaged or incomplete"):
        checkpoint.load(copied)


def test_a_truncated_file_is_found(copied):
    for path in data_files(copied):
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match="damaged or incomplete"):
        checkpoint.load(copied)


def test_too_little_memory_is_not_taken_for_damage(copied, monkeypatch):
    def fail(*arguments):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")

    monkeypatch.setattr(checkpoint, "_verified", fail)
    with pytest.raises(jax.errors.JaxRuntimeError):
        checkpoint.load(copied)


def test_another_format_is_told(copied):
    (about,) = copied.rglob("about/metadata")
    content = json.loads(about.read_text())
    content["about"]["format"] = 99
    about.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"cannot be used: it is of format 99, and this jaxrnn reads format 1"):
        checkpoint.load(copied)


def test_no_run_is_told(tmp_path):
    with pytest.raises(InputError, match="no folder of checkpoints"):
        checkpoint.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="has not saved anything yet"):
        checkpoint.load(tmp_path)
    with pytest.raises(InputError, match="train one first"):
        checkpoint.newest(tmp_path / "none")


def test_the_newest_run_is_the_one_written_last(tmp_path):
    (tmp_path / "unfinished" / "checkpoints" / "7.orbax-checkpoint-tmp").mkdir(parents=True)  # the newest, but of no use
    for age, name in enumerate(["b", "c", "a"]):
        (tmp_path / name / "checkpoints" / "7").mkdir(parents=True)
        os.utime(tmp_path / name / "checkpoints", (1_000 - age, 1_000 - age))
    assert checkpoint.newest(tmp_path) == tmp_path / "b"


def test_only_the_newest_checkpoints_are_kept(saved, copied):
    about = checkpoint.metadata(config.PRESETS["mikolov2010"], build.data(config.PRESETS["mikolov2010"]), 5, Schedule(0.1))
    for step in range(1, 6):
        checkpoint.save(copied, saved[1]._replace(step=np.int32(step)), about)
    assert sorted(int(path.name) for path in (copied / "checkpoints").iterdir()) == [3, 4, 5]
    assert checkpoint.load(copied).state.step == 5


def test_a_state_from_another_device_comes_back_on_the_first(saved, copied):
    assert len(jax.devices()) == 2
    about = checkpoint.metadata(config.PRESETS["mikolov2010"], build.data(config.PRESETS["mikolov2010"]), 5, Schedule(0.1))
    elsewhere = jax.device_put(saved[1]._replace(step=np.int32(9)), jax.devices()[1])
    checkpoint.save(copied, elsewhere, about)
    state = checkpoint.load(copied).state
    assert {leaf.device for leaf in jax.tree.leaves(state)} == {jax.devices()[0]}
    jax.tree.map(np.testing.assert_array_equal, state, elsewhere)


def test_a_random_key_counts_in_the_digest():
    digests = {checkpoint.digest(jax.random.key(seed), {}) for seed in (0, 0, 1)}
    assert len(digests) == 2
    assert checkpoint.digest(jax.random.key_data(jax.random.key(0)), {}) not in digests

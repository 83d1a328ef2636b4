import json
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from saved_checkpoints import copied, metadata_of, saved, snapshot_of, task

from jaxrnn.config import build
from jaxrnn.config.saved import config_to_json
from jaxrnn.errors import InputError
from jaxrnn.runs import testing
from jaxrnn.scoring import counting
from jaxrnn.storage import checkpoint, failures, store
from jaxrnn.storage.manifest import hash_arrays
from jaxrnn.training.learner import State
from jaxrnn.training.progress import Snapshot

__all__ = ["copied", "saved", "task"]  # fixtures
FORMAT_2 = Path(__file__).parent / "format_2"  # a run as it was saved before the files of the package were moved


def assert_same(run, arrays):
    restored = (run.snapshot.state, run.snapshot.best_params)
    assert jax.tree.structure(restored) == jax.tree.structure(arrays)
    for before, after in zip(jax.tree.leaves(arrays), jax.tree.leaves(restored), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def test_a_snapshot_comes_back_bit_for_bit(saved, task):
    run_dir, snapshots, progress = saved
    run = checkpoint.load_run(run_dir)
    assert_same(run, snapshots[-1])
    assert (run.config, run.snapshot.progress, run.number, run.rejected) == (task.config, progress, 2, ())
    assert run.vocabulary == task.data.vocabulary
    assert run.about["log_sizes"] == {"metrics.jsonl": 7, "samples.txt": 8}
    assert set(run.about["versions"]) == {"jaxrnn", "jax", "flax", "optax", "orbax-checkpoint"}
    assert (run.about["optimizer"], run.about["random_keys"]) == ("sgd", "threefry2x32, partitionable")


some_arrays = arrays_of.arrays(
    dtype=st.sampled_from(["float32", "int32", "bool", "uint8", "float16"]),
    shape=arrays_of.array_shapes(min_dims=0, max_side=3),
)
trees = st.recursive(
    some_arrays, lambda leaf: st.one_of(st.tuples(leaf, leaf), st.dictionaries(st.sampled_from("abc"), leaf, min_size=1))
)


@settings(max_examples=15, deadline=None)
@given(carry=trees, memory=trees, seed=st.integers(0, 2**32 - 1))
def test_any_state_survives(tmp_path_factory, carry, memory, seed):
    """Whatever a cell carries and a rule remembers, NaNs and random keys included."""
    run_dir, here = tmp_path_factory.mktemp("any"), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    memory = {"m": memory, "key": jax.random.key(seed)}
    state = jax.tree.map(jnp.asarray, State(jnp.int32(3), {"w": jnp.ones(2)}, (), carry, memory))
    store.write_checkpoint(run_dir, state, {"seed": seed}, keep=1)
    with store.open_checkpoint(run_dir, 1) as saved:
        again = store.read_arrays(saved, state, here)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    assert hash_arrays(again, {}) == hash_arrays(state, {})


def test_changed_metadata_is_damage(copied, saved):
    about = metadata_of(copied)
    about.write_text(about.read_text().replace('"epochs": 2', '"epochs": 3'))
    run = checkpoint.load_run(copied)
    assert_same(run, saved[1][0])
    ((path, reason),) = run.rejected
    assert (path, reason) == (copied / "checkpoints" / "2", "the SHA-256 of its metadata differs from when it was saved")


def test_a_flipped_bit_is_damage_and_the_checkpoint_before_is_used(copied, saved, capfd):
    arrays = (copied / "checkpoints" / "2" / "arrays" / "ocdbt.process_0" / "d").iterdir()
    largest = max(arrays, key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    run = checkpoint.load_run(copied)
    assert_same(run, saved[1][0])
    assert [reason for _, reason in run.rejected] == ["its SHA-256 differs from when it was saved"]
    assert capfd.readouterr().err == ""


def test_if_all_are_damaged_that_is_one_error(copied):
    for path in copied.rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(
        InputError, match=r"every checkpoint of the run .* is damaged.* 2: its metadata is not JSON; 1: its metadata is"
    ) as error:
        checkpoint.load_run(copied)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("error", [MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")])
def test_too_little_memory_is_not_taken_for_damage(copied, monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(store, "read_arrays", fail)
    with pytest.raises(InputError, match="checkpoints/2' cannot be read here: not enough memory"):
        checkpoint.load_run(copied)


def test_what_may_not_be_read_is_not_taken_for_damage(copied, monkeypatch):
    def fail(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store, "read_arrays", fail)
    with pytest.raises(InputError, match="checkpoints/2' cannot be read here: permission denied"):
        checkpoint.load_run(copied)


def rewritten(run_dir, **changes):
    """Metadata that says something else and whose SHA-256 is right: what another version would have saved."""
    content = json.loads(metadata_of(run_dir).read_text())
    content["about"] |= changes
    content["about_sha256"] = hash_arrays((), content["about"])
    metadata_of(run_dir).write_text(json.dumps(content))


def test_what_another_version_saved_is_an_error_and_no_reason_to_fall_back(copied, task):
    rewritten(copied, format=99)
    with pytest.raises(InputError, match="cannot be used: its format is 99; this jaxrnn reads format 2"):
        checkpoint.load_run(copied)
    rewritten(copied, format=2, config=config_to_json(task.config) | {"more": {}})
    with pytest.raises(InputError, match="hold 'more', which this version does not know; it was trained with jaxrnn 0"):
        checkpoint.load_run(copied)


def test_another_dtype_or_shape_is_an_error_and_no_reason_to_fall_back(copied, saved):
    arrays = checkpoint.load_run(copied).about["arrays"]
    name = "[0].params['cell']['recurrent_kernel']"
    assert arrays[name] == "float32[8, 8]"
    for other in ("bfloat16[8, 8]", "float32[8, 9]"):
        rewritten(copied, arrays=arrays | {name: other})
        with pytest.raises(InputError, match=r"recurrent_kernel.* is .*float.* and this jaxrnn .* expects float32"):
            checkpoint.load_run(copied)


@pytest.mark.parametrize("name", ["[x]", "back\\slash", "gs:/run", "a*b?", "Été à {Paris} 100%", "a\nb", "~", "$HOME"])
def test_a_folder_may_have_any_name(tmp_path, saved, task, name):
    checkpoint.save_checkpoint(tmp_path / name, task.config, task.data, snapshot_of(saved, 0))
    checkpoint.save_checkpoint(tmp_path / name, task.config, task.data, snapshot_of(saved, 1))
    run = checkpoint.load_run(str(tmp_path / name))
    assert (run.number, run.rejected) == (2, ())
    assert_same(run, saved[1][1])


def test_where_temporary_files_go_may_have_any_name(tmp_path, saved, task, monkeypatch):
    (tmp_path / "[x]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "[x]"))
    checkpoint.save_checkpoint(tmp_path / "{y}", task.config, task.data, snapshot_of(saved, 0))
    assert checkpoint.load_run(tmp_path / "{y}").rejected == ()


def test_no_place_for_temporary_files_is_an_error_and_no_damage(tmp_path, saved, task, monkeypatch):
    checkpoint.save_checkpoint(tmp_path / "[x]", task.config, task.data, snapshot_of(saved, 0))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    monkeypatch.setattr(store, "OTHER_PLACES", ())
    with pytest.raises(InputError, match=r"no temporary folder is writable; set TMPDIR .*\[x\]"):
        checkpoint.load_run(tmp_path / "[x]")
    with pytest.raises(failures.NotWritten, match="no temporary folder is writable; set TMPDIR"):
        checkpoint.save_checkpoint(tmp_path / "[x]", task.config, task.data, snapshot_of(saved, 1))
    monkeypatch.undo()
    assert (store.list_numbers(tmp_path / "[x]"), checkpoint.load_run(tmp_path / "[x]").rejected) == ([1], ())


def test_a_missing_run_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"no run in .*: it holds no checkpoint"):
        checkpoint.load_run(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match=r"no run in .*: it holds no checkpoint"):
        checkpoint.load_run(tmp_path)
    with pytest.raises(InputError, match="train one first"):
        checkpoint.newest_run(tmp_path / "none")


def test_a_state_on_several_devices_comes_back_on_one_and_the_other_way_round(saved, copied, task):
    mesh = jax.make_mesh((2,), ("streams",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("streams"))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    state, best_params = saved[1][1]
    spread = jax.device_put(state, everywhere)._replace(carry=jax.device_put(state.carry, split))
    checkpoint.save_checkpoint(
        copied, task.config, task.data, Snapshot(spread, jax.device_put(best_params, everywhere), saved[2])
    )
    run = checkpoint.load_run(copied)
    assert {leaf.device for leaf in jax.tree.leaves(run.snapshot.state)} == {jax.devices()[0]}
    assert_same(run, saved[1][1])
    again = checkpoint.load_run(copied, everywhere)
    assert all(leaf.sharding == everywhere for leaf in jax.tree.leaves(again.snapshot.state))
    assert_same(again, saved[1][1])


def test_a_checkpoint_from_another_device_is_resumed_on_this_one(saved, copied, task):
    state, best_params = jax.device_put(saved[1][1], jax.devices()[1])
    checkpoint.save_checkpoint(copied, task.config, task.data, Snapshot(state, best_params, saved[2]))
    run = checkpoint.load_run(copied)
    losses = [task.drive(jax.tree.map(jnp.copy, start), task.stream, 20)[1] for start in (run.snapshot.state, saved[1][1][0])]
    np.testing.assert_array_equal(*losses)


def test_a_random_key_counts_in_the_digest():
    digests = {hash_arrays(jax.random.key(seed), {}) for seed in (0, 0, 1)}
    assert len(digests) == 2
    assert hash_arrays(jax.random.key_data(jax.random.key(0)), {}) not in digests


def test_a_run_of_an_older_version_can_be_read():
    run = checkpoint.load_run(FORMAT_2)
    assert (run.config.model.hidden_size, run.snapshot.progress.epochs, int(run.snapshot.state.step)) == (4, 1, 2_699)
    final = json.loads((FORMAT_2 / "metrics.jsonl").read_text().splitlines()[-1])
    data, how = build.load_data(run.config), testing.resolve_dynamic(run.config, None, run.model, run.snapshot.state.params)
    measuring = testing.measure(run.config, data, run.model, run.snapshot.state.params, how, testing.TestLimits())
    found = counting.run_to_end(measuring)
    expected = [final[name] for name in ("train_nats", "heldout_nats", "heldout_dynamic_nats")]
    assert [found.train_nats, found.scores.frozen_nats, found.scores.dynamic_nats] == pytest.approx(expected, rel=1e-4)


def test_a_path_may_go_up_and_down_and_through_links(copied, monkeypatch):
    (copied / "below").mkdir()
    monkeypatch.chdir(copied / "below")
    Path("link").symlink_to(copied)
    for path in ("..", f"../../{copied.name}", copied / "below" / "..", "link"):
        assert checkpoint.load_run(path).number == 2


def test_a_stray_file_among_the_checkpoints_is_none(copied):
    (copied / "checkpoints" / "100").write_text("mine")
    assert store.list_numbers(copied) == [1, 2]
    assert checkpoint.load_run(copied).number == 2

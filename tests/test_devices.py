"""Streams sharded over devices and processes give the same numbers, saved and resumed anywhere."""

import dataclasses
import json
import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import events, metrics, task_of
from test_cli_errors import error_of

from jaxrnn import train
from jaxrnn.config import settings as config
from jaxrnn.config.settings import Config, DeviceConfig, LearningConfig
from jaxrnn.runs.advance import advance
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runtime import devices
from jaxrnn.storage import checkpoint, store
from jaxrnn.training import drivers

BPTT = {"rule": "bptt", "rule_length": 5, "dropout": 0.3, "clip_norm": 0.1, "optimizer": "adam"}
TINY = [
    "gru",
    "--max-characters",
    "6000",
    "--hidden-size",
    "8",
    "--rule-length",
    "8",
    "--num-streams",
    "8",
    "--dynamic",
    "fixed",
]
TINY += ["--schedule", "constant", "--sample-length", "20", "--dynamic-length", "8"]


def advanced_on(number, **learning):
    """An epoch on so many devices."""
    task = task_of(streams=8, device=DeviceConfig(num_devices=number), **learning)
    assert (task.mesh is None) == (number == 1)
    return advance(task, first_snapshot(task), 10**6)


@pytest.mark.parametrize("number", [pytest.param(4, marks=pytest.mark.slow), 8])
@pytest.mark.parametrize("learning", [pytest.param({}, marks=pytest.mark.slow), BPTT], ids=["one_step", "bptt"])
def test_any_number_of_devices_gives_the_same_losses(learning, number):
    alone, shared = advanced_on(1, **learning), advanced_on(number, **learning)
    assert shared.epoch is not None
    assert alone.epoch is not None
    np.testing.assert_allclose(shared.epoch.online_nats, alone.epoch.online_nats, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(shared.snapshot), jax.tree.leaves(alone.snapshot), strict=True):
        np.testing.assert_allclose(values(a), values(b), rtol=1e-3, atol=1e-5)


def values(leaf):
    """Of an array, of random keys, of a number."""
    is_key = isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf, np.float64)


def test_each_device_has_its_streams_and_all_weights():
    state = advanced_on(8, **BPTT).snapshot.state
    assert {shard.data.shape for shard in state.carry.addressable_shards} == {(1, 8)}
    assert len(state.carry.sharding.device_set) == 8
    assert all(leaf.is_fully_replicated and len(leaf.sharding.device_set) == 8 for leaf in jax.tree.leaves(state.params))


def test_the_loop_is_traced_once_before_the_first_update():
    """While the first weights are made, and for the arrays, devices and types with which the run then begins."""
    task, traces = task_of(streams=8, device=DeviceConfig(num_devices=8), **BPTT), []

    def update(*arguments):
        traces.append(1)
        return task.learner.update(*arguments)

    task = task._replace(drive=drivers.fast_driver(task.learner._replace(update=update), 4))
    snapshot = first_snapshot(task)
    assert traces == [1]
    advance(task, snapshot, 3)
    assert traces == [1]


def test_what_is_on_several_devices_is_brought_to_one_as_it_is():
    mesh = devices.make_mesh(task_of(streams=8, device=DeviceConfig(num_devices=8)).config)
    numbers, key = np.arange(16, dtype=np.int32).reshape(8, 2), jax.random.key(3)
    replicated = devices.replicate({"numbers": jnp.asarray(numbers), "key": key}, mesh)
    here = store.on_one_device({**replicated, "sharded": devices.shard_stream(numbers.T, mesh), "plain": 1.5})
    assert all(len(leaf.sharding.device_set) == 1 for name, leaf in here.items() if name != "plain")
    np.testing.assert_array_equal(here["numbers"], numbers)
    np.testing.assert_array_equal(here["sharded"], numbers.T)
    np.testing.assert_array_equal(values(here["key"]), values(key))
    assert here["plain"] == 1.5


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of two epochs on one device."""
    run_dir = tmp_path_factory.mktemp("devices") / "alone"
    train.main([*TINY, "--epochs", "2", "--num-devices", "1", "--run-dir", str(run_dir)])
    return run_dir


@pytest.mark.slow
def test_a_run_saved_on_8_devices_is_resumed_on_1(folder, alone, capsys):
    train.main([*TINY, "--epochs", "1", "--num-devices", "8", "--run-dir", "moved"])
    train.main(["--resume", "moved", "--epochs", "2", "--num-devices", "1"])
    assert "8 then and 1 now" in capsys.readouterr().out
    assert_same_losses(folder / "moved", alone)
    assert checkpoint.load_run(folder / "moved").config.device.num_devices == 1


@pytest.mark.slow
def test_two_processes_write_one_run(folder, alone):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    meet = ["--coordinator", f"localhost:{port}", "--num-processes", "2", "--run-dir", "both"]
    command = [sys.executable, "-W", "error", "-m", "jaxrnn.train", *TINY, "--epochs", "2", *meet]
    # Each has the one device that it makes of its core, not those that the tests simulate.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    processes = [
        subprocess.Popen(
            [*command, "--process-id", str(number)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for number in range(2)
    ]
    said = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "2 of cpu in 2 processes, 4 streams on each" in said[0][0]
    assert "epoch" not in said[1][0]  # it shows nothing
    assert_same_losses(folder / "both", alone)
    assert [event["event"] for event in events(folder / "both")].count("final") == 1
    assert checkpoint.load_run(folder / "both").config.device == DeviceConfig(num_devices=2)


def assert_same_losses(run_dir, other):
    """In all that the metrics say."""
    for a, b in zip(metrics(run_dir), metrics(other), strict=True):
        for name in a:
            if name.endswith("_nats"):
                np.testing.assert_allclose(a[name], b[name], rtol=1e-5, err_msg=json.dumps(a))


@pytest.mark.parametrize(
    ("there", "rule", "num_streams", "number"),
    [
        (1, "bptt", 32, 1),
        (2, "bptt", 32, 2),
        (2, "one_step", 32, 1),
        (8, "bptt", 32, 2),
        (8, "bptt", 128, 8),
        (3, "bptt", 64, 2),
    ],
)
def test_as_many_devices_are_used_as_speed_up_training(monkeypatch, there, rule, num_streams, number):
    monkeypatch.setattr(jax, "device_count", lambda: there)
    settings = Config(learning=LearningConfig(rule=rule, num_streams=num_streams))
    chosen = devices.resolve_num_devices(settings)
    assert chosen.device.num_devices == number
    assert devices.resolve_num_devices(chosen) == chosen
    gone = dataclasses.replace(settings, device=DeviceConfig(num_devices=64))
    assert devices.resolve_num_devices(gone, begun=gone) == chosen
    assert devices.resolve_num_devices(gone, begun=settings) == gone  # asked for, and then refused


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num-devices", "64"], "--num-devices is 64; the number of available devices is 8"),
        (["--num-devices", "3", "--num-streams", "4"], "--num-streams 4 cannot be split evenly over 3 devices"),
        (["--num-devices", "-1"], "--num-devices is -1"),
        (["--num-processes", "2"], "--num-processes and --process-id need --coordinator"),
        (["--coordinator", "here:1"], "--num-processes is 0; it must be 1 or more"),
        (["--coordinator", "here:1", "--num-processes", "2", "--process-id", "2"], "--process-id is 2; it must be 0 to 1"),
        (["--coordinator", "here", "--num-processes", "2", "--process-id", "0"], "--coordinator is 'here'"),
        (
            ["--coordinator", "here:1", "--num-processes", "2", "--process-id", "0", "--num-devices", "3"],
            "over 2 processes",
        ),
    ],
)
def test_impossible_device_settings_are_a_one_line_error(folder, capsys, flags, words):
    assert words in error_of(capsys, train.main, flags)
    assert not list(folder.iterdir())


def test_where_a_process_is_is_no_part_of_a_run():
    device = DeviceConfig(num_devices=4, coordinator="here:1", num_processes=2, process_id=1)
    kept = config.portable(Config(device=device))
    assert kept.device == DeviceConfig(num_devices=4)


@pytest.mark.parametrize(("flags", "number"), [("", 3), ("--xla_force_host_platform_device_count=5", 5)])
def test_cores_are_made_devices_unless_xla_was_told_their_number(flags, number):
    program = "import jax; from jaxrnn.runtime import devices; devices.make_core_devices('bptt', 3); print(jax.device_count())"
    command, environment = [sys.executable, "-W", "error", "-c", program], {**os.environ, "XLA_FLAGS": flags}
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == f"{number}\n"

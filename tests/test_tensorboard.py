"""`--log tensorboard`: the numbers of the metrics as an event file, each once, whatever happens to the run."""

import math
import shutil
import struct
import subprocess
import sys

import pytest
from conftest import SMALL, events
from test_changed_runs import stop_at, stopped
from test_cli_errors import error_of

from jaxrnn import train
from jaxrnn.config import validate
from jaxrnn.runs import advance, loop
from jaxrnn.storage import tensorboard

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

FLAGS = [*SMALL, "--epochs", "2", "--validation-fraction", "0.1", "--log", "tensorboard"]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    path = tmp_path_factory.mktemp("logged") / "run"
    train.main([*FLAGS, "--run-dir", str(path)])
    return path


@pytest.fixture
def run_dir(logged, tmp_path):
    return shutil.copytree(logged, tmp_path / "run")


def file_of(run_dir):
    return run_dir / "tensorboard" / "events.out.tfevents.0.jaxrnn"


def masked_crc(data):
    """CRC-32C bit by bit, masked as TensorFlow does it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read(run_dir):
    """The events of the file, whose every byte is accounted for, as (step, tag, value)."""
    content, found, first = file_of(run_dir).read_bytes(), [], True
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        header, data, rest = content[:8], content[12 : 12 + length], content[12 + length :]
        assert struct.unpack("<I", content[8:12]) == (masked_crc(header),)
        assert struct.unpack("<I", rest[:4]) == (masked_crc(data),)
        content, event = rest[4:], event_pb2.Event.FromString(data)
        assert event.wall_time > 1.7e9
        assert (event.file_version == "brain.Event:2") == first
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        first = False
    return found


def expected(run_dir):
    """The same from the metrics, in single precision."""
    return [
        (event["step"], f"{event['event']}/{name}", struct.unpack("f", struct.pack("f", value))[0])
        for event in events(run_dir)
        for name, value in event.items()
        if isinstance(value, float)
    ]


def without_speed(found):
    return [each for each in found if not each[1].endswith("characters_per_second")]


def test_it_holds_the_numbers_of_the_metrics_at_their_steps(logged):
    found = read(logged)
    assert found == expected(logged)
    tags = {tag for _, tag, _ in found}
    assert tags >= {
        "progress/online_nats", "epoch/online_nats", "epoch/validation_nats", "epoch/learning_rate", "final/heldout_nats",
    }  # fmt: skip
    assert len({(step, tag) for step, tag, _ in found}) == len(found)
    assert all(math.isfinite(value) for *_, value in found)


def test_a_resumed_run_writes_no_step_twice(logged, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    stop_at(monkeypatch, 1_500, 4_000)
    stopped(*FLAGS, "--run-dir", str(run_dir))
    before = file_of(run_dir).read_bytes()
    stopped("--resume", str(run_dir))
    assert file_of(run_dir).read_bytes().startswith(before)
    train.main(["--resume", str(run_dir)])
    assert without_speed(read(run_dir)) == without_speed(read(logged))


@pytest.mark.parametrize("cut", [0, 3, 40, 700])
def test_what_is_missing_is_added(logged, run_dir, cut):
    content = file_of(run_dir).read_bytes()
    file_of(run_dir).write_bytes(content[:cut])
    tensorboard.synchronise(run_dir)
    assert read(run_dir) == read(logged)


def test_what_the_metrics_no_longer_hold_is_cut_off(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines(keepends=True)
    content = file_of(run_dir).read_bytes()
    (run_dir / "metrics.jsonl").write_text("".join(lines[:3]))
    tensorboard.synchronise(run_dir)
    assert read(run_dir) == expected(run_dir) != []
    assert content.startswith(file_of(run_dir).read_bytes())


def test_a_return_to_a_checkpoint_leaves_no_step_twice(tmp_path, monkeypatch):
    stop_at(monkeypatch)  # calls of 500 updates
    read_on, diverged = loop.advance, []

    def diverge_once(task, snapshot, most_updates):
        if int(snapshot.state.step) == 1_500 and not diverged:
            diverged.append(True)
            raise advance.Divergence("the loss is no longer finite")
        return read_on(task, snapshot, most_updates)

    monkeypatch.setattr(loop, "advance", diverge_once)
    train.main([*FLAGS, "--run-dir", str(tmp_path / "run")])
    assert diverged
    assert "divergence/learning_rate" in {tag for _, tag, _ in read(tmp_path / "run")}
    assert read(tmp_path / "run") == expected(tmp_path / "run")


def test_it_may_begin_at_a_resume_and_then_holds_everything(trained, tmp_path):
    run_dir = shutil.copytree(trained / "runs" / "notebook-comedie-0", tmp_path / "run")
    train.main(["--resume", str(run_dir), "--epochs", "3", "--log", "tensorboard"])
    assert read(run_dir) == expected(run_dir)


def test_if_it_cannot_be_written_the_run_continues(tmp_path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboard, "append_scalars", full)
    train.main([*FLAGS, "--run-dir", str(tmp_path / "run")])
    out, err = capsys.readouterr()
    assert err == "warning: nothing more is written for TensorBoard until the run is resumed: no space left on the disk\n"
    assert "held-out text, weights frozen" in out


def test_if_its_folder_cannot_be_made_the_run_continues(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tensorboard, "FOLDER", "config.json")
    train.main([*FLAGS, "--run-dir", str(tmp_path / "run")])
    out, err = capsys.readouterr()
    assert err.startswith("warning: nothing more is written for TensorBoard")
    assert "held-out text, weights frozen" in out


def test_without_the_package_the_error_names_the_extra(folder, capsys, monkeypatch):
    monkeypatch.setattr(validate.importlib.util, "find_spec", lambda name: None)
    message = error_of(capsys, train.main, FLAGS)
    assert message.endswith("needs the package tensorboardX: pip install 'jaxrnn[tensorboard]', or leave it out\n")
    assert list(folder.iterdir()) == []


def test_the_package_is_imported_only_when_it_is_asked_for():
    program = "import sys, jaxrnn.train; print('jaxrnn.storage.tensorboard' in sys.modules, 'tensorboardX' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"

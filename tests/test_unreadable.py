"""Only proven damage is called damage; any other failure to read is blamed on this machine."""

import errno
import json
import shutil

import pytest
from conftest import SMALL
from test_cli_errors import error_of

from jaxrnn import evaluate, export, inspect, sample, train
from jaxrnn.errors import InputError
from jaxrnn.runs import loop
from jaxrnn.runtime import devices
from jaxrnn.storage import checkpoint, failures, seal, store
from jaxrnn.storage.failures import Damaged

CAUSES = [
    (OSError(errno.EMFILE, "Too many open files"), "too many open files; raise the limit with ulimit -n"),
    (OSError(errno.EIO, "Input/output error"), "input/output error"),
    (PermissionError(errno.EACCES, "Permission denied"), "permission denied"),
    (MemoryError(), "not enough memory"),
    (ValueError("RESOURCE_EXHAUSTED: Error allocating"), "not enough memory"),
    (RuntimeError("Unable to initialize backend 'cuda'"), "Unable to initialize backend 'cuda'"),
    (RuntimeError("can't start new thread"), "can't start new thread"),
    (KeyError("item"), "'item'"),
]


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained / "runs" / "notebook-comedie-0", tmp_path / "run")


def failing_with(error):
    def fail(*arguments, **flags):
        raise error

    return fail


@pytest.mark.parametrize(("error", "reason"), CAUSES)
def test_what_this_machine_cannot_read_is_not_called_damaged(run_dir, monkeypatch, error, reason):
    newest = store.list_numbers(run_dir)[-1]
    monkeypatch.setattr(store, "_manager", failing_with(error))
    with pytest.raises(InputError) as caught:
        checkpoint.load_run(run_dir)
    path = store.checkpoint_path(run_dir, newest)
    assert str(caught.value) == f"checkpoint {str(path)!r} cannot be read here: {reason}"


@pytest.mark.parametrize("error", [error for error, _ in CAUSES[1:4]])
def test_what_this_machine_cannot_read_is_left_as_it_is_by_the_programs(run_dir, monkeypatch, capsys, error):
    newest = store.list_numbers(run_dir)[-1]
    monkeypatch.setattr(store, "_manager", failing_with(error))
    assert "cannot be read here" in error_of(capsys, inspect.main, [str(run_dir)])
    assert "cannot be read here" in error_of(capsys, train.main, ["--resume", str(run_dir), "--epochs", "3"])
    assert not (run_dir / "damaged").exists()
    assert store.list_numbers(run_dir)[-1] == newest


def test_one_that_cannot_be_read_does_not_hide_the_others(run_dir, monkeypatch, capsys):
    newest, read = store.list_numbers(run_dir)[-1], checkpoint.read_checkpoint

    def read_others(path, number, **how):
        if number == newest:
            raise failures.Unreadable(store.checkpoint_path(path, number), "permission denied")
        return read(path, number, **how)

    monkeypatch.setattr(checkpoint, "read_checkpoint", read_others)
    with pytest.raises(SystemExit) as exit_:
        inspect.main([str(run_dir)])
    out, err = capsys.readouterr()
    number = len(store.list_numbers(run_dir))
    assert (exit_.value.code, err.count("\n")) == (2, 1)
    assert f"1 of {number} checkpoints in '{run_dir}' cannot be read here: permission denied" in err
    assert out.count("  good\n") == number - 1
    assert "  cannot be read here: permission denied\n" in out
    assert "DAMAGED" not in out


@pytest.mark.parametrize("name", ["arrays/_METADATA", "arrays/manifest.ocdbt", "about/metadata", "arrays/ocdbt.process_0"])
def test_a_missing_file_is_damage_without_a_list_of_files_too(run_dir, name):
    """A checkpoint of an earlier version has no list."""
    newest, before = store.list_numbers(run_dir)[:-3:-1]
    path = store.checkpoint_path(run_dir, newest)
    (path / seal.NAME).unlink()
    shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
    run = checkpoint.load_run(run_dir)
    assert run.number == before
    assert [rejected.path for rejected in run.rejected] == [path]


def test_memory_that_ends_when_a_run_has_begun_is_no_wrong_input(folder, monkeypatch, capsys):
    monkeypatch.setattr(loop, "learn", failing_with(MemoryError()))
    with pytest.raises(SystemExit) as exit_:
        train.main([*SMALL, "--run-dir", "run"])
    assert exit_.value.code == 1
    assert capsys.readouterr().err.startswith("error: not enough memory on this device; a smaller --hidden-size or fewer")


def test_without_a_list_of_files_only_proofs_count(run_dir, monkeypatch):
    (number,) = store.list_numbers(run_dir)[-1:]
    (store.checkpoint_path(run_dir, number) / seal.NAME).unlink()
    for error, proved in [
        (ValueError("DATA_LOSS: checksum"), "the checksum of its arrays differs from when it was saved"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "one of its files is missing"),
        (json.JSONDecodeError("no value", "", 0), "its metadata is not JSON"),
    ]:
        monkeypatch.setattr(store, "_manager", failing_with(error))
        with pytest.raises(Damaged, match=proved), store.open_checkpoint(run_dir, number):
            pass
    monkeypatch.setattr(store, "_manager", failing_with(KeyError("key_type")))
    with pytest.raises(InputError, match="to use an older checkpoint, move this"), store.open_checkpoint(run_dir, number):
        pass


def test_a_list_of_files_names_the_damaged_one_and_is_ignored_if_it_is_damaged_itself(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("a", "inner/b"):
        (tmp_path / name).write_text(name)
    seal.write_seal(tmp_path)
    listed = seal.read_seal(tmp_path)
    assert listed is not None
    assert set(listed) == {"a", "inner/b"}
    assert seal.find_changed_file(tmp_path, listed) is None
    (tmp_path / "inner" / "b").write_text("B")
    assert seal.find_changed_file(tmp_path, listed) == "the SHA-256 of its file inner/b differs from when it was saved"
    (tmp_path / "inner" / "b").unlink()
    assert seal.find_changed_file(tmp_path, listed) == "its file inner/b is missing"
    content = (tmp_path / seal.NAME).read_text()
    for other in (content.replace("inner/b", "inner/c"), content[:-1], "[]", "{}", ""):
        (tmp_path / seal.NAME).write_text(other)
        assert seal.read_seal(tmp_path) is None


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (inspect.main, []), (sample.main, []), (evaluate.main, []), (export.main, ["weights.safetensors"]),
        (train.main, ["--epochs", "3", "--resume"]), (train.main, [*SMALL, "--run-dir", "new"]),
    ],
)  # fmt: skip
def test_a_backend_that_does_not_start_is_one_line(run_dir, folder, monkeypatch, capsys, main, arguments):
    monkeypatch.setattr(devices.jax, "devices", failing_with(AssertionError()))
    named = [str(run_dir), *arguments] if main is not train.main else [*arguments, *[str(run_dir)] * ("--resume" in arguments)]
    before = sorted(folder.rglob("*"))
    message = error_of(capsys, main, named)
    assert message == "error: JAX cannot start the backend 'cpu': this installation of JAX does not have it\n"
    assert sorted(folder.rglob("*")) == before


def test_the_reason_of_a_backend_is_reported(monkeypatch):
    said = "Unable to initialize backend 'cuda': no device. (set JAX_PLATFORMS='' to choose another)\nmore"
    monkeypatch.setattr(devices.jax, "devices", failing_with(RuntimeError(said)))
    monkeypatch.setattr(devices, "platforms", lambda: "cuda")
    with pytest.raises(InputError) as caught:
        devices.start_backend()
    assert str(caught.value) == "JAX cannot start the backend 'cuda': no device; JAX_PLATFORMS=cpu uses the CPU"

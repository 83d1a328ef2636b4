import dataclasses
import errno
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from jaxrnn.config.settings import Config, RunConfig, TextConfig
from jaxrnn.errors import InputError
from jaxrnn.storage import checkpoint, logs, run_folder
from jaxrnn.storage.logs import Log


def test_a_line_of_json_holds_no_number_that_json_does_not_know(tmp_path):
    first = logs.event_line("final", {"a": 1.5, "b": math.nan, "c": math.inf, "d": None, "e": "né"})
    assert logs.append_log(tmp_path, Log(first + logs.event_line("more", {}))) == Log()
    first, second = (tmp_path / logs.METRICS).read_text("utf-8").splitlines()
    assert json.loads(first) == {"event": "final", "a": 1.5, "b": None, "c": None, "d": None, "e": "né"}
    assert json.loads(second) == {"event": "more"}


def test_what_the_disk_does_not_take_comes_back_and_leaves_no_half_line(tmp_path, monkeypatch):
    logs.append_log(tmp_path, Log("one\n", "a\n"))
    opened = Path.open

    class Half(io.FileIO):
        def write(self, data):
            return super().write(bytes(data)[: len(data) // 2])

    monkeypatch.setattr(Path, "open", lambda path, *how, **more: Half(path, "a"))
    unwritten = logs.append_log(tmp_path, Log("two\n", "b\n"))
    monkeypatch.setattr(Path, "open", opened)
    assert unwritten == Log("two\n", "b\n")
    assert (tmp_path / logs.METRICS).read_text() == "one\n"
    assert logs.append_log(tmp_path, logs.join_logs(unwritten, Log("three\n"))) == Log()
    assert (tmp_path / logs.METRICS).read_text() == "one\ntwo\nthree\n"
    assert (tmp_path / logs.SAMPLES).read_text() == "a\nb\n"


def test_a_file_whose_size_is_not_known_is_left_alone(tmp_path, monkeypatch):
    logs.append_log(tmp_path, Log("one\n"))

    def fail(path):
        raise PermissionError

    monkeypatch.setattr(logs, "_size", fail)
    assert logs.append_log(tmp_path, Log("two\n")) == Log("two\n")
    monkeypatch.undo()
    assert (tmp_path / logs.METRICS).read_text() == "one\n"


def test_cutting_takes_away_what_came_later_and_a_torn_line(tmp_path):
    logs.append_log(tmp_path, Log("é one\n", "a\n"))
    sizes = logs.measure_logs(tmp_path)
    logs.append_log(tmp_path, Log("two\n", "b\n"))
    logs.truncate_logs(tmp_path, sizes)
    assert ((tmp_path / logs.METRICS).read_text("utf-8"), (tmp_path / logs.SAMPLES).read_text()) == (
        "é one\n",
        "a\n",
    )
    logs.append_log(tmp_path, Log("tor"))
    logs.truncate_logs(tmp_path, dict.fromkeys(sizes, 1_000))
    assert (tmp_path / logs.METRICS).read_text("utf-8") == "é one\n"
    (tmp_path / logs.SAMPLES).unlink()
    logs.truncate_logs(tmp_path, sizes)
    assert not (tmp_path / logs.SAMPLES).exists()


def test_a_torn_line_is_not_read(tmp_path):
    (tmp_path / logs.METRICS).write_bytes(b'{"event": "epoch"}\n{"event": "ep\n[1]\n\xff\n{"no": 1}\n{"event": "fi')
    assert logs.read_events(tmp_path) == [{"event": "epoch"}]
    assert logs.read_events(tmp_path / "none") == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    run_folder.replace_file(tmp_path / "x", b"old")

    def fail(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        run_folder.replace_file(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_second_process_is_refused_with_the_number_of_the_first(tmp_path):
    program = (
        "from jaxrnn.storage import run_folder; from pathlib import Path\n"
        f"with run_folder.hold_lock(Path({str(tmp_path)!r})): print('got it')"
    )
    with run_folder.hold_lock(tmp_path):
        second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert f"is in use by process {os.getpid()}; wait for it, or stop it" in second.stderr
    with run_folder.hold_lock(tmp_path):  # it was left free
        pass


def test_what_goes_wrong_inside_a_lock_is_not_taken_for_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError), run_folder.hold_lock(tmp_path):
        (tmp_path / "none").read_text()


def new_run_in(run_dir):
    return dataclasses.replace(Config(), run=RunConfig(run_dir=str(run_dir)))


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "samples.txt", "loss.png", "lock"])
def test_somebody_else_s_file_is_never_taken_for_a_run_s_nor_overwritten(tmp_path, name):
    (tmp_path / name).write_text('{"text": "mine"}')
    assert not run_folder.holds_run(tmp_path)
    with pytest.raises(InputError, match=f"holds '{name}', which is not from a run and is never overwritten: name") as told:
        run_folder.make_run_folder("notebook", new_run_in(tmp_path))
    assert "remove" not in str(told.value)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, '{"text": "mine"}')]


@pytest.mark.parametrize(
    "content", ["{", "[]", "1", "null", "{}", '{"text": {}, "model": {}}', '{"text": 1, "model": 2, "learning": 3}']
)
def test_only_settings_of_ours_make_a_run(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    assert not run_folder.holds_run(tmp_path)
    run_folder.write_config(tmp_path, Config())
    assert run_folder.holds_run(tmp_path)


def test_checkpoints_of_other_programs_are_not_taken_for_a_run_s(tmp_path):
    theirs = tmp_path / "runs" / "theirs"
    (theirs / "checkpoints" / "100").mkdir(parents=True)
    (theirs / "checkpoints" / "100" / "model.pt").write_bytes(b"theirs")
    assert not run_folder.holds_run(theirs)
    with pytest.raises(InputError, match="holds 'checkpoints', which is not from a run"):
        run_folder.make_run_folder("notebook", new_run_in(theirs))
    with pytest.raises(InputError, match="no run in the folder"):
        checkpoint.newest_run(tmp_path / "runs")
    with pytest.raises(InputError, match="it holds no checkpoint"):
        checkpoint.load_run(theirs)
    (theirs / "checkpoints" / "100" / "about").mkdir()
    assert run_folder.holds_run(theirs)
    with pytest.raises(InputError, match="already holds a run, which is never overwritten: resume it with --resume") as told:
        run_folder.make_run_folder("notebook", new_run_in(theirs))
    assert "remove" not in str(told.value)


def test_a_folder_with_other_files_or_an_old_lock_takes_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "lock").write_text(" 123")
    assert run_folder.make_run_folder("notebook", new_run_in(tmp_path)) == tmp_path


@pytest.mark.parametrize("stem", ["x" * 250, "书" * 83, "é" * 120, "$" * 200, "...", ".hidden", "--x", "a" * 199 + "书"])
def test_the_default_name_of_a_run_fits_whatever_the_text_is_called(folder, stem):
    config = dataclasses.replace(Config(), text=TextConfig(text=f"{stem}.txt"))
    first, second = (run_folder.make_run_folder("mikolov2010", config) for _ in range(2))
    assert first.is_dir()
    assert second.is_dir()
    assert second.name == f"{first.name}-2"
    (second / ".metrics.jsonl.unfinished").write_text("")


def test_names_that_were_short_enough_stay():
    config = dataclasses.replace(Config(), text=TextConfig(text="a b.txt"))
    assert run_folder.default_name("gru", config) == Path("runs/gru-a_b-0")


@pytest.mark.parametrize("name", ["x" * 256, "x/" * 1_990])
def test_a_folder_whose_name_is_too_long_is_an_error_and_not_made(folder, name):
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        run_folder.make_run_folder("notebook", new_run_in(name))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gives_one_warning_and_the_run_goes_on(tmp_path, monkeypatch, capsys, number):
    def fail(*arguments, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock, "lock_descriptor", fail)
    with run_folder.hold_lock(tmp_path):
        pass
    assert capsys.readouterr().err == (
        f"warning: the file system of {str(tmp_path)!r} has no locks; make sure that no other process writes to this run\n"
    )


def test_a_lock_that_fails_otherwise_is_an_error(tmp_path, monkeypatch):
    def fail(*arguments, **more):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(filelock, "lock_descriptor", fail)
    with pytest.raises(InputError, match="cannot be written: Input/output error"), run_folder.hold_lock(tmp_path):
        pass


def test_the_lock_ends_with_the_process_that_is_killed_though_a_child_of_it_lives_on(tmp_path):
    program = (
        "import os, subprocess, sys\nfrom pathlib import Path\nfrom jaxrnn.storage import run_folder\n"
        "with run_folder.hold_lock(Path(sys.argv[1])):\n"
        "    subprocess.Popen(['sleep', '20'], close_fds=False)\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with run_folder.hold_lock(tmp_path):
        assert (tmp_path / "lock").read_text() == f" {os.getpid()}"


def test_a_run_whose_settings_cannot_be_written_leaves_no_folder(tmp_path, monkeypatch):
    def fail(path, data):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))

    monkeypatch.setattr(run_folder, "replace_file", fail)
    with pytest.raises(InputError, match="File too large"), run_folder.hold_lock(tmp_path):
        run_folder.claim(tmp_path, Config())
    assert not tmp_path.exists()
    tmp_path.mkdir()

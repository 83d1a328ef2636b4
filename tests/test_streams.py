"""Output streams that are closed, full or unread: the result or one line, and the right exit code."""

import contextlib
import errno
import io
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
from conftest import READS_COMPILED, SMALL, metrics
from test_programs import MAINS, ended

from jaxrnn import __main__ as programs
from jaxrnn import export, inspect, sample, train
from jaxrnn.console import terminal
from jaxrnn.storage import checkpoint, weights

FULL, CLOSED = "no space left on device", "it is closed"


def stream(kind):
    """A stream that takes nothing: its disk is full, its reader has gone, or it was closed."""
    if kind == "unread":
        reading, number = os.pipe()
        os.close(reading)
    else:
        number = os.open("/dev/full", os.O_WRONLY if kind == "full" else os.O_RDONLY)
    return io.TextIOWrapper(io.BufferedWriter(terminal._Output(number, "w")), "utf-8")


@pytest.mark.parametrize("missing", [lambda: None, lambda: closed_stream()], ids=["none", "closed"])
def test_a_program_called_where_python_has_no_streams_is_as_one_with_closed_streams(trained, monkeypatch, missing, capsys):
    run_dir = str(trained / "runs" / "notebook-comedie-0")
    for names in (["stdout"], ["stderr"], ["stdout", "stderr"]):
        for main, code, *arguments in (
            (inspect.main, 1, run_dir),
            (sample.main, 1, run_dir, "--length", "10"),
            (train.main, 1, "--help"),
            (programs.main, 1, "--help"),
            (programs.main, 2, "smaple"),
            (sample.main, 2, "none"),
        ):
            with monkeypatch.context() as patch:
                for name in names:
                    patch.setattr(sys, name, missing())
                found = exit_code(main, *arguments)
            assert found == (0 if code == 1 and "stdout" not in names else code)
    errors = set(capsys.readouterr().err.splitlines())
    assert f"error: the output cannot be written: {CLOSED}" in errors


def exit_code(main, *arguments):
    try:
        main(list(arguments))
    except SystemExit as exit_:
        return exit_.code or 0
    return 0


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


def test_a_slow_reader_that_never_waits_is_waited_for_without_work():
    """What does not fit into the pipe was tried again and again."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    text, read = "x" * 300_000, []

    def read_slowly():
        time.sleep(0.5)
        with os.fdopen(reading, "rb") as file:
            read.append(file.read())

    reader = threading.Thread(target=read_slowly)
    reader.start()
    with os.fdopen(writing, "w") as out, contextlib.redirect_stdout(out), terminal.protect_streams():
        before = time.process_time()
        print(text, flush=True)
        seconds = time.process_time() - before
    reader.join()
    assert read == [f"{text}\n".encode()]
    assert seconds < 0.2


def test_where_the_system_cannot_say_when_there_is_room_it_is_tried_again(monkeypatch):
    monkeypatch.setattr(terminal.select, "select", lambda *files: (_ for _ in ()).throw(OSError("not a socket")))
    test_a_slow_reader_that_never_waits_is_waited_for_without_work()


@pytest.mark.parametrize(
    ("number", "system", "gone"),
    [(errno.EPIPE, "posix", True), (errno.EPIPE, "nt", True), (errno.EINVAL, "nt", True), (errno.EINVAL, "posix", False),
     (errno.ENOSPC, "nt", False)],
)  # fmt: skip
def test_a_closed_pipe_is_an_invalid_argument_on_windows(number, system, gone):
    assert terminal.is_reader_gone(OSError(number, "x"), system) == gone


def drop(*opened):
    """Closes them, whatever they have not written."""
    for each in opened:
        each.buffer.raw.is_required = False
        each.close()


@pytest.fixture
def damaged(trained, tmp_path):
    """A run with a damaged checkpoint."""
    path = shutil.copytree(trained / "runs" / "notebook-comedie-0", tmp_path / "damaged")
    (path / "checkpoints" / "2" / "about" / "metadata").write_text("x")
    return str(path)


@pytest.mark.parametrize(("kind", "code", "said"), [("full", 1, FULL), ("closed", 1, CLOSED), ("unread", 0, "")])
def test_a_result_that_cannot_be_written_is_an_error_of_one_line_and_one_that_nobody_reads_is_none(
    trained, monkeypatch, capsys, kind, code, said
):
    run_dir = str(trained / "runs" / "notebook-comedie-0")
    for main, *arguments in (
        (sample.main, run_dir, "--length", "10"),
        (inspect.main, run_dir),
        (inspect.main, run_dir, "--json"),
        *((module.main, flag) for module in MAINS.values() for flag in ("--help", "--version")),
        (programs.main, "--help"),
        (programs.main, "--version"),
    ):
        out = stream(kind)
        monkeypatch.setattr(sys, "stdout", out)
        assert ended(main, *arguments) == code
        monkeypatch.undo()
        drop(out)
        assert capsys.readouterr().err == (f"error: the output cannot be written: {said}\n" if said else "")


@pytest.mark.parametrize("kind", ["full", "closed", "unread"])
def test_damage_that_was_found_is_the_exit_code_whoever_reads_of_it(damaged, monkeypatch, capsys, kind):
    out = stream(kind)
    monkeypatch.setattr(sys, "stdout", out)
    assert ended(inspect.main, damaged) == 4
    monkeypatch.undo()
    drop(out)
    assert capsys.readouterr().err == f"error: 1 of 3 checkpoints in {damaged!r} is damaged\n"


@pytest.mark.parametrize("kind", ["full", "closed", "unread"])
def test_an_error_keeps_its_exit_code_where_stderr_takes_nothing(monkeypatch, capsys, kind):
    for main, *arguments in ((sample.main, "none"), (programs.main, "smaple")):
        err = stream(kind)
        monkeypatch.setattr(sys, "stderr", err)
        assert ended(main, *arguments) == 2
        monkeypatch.undo()
        drop(err)
    assert capsys.readouterr() == ("", "")


def test_weights_are_exported_whoever_reads_of_it(trained, tmp_path, monkeypatch):
    for kind in ("full", "closed", "unread"):
        out, err = stream(kind), stream(kind)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        export.main([str(trained / "runs" / "notebook-comedie-0"), str(tmp_path / kind)])
        monkeypatch.undo()
        drop(out, err)
        assert weights.read_weights(tmp_path / kind).vocabulary


def test_a_program_leaves_the_streams_as_they_were(trained, capsys):
    before = sys.stdout, sys.stderr, sys.stdout.errors, sys.stderr.errors
    inspect.main([str(trained / "runs" / "notebook-comedie-0")])
    ended(inspect.main, "none")
    assert (sys.stdout, sys.stderr, sys.stdout.errors, sys.stderr.errors) == before


def test_a_character_that_the_screen_does_not_know_is_a_question_mark(tmp_path, monkeypatch):
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with terminal.protect_streams():
            print("é")
        assert out.errors == "strict"
    assert (tmp_path / "out").read_text() == "?\n"


# 0, 1 and 2 as the shell would close them, one after the other and all together.
@pytest.mark.parametrize(
    ("closed", "code", "said"), [("<&-", 0, ""), (">&-", 1, CLOSED), ("2>&-", 0, ""), ("<&- >&- 2>&-", 1, "")]
)
def test_streams_that_were_closed_before_the_program_began(closed, code, said):
    command = f'"{sys.executable}" -m jaxrnn --version {closed}'
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert result.returncode == code
    assert result.stderr == (f"error: the output cannot be written: {said}\n" if said else "")


def test_a_file_never_gets_the_number_of_a_closed_stream_so_that_nothing_is_printed_into_it(tmp_path):
    program = (
        "from jaxrnn.console import terminal; import os, sys; terminal.reopen_closed_streams(); "
        f"file = open({str(tmp_path / 'file')!r}, 'w'); file.write(str(file.fileno() > 2)); "
        "terminal.print_to_stderr('said'); file.close()"
    )
    subprocess.run(["sh", "-c", f'"{sys.executable}" -c "$0" <&- >&- 2>&-', program], check=True)
    assert (tmp_path / "file").read_text() == "True"


@pytest.mark.slow
def test_a_run_with_all_streams_closed_ends_and_is_saved(tmp_path):
    flags = " ".join([*SMALL, "--epochs", "1", "--run-dir", "run"])
    command = f'"{sys.executable}" -m jaxrnn.train {flags} <&- >&- 2>&-'
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, env={**os.environ, **READS_COMPILED})
    assert metrics(tmp_path / "run")[-1]["event"] == "final"
    assert checkpoint.load_run(tmp_path / "run").snapshot.progress.epochs == 1


def test_training_goes_on_when_nobody_reads(folder, monkeypatch):
    out = stream("unread")
    monkeypatch.setattr(sys, "stdout", out)
    train.main([*SMALL, "--epochs", "1", "--run-dir", "run"])
    monkeypatch.undo()
    drop(out)
    assert metrics(folder / "run")[-1]["event"] == "final"

"""Invalid input on the command line: one line of error, exit code 2, nothing written."""

import os
import shutil

import jax
import pytest
from conftest import SMALL, metrics

from jaxrnn import evaluate, sample, train
from jaxrnn.console import cli


def error_of(capsys, main, arguments):
    """The one line that wrong input gives."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    return message


@pytest.mark.slow
def test_a_changed_text_is_not_taken_for_the_run_s_own(trained, folder, capsys):
    (folder / "mine.txt").write_text("Il fait nuit. Il fait jour.\n" * 30, encoding="utf-8")
    train.main([*SMALL, "--text", "mine.txt", "--epochs", "1", "--run-dir", "mine"])
    (folder / "mine.txt").write_text("Il fait jour. Il fait nuit.\n" * 30, encoding="utf-8")
    capsys.readouterr()
    assert "not the one that this run was trained on" in error_of(capsys, evaluate.main, ["mine"])


def test_a_run_is_never_overwritten(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    before = metrics(trained / "runs" / "notebook-comedie-0")
    message = error_of(capsys, train.main, [*SMALL, "--run-dir", "runs/notebook-comedie-0"])
    assert "already holds a run" in message
    assert metrics(trained / "runs" / "notebook-comedie-0") == before


def files(folder):
    content = {
        "empty.txt": b"", "one.txt": b"x", "same.txt": b"x" * 50, "short.txt": b"ab", "latin.txt": "é".encode("latin-1"),
    }  # fmt: skip
    for name, data in content.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text", "empty.txt"], "is empty"),
        (["--text", "one.txt"], "two characters or more are needed"),
        (["--max-characters", "1"], "--max-characters is 1; it must be 0 (all), or 2 or more"),
        (["--hiden-size", "3"], "no flag --hiden-size; did you mean --hidden-size?"),
        (["--hidden-size", "abc"], "--hidden-size takes a whole number or auto, not 'abc'"),
        (["--activatio", "tanh"], "no flag --activatio; did you mean --activation?"),
        (["--nothing-like-it"], "no flag --nothing-like-it; see --help"),
        (["--activation", "gelu"], "--activation takes sigmoid, tanh or relu, not 'gelu'"),
        (["--epochs", "1", "notebook"], "a preset comes before the flags"),
        (["--epochs"], "--epochs"),
        (["--text", "same.txt"], "repeats one character"),
        (["--text", "short.txt"], "too short"),
        (["--text", "latin.txt"], "offset 0"),
        (["--text", "none.txt"], "none.txt"),
        (["--text", "."], "text './latin.txt' is not UTF-8"),
        (["--text", ""], "the value of --text is empty"),
        (["--resume", ""], "the value of --resume is empty"),
        (["--run-dir="], "the value of --run-dir is empty"),
        ([""], "no preset ''"),
        (["--epochs", "1.5"], "--epochs takes a whole number, not '1.5'"),
        (["--learning-rate", "fast"], "--learning-rate takes a number or auto, not 'fast'"),
        (["--text", "x" * 5000], "cannot be read"),
        (["--num-streams", "5000", "--max-characters", "2000"], "too short"),
        (["--hidden-size", "0"], "--hidden-size"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["typo"], "no preset 'typo'"),
        (["--run-dir", "one.txt"], "is a file"),
        (["--init-from", "x" * 5000], "no run in 'xxx"),
        (["--resume", "one.txt"], "no run in 'one.txt'"),
    ],
)
def test_invalid_input_to_training_is_a_one_line_error_and_writes_nothing(folder, capsys, arguments, said):
    files(folder)
    before = sorted(folder.rglob("*"))
    assert said in error_of(capsys, train.main, arguments)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--temperature", "-1"], "--temperature"),
        (["--tempreture", "1"], "--temperature"),
        (["--top-p", "0"], "--top-p"),
        (["--top-p", "1.5"], "--top-p"),
        (["--top-k", "-2"], "--top-k"),
        (["x" * 5000], "holds no checkpoint"),
        (["--length", "-1"], "--length"),
        (["--num-samples", "0"], "--num-samples"),
        (["--prompt", ""], "--prompt is empty"),
        (["--prompt", "a€"], "'€' (U+20AC) at position 1"),
        (["--prompt", "€", "--skip-unknown"], "no character"),
        (["none"], "no run in 'none'"),
    ],
)
def test_invalid_input_to_sampling_is_a_one_line_error(trained, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(trained)
    assert said in error_of(capsys, sample.main, arguments)


def test_invalid_input_to_evaluation_is_a_one_line_error(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    run_dir = "runs/notebook-comedie-0"
    assert "--dynamic is 0.0" in error_of(capsys, evaluate.main, [run_dir, "--dynamic", "0"])
    assert "holds no checkpoint" in error_of(capsys, evaluate.main, ["none"])
    assert "neither a file" in error_of(capsys, evaluate.main, [run_dir, "--text", "none.txt"])
    assert "--dynamic takes a number or auto, not 'x'" in error_of(capsys, evaluate.main, [run_dir, "--dynamic", "x"])
    assert "starts a run from a file" in error_of(capsys, evaluate.main, [f"{run_dir}/loss.png"])
    assert "RUN is missing" in error_of(capsys, evaluate.main, [])
    assert "unexpected argument 'more'" in error_of(capsys, evaluate.main, [run_dir, "more"])
    assert "'É' (U+00C9)" in error_of(capsys, evaluate.main, [run_dir, "--text", "comedie"])


@pytest.mark.parametrize("make", [lambda path: path.write_text("x"), lambda path: path.symlink_to("/nonexistent")])
def test_a_place_where_no_folder_can_be_made_is_named(folder, capsys, make):
    make(folder / "runs")
    message = error_of(capsys, train.main, [*SMALL, "--epochs", "1"])
    assert "'runs" in message
    assert "cannot be written" in message


@pytest.mark.parametrize("program", [sample, evaluate])
def test_a_damaged_run_is_a_one_line_error(trained, tmp_path, capsys, program):
    run_dir = shutil.copytree(trained / "runs" / "notebook-comedie-0", tmp_path / "copy")
    newest = max((run_dir / "checkpoints").iterdir(), key=lambda path: int(path.name))
    for path in newest.rglob("*"):
        if path.is_file() and path.stat().st_size > 2_000:
            os.truncate(path, 1_000)
    capsys.readouterr()
    program.main([str(run_dir)])
    out, err = capsys.readouterr()
    assert len(out) > 100
    assert err.startswith(f"warning: checkpoint {str(newest)!r} is damaged: its metadata is not JSON; an older one is used\n")
    assert err.count("\n") == 1
    for about in run_dir.rglob("about/metadata"):
        about.unlink()
    assert "every checkpoint of the run in" in error_of(capsys, program.main, [str(run_dir)])


def test_too_little_memory_is_a_one_line_error(capsys):
    def fail(arguments):
        with cli.exit_on_error():
            raise arguments

    for error in (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), MemoryError()):
        assert "not enough memory" in error_of(capsys, fail, error)

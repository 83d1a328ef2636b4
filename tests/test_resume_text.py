"""Resuming by text: which run `--resume auto` finds, and a text that was moved or changed."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import SMALL, but, metrics
from test_cli_errors import error_of

from jaxrnn import evaluate, train
from jaxrnn.errors import InputError
from jaxrnn.runs import resume, start
from jaxrnn.storage import checkpoint, store
from jaxrnn.train import parse


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of a run of two epochs that is over."""
    return shutil.copytree(trained / "runs" / "notebook-comedie-0", tmp_path / "run")


def find(arguments):
    """The run that `--resume auto` would resume."""
    given = parse(arguments)
    return resume.find_resumable(given, start.origin_settings(given))


@pytest.fixture(scope="module")
def on_file(tmp_path_factory):
    """A folder with a text and a run on it."""
    path = tmp_path_factory.mktemp("on_file")
    (path / "mine.txt").write_text("Il fait nuit. Il fait jour.\n" * 30, encoding="utf-8")
    flags = but(SMALL, "--text", str(path / "mine.txt"), "--epochs", "1", "--run-dir", str(path / "mine"))
    train.main(flags)
    return path


@pytest.fixture
def mine(on_file, tmp_path, monkeypatch):
    """The working folder: the run, and its text at another place than it was."""
    shutil.copytree(on_file / "mine", tmp_path / "mine")
    shutil.copy(on_file / "mine.txt", tmp_path / "yours.txt")
    (on_file / "mine.txt").rename(on_file / "gone.txt")
    monkeypatch.chdir(tmp_path)
    yield on_file / "mine.txt"
    (on_file / "gone.txt").rename(on_file / "mine.txt")


def test_a_text_may_have_been_moved_which_the_error_says(mine, capsys):
    said = f"is no longer at {str(mine)!r}; if it was moved, give its new path: --resume mine --text PATH"
    assert said in error_of(capsys, train.main, ["--resume", "mine"])
    said = f"the text of this run is no longer at {str(mine)!r}; put it back, or test on any text with --text PATH\n"
    assert said in error_of(capsys, evaluate.main, ["mine"])
    train.main(["--resume", "mine", "--text", "yours.txt", "--epochs", "2"])
    assert checkpoint.load_run("mine").config.text.text == str(Path("yours.txt").absolute())


def test_another_text_is_named_as_it_was_typed(mine, capsys):
    Path("short.txt").write_text("ab")
    Path("other.txt").write_text("Il fait jour. Il fait nuit.\n" * 30)
    for name in ("other.txt", "short.txt"):
        message = error_of(capsys, train.main, ["--resume", "mine", "--text", name, "--epochs", "2"])
        assert f"--text {name!r} is not the text of the run in 'mine': its SHA-256 is " in message
        assert "; --init-from mine starts a new run on it from the old weights" in message
    assert "no text 'none.txt'" in error_of(capsys, train.main, ["--resume", "mine", "--text", "none.txt"])
    assert "--text is 'comedie', but the run" in error_of(capsys, train.main, ["--resume", "mine", "--text", "comedie"])


def test_a_text_is_named_as_it_was_typed_where_the_run_is_on_a_known_one(run_dir, folder, capsys):
    Path("other.txt").write_text("Il fait jour. Il fait nuit.\n" * 30)
    assert "--text is 'other.txt', but" in error_of(capsys, train.main, ["--resume", str(run_dir), "--text", "other.txt"])


def found(*flags):
    return find(but(SMALL, "--resume", "auto", "--epochs", "1", *flags))


def test_auto_tells_texts_of_one_name_apart(mine, capsys):
    for folder_of_text, text in (("a", Path("yours.txt").read_text()), ("b", "Il fait jour. Il fait nuit.\n" * 30)):
        Path(folder_of_text).mkdir()
        Path(folder_of_text, "mine.txt").write_text(text)
    Path("runs").mkdir()
    first = Path("mine").rename("runs/notebook-mine-0")
    assert found("--text", "a/mine.txt") == first
    assert found("--text", "b/mine.txt") is None
    Path("a", "mine.txt").write_text("Il fait jour. Il fait jour.\n" * 30)  # the same path, but not the same text
    assert found("--text", "a/mine.txt") is None
    with pytest.raises(InputError, match=r"^no text 'c/mine\.txt'"):
        found("--text", "c/mine.txt")
    sha256 = resume.read_saved_hash(first)
    (first / "checkpoints" / str(store.list_numbers(first)[-1]) / "about" / "metadata").write_text("{")
    assert resume.read_saved_hash(first) == sha256 != ""  # from the checkpoint before
    shutil.rmtree(first / "checkpoints")  # stopped before it saved anything: its text is known by its path alone
    assert found("--text", "a/mine.txt") is None
    mine.write_text("anything")
    assert found("--text", str(mine)) == first
    mine.unlink()


def test_auto_resumes_its_own_run_or_starts_it(folder, capsys):
    command = [*SMALL, "--epochs", "1", "--resume", "auto"]
    train.main(command)
    assert "resumed" not in capsys.readouterr().out
    train.main(command)
    assert "is finished" in capsys.readouterr().out
    train.main([*SMALL, "--epochs", "1"])
    capsys.readouterr()
    os.utime(folder / "runs" / "notebook-comedie-0-2" / "config.json", (1, 1))
    train.main(but(command, "--epochs", "2"))
    assert len(metrics(folder / "runs" / "notebook-comedie-0")) == 3
    assert len(metrics(folder / "runs" / "notebook-comedie-0-2")) == 2
    capsys.readouterr()
    train.main(command)  # with fewer epochs than it has been given since
    assert "is finished: it has read 2 epochs" in capsys.readouterr().out
    elsewhere = but(command, "--epochs", "2", "--seed", "3", "--run-dir", "runs/notebook-comedie-0")
    assert "--seed is 3" in error_of(capsys, train.main, elsewhere)


def changed(run_dir, part, **values):
    """Another run, with these settings."""
    if not Path(run_dir).exists():
        shutil.copytree("runs/notebook-comedie-0", run_dir)
    config = Path(run_dir) / "config.json"
    settings = json.loads(config.read_text())
    settings[part] |= values
    config.write_text(json.dumps(settings))


def test_auto_begins_another_run_for_other_settings_and_finds_each_again(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    command = ["notebook", *SMALL, "--resume", "auto"]
    assert find(command) == Path("runs/notebook-comedie-0")
    assert find([*command, "--learning-rate", "0.2"]) is None
    changed("runs/notebook-comedie-0-7", "learning", learning_rate=0.2)
    assert find([*command, "--learning-rate", "0.2"]) == Path("runs/notebook-comedie-0-7")
    some_width = ["notebook", *but(command, "--hidden-size", "auto")]
    assert find(some_width) is None  # nobody would have chosen 8
    changed("runs/notebook-comedie-0-6", "model", hidden_size=256)
    assert find(some_width) == Path("runs/notebook-comedie-0-6")
    heir = [*command, "--init-from", "runs/mikolov2010-comedie-0"]  # whose network is not the preset's
    assert find(heir) is None
    changed("runs/notebook-comedie-0-8", "run", init_from=str(tmp_path / "runs" / "mikolov2010-comedie-0"))
    changed("runs/notebook-comedie-0-8", "model", initialisation="mikolov")
    assert find(heir) == Path("runs/notebook-comedie-0-8")
    unnamed = heir[1:]  # no preset: learning and evaluation as there
    assert find(unnamed) is None
    there = json.loads(Path("runs/mikolov2010-comedie-0/config.json").read_text())
    changed("runs/notebook-comedie-0-9", "run", init_from=str(tmp_path / "runs" / "mikolov2010-comedie-0"))
    changed("runs/notebook-comedie-0-9", "model", initialisation="mikolov")
    changed("runs/notebook-comedie-0-9", "learning", **{**there["learning"], "learning_rate": 0.1})
    changed("runs/notebook-comedie-0-9", "text", **there["text"])
    assert find(unnamed) == Path("runs/notebook-comedie-0-9")
    assert find(heir) == Path("runs/notebook-comedie-0-8")
    shutil.move("runs/mikolov2010-comedie-0", "elsewhere")  # then the settings of the heirs tell
    assert find(unnamed) in (Path("runs/notebook-comedie-0-8"), Path("runs/notebook-comedie-0-9"))
    assert find(command) == Path("runs/notebook-comedie-0")


@pytest.mark.parametrize("changed", ["Il fait jour. Il fait nuit.\n" * 30, "ab"])
def test_a_text_that_has_changed_is_refused(mine, capsys, changed):
    mine.write_text(changed)
    message = error_of(capsys, train.main, ["--resume", "mine", "--epochs", "2"])
    assert f"text {str(mine)!r} has changed since the run in 'mine' was started: its SHA-256 is " in message
    assert "is not the one that this run was trained on" in error_of(capsys, evaluate.main, ["mine"])
    mine.unlink()

"""Runs on several files equal runs on one file with separators; texts that cannot be read again are stored."""

import bz2
import gzip
import io
import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL, but, metrics
from test_cli_errors import error_of

import jaxrnn
from jaxrnn import evaluate, inspect, sample, text, train
from jaxrnn.config import build
from jaxrnn.config.settings import Config, TextConfig, portable
from jaxrnn.data import documents
from jaxrnn.runs import loop
from jaxrnn.runs.page import make_page
from jaxrnn.storage import checkpoint

FLAGS = but(SMALL, "--max-characters", "0", "--epochs", "1")
PIECES = [text.read("comedie")[start : start + 700].rstrip("\n") + "\n" for start in range(0, 2_100, 700)]


def write_letters(folder):
    """Write the pieces to a folder, and all of them to one file."""
    (folder / "letters" / "sub").mkdir(parents=True)
    (folder / "letters" / "a.txt").write_text(PIECES[0].rstrip("\n"), "utf-8")
    (folder / "letters" / "b.txt.gz").write_bytes(gzip.compress(PIECES[1].replace("\n", "\r\n").encode()))
    (folder / "letters" / "sub" / "c.txt").write_text(PIECES[2], "utf-8")
    (folder / "letters" / "picture.png").write_bytes(b"\x89PNG\0")
    (folder / "one.txt").write_text("=====\n".join(PIECES), "utf-8")


def numbers_of(run_dir):
    """What was learned and measured, without times."""
    rows = [{name: row[name] for name in row if name != "characters_per_second"} for row in metrics(Path(run_dir))]
    return rows, jax.tree.map(as_numbers, checkpoint.load_run(run_dir).snapshot.state)


def as_numbers(leaf):
    """A random key as the numbers that it is made of."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def assert_same(first, second):
    (rows, state), (other_rows, other_state) = numbers_of(first), numbers_of(second)
    assert rows == other_rows
    jax.tree.map(np.testing.assert_array_equal, state, other_state)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the texts, and a run on the folder of files."""
    path, before = tmp_path_factory.mktemp("several"), Path.cwd()
    write_letters(path)
    os.chdir(path)
    train.main([*FLAGS, "--text", "letters", "--run-dir", "folder"])
    os.chdir(before)
    return path


@pytest.fixture
def here(runs, tmp_path, monkeypatch):
    """The working folder, which is a copy of that one."""
    shutil.copytree(runs, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_a_folder_equals_one_file_with_separators(here, capsys):
    train.main([*FLAGS, "--text", "one.txt", "--separator", "=====", "--run-dir", "one"])
    assert_same("folder", "one")
    saved, other = checkpoint.load_run("folder"), checkpoint.load_run("one")
    assert saved.about["text"] == other.about["text"]
    assert saved.about["text"]["documents"] == 3
    capsys.readouterr()
    for flags in (["folder"], ["folder", "--text", "letters"], ["one", "--text", "one.txt", "--separator", "====="]):
        evaluate.main([*flags, "--json"])
    whole, of_folder, of_file = map(json.loads, capsys.readouterr().out.splitlines())
    assert of_folder == of_file
    assert whole["heldout_nats"] == metrics(here / "folder")[-1]["heldout_nats"]


@pytest.mark.slow
def test_resetting_is_part_of_the_result(here):
    train.main([*FLAGS, "--text", "letters", "--no-reset", "--run-dir", "carried"])
    assert metrics(Path("carried"))[0]["online_nats"] != metrics(Path("folder"))[0]["online_nats"]
    train.main([*FLAGS, "--text", "one.txt", "--separator", "=====", "--no-reset", "--run-dir", "one"])
    assert_same("carried", "one")


def test_it_goes_on_after_a_signal_with_the_same_bits(here, monkeypatch, capsys):
    advance, calls = loop.advance, []

    def advance_and_signal(*given):
        calls.append(given)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGTERM)
        return advance(*given)

    monkeypatch.setattr(loop, "advance", advance_and_signal)
    with pytest.raises(SystemExit):
        train.main([*FLAGS, "--text", "letters", "--run-dir", "killed"])
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")  # the paths that are saved are absolute
    train.main(["--resume", "../killed"])
    assert_same("../killed", "../folder")
    capsys.readouterr()


def test_it_may_go_on_with_the_same_text_in_another_form(here):
    train.main(["--resume", "folder", "--text", "one.txt", "--separator", "=====", "--epochs", "2"])
    assert checkpoint.load_run("folder").config.text.text == str(Path("one.txt").absolute())
    train.main([*but(FLAGS, "--epochs", "2"), "--text", "letters", "--run-dir", "two"])
    assert_same("folder", "two")


def test_a_text_that_was_moved_or_changed_is_found_out(here, capsys):
    files = ["letters/a.txt", "letters/b.txt.gz", "letters/sub"]
    train.main([*FLAGS, "--text", *files, "--run-dir", "mine"])
    assert checkpoint.load_run("mine").config.text.text == tuple(str(Path(name).absolute()) for name in files)
    assert_same("mine", "folder")
    capsys.readouterr()
    message = error_of(capsys, train.main, ["--resume", "mine", "--text", files[0], files[1], "letters"])
    assert "--text 'letters/a.txt', 'letters/b.txt.gz', 'letters' is not the text of the run in 'mine': its SHA-256" in message
    train.main([*FLAGS, "--text", "one.txt", "--separator", "=====", "--run-dir", "one"])
    capsys.readouterr()
    message = error_of(capsys, train.main, ["--resume", "one", "--separator", "~~~"])
    assert message.startswith("error: with --separator '~~~' instead of '=====', text '")
    assert message.endswith("one.txt' is not the one of the run in 'one'; leave the flag out\n")
    Path("letters/sub/d.txt").write_text("One more.\n")
    message = error_of(capsys, train.main, ["--resume", "mine", "--epochs", "2"])
    assert f"b.txt.gz', {str(here / 'letters/sub')!r} has changed since the run in 'mine' was started" in message
    Path("letters/b.txt.gz").unlink()
    message = error_of(capsys, train.main, ["--resume", "mine"])
    assert f"is no longer at {str(here / 'letters/b.txt.gz')!r}" in message
    assert "put it back, or test on any text" in error_of(capsys, evaluate.main, ["mine"])


@pytest.mark.slow
def test_auto_finds_the_run_on_the_same_documents(here, capsys):
    command = [*FLAGS, "--resume", "auto", "--text"]
    train.main([*command, "letters"])
    files = ["letters/a.txt", "letters/b.txt.gz", "letters/sub/c.txt"]
    for names in (["letters"], [*files, "--run-dir", "runs/notebook-letters-0"]):
        train.main([*command, *names])
        assert "is finished" in capsys.readouterr().out
    train.main([*command, "one.txt"])
    assert "is finished" not in capsys.readouterr().out  # without separators it is one document
    assert sorted(path.name for path in Path("runs").iterdir()) == ["notebook-letters-0", "notebook-one-0"]


@pytest.mark.slow
def test_what_is_read_is_listed_and_other_programs_take_it(here, capsys):
    train.main([*but(FLAGS, "--max-characters", "2500"), "--text", "letters", "comedie", "--run-dir", "mine"])
    shown = capsys.readouterr().out
    sizes = [len(piece) for piece in PIECES]
    assert "4 files, the first 2,500 of 75,982 characters (--max-characters), 4 documents\n" in shown
    files = f"a.txt {sizes[0]:,}, b.txt.gz {sizes[1]:,}, sub/c.txt {sizes[2]:,}, comedie {2_500 - sum(sizes):,}\n"
    assert f"files       {files}" in shown
    assert "skipped     letters/picture.png (not a text)\n" in shown
    assert "held out; each of whole documents\n" in shown
    inspect.main(["mine"])
    assert "letters, comedie, 2,500 characters, 4 documents, SHA-256" in capsys.readouterr().out
    sample.main(["mine", "--mixed", "--length", "20"])
    run = jaxrnn.load("mine")
    assert "1 epoch of letters and 1 more" in repr(run)
    assert len(run.losses.epoch_nats) == 1
    assert make_page(run)[1] == ""
    assert run.figure is not None


def test_parts_are_marked_and_whole(here):
    config = Config(text=TextConfig(text=("letters/a.txt", "letters"), max_characters=0, validation_fraction=0.2))
    data = build.load_data(config)
    sizes = [len(PIECES[0]), *map(len, PIECES)]
    assert [len(part) for part in (data.train, data.validation, data.heldout)] == [sum(sizes[:2]), sizes[2], sizes[3]]
    assert documents.starts_of(data.train).tolist() == [sizes[0]]
    assert [size for _, size in data.files] == sizes
    carried = build.load_data(Config(text=TextConfig(**{**vars(config.text), "reset": False})))
    assert not documents.has_marks(carried.train)
    assert carried.train.dtype == np.uint8
    np.testing.assert_array_equal(documents.unmark(data.train), carried.train)
    assert carried.sha256 == data.sha256


def test_another_text_says_where_an_unknown_character_is(here, capsys):
    Path("odd.txt").write_text(f"{PIECES[0]}日\n{PIECES[1]}本")
    message = error_of(capsys, evaluate.main, ["folder", "--text", "letters/a.txt", "odd.txt"])
    assert f"text 'odd.txt': character '日' (U+65E5) at position {len(PIECES[0])} is not one of the" in message
    evaluate.main(["folder", "--text", "letters/a.txt", "odd.txt", "--skip-unknown", "--json"])
    Path("plain.txt").write_text(f"{PIECES[0]}\n{PIECES[1]}\n")
    evaluate.main(["folder", "--text", "letters/a.txt", "plain.txt", "--json"])
    assert len(set(capsys.readouterr().out.splitlines())) == 1
    assert "--separator works only with --text" in error_of(capsys, evaluate.main, ["folder", "--separator", "x"])
    assert "--no-reset works only with --text" in error_of(capsys, evaluate.main, ["folder", "--no-reset"])


def with_stdin(monkeypatch, data, is_terminal=False):
    stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data)), closed=False, isatty=lambda: is_terminal)
    monkeypatch.setattr("sys.stdin", stdin)


def test_standard_input_is_stored_and_the_run_can_be_resumed(here, monkeypatch, capsys):
    command = [*FLAGS, "--separator", "=====", "--run-dir", "piped", "--text"]
    with_stdin(monkeypatch, Path("one.txt").read_bytes())
    train.main([*command, "-"])
    (stored,) = Path("runs/texts").iterdir()
    assert f"standard input is kept in {stored}, so that the run can be resumed\n" in capsys.readouterr().out
    assert stored.read_bytes() == Path("one.txt").read_bytes()
    assert_same("piped", "folder")
    train.main(["--resume", "piped", "--epochs", "2"])
    assert len(metrics(Path("piped"))) == 3
    with_stdin(monkeypatch, Path("one.txt").read_bytes())
    train.main([*but(command[:-1], "--epochs", "2"), "--resume", "auto", "--text", "-"])
    assert "is finished" in capsys.readouterr().out
    assert "leave --text - out" in error_of(capsys, train.main, ["--resume", "piped", "--text", "-"])
    with_stdin(monkeypatch, Path("one.txt").read_bytes())
    evaluate.main(["folder", "--text", "-", "--separator", "=====", "--json"])
    evaluate.main(["folder", "--text", "letters", "--json"])
    assert len(set(capsys.readouterr().out.splitlines())) == 1


@pytest.mark.slow
def test_an_endless_input_is_read_up_to_the_characters_in_use(here, monkeypatch):
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as source:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=source, closed=False, isatty=lambda: False))
        os.write(write_end, "".join(PIECES).encode())  # and whoever writes stays there
        train.main([*but(FLAGS, "--max-characters", "1500"), "--text", "-", "--run-dir", "piped"])
    os.close(write_end)
    assert checkpoint.load_run("piped").about["text"]["characters"] == 1_500


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--text", "empty"], "no text in the folder 'empty': it holds nothing"),
        (["--text", "letters/picture.png"], "is not UTF-8: byte 0x89 at offset 0"),
        (["--text", "letters/b.txt.gz", "--encoding", "utf9"], "--encoding 'utf9' is unknown"),
        (["--text", "latin.txt", "one.txt"], "text 'latin.txt' is not UTF-8: byte 0xE9 at offset 3"),
        (["--text", "*.doc"], "no file matches this pattern"),
        (["--text", "one.txt", "missing.txt"], "no text 'missing.txt'"),
        (["--text", "cut.txt.bz2"], "text 'cut.txt.bz2' cannot be decompressed"),
        (["--text", "-", "-"], "is given twice"),
        (["--text", "-"], "is a terminal"),
        (["--text", "one.txt", "synthetic:reber"], "--text synthetic:reber is no file and cannot be joined with others"),
        (["--text", "one.txt", "own_texts:plain"], "--text own_texts:plain is no file and cannot be joined with others"),
        (["--text", "synthetic:reber", "--separator", "x"], "--separator does not work with synthetic:reber"),
        (
            ["--text", "letters/a.txt", "letters/sub", "--validation-fraction", "0.1"],
            "a text of 2 documents cannot be cut into",
        ),
        (["--text", "one.txt", "letters", "--num-streams", "4000"], "4 documents, is too short: the training part gets"),
        (["--text", "one.txt", "notebook"], "unexpected argument 'notebook'; a preset comes before the flags"),
        (["--text", "empty.txt", "empty.txt"], "text 'empty.txt', 'empty.txt' are empty"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(folder, monkeypatch, capsys, flags, said):
    write_letters(folder)
    (folder / "empty").mkdir()
    (folder / "empty.txt").touch()
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "cut.txt.bz2").write_bytes(bz2.compress(b"abc" * 1_000)[:-5])
    with_stdin(monkeypatch, b"", is_terminal=True)
    before = sorted(folder.rglob("*"))
    assert said in error_of(capsys, train.main, [*FLAGS, *flags])
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_a_run_that_replays_and_counts_starts_anew_with_each_document(here):
    """Its memory holds the marks, and its checkpoints are read with them."""
    flags = ["reader", *FLAGS, "--embedding-size", "0", "--replay", "2", "--text"]
    train.main([*flags, "letters", "--run-dir", "reader"])
    train.main([*flags, "one.txt", "--separator", "=====", "--run-dir", "other"])
    assert_same("reader", "other")
    sample.main(["reader", "--mixed", "--length", "20"])


def test_settings_are_saved_with_absolute_paths(folder):
    config = Config(text=TextConfig(text=("a b.txt", "comedie", "~/x", "docs/*.txt")))
    saved = portable(config).text.text
    assert saved == (f"{folder}/a b.txt", "comedie", str(Path.home() / "x"), f"{folder}/docs/*.txt")
    assert portable(Config(text=TextConfig(text="a"))).text.text == f"{folder}/a"

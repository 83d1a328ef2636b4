"""The notebook API: a run from Python equals the run of the command line."""

import json
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SMALL

import jaxrnn
from jaxrnn import evaluate, sample, train
from jaxrnn.console import notebook
from jaxrnn.errors import InputError, Stopped
from jaxrnn.runs import loop
from jaxrnn.storage import checkpoint

QUICK = {"max_characters": 3_000, "hidden_size": 8, "sample_length": 30, "epochs": 1, "show": False}


@pytest.fixture(scope="module")
def run(trained):
    return jaxrnn.load(trained / "runs" / "mikolov2010-comedie-0")


def test_fit_gives_the_run_of_the_command_line(folder):
    run = jaxrnn.fit(**QUICK, run_dir="a")
    train.main([*SMALL[:4], "--sample-length", "30", "--epochs", "1", "--run-dir", "b"])
    other = jaxrnn.load("b")
    assert run.numbers == other.numbers
    for name, losses in run.losses._asdict().items():
        np.testing.assert_array_equal(losses, getattr(other.losses, name))
    assert run.path == Path("a")


def test_what_a_run_writes_is_what_the_program_prints(run, capsys):
    how = ["--prompt", "COLAS", "--length", "70", "--temperature", "0.5", "--seed", "3"]
    sample.main([str(run.path), *how, "--exact-length"])
    assert jaxrnn.generate(run, "COLAS", 70, temperature=0.5, seed=3) + "\n" == capsys.readouterr().out
    sample.main([str(run.path), *how, "--stop", "e"])
    written = jaxrnn.generate(run, "COLAS", 70, temperature=0.5, seed=3, stop="e", exact_length=False)
    assert written + "\n" == capsys.readouterr().out
    assert "e" not in written


def test_a_text_ends_before_the_stop_text_or_at_the_end_of_a_word(run):
    whole = jaxrnn.generate(run, "COLAS", 400, seed=3)
    for stop in (whole[100:102], whole[60:75], whole[68:72]):  # the first blocks end after 64 and 128 characters
        assert jaxrnn.generate(run, "COLAS", 400, seed=3, stop=stop) == whole[: whole.index(stop, 5)]
    to_the_word = jaxrnn.generate(run, "COLAS", 40, seed=3, exact_length=False)
    assert whole.startswith(to_the_word)
    assert len(to_the_word) == 75 or whole[len(to_the_word)].isspace() or to_the_word[-1].isspace()
    for wrong, said in (("", "stop is empty"), ("€", "no text would end there")):
        with pytest.raises(InputError, match=said):
            jaxrnn.generate(run, stop=wrong)


@pytest.mark.parametrize(("learn", "rate"), [("off", None), (0.1, "0.1"), ("auto", None)])
def test_the_mean_surprisal_is_the_loss_that_the_program_gives(run, tmp_path, capsys, learn, rate):
    text = "Bonjour, COLAS. Que dis-tu?\n" * 8
    (tmp_path / "text.txt").write_text("." + text, encoding="utf-8")
    evaluate.main([str(run.path), "--text", str(tmp_path / "text.txt"), "--json", *(["--dynamic", rate] if rate else [])])
    numbers = json.loads(capsys.readouterr().out)
    surprisal = jaxrnn.surprisal(run, text, learn=learn)
    assert surprisal.shape == (len(text),)
    assert surprisal.mean() == pytest.approx(numbers["frozen_nats" if learn == "off" else "dynamic_nats"], rel=1e-5)


def test_each_character_is_charged_what_its_context_predicts(run):
    whole = jaxrnn.surprisal(run, "Bonjour, COLAS.")
    np.testing.assert_allclose(jaxrnn.surprisal(run, "COLAS.", context=".Bonjour, "), whole[9:], rtol=1e-5)


def test_a_text_may_be_given_itself_and_the_run_can_be_resumed(folder):
    run = jaxrnn.fit("Le petit chat boit du lait.\n" * 100, **{**QUICK, "max_characters": 0, "heldout_fraction": 0.0})
    assert Path(str(run.config.text.text)).read_text().startswith("Le petit chat")
    again = jaxrnn.fit(resume=str(run.path), epochs=2, show=False)
    assert (again.path, again.snapshot.progress.epochs) == (run.path, 2)
    assert list(checkpoint.load_run(run.path).rejected) == []


def test_a_run_is_short_to_read_and_has_its_picture(run):
    assert repr(run).startswith(f"Run('{run.path}': Elman network, 8 sigmoid units; ")
    assert len(repr(run)) < 250 + len(str(run.path))
    assert run.figure._repr_png_().startswith(b"\x89PNG")
    unfinished = run._replace(numbers=None)
    assert "not tested" in repr(unfinished)
    assert len(unfinished.figure.axes[0].lines) == len(run.figure.axes[0].lines) - 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiden_size": 3}, "no setting 'hiden_size'; did you mean hidden_size?"),
        ({"hidden_size": 0}, "--hidden-size is 0; it must be 1 to 100000"),
        ({"hidden_size": "many"}, "--hidden-size"),
        ({"preset": "gpt"}, "no preset 'gpt'; known: notebook"),
        ({"text": "nix"}, "no text 'nix'"),
        ({"resume": "none"}, "no run in 'none'"),
    ],
)
def test_a_wrong_setting_is_an_exception_in_one_line(folder, settings, message):
    with pytest.raises(InputError, match=message) as error:
        jaxrnn.fit(**settings)
    assert "\n" not in str(error.value)
    assert list(folder.iterdir()) == []


def test_a_refused_setting_leaves_no_text_behind(folder):
    with pytest.raises(InputError):
        jaxrnn.fit("a text\nof two lines", hidden_size=-1)
    with pytest.raises(InputError):
        jaxrnn.fit("a text\nof two lines", epochs=0, run_dir="~/mine")
    with pytest.raises(InputError, match="is too short"):
        jaxrnn.fit("a text\n", max_characters=3_000, hidden_size=8, epochs=1)
    with pytest.raises(InputError, match="a text itself must contain a line break"):
        jaxrnn.fit("a text of one line")
    with pytest.raises(InputError, match="is not UTF-8"):
        jaxrnn.fit("a text\nwith half a character \ud800")
    assert list(folder.iterdir()) == []


def test_what_a_function_does_not_take_is_an_exception(run):
    with pytest.raises(InputError, match="length is -5"):
        jaxrnn.generate(run, "COLAS", length=-5)
    with pytest.raises(InputError, match="seed is -1"):
        jaxrnn.generate(run, "COLAS", seed=-1)
    for learn in (0.0, float("nan"), -1.0):
        with pytest.raises(InputError, match=r"^learn is "):
            jaxrnn.surprisal(run, "COLAS", learn=learn)


def test_a_text_that_cannot_be_scored_is_an_exception(run):
    with pytest.raises(InputError, match="the text is empty"):
        jaxrnn.surprisal(run, "")
    with pytest.raises(InputError, match="the context is empty"):
        jaxrnn.surprisal(run, "COLAS", context="日本")


@pytest.mark.parametrize("text", ["", "日本"])
def test_a_prompt_that_cannot_be_continued_is_an_exception(run, text):
    with pytest.raises(InputError):
        jaxrnn.generate(run, text)


@pytest.mark.parametrize("learn", ["off", 0.1])
def test_unknown_characters_are_charged_and_not_read(run, learn):
    """A uniform draw from all of Unicode's scalar values costs ln 1,112,064."""
    nats = jaxrnn.surprisal(run, "CO日LAS本.", learn=learn)
    np.testing.assert_allclose(nats[[2, 6]], np.log(1_112_064), rtol=1e-6)
    np.testing.assert_array_equal(np.delete(nats, [2, 6]), jaxrnn.surprisal(run, "COLAS.", learn=learn))


@pytest.mark.parametrize("learn", ["off", 0.1])
def test_parts_are_scored_like_the_whole_each_when_it_is_asked_for(run, learn):
    asked = []

    def lines():
        for line in ("COLAS.\n", "", "Bonjour,\r\nNicette!\n", "Adieu"):
            asked.append(line)
            yield line

    scored = jaxrnn.surprisal(run, lines(), learn=learn)
    assert asked == []
    first = next(scored)
    assert asked == ["COLAS.\n"]
    parts = [first, *scored]
    assert [len(part) for part in parts] == [7, 0, 18, 5]
    whole = jaxrnn.surprisal(run, "COLAS.\nBonjour,\nNicette!\nAdieu", learn=learn)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_an_interrupted_run_is_saved_and_says_how_to_resume(folder, monkeypatch):
    read_on = loop.advance

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return read_on(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "advance", interrupted)
        with pytest.raises(Stopped, match=r"stopped .*, saved\. Resume with: python -m jaxrnn\.train --resume run"):
            jaxrnn.fit(**QUICK, run_dir="run")
    assert jaxrnn.fit(resume="run", show=False).numbers is not None


class Handle:
    """Stands in for IPython's display."""

    def __init__(self):
        self.shown = []

    def update(self, data, raw):
        assert raw
        self.shown.append(data["text/plain"])


def test_a_cell_has_one_output_that_is_updated(folder, monkeypatch):
    handle, displays = Handle(), []

    def display(data, raw, display_id):
        displays.append(data)
        return handle

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=True)))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    assert notebook.in_notebook()
    jaxrnn.fit(**{**QUICK, "show": True})
    assert len(displays) == 1
    assert len(handle.shown) > 5
    assert any("epoch 1 of 1, " in text for text in handle.shown)
    assert "held-out text, weights frozen" in handle.shown[-1]
    assert not handle.shown[-1].rstrip("\n").endswith(("…", "char/s"))


def test_a_damaged_checkpoint_is_named_and_an_older_one_loaded(run, tmp_path, capsys):
    copied = shutil.copytree(run.path, tmp_path / "run")
    newest = max((copied / "checkpoints").iterdir(), key=lambda path: int(path.name))
    (newest / "about" / "metadata").unlink()
    older = jaxrnn.load(copied)
    assert older.snapshot.progress.epochs <= run.snapshot.progress.epochs
    assert "is damaged: " in capsys.readouterr().err

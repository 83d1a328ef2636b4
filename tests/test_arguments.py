"""Command-line arguments as users type them, and `~` in every path."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
from conftest import SMALL, metrics
from test_cli_errors import error_of

from jaxrnn import evaluate, export, inspect, sample, train
from jaxrnn.config.settings import Config, ModelConfig
from jaxrnn.console import arguments, cli
from jaxrnn.data import paths, published, text
from jaxrnn.errors import InputError
from jaxrnn.evaluate import EvaluateConfig
from jaxrnn.export import ExportConfig
from jaxrnn.inspect import InspectConfig
from jaxrnn.sample import SampleConfig


def prompt_of(*given):
    return cli.parse(SampleConfig, "sample", None, list(given)).prompt


@pytest.mark.parametrize("prompt", ["-- Bonjour", "-x", "--x", "-", "--", "-1", "--seed 3", "--seed: 3", "a=b", "---", "-h2"])
def test_a_prompt_may_begin_with_a_dash_in_either_form(prompt):
    assert prompt_of("--prompt", prompt, "--seed", "1") == prompt
    assert prompt_of(f"--prompt={prompt}", "--seed", "1") == prompt


@pytest.mark.parametrize("prompt", ["--seed", "--no-compilation-cache", "--top_k", "--seed=3", "--help"])
def test_a_prompt_that_is_a_flag_needs_an_equals_sign(prompt):
    assert prompt_of(f"--prompt={prompt}") == prompt
    with pytest.raises(InputError, match=re.escape(f"write --prompt={prompt} if that is the value")):
        prompt_of("--prompt", prompt)


def test_a_text_and_a_folder_may_begin_with_a_dash(folder):
    (folder / "-t.txt").write_text("Il fait nuit. Il fait jour.\n" * 30, encoding="utf-8")
    train.main([*SMALL, "--text", "-t.txt", "--epochs", "1", "--heldout-fraction", "0", "--run-dir", "-r"])
    assert metrics(folder / "-r")[-1]["event"] == "final"
    assert paths.quote_path(Path("-r")) == "./-r"


def test_what_is_printed_to_be_typed_can_be_typed(folder, capsys, trained):
    (folder / "-r").symlink_to(trained / "runs" / "notebook-comedie-0")
    assert "write ./-r for a path of that name" in error_of(capsys, inspect.main, ["-r"])
    inspect.main(shlex.split(paths.quote_path(Path("-r"))))
    assert "good" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "given", "said"),
    [
        (Config, ["--text", "a", "--text", "b"], "--text is given twice"),
        (Config, ["--text=a", "--text", "b"], "--text is given twice"),
        (Config, ["--hidden-size", "3", "--hidden_size=3"], "--hidden-size is given twice"),
        (Config, ["--tied-readout", "--no-tied-readout"], "--tied-readout is given twice"),
        (Config, ["--no-compilation-cache", "--no_compilation_cache"], "--compilation-cache is given twice"),
        (SampleConfig, ["--prompt", "--x", "--prompt", "--x"], "--prompt is given twice"),
        (EvaluateConfig, ["run", "--text", "a", "--text", "b"], "--text is given twice"),
        (EvaluateConfig, ["run", "--json", "--json"], "--json is given twice"),
        (ExportConfig, ["run", "file", "--weights", "best", "--weights", "best"], "--weights is given twice"),
        (InspectConfig, ["run", "--json", "--json"], "--json is given twice"),
        (InspectConfig, ["run", "--json=1"], "--json is a switch and takes no value; leave out '=1'"),
        (SampleConfig, ["--prompt"], "--prompt needs a value"),
        (EvaluateConfig, ["run", "--text", ""], "the value of --text is empty"),
        (EvaluateConfig, ["run", "--text="], "the value of --text is empty"),
        (EvaluateConfig, [""], "an argument is empty"),
        (EvaluateConfig, ["-run"], "no flag -run; write ./-run for a path of that name"),
    ],
)
def test_each_flag_is_given_once_and_with_a_value(settings, given, said):
    with pytest.raises(InputError, match=re.escape(said)):
        cli.parse_given(settings, "program", None, given)


def test_a_switch_may_say_what_stands_already():
    tied = dataclasses.replace(Config(), model=ModelConfig(tied_readout=True, embedding_size=8, hidden_size=8))
    for default, given, expected in [
        (Config(), "--tied-readout", True),
        (Config(), "--no-tied-readout", False),
        (tied, "--tied_readout", True),
        (tied, "--no-tied-readout", False),
    ]:
        assert cli.parse_given(default, "train", None, [given]) == {"tied_readout": expected}
    assert cli.parse(SampleConfig, "sample", None, ["--compilation-cache", "--prompt=--skip-unknown"]).compilation_cache


def test_the_same_words_as_value_and_flag_are_told_apart():
    given = ["--prompt", "seed", "--seed", "3", "--skip-unknown", "run", "--", "--seed"]
    with pytest.raises(InputError, match="unexpected argument '--seed'"):
        arguments.parse_values(SampleConfig, given)
    values = {"prompt": "seed", "seed": 3, "skip_unknown": True, "run": Path("--seed")}
    assert arguments.parse_values(SampleConfig, [each for each in given if each != "run"]) == values


@pytest.mark.parametrize("word", ["None", "none", "auto", "1_0", "é"])
def test_a_word_is_a_word(word):
    assert prompt_of("--prompt", word) == word
    assert cli.parse(SampleConfig, "sample", None, [word]).run == Path(word)


@pytest.mark.parametrize(
    ("settings", "given", "field"),
    [
        (Config, ["--text", "@"], "text"),
        (Config, ["--run-dir=@"], "run_dir"),
        (Config, ["--resume", "@"], "resume"),
        (Config, ["--init-from", "@"], "init_from"),
        (SampleConfig, ["@"], "run"),
        (EvaluateConfig, ["@"], "run"),
        (EvaluateConfig, ["run", "--text", "@"], "text"),
        (ExportConfig, ["@", "file"], "run"),
        (ExportConfig, ["run", "@"], "file"),
        (InspectConfig, ["@"], "run"),
    ],
)
def test_a_tilde_is_the_home_folder_in_every_path(settings, given, field, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    values = cli.parse_given(settings, "program", None, [argument.replace("@", "~/a") for argument in given])
    assert str(values[field]) == str(tmp_path / "a")
    with pytest.raises(InputError, match="'~nobody-here/a' cannot be found: there is no home folder '~nobody-here'"):
        cli.parse_given(settings, "program", None, [argument.replace("@", "~nobody-here/a") for argument in given])


def test_a_prompt_keeps_its_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/elsewhere")
    assert prompt_of("--prompt", "~/a") == "~/a"


def test_a_tilde_is_the_home_folder_in_the_folder_of_texts_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(published.DATA_DIR_VARIABLE, "~/texts")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "moliere.txt").write_text("not by Molière")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/texts/moliere.txt is not the published text")):
        text.read("moliere")
    monkeypatch.setenv(published.DATA_DIR_VARIABLE, "~nobody-here/texts")
    with pytest.raises(InputError, match="there is no home folder '~nobody-here'"):
        text.read("moliere")


@pytest.mark.parametrize(
    ("main", "given"),
    [
        (train.main, ["--text", "~nobody-here/a"]),
        (train.main, ["--resume", "~nobody-here/a"]),
        (train.main, ["--init-from", "~nobody-here"]),
        (sample.main, ["~nobody-here"]),
        (evaluate.main, ["~nobody-here"]),
        (export.main, ["~nobody-here", "file"]),
        (inspect.main, ["~nobody-here"]),
    ],
)
def test_a_home_folder_that_does_not_exist_is_one_line(folder, capsys, main, given):
    assert "there is no home folder '~nobody-here'" in error_of(capsys, main, given)
    assert list(folder.iterdir()) == []


def test_a_tilde_in_a_file_s_name_is_no_home(folder):
    for name in ("~$novel.txt", "~nobody-here"):
        (folder / name).write_text("x")
        assert paths.expand_home(name) == Path(name)
        assert paths.expand_home(f"./{name}") == Path(name)

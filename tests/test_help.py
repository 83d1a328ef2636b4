"""`--help` of every program: each flag once, with its text and default, fitting a terminal and broken between words."""

import re
import subprocess
import sys

import pytest
from fixed import often
from rich.cells import cell_len

from jaxrnn import evaluate, export, inspect, sample, train
from jaxrnn.config.settings import PRESETS, Config
from jaxrnn.console import help as help_text
from jaxrnn.console.arguments import list_settings
from jaxrnn.data.files import TEXT_NAMES
from jaxrnn.models.cells import CELLS
from jaxrnn.rules import RULES
from jaxrnn.training.optimizers import OPTIMIZERS

PROGRAMS = {
    "train": (train, Config),
    "evaluate": (evaluate, evaluate.EvaluateConfig),
    "sample": (sample, sample.SampleConfig),
    "export": (export, export.ExportConfig),
    "inspect": (inspect, inspect.InspectConfig),
}
CONCERNS = ["Text", "Network", "Learning", "Evaluation", "Devices", "Run", "Help"]


def shown(monkeypatch, capsys, program, columns, *arguments):
    """What `--help` prints on a terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as exit_:
        PROGRAMS[program][0].main([*arguments, "--help"])
    assert not exit_.value.code
    out, err = capsys.readouterr()
    assert err == ""
    return out


def joined(text):
    return " ".join(text.split())


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_fits_and_breaks_between_words_only(monkeypatch, capsys, program, columns):
    out = shown(monkeypatch, capsys, program, columns)
    widest = max(len(line) for line in out.splitlines())
    assert widest <= min(columns, help_text.MOST_COLUMNS) or columns == 40
    assert joined(out) == joined(shown(monkeypatch, capsys, program, 1000))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_flag_is_there_once_with_its_text(monkeypatch, capsys, program):
    out = shown(monkeypatch, capsys, program, 80)
    settings = list(list_settings(PROGRAMS[program][1]))
    flags = re.findall(r"^  (--[a-z0-9-]+|-h, --help|[A-Z|]+)(?= |$)", out, re.MULTILINE)
    names = [each.flag.value if each.flag.is_positional else f"--{each.name.replace('_', '-')}" for each in settings]
    on = {"--compilation-cache": "--no-compilation-cache", "--reset": "--no-reset"}  # by default
    expected = [on.get(name, name) for name in names]
    assert sorted(flags) == sorted([*expected, "-h, --help", "--version"])
    for setting in settings:
        text = setting.flag.text or help_text.read_texts(setting.owner)[setting.name]
        assert len(text) > 10
        assert joined(out).count(text) >= 1, setting.name
    assert joined(out).count("(default: ") == sum(not each.is_required and each.kind is not bool for each in settings)


def test_the_flags_of_training_are_grouped_by_concern(monkeypatch, capsys):
    out = shown(monkeypatch, capsys, "train", 60)
    assert re.findall(r"\n\n(\w+)(?:: [^\n]*)?\n  -", out) == CONCERNS
    assert out.startswith("usage: python -m jaxrnn.train [PRESET] [--flags]\n")
    presets = re.findall(r"^  ([a-z0-9, ]+)  ", out.partition("--resume")[0], re.MULTILINE)
    assert [name for line in presets for name in line.strip().split(", ") if name] == list(PRESETS)


@pytest.mark.parametrize(("name", "known"), [("cell", CELLS), ("rule", RULES), ("optimizer", OPTIMIZERS), ("text", TEXT_NAMES)])
def test_the_help_names_all_that_is_known(name, known):
    (setting,) = [each for each in list_settings(Config) if each.name == name]
    words = re.findall(r"[\w-]+", help_text.read_texts(setting.owner)[name])
    assert {each.removeprefix("synthetic:") for each in known} <= set(words)


def test_the_defaults_are_those_of_the_preset(monkeypatch, capsys):
    course, gated = (joined(shown(monkeypatch, capsys, "train", 80, *preset)) for preset in ([], ["gru"]))
    for flag, here, there in [
        ("--cell NAME|MODULE:NAME", "elman", "gru"),
        ("--num-streams INT", "1", "32"),
        ("--minutes FLOAT", "0", "0"),
    ]:
        for out, default in ((course, here), (gated, there)):
            assert re.findall(rf"{re.escape(flag)} .*?\(default: (.*?)\)", out)[0] == default


def test_switches_read_forwards(monkeypatch, capsys):
    out = "".join(joined(shown(monkeypatch, capsys, program, 80)) for program in PROGRAMS)
    assert "--no-compilation-cache Disable the on-disk cache" in out
    assert not re.findall(r"default: (True|False|None)|\(default: \)", out)
    tied = help_text.help_lines("", "", PRESETS["gru"].model.__class__(tied_readout=True), 80)
    assert "--embedding-size must equal --hidden-size. (default: --tied-readout)" in joined("\n".join(map(str, tied)))


@pytest.mark.parametrize("program", often(PROGRAMS, seldom=set(PROGRAMS) - {"train"}))
def test_a_pipe_gets_plain_lines_and_nothing_is_written(folder, program):
    result = subprocess.run(
        [sys.executable, "-m", f"jaxrnn.{program}", "--help"], cwd=folder, capture_output=True, timeout=120, check=True
    )
    assert b"\x1b" not in result.stdout
    assert all(cell_len(line) <= 80 for line in result.stdout.decode().splitlines())
    assert not list(folder.iterdir())

"""Random command lines over all programs: a documented exit code, one line of error, and nothing written with code 2."""

import os
import shutil
import socket
import typing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxrnn import evaluate, export, inspect, sample, train
from jaxrnn.config.settings import Config, DeviceConfig
from jaxrnn.console import arguments

PROGRAMS = {
    "train": (train.main, Config),
    "evaluate": (evaluate.main, evaluate.EvaluateConfig),
    "sample": (sample.main, sample.SampleConfig),
    "export": (export.main, export.ExportConfig),
    "inspect": (inspect.main, inspect.InspectConfig),
}
SMALL = ["--max-characters", "300", "--hidden-size", "4", "--epochs", "1", "--sample-length", "20"]
CODES = {0, 1, 2, 3, 4, 130}
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "8",
    "-1",
    "0.5",
    "1.5",
    "1e-40",
    "nan",
    "inf",
    "x",
    "",
    "auto",
    "99999999999999999999",
    "1_0",
    " 1",
]
PATHS = [
    "run", "run/", "./run/../run", "damaged", "weights.safetensors", "text.txt", "latin.txt", "empty.txt", "one.txt", "folder",
    "none", "none/none", "pipe", "socket", "/dev/null", "/dev/zero", "~", "~nobody-here", "-x", "--", "", "a\0b", "x" * 300,
    "caf\udce9", "é", "run/config.json", "new.safetensors", "new.txt", "-", "comedie", "synthetic:add", "synthetic:none",
    "auto",
]  # fmt: skip
WORDS = ["gru", "notebook", "x", "", "-", "--", "-h", "--help", "\r\n", "\ufeffMon", "- oui", "--length", "0", "=", "é€"]
CHEAP = {"coordinator": ["x", "h:p", "", ":1"], "num_devices": ["0", "1", "-1", "x", "3"]}  # no processes to wait for


def values_of(name, kind):
    """Some that are allowed, some that are not."""
    if name in CHEAP:
        return CHEAP[name]
    if kind is Path or name in arguments.TEXT_PATHS:
        return PATHS
    choices = [str(choice) for part in (kind, *typing.get_args(kind)) for choice in typing.get_args(part)]
    return [*choices, *NUMBERS, *WORDS]


def fields_of(config):
    settings = arguments.list_settings(config)
    return [each for each in settings if each.name not in DeviceConfig.__annotations__ or each.name in CHEAP]


@st.composite
def command_lines(draw):
    """A program and its arguments: most of them allowed by themselves, not always together."""
    program = draw(st.sampled_from(sorted(PROGRAMS)))
    fields = fields_of(PROGRAMS[program][1])
    line = (
        [draw(st.sampled_from(["notebook", "gru", "lstm", "mikolov2010", "nonsense"]))] if draw(st.integers(0, 3)) == 0 else []
    )
    line = line if program == "train" else []
    if program == "train" and draw(st.integers(0, 4)):
        line += SMALL
    for setting in fields:
        if setting.flag.is_positional and draw(st.integers(0, 9)):
            line.append(draw(st.sampled_from(PATHS)))
    for setting in draw(st.lists(st.sampled_from(fields), max_size=4, unique=draw(st.booleans()))):
        name = setting.name
        flag = f"--{name if draw(st.integers(0, 5)) == 0 else name.replace('_', '-')}"
        if setting.flag.is_positional:
            continue
        if setting.kind is bool:
            line.append(flag if draw(st.booleans()) else f"--no-{name.replace('_', '-')}")
            continue
        value = draw(st.sampled_from(values_of(name, setting.kind)))
        line += [f"{flag}={value}"] if draw(st.booleans()) else [flag, value]
    return program, line + draw(st.lists(st.sampled_from(WORDS), max_size=1 if draw(st.integers(0, 5)) == 0 else 0))


def surroundings(path, trained):
    """What the command lines name."""
    shutil.copytree(trained / "runs" / "notebook-comedie-0", path / "run")
    shutil.copytree(path / "run", path / "damaged")
    for number in (path / "damaged" / "checkpoints").iterdir():
        (number / "about" / "metadata").write_text("{")
    export.main([str(path / "run"), str(path / "weights.safetensors")])
    (path / "text.txt").write_text("Il fait nuit. Il fait jour.\r\n" * 12, encoding="utf-8")
    for name, data in {"latin.txt": b"\xe9t\xe9", "empty.txt": b"", "one.txt": b"x"}.items():
        (path / name).write_bytes(data)
    (path / "folder").mkdir()
    os.mkfifo(path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")


def listed(path):
    """Every file but locks, with the time it was written, and every folder, whose own time a lock inside it changes."""
    found = [each for each in path.rglob("*") if each.name != "lock"]
    return {str(each): None if each.is_dir() else each.lstat().st_mtime_ns for each in found}


@pytest.mark.slow
def test_no_command_line_ends_in_a_traceback(trained, tmp_path_factory, monkeypatch, capfd):
    monkeypatch.setenv("JAXRNN_DATA_DIR", "none")
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    whole = tmp_path_factory.mktemp("whole")
    monkeypatch.chdir(whole)
    surroundings(whole, trained)

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
    @given(command_lines())
    def check(command):
        program, line = command
        before = listed(whole)
        capfd.readouterr()
        code = 0
        try:
            PROGRAMS[program][0](line)
        except SystemExit as exit_:
            code = exit_.code or 0
        out, err = capfd.readouterr()
        assert code in CODES
        assert "Traceback" not in out + err
        if code == 2:
            errors = [said for said in err.splitlines() if not said.startswith("warning: ")]
            assert len(errors) == 1, err
            assert errors[0].startswith("error: ")
            assert listed(whole) == before
        elif code == 0:
            assert all(said.startswith(("warning: ", "from ")) for said in err.splitlines()), err

    check()

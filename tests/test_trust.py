"""Nothing of a stranger's runs is executed: code that a run, an export or a config names is imported only if it is trusted."""

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from jaxrnn import evaluate, export, inspect, sample, train
from jaxrnn.config import build
from jaxrnn.config.saved import config_from_json, config_to_json
from jaxrnn.config.settings import PRESETS
from jaxrnn.config.trust import Untrusted, check_trust, is_trusted, trusted, trusted_by
from jaxrnn.errors import InputError
from jaxrnn.runs import api, loaded, resume, start
from jaxrnn.storage import checkpoint, run_folder, store, verify, weights
from jaxrnn.storage.manifest import config_from_manifest

TRAP = "from pathlib import Path\nPath('executed').write_text('')\n"
NAMED = {"text": "text", "cell": "model", "rule": "learning", "optimizer": "learning", "dynamic_optimizer": "evaluation"}
RUN, FILE = Path("runs/notebook-comedie-0"), Path("weights.safetensors")
SAID = "it would import trap, for .*trap:part.*; if you trust that code, add --trust trap"


@pytest.fixture(scope="module", params=NAMED)
def stranger(request, trained, tmp_path_factory):
    """A run, and an export of it, whose settings name a module that leaves a file when it is imported."""
    folder, honest = tmp_path_factory.mktemp("stranger"), checkpoint.load_run(trained / RUN)
    (folder / "trap.py").write_text(TRAP)
    group = getattr(honest.config, NAMED[request.param])
    named = dataclasses.replace(group, **{request.param: "trap:part"})
    config = dataclasses.replace(honest.config, **{NAMED[request.param]: named})
    (folder / RUN).mkdir(parents=True)
    data = build.load_data(honest.config, honest.vocabulary)
    checkpoint.save_checkpoint(folder / RUN, config, data, honest.snapshot)
    run_folder.write_config(folder / RUN, config)
    own_weights = weights.Weights(config, honest.vocabulary, honest.snapshot.best_params)
    (folder / FILE).write_bytes(weights.weights_to_bytes(own_weights))
    return folder


@pytest.fixture
def at(stranger, monkeypatch):
    """Inside the folder; afterwards nothing of it was executed."""
    monkeypatch.chdir(stranger)
    yield stranger
    assert not (stranger / "executed").exists()
    assert "trap" not in sys.modules


FUNCTIONS = {
    "load_run": lambda: checkpoint.load_run(RUN),
    "load_run, trusting others": lambda: checkpoint.load_run(RUN, trust=("tra", "trap.x", "trapp", "jaxrnn", "")),
    "read_checkpoint": lambda: checkpoint.read_checkpoint(RUN, store.list_numbers(RUN)[-1]),
    "read_weights": lambda: weights.read_weights(FILE),
    "read_weights_config": lambda: weights.read_weights_config(FILE),
    "read_config": lambda: run_folder.read_config(RUN),
    "verify_run": lambda: verify.verify_run(RUN),
    "config_from_manifest": lambda: config_from_manifest(store.read_about(RUN, store.list_numbers(RUN)[-1]) or {}),
    "weights_of a run": lambda: start.load_weights(RUN),
    "weights_of a file": lambda: start.load_weights(FILE),
    "config_of a run": lambda: start.read_origin_config(RUN),
    "config_of a file": lambda: start.read_origin_config(FILE),
    "load": lambda: loaded.load(RUN),
    "load, trusting others": lambda: loaded.load(RUN, trust=("jaxrnn",)),
    "settings_of": lambda: resume.read_run_config(RUN, PRESETS["notebook"]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.usefixtures("at")
def test_a_function_that_reads_a_run_imports_nothing(name):
    with pytest.raises(Untrusted, match=SAID) as error:
        FUNCTIONS[name]()
    assert "\n" not in str(error.value)


PROGRAMS = {
    "sample": (sample, [str(RUN)]),
    "sample the newest": (sample, []),
    "evaluate": (evaluate, [str(RUN), "--text", "comedie"]),
    "export": (export, [str(RUN), "out.safetensors"]),
    "inspect": (inspect, [str(RUN)]),
    "resume": (train, ["--resume", str(RUN)]),
    "resume, a preset": (train, ["notebook", "--resume", str(RUN)]),
    "resume, the folder": (train, ["--resume", "auto", "--run-dir", str(RUN)]),
    "init from a run": (train, ["--init-from", str(RUN)]),
    "init from a file": (train, ["--init-from", str(FILE)]),
    "init from a file, a preset": (train, ["gru", "--init-from", str(FILE), "--resume", "auto"]),
    "trusting others": (sample, [str(RUN), "--trust", "tra,jaxrnn"]),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.usefixtures("at")
def test_a_program_imports_nothing_and_says_in_a_line_what_it_would(capsys, name):
    program, arguments = PROGRAMS[name]
    with pytest.raises(SystemExit) as end:
        program.main(arguments)
    assert end.value.code == 2
    assert re.search(SAID, capsys.readouterr().err)


def test_inspect_lists_the_settings_all_the_same(at, capsys):
    for flags in ([], ["--json"]):
        with pytest.raises(SystemExit) as end:
            inspect.main([str(RUN), *flags])
        told = capsys.readouterr()
        assert end.value.code == 2
        assert "trap:part" in told.out
        assert "its checkpoints are not verified: " in told.err
        assert told.err.count("\n") == 1
    assert json.loads(told.out)["checkpoints"] == []


def test_a_search_among_runs_passes_over_what_names_other_code(at, monkeypatch):
    """With the same command and no code typed, a new run would begin."""
    monkeypatch.setattr("jaxrnn.runs.session.begin_run", lambda given, screen: pytest.skip("begun"))
    from test_own_parts import SMALL

    small = [flag for flag in SMALL if flag not in ("--text", "own_parts:weather")]
    with pytest.raises(pytest.skip.Exception):
        train.main(["--resume", "auto", *small])
    assert at


def test_a_package_a_module_and_a_whole_string_can_be_trusted():
    assert is_trusted("own.cells:Cell", ["own"])
    assert is_trusted("own.cells:Cell", ["other", "own.cells"])
    assert is_trusted("own.cells:Cell", ["own.cells:Cell"])
    for trust in ([], [""], ["ow"], ["own.cell"], ["own.cells.more"], ["own.cells:Other"], ["Cell"], ["."]):
        assert not is_trusted("own.cells:Cell", trust)
    assert trusted(" own, other ,,") == ("own", "other")
    typed = trusted_by({"trust": "a,b", "cell": "own:Cell", "text": "synthetic:reber", "rule": "bptt", "hidden_size": 3})
    assert typed == ("a", "b", "own:Cell")


def test_trust_is_never_read_from_a_disk():
    settings = config_to_json(PRESETS["notebook"])
    assert "trust" not in settings["run"]
    settings["run"]["trust"] = "trap"
    settings["model"]["cell"] = "trap:part"
    with pytest.raises(Untrusted):
        config_from_json(settings)
    config = config_from_json(settings, trust=("trap",))
    assert config.run.trust == ""
    with pytest.raises(Untrusted, match=r"import trap, for --cell trap:part; .* --trust trap \(in Python trust=\('trap',\)\)"):
        check_trust(config, ())


def test_what_the_metrics_name_is_not_imported_either(trained, tmp_path, monkeypatch):
    """How the run was tested stands in its last event."""
    shutil.copytree(trained / RUN, tmp_path / RUN)
    monkeypatch.chdir(tmp_path)
    Path("trap.py").write_text(TRAP)
    metrics = RUN / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"optimizer": "sgd"', '"optimizer": "trap:part"'))
    assert "trap:part" in metrics.read_text()
    run = loaded.load(RUN)
    assert api.surprisal(run, "un", learn="auto").shape == (2,)
    assert not Path("executed").exists()


@pytest.mark.parametrize("stranger", ["cell", "rule", "optimizer"], indirect=True)
def test_with_trust_it_is_executed(stranger, monkeypatch):
    """So that the others prove something."""
    monkeypatch.chdir(stranger)
    with pytest.raises(InputError, match="the module trap has no 'part'"):
        checkpoint.load_run(RUN, trust=("trap",))
    del sys.modules["trap"]
    Path("executed").unlink()

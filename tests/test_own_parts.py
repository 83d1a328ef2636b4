"""A package of one file outside of jaxrnn: its parts work by import string through all programs and a SIGKILL."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from fixed import apart, case, full, summed
from test_crash import assert_same_run, killed

from jaxrnn import evaluate, export, inspect, network, rules, sample, train
from jaxrnn.config import parts
from jaxrnn.storage import checkpoint, store, weights

HERE = Path(__file__).parent / "own_parts"
SMALL = ["--max-characters", "4000", "--hidden-size", "6", "--sample-length", "20", "--updates-per-call", "50"]
SMALL += ["--text", "own_parts:weather", "--epochs", "2"]
DECAY, GATED = ["--cell", "own_parts:Decay"], ["--cell", "own_parts:Gated"]
OFTEN = (
    "import sys; from jaxrnn import train; from jaxrnn.runs import loop; loop.SECONDS_PER_LOOK = 0; train.main(sys.argv[1:])"
)
BPTT = ["--rule", "bptt", "--rule-length", "4", "--num-streams", "2"]
RUNS = {
    "all at once": [*DECAY, "--rule", "own_parts:e_prop", "--optimizer", "own_parts:polyak"],
    "nnx": [*GATED, *BPTT, "--optimizer", "optax:lion", "--weight-decay", "0.1", "--clip-norm", "1"],
    "two layers": [*GATED, "--num-layers", "2", "--embedding-size", "3", "--rule", "rtrl", "--schedule", "cosine"],
    "e-prop, streams": [*DECAY, "--rule", "own_parts:e_prop", "--num-streams", "2", "--dynamic-optimizer", "own_parts:polyak"],
    "averaged": [*BPTT, "--optimizer", "optax.contrib:schedule_free_sgd", "--validation-fraction", "0.1"],
    "averaged, newest": [*BPTT, "--optimizer", "optax.contrib:schedule_free_adamw"],
    "momo": ["--optimizer", "optax.contrib:momo", "--dynamic-optimizer", "optax:sgd"],
}
TRUSTED = ("own_parts", "optax")
TRUST = ["--trust", ",".join(TRUSTED)]


@pytest.fixture
def own(folder, monkeypatch):
    """A folder with the file in it, which nothing else would find."""
    shutil.copy(HERE / "own_parts.py", folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path and Path(path) != HERE])
    yield folder
    sys.modules.pop("own_parts", None)


def kill_while_it_learns(folder, flags):
    """A process that trains, killed in the middle."""
    program = [sys.executable, "-c", OFTEN, *flags, "--updates-per-call", "1", "--save-every-seconds", "0"]
    process = subprocess.Popen(program, cwd=folder, env={**os.environ}, stdout=-1, stderr=-1, text=True)
    end = time.monotonic() + 100
    while len(store.list_numbers(folder / "killed")) < 2:  # the first one is saved before anything is read
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return killed(process)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_own_parts_goes_through_all_programs_and_a_sigkill(own, capsys, name):
    flags = [*SMALL, *RUNS[name]]
    one_by_one = [flag for flag in flags if flag not in ("--updates-per-call", "50")]
    train.main([*one_by_one, "--updates-per-call", "1", "--run-dir", "alone"])
    kill_while_it_learns(own, [*one_by_one, "--run-dir", "killed"])
    train.main(["--resume", "killed", *TRUST])
    assert_same_run(own / "killed", own / "alone", TRUSTED)
    capsys.readouterr()
    texts = []
    for run in ("alone", "killed"):
        sample.main([run, "--length", "30", "--exact-length", *TRUST])
        texts.append(capsys.readouterr().out)
    assert len(texts[0]) == 32
    assert texts[0] == texts[1]
    evaluate.main(["killed", "--json", *TRUST])
    found = json.loads(capsys.readouterr().out)
    final = [json.loads(line) for line in (own / "killed" / "metrics.jsonl").read_text().splitlines()][-1]
    for number in ("train_nats", "heldout_nats", "heldout_dynamic_nats"):
        assert found[number] == final[number]
    export.main(["killed", "weights.safetensors", *TRUST])
    exported = weights.read_weights(Path("weights.safetensors"), trust=TRUSTED)
    run = checkpoint.load_run("killed", trust=TRUSTED)
    jax.tree.map(np.testing.assert_array_equal, exported.params, checkpoint.select_params(run))
    inspect.main(["killed", *TRUST])
    assert "own_parts:weather" in capsys.readouterr().out
    train.main([*SMALL[:-1], "1", "--init-from", "weights.safetensors", "--run-dir", "after", *TRUST])


def model_of(cell):
    return network(parts.find_cell(f"own_parts:{cell}"), 5, 4)


@pytest.mark.parametrize("streams", [(), (2,)])
@pytest.mark.usefixtures("own")
def test_e_prop_is_exact_where_units_reach_themselves_alone(streams):
    """The witness is backpropagation through the whole text, which shares no line with it."""
    model = model_of("Decay")
    with jax.enable_x64(True):
        arguments = case(model, 7, streams)
        exact = full(model, *arguments)
        assert apart(summed(parts.find_rule("own_parts:e_prop").make(model), *arguments), exact) < 1e-6
        assert apart(summed(rules.one_step(model), *arguments), exact) > 1e-2


@pytest.mark.usefixtures("own")
def test_e_prop_is_not_exact_where_units_reach_others():
    model = model_of("Gated")
    with jax.enable_x64(True):
        arguments = case(model, 7)
        far = apart(summed(rules.rtrl(model), *arguments), full(model, *arguments))
        assert far < 1e-6


@pytest.mark.slow
def test_a_preset_with_dropout_takes_a_cell_that_has_none(own, capsys):
    preset = ["gru", *DECAY, "--text", "own_parts:weather", "--max-characters", "3000", "--hidden-size", "6", "--epochs", "1"]
    preset += ["--rule-length", "8", "--num-streams", "2", "--dynamic", "fixed", "--sample-length", "0"]
    train.main([*preset, "--run-dir", "run"])
    assert checkpoint.load_run(own / "run", trust=TRUSTED).config.learning.dropout == 0
    with pytest.raises(SystemExit):
        train.main([*preset, "--dropout", "0.5"])
    assert "--dropout works only with jaxrnn's own cells" in capsys.readouterr().err


def test_what_is_typed_needs_no_trust(own, capsys):
    """The same command again, and a run by its folder with the names of its parts."""
    typed = [*SMALL, *RUNS["all at once"], "--sample-length", "0", "--max-characters", "1500", "--heldout-fraction", "0"]
    typed = [flag for place, flag in enumerate(typed) if place not in (0, 1, 4, 5)]
    train.main([*typed, "--resume", "auto"])
    capsys.readouterr()
    train.main([*typed, "--resume", "auto"])
    assert "is finished" in capsys.readouterr().out
    train.main(["--resume", "runs/notebook-own_parts_weather-0", "--text", "own_parts:weather", *RUNS["all at once"]])
    assert "is finished" in capsys.readouterr().out
    assert len(list((own / "runs").iterdir())) == 1

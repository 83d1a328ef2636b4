"""Gated networks that learn from blocks, end to end from the command line."""

import json
import shutil

import jax
import numpy as np
import pytest
from conftest import events, metrics
from test_cli_errors import error_of

from jaxrnn import evaluate, export, sample, train
from jaxrnn.config.auto import choose_dropout, choose_rate, resolve_auto, resolve_validation_fraction
from jaxrnn.config.settings import PRESETS
from jaxrnn.runs import loop as running
from jaxrnn.runs import saving
from jaxrnn.scoring import evaluation
from jaxrnn.storage import checkpoint

TINY = ["--max-characters", "6000", "--hidden-size", "8", "--rule-length", "8", "--num-streams", "4", "--sample-length", "20"]
TINY += ["--dynamic-length", "8", "--validation-pieces", "3"]


@pytest.fixture(scope="module", autouse=True)
def few_candidates():
    """Each optimizer that is tried takes seconds to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "CANDIDATES", {"adam": (1e-3, 3e-3)})
        yield


@pytest.fixture(scope="module")
def trained(few_candidates, tmp_path_factory):
    """A run of the preset `gru` on a small part of the comedy."""
    path = tmp_path_factory.mktemp("blocks") / "gru"
    train.main(["gru", *TINY, "--epochs", "2", "--num-layers", "2", "--run-dir", str(path)])
    return path


def test_auto_settings_are_resolved_and_saved(trained):
    run = checkpoint.load_run(trained)
    assert run.config.learning.dropout == choose_dropout(6_000)
    assert run.config.text.validation_fraction == 0.05
    assert run.config.learning.learning_rate == choose_rate(PRESETS["gru"])
    last = metrics(trained)[-1]
    assert last["dynamic"]["optimizer"] in evaluation.CANDIDATES
    assert last["dynamic"]["length"] == 8
    assert set(run.snapshot.state.params) == {"embedding", "cell", "cell_2", "readout"}


def test_the_best_weights_are_tested_sampled_and_exported(trained, capsys, tmp_path):
    run = checkpoint.load_run(trained)
    capsys.readouterr()
    evaluate.main([str(trained), "--json"])
    numbers, last = json.loads(capsys.readouterr().out), metrics(trained)[-1]
    assert numbers == {name: last[name] for name in numbers}
    assert checkpoint.select_params(run) is run.snapshot.best_params
    assert checkpoint.select_params(run, "newest") is run.snapshot.state.params
    sample.main([str(trained), "--length", "30"])
    export.main([str(trained), str(tmp_path / "weights")])
    assert "the best, after" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_with_dropout_that_was_stopped_ends_in_the_same_bits(trained, tmp_path, monkeypatch):
    should_save = saving.should_save
    monkeypatch.setattr(running, "should_save", lambda *given: given[1].epoch is not None or should_save(*given))
    monkeypatch.setattr(saving, "MOST_SAVING", 1.0)
    part = tmp_path / "part"
    train.main(["gru", *TINY, "--epochs", "2", "--num-layers", "2", "--run-dir", str(part)])
    for number in (3,):  # as if it had been killed after the first epoch
        shutil.rmtree(part / "checkpoints" / str(number))
    train.main(["gru", *TINY, "--epochs", "2", "--num-layers", "2", "--run-dir", str(part), "--resume", "auto"])
    ends = [checkpoint.load_run(path) for path in (trained, part)]
    for a, b in zip(
        *(jax.tree.leaves((run.snapshot.state._replace(memory=()), run.snapshot.best_params)) for run in ends), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert [{**event, "characters_per_second": 0} for event in events(part)] == [
        {**event, "characters_per_second": 0} for event in events(trained)
    ]


@pytest.mark.slow
def test_a_timed_run_is_planned_and_ends_on_time(tmp_path, capsys):
    run_dir, minutes = tmp_path / "run", 0.25  # a busy machine compiles for seconds
    train.main(["gru", *TINY, "--minutes", str(minutes), "--run-dir", str(run_dir)])
    out, plans = capsys.readouterr().out, [event for event in events(run_dir) if event["event"] == "plan"]
    plan = plans[-1]
    assert "ending 0.25 minutes after the start" in out
    assert "5,100 to train, 300 to validate (3 pieces among them), 600 held out" in " ".join(out.split())
    assert metrics(run_dir)[-1]["step"] == plan["num_updates"] > plan["step"] > 0
    run = checkpoint.load_run(run_dir)
    assert run.snapshot.progress.num_updates == plan["num_updates"]
    train.main(["--resume", str(run_dir)])
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rule-length", "8"], "--rule-length works only with --rule bptt"),
        (["--dropout", "0.5"], "--dropout works only with --rule bptt"),
        (["--rule", "bptt", "--dropout", "1"], "--dropout is 1.0; it must be"),
        (["--rule", "bptt", "--dropout", "some"], "dropout"),
        (["--learning-rate", "fast"], "learning-rate"),
        (["--weight-decay", "0.1"], "--weight-decay works only with --optimizer adamw"),
        (["--cell", "gru", "--activation", "tanh"], "--activation works only with --cell elman or leaky or indrnn"),
        (["--tied-readout"], "set --embedding-size to 128"),
        (["--dynamic", "auto"], "--dynamic auto needs a validation part"),
        (["--minutes", "-1"], "--minutes is -1.0"),
        (["--num-layers", "0"], "--num-layers is 0"),
        (["--rule", "bptt", "--rule-length", "50000"], "the training part gets 45,000 of its characters and needs 50,001"),
        (["--cell", "transformer"], "--cell"),
    ],
)
def test_incompatible_flags_are_reported(folder, capsys, flags, said):
    assert said in error_of(capsys, train.main, flags)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(("num_characters", "most"), [(60_000, 3_000), (1_700_000, 30_000)])
def test_the_validation_part_is_no_larger_than_it_need_be(num_characters, most):
    assert resolve_validation_fraction(PRESETS["gru"], num_characters) * num_characters == pytest.approx(most)
    assert resolve_validation_fraction(PRESETS["mikolov2010"], num_characters) == 0.05
    assert resolve_auto(PRESETS["gru"], num_characters).text.validation_fraction == resolve_validation_fraction(
        PRESETS["gru"], num_characters
    )

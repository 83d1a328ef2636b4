"""Resuming a run: what is allowed and what is refused."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import SMALL, events, metrics
from test_checkpoint import FORMAT_2
from test_cli_errors import error_of

from jaxrnn import train
from jaxrnn.config.resolve import resolve
from jaxrnn.config.settings import PRESETS, Config, LearningConfig
from jaxrnn.errors import InputError
from jaxrnn.runs import resume
from jaxrnn.storage import checkpoint, store
from jaxrnn.storage import run_folder as folder
from jaxrnn.train import parse


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of a run of two epochs that is over."""
    return shutil.copytree(trained / "runs" / "notebook-comedie-0", tmp_path / "run")


def content(path):
    """All files, as they are."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "lock"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--hidden-size", "9"], "--hidden-size is 9, but the run in "),
        (["--cell", "gru"], "was started with 'elman', and results depend on it"),
        (["--learning-rate", "0.2"], "--learning-rate changes nothing: the run in "),
        (["--text", "moliere"], "--text is 'moliere', but the run in "),
        (["--max-characters", "3001"], "--max-characters is 3001"),
        (["--seed", "1"], "--seed is 1"),
        (["--updates-per-call", "1"], "--updates-per-call is 1"),
        (["--sample-length", "31"], "--sample-length changes nothing: the run in "),
        (["--epochs", "1"], "was started with 2; the number of epochs can only grow"),
        (["--epochs", "0"], "--epochs is 0; it must be 1 or more"),
        (["--run-dir", "other"], "--run-dir is for new runs and --resume auto"),
    ],
)
def test_another_setting_is_refused_by_name_and_nothing_is_written(run_dir, capsys, flags, said):
    before = content(run_dir)
    assert said in error_of(capsys, train.main, ["--resume", str(run_dir), *flags])
    assert content(run_dir) == before


def test_a_preset_that_is_named_must_be_the_run_s(run_dir, capsys):
    assert "--max-characters is 50000" in error_of(capsys, train.main, ["notebook", "--resume", str(run_dir)])


@pytest.mark.slow
def test_more_epochs_give_what_as_many_from_the_start_give(trained, run_dir, tmp_path, capsys):
    train.main(["--resume", str(run_dir), "--epochs", "4", "--updates-per-call", "100", "--save-every-seconds", "9"])
    assert "resumed     epoch 3, character 0 of 2,699" in capsys.readouterr().out
    train.main([*SMALL, "--epochs", "4", "--run-dir", str(tmp_path / "whole")])
    for a, b in zip(events(run_dir), events(tmp_path / "whole"), strict=True):
        assert {**a, "characters_per_second": 0} == {**b, "characters_per_second": 0}
    assert (run_dir / "samples.txt").read_bytes() == (tmp_path / "whole" / "samples.txt").read_bytes()
    assert folder.read_config(run_dir).learning.epochs == 4
    assert metrics(trained / "runs" / "notebook-comedie-0")[-1]["step"] < metrics(run_dir)[-1]["step"]


@pytest.mark.slow
def test_more_epochs_are_not_forgotten_when_the_run_is_killed_before_it_saves(run_dir):
    settings = json.loads((run_dir / "config.json").read_text())
    settings["learning"]["epochs"] = 3
    (run_dir / "config.json").write_text(json.dumps(settings))
    train.main(["--resume", str(run_dir)])
    assert checkpoint.load_run(run_dir).snapshot.progress.epochs == 3


def test_checkpoints_that_cannot_be_listed_are_not_taken_for_none(run_dir, capsys):
    before = (run_dir / "metrics.jsonl").read_bytes()
    (run_dir / "checkpoints").rename(run_dir.with_name("elsewhere"))
    (run_dir / "checkpoints").symlink_to(run_dir / "nowhere")
    assert "cannot be listed" in error_of(capsys, train.main, ["--resume", str(run_dir), "--epochs", "9"])
    assert (run_dir / "metrics.jsonl").read_bytes() == before


def test_a_line_changed_by_hand_does_not_end_a_run(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text()
    (run_dir / "metrics.jsonl").write_text(lines.replace('"step"', '"stgp"', 1))
    train.main(["--resume", str(run_dir), "--epochs", "3"])
    assert metrics(run_dir)[-1]["event"] == "final"


def test_a_run_that_is_over_is_left_alone(run_dir, capsys):
    before = content(run_dir)
    left = run_dir / "checkpoints" / "77.orbax-checkpoint-tmp"  # by a save that was killed
    left.mkdir()
    train.main(["--resume", str(run_dir)])
    assert "is finished: it has read 2 epochs; to continue, set a higher --epochs" in capsys.readouterr().out
    assert content(run_dir) == before
    assert not left.exists()


@pytest.mark.parametrize("schedule", ["constant", "halving", "cosine"])
@pytest.mark.parametrize("minutes", [0.0, 5.0])
@pytest.mark.parametrize("schedule_finished", [False, True])
def test_a_finished_run_offers_what_would_be_accepted(schedule, minutes, schedule_finished):
    begun, more = (
        dataclasses.replace(Config(), learning=LearningConfig(schedule=schedule, minutes=minutes, epochs=epochs))
        for epochs in (2, 3)
    )
    offered = resume.describe_continuation(begun.learning, schedule_finished, Path("run"))
    resume.check_longer(begun, begun, schedule_finished, Path("run"))
    resume.check_settings(more, begun, Path("run"), changeable={"epochs", "minutes"})
    if schedule == "halving" and schedule_finished:
        assert offered.startswith("its schedule ended when the validation loss stopped improving; start a new run from its")
        refused = "--epochs is 3, but the run in 'run' cannot be extended: its schedule ended.*--init-from run.*constant"
        with pytest.raises(InputError, match=refused):
            resume.check_longer(more, begun, schedule_finished, Path("run"))
    else:
        assert offered.startswith("to continue, set a higher --epochs, or --minutes for as many more")
        resume.check_longer(more, begun, schedule_finished, Path("run"))
    if minutes or schedule == "cosine":  # another run, if it is not named
        with pytest.raises(InputError, match=r"--epochs is 3, but .* its length is planned; extend it by name: --resume run"):
            resume.check_settings(more, begun, Path("run"))
    else:
        resume.check_settings(more, begun, Path("run"))


def test_a_run_whose_schedule_has_ended_says_so_and_takes_no_more_epochs(trained, tmp_path, capsys):
    run_dir = shutil.copytree(trained / "runs" / "mikolov2010-comedie-0", tmp_path / "run")
    train.main(["--resume", str(run_dir)])
    said = f"its schedule ended when the validation loss stopped improving; {resume.describe_new_run(run_dir)}"
    assert said in capsys.readouterr().out
    assert said in error_of(capsys, train.main, ["--resume", str(run_dir), "--epochs", "30"])


def test_a_run_stopped_before_it_saved_anything_is_begun_again(run_dir, capsys):
    before = metrics(run_dir)
    shutil.rmtree(run_dir / "checkpoints")
    assert "has trained, but its checkpoints are missing" in error_of(capsys, train.main, ["--resume", str(run_dir)])
    assert metrics(run_dir) == before
    (run_dir / "metrics.jsonl").unlink()
    train.main(["--resume", str(run_dir)])
    again = metrics(run_dir)
    assert [line["online_nats"] for line in again] == [line["online_nats"] for line in before]


def test_damaged_checkpoints_are_reported_set_aside_and_replaced(trained, run_dir, capsys):
    expected = metrics(run_dir)
    newest = store.list_numbers(run_dir)[-1]
    (run_dir / "checkpoints" / str(newest) / "about" / "metadata").write_text("{")
    (run_dir / "checkpoints" / "77.orbax-checkpoint-tmp").mkdir()
    train.main(["--resume", str(run_dir)])
    out, err = capsys.readouterr()
    assert err.startswith(
        f"warning: checkpoint '{run_dir}/checkpoints/{newest}' is damaged: its metadata is not JSON; an older"
    )
    assert err.count("\n") == 1
    assert "resumed     epoch " in out
    assert (run_dir / "damaged" / str(newest)).is_dir()
    assert not (run_dir / "checkpoints" / "77.orbax-checkpoint-tmp").exists()
    assert [line["online_nats"] for line in metrics(run_dir)] == [line["online_nats"] for line in expected]
    assert checkpoint.load_run(run_dir).rejected == ()


def test_other_random_numbers_are_refused_and_other_versions_reported(run_dir, capsys, monkeypatch):
    monkeypatch.setattr(resume.manifest, "describe_random_keys", lambda: "rbg, partitionable")
    message = error_of(capsys, train.main, ["--resume", str(run_dir), "--epochs", "3"])
    assert "draws random numbers with threefry2x32, partitionable, but JAX is set to rbg, partitionable here" in message
    monkeypatch.undo()
    then = checkpoint.load_run(run_dir)
    assert resume.describe_other_versions(then) == ""
    older = then._replace(about={**then.about, "versions": {**then.about["versions"], "jax": "0.9"}})
    assert resume.describe_other_versions(older).startswith("jax 0.9 then and 0.1")


def test_a_run_of_an_older_version_reads_on(tmp_path, capsys):
    run_dir = shutil.copytree(FORMAT_2, tmp_path / "old")
    train.main(["--resume", str(run_dir), "--epochs", "2"])
    assert checkpoint.load_run(run_dir).snapshot.progress.epochs == 2


@pytest.mark.parametrize("name", ["none", "x" * 5_000, "empty"])
def test_a_folder_without_a_run_is_reported_and_nothing_is_made(folder, capsys, name):
    (folder / "empty").mkdir()
    assert "no run in '" in error_of(capsys, train.main, ["--resume", name])
    assert [path.name for path in folder.rglob("*")] == ["empty"]


def test_settings_that_cannot_be_read_are_an_error(run_dir, capsys):
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "config.json").write_text("{")
    assert ": its config.json does not hold the settings of a run; " in error_of(capsys, train.main, ["--resume", str(run_dir)])
    (run_dir / "config.json").write_text(json.dumps({"text": {}, "model": {}, "learning": {}, "more": {}}))
    assert "hold 'more'" in error_of(capsys, train.main, ["--resume", str(run_dir)])


def test_a_run_in_use_is_refused(run_dir, capsys):
    with folder.hold_lock(run_dir):
        message = error_of(capsys, train.main, ["--resume", str(run_dir), "--epochs", "3"])
    assert f"is in use by process {os.getpid()}; wait for it, or stop it" in message


def test_the_first_epochs_of_a_preset_are_not_taken_for_flags():
    assert resolve(parse(["--epochs", "3"]), PRESETS["mikolov2010"]).model.initialisation == "mikolov"

"""Going on with a run: what is allowed, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import SMALL, but, events, metrics
from test_cli_errors import error_of

from jaxrnn import checkpoint, folder, resume, store, train
from jaxrnn.config import PRESETS
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
        (["--hidden-size", "9"], "--hidden-size is 9, and the run in "),
        (["--learning-rate", "0.2"], "was begun with 0.1; what it writes depends on that"),
        (["--text", "moliere"], "--text is 'moliere', and the run in "),
        (["--max-characters", "3001"], "--max-characters is 3001"),
        (["--seed", "1"], "--seed is 1"),
        (["--updates-per-call", "1"], "--updates-per-call is 1"),
        (["--sample-length", "31"], "--sample-length is 31"),
        (["--epochs", "1"], "--epochs may grow, but 1 are fewer than the 2 of the run in"),
        (["--epochs", "0"], "--epochs is 0; it must be 1 or more"),
        (["--run-dir", "other"], "--run-dir goes with --resume auto"),
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
    assert checkpoint.load(run_dir).progress.epochs == 3


@pytest.mark.slow
def test_a_text_may_have_been_moved(folder):
    (folder / "mine.txt").write_text("Il fait nuit. Il fait jour.\n" * 30, encoding="utf-8")
    train.main([*SMALL, "--text", "mine.txt", "--epochs", "1", "--run-dir", "mine"])
    (folder / "mine.txt").rename(folder / "yours.txt")
    train.main(["--resume", "mine", "--text", "yours.txt", "--epochs", "2"])
    assert checkpoint.load(folder / "mine").config.text.text == str(folder / "yours.txt")


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
    assert "is finished: it has read 2 epochs; --epochs takes more" in capsys.readouterr().out
    assert content(run_dir) == before
    assert not left.exists()


def test_auto_goes_on_with_its_own_run_or_begins_it(folder, capsys):
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
    assert resume.find(*parse(command)) == Path("runs/notebook-comedie-0")
    assert resume.find(*parse([*command, "--learning-rate", "0.2"])) is None
    changed("runs/notebook-comedie-0-7", "learning", learning_rate=0.2)
    assert resume.find(*parse([*command, "--learning-rate", "0.2"])) == Path("runs/notebook-comedie-0-7")
    some_width = ["notebook", *but(command, "--hidden-size", "auto")]
    assert resume.find(*parse(some_width)) is None  # nobody would have chosen 8
    changed("runs/notebook-comedie-0-6", "model", hidden_size=256)
    assert resume.find(*parse(some_width)) == Path("runs/notebook-comedie-0-6")
    heir = [*command, "--init-from", "runs/mikolov2010-comedie-0"]  # whose network is not the preset's
    assert resume.find(*parse(heir)) is None
    changed("runs/notebook-comedie-0-8", "run", init_from=str(tmp_path / "runs" / "mikolov2010-comedie-0"))
    changed("runs/notebook-comedie-0-8", "model", initialisation="mikolov")
    assert resume.find(*parse(heir)) == Path("runs/notebook-comedie-0-8")
    assert resume.find(*parse(command)) == Path("runs/notebook-comedie-0")


def test_a_run_stopped_before_it_saved_anything_is_begun_again(run_dir, capsys):
    before = metrics(run_dir)
    shutil.rmtree(run_dir / "checkpoints")
    assert "are missing, though it has learned" in error_of(capsys, train.main, ["--resume", str(run_dir)])
    assert metrics(run_dir) == before
    (run_dir / "metrics.jsonl").unlink()
    train.main(["--resume", str(run_dir)])
    again = metrics(run_dir)
    assert [line["online_nats"] for line in again] == [line["online_nats"] for line in before]


def test_damaged_checkpoints_are_told_set_aside_and_made_good(trained, run_dir, capsys):
    expected = metrics(run_dir)
    newest = store.numbers(run_dir)[-1]
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
    assert checkpoint.load(run_dir).rejected == ()


def test_a_text_that_has_changed_is_refused(folder, capsys):
    (folder / "mine.txt").write_text("Il fait nuit. Il fait jour.\n" * 30, encoding="utf-8")
    train.main([*SMALL, "--text", "mine.txt", "--epochs", "1", "--run-dir", "mine"])
    (folder / "mine.txt").write_text("Il fait jour. Il fait nuit.\n" * 30, encoding="utf-8")
    capsys.readouterr()
    message = error_of(capsys, train.main, ["--resume", "mine", "--epochs", "2"])
    assert "mine.txt' is not what it was when the run in 'mine' was begun: its SHA-256 is " in message


def test_other_random_numbers_are_refused_and_other_versions_are_told(run_dir, capsys, monkeypatch):
    monkeypatch.setattr(train.resume.manifest, "random_keys", lambda: "rbg, partitionable")
    message = error_of(capsys, train.main, ["--resume", str(run_dir), "--epochs", "3"])
    assert "are drawn by threefry2x32, partitionable, and here by rbg, partitionable" in message
    monkeypatch.undo()
    then = checkpoint.load(run_dir)
    assert resume.other_versions(then) == ""
    older = then._replace(about={**then.about, "versions": {**then.about["versions"], "jax": "0.9"}})
    assert resume.other_versions(older).startswith("jax 0.9 then and 0.1")


def test_a_run_of_the_first_format_is_refused_with_what_to_do(tmp_path, capsys):
    from test_checkpoint import FORMAT_1

    run_dir = shutil.copytree(FORMAT_1, tmp_path / "old")
    message = error_of(capsys, train.main, ["--resume", str(run_dir), "--epochs", "2"])
    assert f"start a new one from its weights: --init-from {run_dir}" in message


@pytest.mark.parametrize("name", ["none", "x" * 5_000, "empty"])
def test_what_is_no_run_is_told_and_nothing_is_made(folder, capsys, name):
    (folder / "empty").mkdir()
    assert "no run in '" in error_of(capsys, train.main, ["--resume", name])
    assert [path.name for path in folder.rglob("*")] == ["empty"]


def test_settings_that_cannot_be_read_are_told(run_dir, capsys):
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "config.json").write_text("{")
    assert ": its config.json does not hold the settings of a run; " in error_of(capsys, train.main, ["--resume", str(run_dir)])
    (run_dir / "config.json").write_text(json.dumps({"text": {}, "model": {}, "learning": {}, "more": {}}))
    assert "hold 'more'" in error_of(capsys, train.main, ["--resume", str(run_dir)])


def test_a_run_in_use_is_refused(run_dir, capsys):
    with folder.locked(run_dir):
        message = error_of(capsys, train.main, ["--resume", str(run_dir), "--epochs", "3"])
    assert f"is in use by process {os.getpid()}; wait for it, or stop it" in message


def test_the_first_epochs_of_a_preset_are_not_taken_for_flags():
    assert parse(["--epochs", "3"], PRESETS["mikolov2010"])[1].model.initialisation == "mikolov"

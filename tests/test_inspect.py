import json
import os
import shutil

import pytest
from conftest import task_of
from test_cli_errors import error_of

from jaxrnn import evaluate, export, inspect, sample
from jaxrnn.runs import start
from jaxrnn.storage import checkpoint, store


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained / "runs" / "mikolov2010-comedie-0", tmp_path / "run")


def test_it_shows_settings_checkpoints_and_versions(run_dir, capsys):
    inspect.main([str(run_dir)])
    out = capsys.readouterr().out
    run = checkpoint.load_run(run_dir)
    for words in (
        "num-streams          2",
        "schedule             halving",
        f"{int(run.snapshot.state.step):,}",
        "orbax-checkpoint     0.",
    ):
        assert words in out
    assert f"{run.snapshot.progress.best_nats:.4f}" in out
    assert out.count("  good\n") == len(store.list_numbers(run_dir)) <= 3
    assert max(len(line) for line in out.splitlines() if not line.startswith("run ")) <= 80


def test_as_json_it_says_the_same(run_dir, capsys):
    inspect.main([str(run_dir), "--json"])
    found, run = json.loads(capsys.readouterr().out), checkpoint.load_run(run_dir)
    last = found["checkpoints"][-1]
    assert (last["number"], last["good"], last["step"]) == (run.number, True, int(run.snapshot.state.step))
    assert (last["best_nats"], last["best_step"]) == (run.snapshot.progress.best_nats, run.snapshot.progress.best_step)
    files = [path for path in (run_dir / "checkpoints" / str(run.number)).rglob("*") if path.is_file()]
    assert last["bytes"] == sum(path.stat().st_size for path in files) > 5_000
    assert found["config"]["model"]["hidden_size"] == 8
    assert found["versions"] == run.about["versions"]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_damage_is_shown_and_gives_exit_code_4(run_dir, capsys, flags):
    newest = store.list_numbers(run_dir)[-1]
    os.truncate(run_dir / "checkpoints" / str(newest) / "about" / "metadata", 10)
    with pytest.raises(SystemExit) as exit_:
        inspect.main([str(run_dir), *flags])
    assert exit_.value.code == 4
    out, err = capsys.readouterr()
    number = len(store.list_numbers(run_dir))
    assert err == f"error: 1 of {number} checkpoints in '{run_dir}' is damaged\n"
    assert ("DAMAGED: its metadata is not JSON" in out) == (not flags)
    assert not flags or not json.loads(out)["checkpoints"][-1]["good"]


def test_there_is_no_best_before_the_first_epoch_is_over(tmp_path, capsys):
    task, run_dir = task_of(), tmp_path / "begun"
    checkpoint.save_checkpoint(run_dir, task.config, task.data, start.first_snapshot(task))
    assert "no best epoch" in error_of(capsys, export.main, [str(run_dir), str(tmp_path / "x"), "--weights", "best"])
    assert "no best epoch" in error_of(capsys, evaluate.main, [str(run_dir), "--weights", "best"])
    assert "no best epoch" in error_of(capsys, sample.main, [str(run_dir), "--weights", "best"])


def test_a_folder_without_a_run_is_reported(tmp_path, capsys):
    assert "it holds no checkpoint" in error_of(capsys, inspect.main, [str(tmp_path)])
    assert "RUN is missing" in error_of(capsys, inspect.main, [])

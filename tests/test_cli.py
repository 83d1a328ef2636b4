"""The command lines, end to end, in a temporary folder."""

import io
import json
import os
import subprocess
import sys

import pytest
from conftest import SMALL, but, events, metrics

from jaxrnn import evaluate, sample, train
from jaxrnn.console import cli
from jaxrnn.training.progress import FinalNumbers


def test_a_run_leaves_what_the_readme_says(trained):
    run_dir = trained / "runs" / "notebook-comedie-0"
    assert sorted(path.name for path in run_dir.iterdir()) == [
        "checkpoints", "config.json", "lock", "loss.png", "metrics.jsonl", "samples.txt",
    ]  # fmt: skip
    progress = [event["step"] for event in events(run_dir) if event["event"] == "progress"]
    assert progress == [1_000, 2_000, 3_000, 4_000, 5_000]
    first, second, last = metrics(run_dir)
    assert [first["step"], second["step"], last["step"]] == [2_699, 5_398, 5_398]
    assert [first["event"], second["event"], last["event"]] == ["epoch", "epoch", "final"]
    assert [first["epoch"], second["epoch"]] == [0, 1]
    assert first["online_nats"] > second["online_nats"] == last["online_nats"] > 1
    assert first["characters_per_second"] > 0
    assert first["learning_rate"] == 0.1
    extent = {"train_characters": 2_699, "heldout_characters": 299, "counted_characters": 2_700}
    assert set(last) == {"event", "step", *FinalNumbers._fields, *extent, "dynamic"}
    assert {name: last[name] for name in extent} == extent
    assert last["dynamic"] == {"optimizer": "sgd", "rates": [0.1], "length": 1}
    assert (run_dir / "loss.png").read_bytes().startswith(b"\x89PNG")
    samples = (run_dir / "samples.txt").read_text("utf-8")
    assert samples.count("===") == 4
    assert "epoch 2" in samples
    assert json.loads((run_dir / "config.json").read_text("utf-8"))["model"]["hidden_size"] == 8


def test_the_papers_schedule_halves_and_stops(trained):
    *epochs, last = metrics(trained / "runs" / "mikolov2010-comedie-0")
    rates = [epoch["learning_rate"] for epoch in epochs]
    assert len(epochs) < 20
    assert rates[0] == 0.5
    assert rates[-1] < 0.5
    assert all(later in (rate, rate / 2) for rate, later in zip(rates[:-1], rates[1:], strict=True))
    assert all(epoch["validation_nats"] > 1 for epoch in epochs)
    assert last["event"] == "final"


def test_evaluation_gives_the_last_three_of_the_final_numbers(trained, capsys):
    run_dir = trained / "runs" / "notebook-comedie-0"
    evaluate.main([str(run_dir), "--json"])
    final = metrics(run_dir)[-1]
    assert json.loads(capsys.readouterr().out) == {name: final[name] for name in list(final)[3:]}


@pytest.mark.parametrize(("name", "num_read"), [("notebook", 49), ("mikolov2010", 50)])  # the second one in two streams
def test_a_limit_of_characters_limits_both_parts_and_each_row_says_so(trained, capsys, name, num_read):
    arguments = [str(trained / "runs" / f"{name}-comedie-0"), "--test-characters", "49"]
    evaluate.main([*arguments, "--json"])
    numbers = json.loads(capsys.readouterr().out)
    assert (numbers["train_characters"], numbers["heldout_characters"]) == (num_read, 49)
    evaluate.main(arguments)
    rows = capsys.readouterr().out.splitlines()
    assert sum(row.endswith("; its first 49 characters") for row in rows) == 4
    assert [row.partition("; ")[2] for row in rows if "training text" in row] == [f"{num_read} of its 2,700 characters"]


def test_evaluation_of_another_text(trained, capsys, tmp_path):
    (tmp_path / "other.txt").write_text("Bonsoir, Nicette.\n" * 40, encoding="utf-8")
    arguments = [str(trained / "runs" / "notebook-comedie-0"), "--text", str(tmp_path / "other.txt"), "--dynamic", "0.3"]
    evaluate.main([*arguments, "--json"])
    numbers = json.loads(capsys.readouterr().out)
    assert set(numbers) == {"frozen_nats", "dynamic_nats", "counts_nats", "mixed_nats", "characters", "dynamic"}
    assert numbers["characters"] == 40 * len("Bonsoir, Nicette.\n") - 1
    assert numbers["mixed_nats"] < numbers["counts_nats"] + 0.01
    assert numbers["dynamic"] == {"optimizer": "sgd", "rates": [0.3], "length": 1}
    assert numbers["dynamic_nats"] < numbers["frozen_nats"] / 2
    evaluate.main(arguments)
    table = capsys.readouterr().out
    assert f"{numbers['dynamic_nats']:.4f}" in table
    assert "\x1b" not in table


def test_sampling_takes_the_newest_run_and_repeats_itself(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    os.utime(trained / "runs" / "mikolov2010-comedie-0" / "checkpoints")  # written to last
    texts = []
    for seed in ("1", "1", "2"):
        sample.main(["--seed", seed, "--length", "70", "--exact-length", "--prompt", "COLAS."])
        out, err = capsys.readouterr()
        assert "mikolov2010" in err
        texts.append(out)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("COLAS.")
    assert len(texts[0]) == len("COLAS.") + 70 + 1


@pytest.mark.parametrize("name", ["a$b_{$", "我的书"])
def test_a_run_may_have_any_name(folder, capsys, name):
    train.main([*SMALL, "--epochs", "1", "--run-dir", name])
    assert (folder / name / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_run_on_a_file_without_a_full_stop_can_be_resumed_from_elsewhere(folder, capsys, monkeypatch):
    (folder / "mine.txt").write_text("bonjour le monde\n" * 40, encoding="utf-8")
    train.main([*SMALL, "--text", "mine.txt", "--epochs", "1", "--run-dir", "my run"])
    assert "python -m jaxrnn.sample 'my run'" in capsys.readouterr().out
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    evaluate.main(["../my run", "--json"])
    assert json.loads(capsys.readouterr().out)["heldout_nats"] == metrics(folder / "my run")[-1]["heldout_nats"]
    sample.main(["../my run", "--length", "20", "--exact-length"])
    assert len(capsys.readouterr().out) == 1 + 20 + 1


def test_samples_differ_and_unknown_characters_can_be_skipped(trained, capsys):
    run_dir = str(trained / "runs" / "notebook-comedie-0")
    sample.main([run_dir, "--num-samples", "2", "--length", "40", "--prompt", "€é", "--skip-unknown"])
    first, second = capsys.readouterr().out.split("-" * 40)
    assert first.strip() != second.strip()


def test_one_update_per_call_gives_the_same_losses(trained, folder):
    train.main(but(SMALL, "--epochs", "1", "--run-dir", "run", "--updates-per-call", "1"))
    slow, fast = (metrics(run_dir)[0] for run_dir in (folder / "run", trained / "runs" / "notebook-comedie-0"))
    assert slow["online_nats"] == pytest.approx(fast["online_nats"], rel=1e-5)


def python(folder, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, timeout=120)


def test_a_pipe_gets_plain_lines(folder):
    result = python(folder, "-W", "error", "-m", "jaxrnn.train", *SMALL, "--epochs", "1")
    assert (result.returncode, result.stderr.decode()) == (0, "")
    out = result.stdout.decode()
    assert "\x1b" not in out
    assert "\r" not in out
    for word in ("vocabulary", "online nats", "held-out text, weights frozen", "python -m jaxrnn.sample runs/notebook"):
        assert word in out


def test_unknown_characters_of_another_text_can_be_left_out(trained, folder, capsys):
    (folder / "other.txt").write_text("Bonsoir€ Nicette€.\n", encoding="utf-8")
    arguments = [str(trained / "runs" / "notebook-comedie-0"), "--text", "other.txt"]
    evaluate.main([*arguments, "--skip-unknown"])
    assert "without 2 unknown characters" in capsys.readouterr().out


def test_a_full_output_is_reported(trained, monkeypatch, capsys):
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=True))
        with pytest.raises(SystemExit) as exit_:
            sample.main([str(trained / "runs" / "notebook-comedie-0")])
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "error: the output cannot be written: no space left on device\n"


def test_modules_are_imported_meanwhile_without_a_word(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    cli.import_in_background("jaxrnn.there_is_none").join()
    cli.import_in_background("colorsys").join()
    assert "colorsys" in sys.modules


def test_network_and_counts_write_together(trained, capsys):
    run = str(trained / "runs" / "notebook-comedie-0")
    sample.main([run, "--mixed", "--length", "80", "--exact-length"])
    first = capsys.readouterr().out
    sample.main([run, "--mixed", "--length", "80", "--exact-length"])
    assert capsys.readouterr().out == first
    sample.main([run, "--length", "80", "--exact-length"])
    assert capsys.readouterr().out != first
    assert len(first) == 82  # a full stop before, a line break after


def test_a_mixture_needs_the_text_of_its_run(trained, tmp_path, monkeypatch, capsys):
    run_dir = tmp_path / "moved"
    text = tmp_path / "text.txt"
    text.write_text("Bonsoir, Nicette.\n" * 80, encoding="utf-8")
    train.main([*SMALL, "--text", str(text), "--epochs", "1", "--heldout-fraction", "0", "--run-dir", str(run_dir)])
    text.write_text("Bonjour, Nicette.\n" * 80, encoding="utf-8")
    capsys.readouterr()
    for expected in ("is not the one that this run was trained on", "is no longer at"):
        with pytest.raises(SystemExit) as ended:
            sample.main([str(run_dir), "--mixed"])
        assert ended.value.code == 2
        message = capsys.readouterr().err
        assert expected in message
        assert "leave --mixed out" in message
        text.unlink(missing_ok=True)

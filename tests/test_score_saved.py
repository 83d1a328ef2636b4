"""What a scored stream has learned is saved as a run, and goes on where it was saved, however often it is killed."""

import random
import shutil

import jax
import numpy as np
import pytest
from conftest import SMALL
from fixed import often
from test_score import TEXT, file, run_dir, scored

from jaxrnn import evaluate, inspect, sample, train
from jaxrnn.errors import Diverged
from jaxrnn.runs import open_stream, score_stream, stream_folder
from jaxrnn.runs.incoming import Incoming
from jaxrnn.scoring.stream import make_read
from jaxrnn.storage import checkpoint, logs
from jaxrnn.storage.checkpoint import load_run

__all__ = ["file", "run_dir"]  # fixtures


@pytest.mark.slow
def test_what_was_learned_is_a_run_like_any_other(run_dir, file, folder, capsys):
    scored(capsys, run_dir, file, "--learn", "0.1", "--save", "learned")
    before, after = load_run(run_dir), load_run("learned")
    assert after.config == before.config
    assert (folder / "learned" / "config.json").read_text() == (run_dir / "config.json").read_text()
    changed = [
        bool((a != b).any())
        for a, b in zip(*(jax.tree.leaves(checkpoint.select_params(run)) for run in (before, after)), strict=True)
    ]
    assert all(changed)
    assert [event["event"] for event in logs.read_events(folder / "learned") if event["event"] in ("final", "stream")] == [
        "stream"
    ]
    sample.main(["learned", "--length", "20"])
    evaluate.main(["learned", "--test-characters", "100", "--json"])
    inspect.main(["learned"])
    printed = capsys.readouterr().out
    assert f"5 lines, {len(TEXT)} characters" in printed  # complete ones
    train.main([*SMALL, "--init-from", "learned", "--epochs", "1", "--run-dir", "on"])
    assert "rejected" not in capsys.readouterr().err


def test_a_stream_that_diverges_says_so_and_keeps_what_was_saved(run_dir, file, folder, capsys):
    scored(capsys, run_dir, file, "--learn", "0.1", "--save", "learned")
    kept = stored("learned")[0]
    (folder / "long.txt").write_text(TEXT * 50, "utf-8")
    with pytest.raises(SystemExit) as ended:
        scored(capsys, run_dir, "long.txt", "--learn", "1e20")
    assert (ended.value.code, "diverged, at long.txt:" in capsys.readouterr().err) == (3, True)
    run = load_run("learned")
    scoring, position, folder_of = scoring_of(run, None, folder / "learned", 0.0)
    position.stream.state.params["readout"]["bias"] = position.stream.state.params["readout"]["bias"] * np.nan
    with pytest.raises(Diverged), folder_of as writer:
        list(score_stream.score(scoring, position, line_by_line(["COLAS.\n"]), writer))
    for before, after in zip(kept, stored("learned")[0], strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("learn", often(["0.1", "auto"], seldom=["auto"]))
def test_a_stream_goes_on_where_it_was_saved(run_dir, file, folder, capsys, learn):
    """In two commands as in one: for a new input, and for the rest of one that was read in part."""
    (folder / "more").write_text("Encore.\nAdieu.\n", "utf-8")
    (folder / "both").write_text(f"{TEXT}Encore.\nAdieu.\n", "utf-8")
    one, _ = scored(capsys, run_dir, "both", "--learn", learn, "--save", "one")
    first, _ = scored(capsys, run_dir, file, "--learn", learn, "--save", "two")
    saved = sorted((folder / "two").rglob("*"))
    with pytest.raises(SystemExit):
        scored(capsys, run_dir, "more", "--learn", learn, "--save", "two")  # not the run that is there
    assert sorted((folder / "two").rglob("*")) == saved
    shutil.copytree("two", "three")
    second, said = scored(capsys, "two", "more", "--save", "two")
    assert "after 5 lines read before" in said
    assert_same_stream(folder / "one", folder / "two")
    rest, _ = scored(capsys, "three", "both", "--save", "three", "--resume")
    assert_same_stream(folder / "one", folder / "three")
    assert [row.partition("\t")[0] for row in rest] == [row.partition("\t")[0] for row in one[-2:]]
    assert second[-1].split("\t")[1:] == one[-1].split("\t")[1:] == rest[-1].split("\t")[1:]
    with pytest.raises(SystemExit) as ended:
        scored(capsys, "three", "more", "--resume")
    assert ended.value.code == 2
    assert len(first) == 6


def line_by_line(lines):
    return [Incoming("-", line) for line in lines]


def scoring_of(run, learn, save_to=None, every_seconds=0.0):
    """What scores a stream of a saved run, its position, and the context of a writer."""
    opened = open_stream.open_stream(run, learn)
    scoring = score_stream.Scoring(run.vocabulary, make_read(opened.scorer))
    position = score_stream.Position(opened.stream, opened.extent)
    folder = save_to and stream_folder.open_folder(save_to, run, opened, every_seconds)
    return scoring, position, folder


def some_lines(number, seed=0):
    drawn = random.Random(seed)
    return ["".join(drawn.choices("abc dé€.", k=drawn.randrange(12))) + "\n" for _ in range(number)]


def stored(path):
    """The arrays of a run that reads a stream, and the stream."""
    run = load_run(path)
    assert run.stream
    return jax.tree.leaves((run.snapshot, run.stream.stream)), run.stream


def assert_same_stream(path, other):
    """The same model and the same position, to the bit."""
    (arrays, a), (others, b) = stored(path), stored(other)
    for mine, theirs in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert a.extent._replace(nats=0.0, of_networks=()) == b.extent._replace(nats=0.0, of_networks=())
    assert a.extent.nats == pytest.approx(b.extent.nats)
    assert a.learning == b.learning


class Killed(BaseException):
    """What a kill is to the code that it ends."""


def read_with_kills(monkeypatch, run_dir, path, lines, num_kills, learn, seed=0):
    """Score lines while the process is killed again and again: also just before, in and after a save."""
    drawn, chances = random.Random(seed), {"left": 0}
    write = checkpoint.store.write_checkpoint

    def write_or_die(*arguments, **named):
        at = drawn.random()
        if chances["left"] <= 0 and at < 0.3:
            raise Killed
        write(*arguments, **named)
        if chances["left"] <= 0 and at < 0.6:
            raise Killed

    monkeypatch.setattr(checkpoint.store, "write_checkpoint", write_or_die)
    done, kills = 0, 0
    while True:
        run = load_run(path if path.exists() else run_dir)
        done = run.stream.extent.num_lines if run.stream else 0
        scoring, position, folder = scoring_of(run, None if run.stream else learn, path)
        chances["left"] = drawn.randrange(4) if kills < num_kills else len(lines) + 1
        try:
            with folder as writer:
                for _ in score_stream.score(scoring, position, line_by_line(lines[done:]), writer):
                    chances["left"] -= 1
            return kills
        except Killed:
            kills += 1


@pytest.mark.parametrize("learn", often([0.1, "auto"], seldom=["auto"]))
def test_a_stream_that_is_killed_again_and_again_learns_the_same(run_dir, folder, monkeypatch, learn):
    lines, run = some_lines(60), load_run(run_dir)
    scoring, position, writing = scoring_of(run, learn, folder / "alone", 1e9)
    with writing as writer:
        list(score_stream.score(scoring, position, [Incoming("-", "".join(lines))], writer))
    assert read_with_kills(monkeypatch, run_dir, folder / "killed", lines, 12, learn) == 12
    assert_same_stream(folder / "killed", folder / "alone")

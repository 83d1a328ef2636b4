"""A timed run that was too short to learn anything says so, and shows no numbers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL, events, task_of

import jaxrnn
from jaxrnn import train
from jaxrnn.runs import too_short
from jaxrnn.runs.start import first_snapshot
from jaxrnn.training.progress import frequency_nats

STARTED = {"event": "plan", "step": 1_000, "num_updates": 1_001, "seconds_starting": 2.5}
READ = {"event": "epoch", "characters_per_second": 100.0}
FREQUENCIES = 3.3  # nats, about those of the first 900 characters of the comedy
WHOLE = 899  # updates of an epoch


def explained(losses, num_updates, minutes=0.1, **settings):
    task = task_of(minutes=minutes, **settings)
    snapshot = first_snapshot(task)
    snapshot = snapshot._replace(state=snapshot.state._replace(step=jnp.int32(num_updates)))
    windows = [{"event": "progress", "online_nats": nats} for nats in losses]
    return too_short.explain_too_short(task, snapshot, [STARTED, *windows, READ])


def test_the_frequencies_of_characters_are_their_entropy():
    ids = np.array([3, 3, 0, 3], np.uint8)
    assert frequency_nats(ids) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert frequency_nats(np.zeros(5, np.uint8)) == 0
    assert frequency_nats(task_of().data.train) == pytest.approx(FREQUENCIES, abs=0.1)


@pytest.mark.parametrize(
    ("losses", "num_updates", "minutes", "short"),
    [
        ([FREQUENCIES + 0.2], 500, 0.1, True),
        ([4.0, FREQUENCIES + 0.2], 500, 10.0, True),  # however long it took
        ([4.0, FREQUENCIES + 0.2], 999, 0.1, True),  # over an epoch, of few updates
        ([FREQUENCIES - 0.2], 500, 0.001, False),  # it has learned more than frequencies, however fast
        ([4.0, FREQUENCIES + 0.2], 1_000, 0.1, False),  # it had its time
        ([FREQUENCIES + 0.2, 5.0], 500, 0.1, False),  # the rate was too high
        ([FREQUENCIES + 0.2, math.nan], 500, 0.1, False),
        ([FREQUENCIES + 0.2], 500, 0.0, False),  # so many epochs were asked for
    ],
)
def test_a_run_is_too_short_if_it_knows_no_more_than_frequencies(losses, num_updates, minutes, short):
    assert bool(explained(losses, num_updates, minutes)) == short


def test_it_says_what_became_of_the_time_and_how_much_is_needed():
    """At 100 characters a second, with the margins, an epoch is read in 16 seconds; 15 more are kept for the test."""
    line = explained([3.4567], 300)
    assert line.startswith(
        "too short to learn anything: starting took 2.5 s of --minutes 0.1, 3.0 s were kept for the test, and 300 updates read "
        "300 of the 899 characters of an epoch. The loss, 3.4567 nats, is no better than knowing only how often each character"
    )
    assert line.endswith("so nothing was tested. On this machine a whole epoch needs about --minutes 0.52.")


def test_after_an_epoch_it_says_how_much_more_updates_need():
    line = explained([3.5], 950)
    assert "and 950 updates read 1.1 epochs. The loss" in line
    assert "On this machine 1,000 updates need about --minutes 0." in line


@pytest.mark.parametrize("read", [[], [{**READ, "characters_per_second": 0.0}]])
def test_without_a_speed_nothing_is_promised(read):
    assert too_short.describe_minutes(task_of(minutes=1.0), [STARTED, *read], 100) == ""


def test_more_time_than_there_was_is_advised():
    assert too_short.describe_minutes(task_of(minutes=7.0), [STARTED, READ], 1) == "about --minutes 8.4"


def test_a_tested_run_says_what_a_whole_epoch_needs():
    task, snapshot = task_of(minutes=0.1), first_snapshot(task_of())
    at = snapshot._replace(state=snapshot.state._replace(step=jnp.int32(WHOLE)))
    assert too_short.describe_whole_epoch(task, snapshot, [STARTED, READ]).startswith("; a whole one needs about --minutes 0.")
    assert too_short.describe_whole_epoch(task, at, [STARTED, READ]) == ""
    assert too_short.describe_whole_epoch(task_of(), snapshot, [STARTED, READ]) == ""


def test_it_shows_no_numbers_and_is_a_run_like_others(folder, capsys):
    train.main([*SMALL, "--minutes", "0.001", "--run-dir", "run"])
    out = capsys.readouterr().out
    assert "too short to learn anything: starting took " in out
    assert "1,001 of the 2,699 characters" in out
    assert "perplexity" not in out
    assert "held-out text" not in out
    assert {path.name for path in (folder / "run").iterdir()} >= {"checkpoints", "config.json", "loss.png", "metrics.jsonl"}
    final = events(folder / "run")[-1]
    assert (final["event"], final["step"], final["tested"]) == ("final", 1_001, False)
    run = jaxrnn.load("run")
    assert run.numbers is None
    assert "not tested" in repr(run)
    train.main(["--resume", "run"])
    assert "is finished" in capsys.readouterr().out

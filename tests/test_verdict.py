"""Verdicts on the final numbers."""

import math

import pytest
from conftest import task_of

from jaxrnn.console import report, verdict
from jaxrnn.runs import final
from jaxrnn.runs.start import first_snapshot

GUESS = math.log(72)  # 4.2767


@pytest.mark.parametrize(
    ("online", "windows", "num_updates", "said"),
    [
        (2.0, [3.0, 2.0], 45_000, ""),
        (4.5, [8.0, 4.0], 2_000, ""),  # a bad beginning, then it learned
        (math.nan, [3.0, 2.0], 2_000, ""),  # no epoch was finished
        (math.nan, [], 10, ""),  # nothing is known
        (4.2, [4.0, 4.5], 45_000, ""),  # the last thousand are no better than a guess, the epoch is
        (9.0, [3.0, 9.0], 45_000, "learning failed: the loss rose from 3.0000 to 9.0000 nats in the last"),
        (9.0, [9.5, 9.0], 45_000, "learning failed: the loss rose from the 4.2767 of a uniform guess to 9.0000 nats"),
        (9.0, [], 300, "too short to learn: after 300 updates the online loss is 9.0000 nats"),  # nothing was measured before
        (4.5, [3.0, 4.4], 45_000, "learning failed: the loss rose from 3.0000 to 4.4000 nats in the last"),
        (math.inf, [3.0, math.inf], 45_000, "learning failed: the loss rose from 3.0000 to inf nats"),
        (
            4.3,
            [],
            40,
            "too short to learn: after 40 updates the online loss is 4.3000 nats; a uniform guess costs 4.2767; use",
        ),
        (4.45, [4.5, 4.4], 20, "too short to learn: after 20 updates"),
        (4.3, [4.3, 4.3], 45_000, "learned too little: after 45,000 updates the online loss is 4.3000 nats"),
    ],
)
def test_a_lower_rate_is_advised_only_where_the_loss_rose(online, windows, num_updates, said):
    line = verdict.judge_learning(online, windows, GUESS, num_updates, 0.1, fresh=True, remedies=["more --epochs"])
    assert line.startswith(said)
    assert bool(line) == bool(said)
    assert ("lower than 0.1" in line) == ("rose" in said)
    assert ("higher than 0.1" in line) == ("too little" in said)


@pytest.mark.parametrize(
    ("windows", "rose"), [([9.5, 9.0], False), ([9.0], False), ([4.5, 9.0], True), ([9.0, math.nan], True)]
)
def test_old_weights_are_blamed_for_their_own_loss_alone(windows, rose):
    """On another text they may begin far above a guess."""
    line = verdict.judge_learning(9.2, windows, GUESS, 5_000, 0.1, fresh=False, remedies=["more --epochs"])
    assert line.startswith("learning failed: the loss rose" if rose else "learned too little: after 5,000 updates")


@pytest.mark.parametrize(
    ("more_text", "lasting", "num_streams", "block_length", "said"),
    [
        (True, "--epochs", 1, 1, "use more text (--max-characters 0) or more --epochs"),
        (False, "--minutes", 32, 64, "use a longer text, more --minutes, fewer --num-streams or a shorter --rule-length"),
        (False, "", 1, 1, "use a longer text"),
    ],
)
def test_only_what_the_settings_leave_open_is_advised(more_text, lasting, num_streams, block_length, said):
    remedies = verdict.list_remedies(more_text, lasting, num_streams, block_length)
    line = verdict.judge_learning(4.3, [], GUESS, 40, 0.1, fresh=True, remedies=remedies)
    assert line.endswith(f"a uniform guess costs 4.2767; {said}")


@pytest.mark.parametrize(
    ("learning", "finished", "said"),
    [
        ({"minutes": 1.0}, False, ["more text (--max-characters 0)", "more --minutes"]),
        ({"epochs": 1}, False, ["more text (--max-characters 0)", "more --epochs"]),
        ({"schedule": "halving"}, True, ["more text (--max-characters 0)"]),
    ],
)
def test_a_run_is_told_what_makes_it_longer(learning, finished, said):
    task = task_of(**learning)
    snapshot = first_snapshot(task)
    assert final.find_remedies(task, snapshot._replace(progress=snapshot.progress._replace(finished=finished))) == said


@pytest.mark.parametrize(
    ("frozen", "dynamic", "chosen", "auto", "said"),
    [
        (2.0, 1.9, False, "--dynamic auto", ""),
        (2.0, 2.00004, False, "--dynamic auto", ""),
        (2.0, 2.1, False, "--dynamic auto", "worse than frozen by 0.1000 nats; set --rate lower than 0.1, or --dynamic auto"),
        (2.0, 2.1, False, "", "worse than frozen by 0.1000 nats; set --rate lower than 0.1"),
        (
            2.0,
            2.1,
            True,
            "--dynamic auto",
            "by 0.1000 nats; the rates chosen on the validation part do not suit this text: set --rate",
        ),
        (2.0, math.nan, False, "", "of no use: the loss diverged; set --rate lower than 0.1"),
        (2.0, math.inf, False, "", "of no use: the loss diverged; set --rate lower than 0.1"),
    ],
)
def test_harmful_dynamic_evaluation_is_reported_with_the_flag(frozen, dynamic, chosen, auto, said):
    line = verdict.judge_dynamic(frozen, dynamic, (0.1, 0.2), chosen, "--rate", auto)
    assert line.startswith("dynamic evaluation is " if said else "")
    assert line.endswith(said)
    assert bool(line) == bool(said)


def test_a_nan_loss_blames_nothing(capsys):
    report.show_losses(report.make_screen(), {"one": math.nan, "two": 2.0})
    title, one, two = capsys.readouterr().out.splitlines()
    assert one.split() == ["NaN", "NaN", "NaN", "one"]
    assert one.index("one") == two.index("two") == title.index("per character")

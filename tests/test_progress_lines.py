"""Progress in lines: what a log shows of a run, and how often."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from test_changed_runs import stop_at

from jaxrnn import train
from jaxrnn.console import progress_lines


def lines_of(seconds, num_epochs, known=True):
    """The lines of a run of so many seconds, which reports its progress twice a second."""
    output, now = io.StringIO(), [0.0]
    screen = Console(file=output, width=200)
    show = progress_lines.print_progress(screen, 1_000, num_epochs, clock=lambda: now[0])
    for tick in range(1, 2 * seconds + 1):
        now[0] = tick / 2
        share = tick / (2 * seconds)
        epoch, inside = divmod(share * num_epochs, 1)
        num_read = round(1_000 * inside) or 1_000
        show(int(epoch), num_read, 2.5, 100.0, share if known else None, seconds - now[0] if known else None)
    return output.getvalue().splitlines()


@pytest.mark.parametrize(
    ("seconds", "num_epochs", "least", "most"),
    [
        (4, 1, 0, 0),  # the table says enough
        (20, 1, 2, 4),
        (60, 1, 8, 12),
        (60, 20, 0, 0),  # a row of the table every three seconds
        (200, 1, 18, 20),
        (600, 10, 9, 20),
        (3_600, 1, 110, 120),
    ],
)
def test_there_is_a_line_every_half_minute_or_twentieth_but_few_in_a_short_run(seconds, num_epochs, least, most):
    assert least <= len(lines_of(seconds, num_epochs)) <= most


def test_without_a_known_end_there_is_a_line_every_half_minute():
    assert lines_of(120, 1, known=False) == [
        f"epoch 1 of 1, {n} characters  2.500 nats  100 characters/s" for n in (250, 500, 750)
    ]


def test_a_line_says_where_the_run_is_and_how_long_it_takes():
    assert lines_of(200, 4)[0] == "epoch 1 of 4, 5 %  2.500 nats  100 characters/s  3:10 left"


def test_the_test_of_a_long_text_is_seen_too():
    output, now = io.StringIO(), [0.0]
    screen = Console(file=output, width=200)
    show = progress_lines.print_testing(screen, clock=lambda: now[0])
    for seconds in range(0, 100, 5):
        now[0] = float(seconds)
        show("held-out text", seconds, 100)
    assert output.getvalue().splitlines() == [f"testing: held-out text, {n} of 100 characters" for n in (30, 60, 90)]


@pytest.mark.parametrize(("seconds", "shown"), [(7.4, "0:07"), (59.6, "1:00"), (3_723.0, "1:02:03")])
def test_a_time_is_short(seconds, shown):
    assert progress_lines.spell_time(seconds) == shown


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--epochs", "2"], ["epoch 1 of 2, 9 %  ", "epoch 2 of 2, 59 %  "]),
        (["--epochs", "2", "--schedule", "halving", "--validation-fraction", "0.1"], ["epoch 1, 500 characters  "]),
    ],
)
def test_a_run_without_a_terminal_says_how_far_it_has_come(tmp_path, capsys, monkeypatch, flags, said):
    monkeypatch.setattr(progress_lines, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(progress_lines, "SECONDS_PER_LINE", 0.0)
    stop_at(monkeypatch)  # calls of 500 updates
    flags = ["--max-characters", "3000", "--hidden-size", "8", "--sample-length", "0", *flags]
    train.main([*flags, "--run-dir", str(Path(tmp_path, "run"))])
    out = capsys.readouterr().out
    assert all(f"\n{words}" in out for words in said), out
    assert out.count(" left\n") == out.count(" %  ")

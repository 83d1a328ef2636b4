"""A timed run has the width that promises the lowest loss at the speed of the machine."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from conftest import events, task_of

from jaxrnn import train
from jaxrnn.config import auto
from jaxrnn.config.settings import AUTO, PRESETS, DeviceConfig
from jaxrnn.runs import loop, width
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runs.task import updates_per_epoch

WIDTHS = (4, 6, 8)


@pytest.fixture
def narrow(monkeypatch):
    """Widths of a test's size, whatever the text."""
    monkeypatch.setattr(auto, "HIDDEN_SIZES", WIDTHS)
    monkeypatch.setattr(auto, "WIDE_TEXT", 1_000)


def timed(minutes, hidden_size=AUTO):
    gru = PRESETS["gru"]
    learning = dataclasses.replace(gru.learning, minutes=minutes)
    return dataclasses.replace(gru, learning=learning, model=dataclasses.replace(gru.model, hidden_size=hidden_size))


@pytest.mark.parametrize("characters", [1e5, 1e6, 1e7, 1e8])
def test_of_networks_as_fast_as_each_other_the_widest_is_chosen(characters):
    assert auto.choose_hidden_size(dict.fromkeys(auto.HIDDEN_SIZES, characters)) == max(auto.HIDDEN_SIZES)


@pytest.mark.parametrize("slowdowns", [(1.2, 1.4), (1.9, 3.3), (2.25, 4.0)])
def test_more_time_never_chooses_a_narrower_network(slowdowns):
    chosen = [
        auto.choose_hidden_size(dict(zip(auto.HIDDEN_SIZES, (n, n / slowdowns[0], n / slowdowns[1]), strict=True)))
        for n in np.geomspace(1e5, 1e10, 60)
    ]
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (min(auto.HIDDEN_SIZES), max(auto.HIDDEN_SIZES))


@pytest.mark.parametrize(
    ("minutes", "num_characters", "hidden_size", "depends"),
    [
        (3.0, 1_500_000, AUTO, True),
        (3.0, 999_999, AUTO, False),  # read so often that a wider network gains nothing
        (2.9, 1_500_000, AUTO, False),  # measuring would cost more than a wider network gains
        (0.0, 1_500_000, AUTO, False),  # a number of epochs
        (3.0, 1_500_000, 300, False),
    ],
)
def test_the_speed_matters_for_timed_runs_on_long_texts(minutes, num_characters, hidden_size, depends):
    assert width.depends_on_speed(timed(minutes, hidden_size), num_characters) == depends


@pytest.mark.parametrize(
    ("speeds", "chosen", "measured"),
    [
        ((1e7, 1e7, 1e7), 8, WIDTHS),
        ((1e7, 0.9e7, 1e3), 6, WIDTHS),
        ((1e7, 1e3, 1e7), 4, WIDTHS[:2]),  # the third would be slower still
        ((1e2, 1e2, 1e2), 4, WIDTHS[:1]),  # so slow that only reading counts
    ],
)
@pytest.mark.usefixtures("narrow")
def test_the_best_width_is_prepared_and_no_more_are_measured_than_may_be(speeds, chosen, measured, monkeypatch):
    settings, task = timed(2.0), task_of("gru", streams=2, rule_length=4)
    settings = dataclasses.replace(task.config, learning=dataclasses.replace(task.config.learning, minutes=2.0))
    monkeypatch.setattr(width, "seconds_to_test", lambda task: 20.0)
    monkeypatch.setattr(width, "characters_per_second", lambda task: dict(zip(WIDTHS, speeds, strict=True))[units(task)])
    best, by = width.prepare_width(settings, task.data, by_speed=True)
    assert (units(best), tuple(by.characters)) == (chosen, measured)
    assert by.characters[4] == pytest.approx((120 - 20 - by.seconds) * speeds[0], rel=0.01)


@pytest.mark.parametrize(("seconds", "measured"), [(10, WIDTHS), (30, WIDTHS[:2]), (50, WIDTHS[:1])])
@pytest.mark.usefixtures("narrow")
def test_a_network_is_not_measured_if_that_would_take_the_time_in_which_it_could_learn(seconds, measured, monkeypatch):
    """Of the 120 seconds, 20 are for the test; after the second measurement of 30, another would leave 10 to learn in."""
    task, clock = task_of("gru", streams=2, rule_length=4), [0.0]
    settings = dataclasses.replace(task.config, learning=dataclasses.replace(task.config.learning, minutes=2.0))

    def measure(task):
        clock[0] += seconds
        return 1e6 / task.config.model.hidden_size

    monkeypatch.setattr(width, "seconds_to_test", lambda task: 20.0)
    monkeypatch.setattr(width, "characters_per_second", measure)
    monkeypatch.setattr(width, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    _, by = width.prepare_width(settings, task.data, by_speed=True)
    assert tuple(by.characters) == measured
    assert by.seconds == len(measured) * seconds


def units(task):
    assert task.config.model.hidden_size == first_snapshot(task).state.carry.shape[-1]
    return task.config.model.hidden_size


def test_without_a_choice_nothing_is_measured(monkeypatch):
    task = task_of(device=DeviceConfig(num_devices=1))
    monkeypatch.delattr(width, "characters_per_second")
    same, by = width.prepare_width(task.config, task.data, by_speed=False)
    assert (same.config, by) == (task.config, width.Measured({}, 0.0))


@pytest.mark.parametrize("rule_length", [4, 424])
def test_the_speed_is_that_of_the_driver_and_leaves_no_trace(rule_length, monkeypatch):
    """A driver that takes a hundredth of a second for each update, of which an epoch may have only one."""
    task = task_of("gru", streams=2, rule_length=rule_length)
    assert (updates_per_epoch(task) == 1) == (rule_length == 424)
    monkeypatch.setattr(width, "SECONDS_MEASURED", 0.1)
    clock, before = [5.0], jax.tree.map(np.array, first_snapshot(task).state.params)

    def drive(state, stream, num_updates):
        clock[0] += 0.01 * num_updates
        return state, np.zeros(0, np.float32)

    monkeypatch.setattr(width, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert width.characters_per_second(task._replace(drive=drive)) == pytest.approx(2 * rule_length / 0.01, rel=1e-3)
    jax.tree.map(np.testing.assert_array_equal, first_snapshot(task).state.params, before)


def test_measuring_is_part_of_the_time_of_a_run(tmp_path):
    task = task_of(minutes=1.0)
    (tmp_path / "run").mkdir()
    for _ in loop.run(task, first_snapshot(task), tmp_path / "run", lambda: 0, seconds_before=44.9):  # 15 are for the test
        pass
    plan = next(event for event in events(tmp_path / "run") if event["event"] == "plan")
    assert 44.9 < plan["seconds_starting"] < 60


@pytest.mark.usefixtures("narrow")
def test_a_run_says_by_what_its_width_was_chosen(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(width, "LEAST_MINUTES", 0.01)
    monkeypatch.setattr(width, "SECONDS_MEASURED", 0.02)
    small = ["--max-characters", "3000", "--num-streams", "2", "--rule-length", "8", "--sample-length", "5"]
    train.main(["gru", *small, "--minutes", "0.05", "--dynamic", "fixed", "--run-dir", str(tmp_path / "run")])
    assert "width       chosen by speed: 4" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["hidden_size"] in WIDTHS

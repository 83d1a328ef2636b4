import dataclasses

import jax
import numpy as np
import optax
import pytest
import reference
from rich.console import Console
from rich.progress import Progress

from jaxrnn import build, config, report, train
from jaxrnn.config import Config
from jaxrnn.errors import Diverged


def task_of(preset="notebook", **learning):
    settings = config.PRESETS[preset]
    text = dataclasses.replace(settings.text, max_characters=1_000)
    learning = dataclasses.replace(settings.learning, **learning)
    settings = Config(text, dataclasses.replace(settings.model, hidden_size=8), learning)
    return train.prepare(settings, build.data(settings))


def epochs(task):
    """The epochs of a run, their states copied before the next one overwrites them."""
    state = task.learner.init(task.keys.init)
    for epoch in train.epochs(task, state, lambda *numbers: None):
        yield epoch._replace(state=jax.tree.map(np.array, epoch.state))


def test_every_epoch_begins_with_a_carry_of_its_own():
    task = task_of(epochs=3)
    weights = reference.to_float64(task.learner.init(task.keys.init).params)
    finished = list(epochs(task))
    for number, epoch in enumerate(finished):
        fresh = task.learner.restart(task.learner.init(task.keys.init), jax.random.fold_in(task.keys.epochs, number))
        expected, weights, _ = reference.train(weights, np.asarray(fresh.carry, np.float64), task.data.train, 0.1)
        np.testing.assert_allclose(epoch.losses, expected, rtol=2e-3)
        assert epoch.row.online_nats == pytest.approx(expected.mean(), rel=1e-4)
    assert len(finished) == 3


def test_the_schedule_sets_the_rate_that_is_learned_with(monkeypatch):
    task, validation_nats = task_of("mikolov2010"), [3.0, 2.9999, 2.5, 2.4999]
    monkeypatch.setattr(train, "validation", lambda task: lambda params, epoch: validation_nats[epoch])
    finished = list(epochs(task))
    assert [epoch.row.learning_rate for epoch in finished] == pytest.approx([0.1, 0.1, 0.05, 0.025])
    for epoch in finished:
        rate_in_state = optax.tree_utils.tree_get(epoch.state.opt_state, "learning_rate")
        assert rate_in_state == pytest.approx(epoch.schedule.learning_rate)


def test_a_worse_epoch_is_taken_back(monkeypatch):
    task, validation_nats = task_of("mikolov2010"), [3.0, 2.5, 2.9, 2.4, 2.8]
    monkeypatch.setattr(train, "validation", lambda task: lambda params, epoch: validation_nats[epoch])
    finished = list(epochs(task))
    assert len(finished) == 5
    for worse, better in ((2, 1), (4, 3)):
        jax.tree.map(np.testing.assert_array_equal, finished[worse].state.params, finished[better].state.params)
    assert (finished[3].state.params["readout"]["kernel"] != finished[2].state.params["readout"]["kernel"]).any()


def test_a_validation_loss_that_is_no_number_ends_the_run():
    task = task_of("mikolov2010", epochs=1)
    state = task.learner.init(task.keys.init)
    broken = jax.tree.map(lambda array: array * np.nan, state.params)
    with pytest.raises(Diverged, match="no longer a number in epoch 3"):
        train.validation(task)(broken, 2)


@pytest.mark.parametrize(("num_epochs", "said"), [(4, "epoch 2 of 4"), (None, "epoch 2 ")])
def test_a_terminal_gets_a_bar_with_the_numbers(num_epochs, said):
    screen = Console(force_terminal=True, width=80)
    with screen.capture() as captured, report.progress(screen, 1_000, num_epochs) as show:
        show(1, 500, 2.0, 123_456.0)
    for words in (said, "2.000 nats", "2.885 bits", "123,456 char/s", "38 %" if num_epochs else "50 %"):
        assert words in captured.get()


def test_the_time_left_is_counted_anew_in_each_epoch(monkeypatch):
    bars = []
    monkeypatch.setattr(report, "Progress", lambda *columns, **how: bars.append(Progress(*columns, **how)) or bars[0])
    screen = Console(force_terminal=True, width=80)
    with screen.capture(), report.progress(screen, 1_000, None) as show:
        for epoch in range(3):
            show(epoch, 500, 2.0, 1.0)
            assert not bars[0].tasks[0].finished
            show(epoch, 1_000, 2.0, 1.0)
            assert bars[0].tasks[0].finished


def test_what_would_steer_a_terminal_is_shown_as_a_sign():
    assert report.visible("a b\n\x1b[31m\x07é") == "a␣b⏎·[31m·é"
    assert len(report.visible("x" * 100)) == 60

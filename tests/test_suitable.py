"""`auto` settings train for every cell, rule and optimizer."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn import fast_driver
from jaxrnn.config import auto, build
from jaxrnn.config import settings as config
from jaxrnn.data import streams as stream
from jaxrnn.models.cells import CELLS
from jaxrnn.training.optimizers import OPTIMIZERS

RULES = {"one_step": {}, "bptt": {"rule_length": 16, "num_streams": 4}}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("cell", "activation"), [*((cell, "sigmoid") for cell in CELLS), ("elman", "tanh"), ("elman", "relu")])
def test_the_rate_that_suits_trains(cell, activation, name, rule):
    """Better than to know how often each character comes, which costs 3.0 nats, and without ever getting much worse."""
    settings = config.Config(
        text=config.TextConfig(max_characters=30_000),
        model=config.ModelConfig(cell=cell, hidden_size=64, activation=activation),
        learning=config.LearningConfig(rule=rule, optimizer=name, **RULES[rule]),
    )
    data = build.load_data(settings)
    chosen = auto.resolve_auto(settings, data.num_used)
    learner = build.build_learner(chosen, build.build_model(chosen, data.vocabulary))
    streams = jnp.asarray(stream.to_streams(data.train, chosen.learning.num_streams))
    drive, state = fast_driver(learner, 30_000), learner.init(build.make_keys(0).init)
    means = []
    for _ in range(3):
        state, losses = drive(state._replace(step=jnp.int32(0)), streams, (len(streams) - 1) // learner.length)
        means += [part.mean() for part in np.array_split(losses, 4)]
    assert means[-1] < 2.7
    assert max(after / before for before, after in zip(means, means[1:], strict=False)) < 1.1


def test_no_other_setting_is_touched():
    before = config.PRESETS["gru"]
    before = dataclasses.replace(before, learning=dataclasses.replace(before.learning, epochs=3))
    after = auto.resolve_auto(before, 1_000_000)
    assert after == dataclasses.replace(
        before,
        text=dataclasses.replace(before.text, validation_fraction=0.03, validation_pieces=6),
        model=dataclasses.replace(before.model, hidden_size=256),
        learning=dataclasses.replace(before.learning, learning_rate=0.01, weight_decay=0.1, dropout=0.0),
    )
    assert auto.resolve_auto(after, 50) == after


@pytest.mark.parametrize(("minutes", "num_characters", "hidden_size", "dropout"), [
    (0.0, 1_000_000, 256, 0.0), (1.5, 1_000_000, 256, 0.0), (10.0, 60_000, 256, 0.4), (10.0, 1_000_000, 256, 0.0),
])  # fmt: skip
def test_a_short_text_has_dropout_and_a_network_is_narrow_until_its_speed_is_known(
    minutes, num_characters, hidden_size, dropout
):
    gru = config.PRESETS["gru"]
    chosen = auto.resolve_auto(
        dataclasses.replace(gru, learning=dataclasses.replace(gru.learning, minutes=minutes)), num_characters
    )
    assert (chosen.model.hidden_size, chosen.learning.dropout) == (hidden_size, pytest.approx(dropout))


def test_a_resumed_run_keeps_the_rate_of_an_earlier_version():
    """Long runs had half of today's."""
    gru = config.PRESETS["gru"]
    chosen = auto.resolve_auto(gru, 1_000_000)
    for begun_rate, kept in ((0.01, 0.01), (0.005, 0.005), (0.3, 0.01)):
        begun = dataclasses.replace(chosen, learning=dataclasses.replace(chosen.learning, learning_rate=begun_rate))
        assert auto.resolve_auto_as_saved(gru, begun).learning.learning_rate == pytest.approx(kept)


@pytest.mark.parametrize(("optimizer", "num_streams", "decay"), [
    ("adamw", 32, 0.1), ("adamw", 64, 0.1), ("adamw", 16, 0.05), ("adam", 32, 0.0), ("sgd", 32, 0.0),
])  # fmt: skip
def test_weights_decay_where_the_optimizer_can(optimizer, num_streams, decay):
    """In proportion to the characters that are read."""
    gru = config.PRESETS["gru"]
    learning = dataclasses.replace(gru.learning, optimizer=optimizer, num_streams=num_streams)
    of_optimizer = dataclasses.replace(gru, learning=learning)
    chosen = auto.resolve_auto(of_optimizer, 1_000_000)
    assert chosen.learning.weight_decay == pytest.approx(decay)
    for begun_decay in (0.0, 0.1):  # an earlier version had none
        begun = dataclasses.replace(chosen, learning=dataclasses.replace(chosen.learning, weight_decay=begun_decay))
        assert auto.resolve_auto_as_saved(of_optimizer, begun).learning.weight_decay == begun_decay

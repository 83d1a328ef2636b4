import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn import build, config

HALVING = config.PRESETS["mikolov2010"]


def test_a_halved_rate_moves_the_weights_half_as_far():
    model = build.model(HALVING, build.data(HALVING).vocabulary)
    learner = build.learner(HALVING, model)
    state, update, moves = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.update), []
    for rate in (0.1, 0.05):
        later, _ = update(build.with_learning_rate(state, rate), jnp.array([1]), jnp.array([2]))
        moves.append(later.params["readout"]["kernel"] - state.params["readout"]["kernel"])
    np.testing.assert_allclose(moves[0], 2 * moves[1], atol=1e-6)
    assert abs(moves[0]).max() > 0.001


def test_the_keys_of_a_run_are_all_different():
    drawn = [np.asarray(jax.random.key_data(key)).tolist() for seed in (0, 1) for key in build.keys(seed)]
    assert len({tuple(key) for key in drawn}) == 8


@pytest.mark.parametrize(("most", "used"), [(0, 73_879), (50_000, 50_000), (10**9, 73_879)])
def test_as_many_characters_are_read_as_the_flag_says(most, used):
    data = build.data(dataclasses.replace(config.Config(), text=config.TextConfig(max_characters=most)))
    assert (data.num_used, data.num_characters) == (used, 73_879)
    assert len(data.train) + len(data.validation) + len(data.heldout) == used

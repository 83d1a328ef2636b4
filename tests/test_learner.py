import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from conftest import HIDDEN, VOCAB

from jaxrnn import elman, one_step, online

RATE = 0.1


@pytest.fixture(scope="module")
def learner(model):
    return online(model, one_step(model), optax.sgd(RATE))


def read(learner, state, ids):
    """Updates on each character in turn, without a driver."""
    update, losses = jax.jit(learner.update), []
    for x, y in zip(ids[:-1], ids[1:], strict=True):
        state, loss = update(state, jnp.asarray(x)[None], jnp.asarray(y)[None])
        losses.append(float(loss[0]))
    return state, np.array(losses)


@pytest.mark.parametrize("initialisation", ["pytorch", "mikolov"])
def test_online_learning_is_that_of_the_witness(initialisation, ids):
    model = elman(VOCAB, HIDDEN, initialisation=initialisation)
    learner = online(model, one_step(model), optax.sgd(RATE))
    state = learner.init(jax.random.key(0))
    trained = ("W_x", "W_h", "W_o") if initialisation == "mikolov" else ("W_x", "W_h", "W_o", "b", "c")
    weights, h = reference.to_float64(state.params), np.asarray(state.carry, np.float64)
    expected_losses, expected, _ = reference.train(weights, h, ids, RATE, trained)
    state, losses = read(learner, state, ids)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    for name, array in reference.to_float64(state.params).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-5)


def test_an_update_leaves_its_inputs_as_they_are(learner):
    state = learner.init(jax.random.key(0))
    before = jax.tree.map(np.array, state)
    learner.update(state, jnp.array([1]), jnp.array([2]))
    jax.tree.map(np.testing.assert_array_equal, before, state)


def test_an_update_counts_and_moves_every_parameter(learner):
    state = learner.init(jax.random.key(0))
    later, _ = learner.update(state, jnp.array([1]), jnp.array([2]))
    assert later.step == 1
    assert all((a != b).any() for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(later.params), strict=True))


def test_a_loss_does_not_know_what_comes_later(learner, ids):
    other = ids.copy()
    other[50:] = (other[50:] + 1) % VOCAB
    _, losses = read(learner, learner.init(jax.random.key(0)), ids[:100])
    _, other_losses = read(learner, learner.init(jax.random.key(0)), other[:100])
    np.testing.assert_array_equal(losses[:49], other_losses[:49])
    assert (losses[49:] != other_losses[49:]).all()


def test_equal_streams_learn_what_one_stream_learns(model, learner, ids):
    together = online(model, one_step(model), optax.sgd(RATE), streams=(3,))
    state = learner.init(jax.random.key(0))
    copies = together.init(jax.random.key(0))._replace(carry=jnp.stack([state.carry] * 3))
    state, losses = read(learner, state, ids[:50])
    copies, together_losses = read(together, copies, np.stack([ids[:50]] * 3, axis=1))
    np.testing.assert_allclose(losses, together_losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.params, copies.params)


def test_the_first_state_of_given_weights_is_new_but_for_them(learner, params):
    state = learner.begin(params, jax.random.key(2))
    assert state.step == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
    assert (state.carry != learner.begin(params, jax.random.key(3)).carry).all()


def test_a_restart_draws_the_carry_and_keeps_all_else(learner):
    state = learner.init(jax.random.key(0))
    state, _ = learner.update(state, jnp.array([1]), jnp.array([2]))
    again = learner.restart(state, jax.random.key(3))
    assert (again.carry != state.carry).all()
    np.testing.assert_array_equal(again.carry, learner.restart(state, jax.random.key(3)).carry)
    jax.tree.map(np.testing.assert_array_equal, again._replace(carry=state.carry), state)

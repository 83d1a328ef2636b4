import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from conftest import HIDDEN, VOCAB

from jaxrnn import Model, elman, fast_driver, one_step, online, plain_driver
from jaxrnn.training.learner import reader

RATE = 0.1


@pytest.fixture(scope="module")
def learner(model):
    return online(model, one_step(model), optax.sgd(RATE))


@functools.cache
def compiled(learner):
    """Its ways to begin and to go on, each one program for all tests."""
    return learner._replace(**{name: jax.jit(getattr(learner, name)) for name in ("init", "begin", "restart", "update")})


def read(learner, state, ids):
    """Updates on each character in turn, without a driver."""
    update, losses = compiled(learner).update, []
    for x, y in zip(ids[:-1], ids[1:], strict=True):
        state, loss = update(state, x[None], y[None])
        losses.append(float(loss[0]))
    return state, np.array(losses)


@pytest.mark.parametrize("initialisation", ["pytorch", "mikolov"])
def test_online_learning_is_that_of_the_witness(initialisation, ids):
    model = elman(VOCAB, HIDDEN, initialisation=initialisation)
    learner = online(model, one_step(model), optax.sgd(RATE))
    state = compiled(learner).init(jax.random.key(0))
    trained = ("W_x", "W_h", "W_o") if initialisation == "mikolov" else ("W_x", "W_h", "W_o", "b", "c")
    weights, h = reference.to_float64(state.params), np.asarray(state.carry, np.float64)
    expected_losses, expected, _ = reference.train(weights, h, ids, RATE, trained)
    state, losses = read(learner, state, ids)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    for name, array in reference.to_float64(state.params).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-5)


def test_an_update_may_be_repeated(learner):
    """It neither changes what it is given, which holds dicts, nor takes its memory, nor keeps anything between two calls."""
    state = compiled(learner).init(jax.random.key(0))
    before = jax.tree.map(np.array, state)
    first, again = (learner.update(state, jnp.array([1]), jnp.array([2])) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert jax.tree.structure(state) == jax.tree.structure(before)
    jax.tree.map(np.testing.assert_array_equal, state, before)


def test_an_update_counts_and_moves_every_parameter(learner):
    state = compiled(learner).init(jax.random.key(0))
    later, _ = compiled(learner).update(state, np.array([1]), np.array([2]))
    assert later.step == 1
    assert all((a != b).any() for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(later.params), strict=True))


def test_a_loss_does_not_know_what_comes_later(learner, ids):
    other = ids.copy()
    other[50:] = (other[50:] + 1) % VOCAB
    begun = compiled(learner).init(jax.random.key(0))
    (_, losses), (_, other_losses) = (read(learner, begun, text[:100]) for text in (ids, other))
    np.testing.assert_array_equal(losses[:49], other_losses[:49])
    assert (losses[49:] != other_losses[49:]).all()


def test_equal_streams_learn_what_one_stream_learns(model, learner, ids):
    together = online(model, one_step(model), optax.sgd(RATE), streams=(3,))
    state = compiled(learner).init(jax.random.key(0))
    copies = compiled(together).init(jax.random.key(0))._replace(carry=np.stack([state.carry] * 3))
    state, losses = read(learner, state, ids[:50])
    copies, together_losses = read(together, copies, np.stack([ids[:50]] * 3, axis=1))
    np.testing.assert_allclose(losses, together_losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.params, copies.params)


def test_the_first_state_of_given_weights_is_new_but_for_them(learner, params):
    state, other = (compiled(learner).begin(params, jax.random.key(seed)) for seed in (2, 3))
    assert state.step == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, params)
    assert (state.carry != other.carry).all()


def test_a_restart_draws_the_carry_begins_at_step_0_and_keeps_all_else(learner):
    state = compiled(learner).init(jax.random.key(0))
    state, _ = compiled(learner).update(state, np.array([1]), np.array([2]))
    again, same = (compiled(learner).restart(state, jax.random.key(3)) for _ in range(2))
    assert (again.carry != state.carry).all()
    np.testing.assert_array_equal(again.carry, same.carry)
    assert (state.step, again.step) == (1, 0)
    jax.tree.map(np.testing.assert_array_equal, again._replace(carry=state.carry, step=state.step), state)


DRIVERS = pytest.mark.parametrize("make_driver", [plain_driver, functools.partial(fast_driver, updates_per_call=4)])


@DRIVERS
def test_weights_go_on_learning_after_a_reader_has_read_with_them(model, learner, ids, make_driver):
    frozen, ids = reader(model), jnp.asarray(ids)
    drive, test = make_driver(learner), make_driver(frozen)
    state = compiled(learner).init(jax.random.key(0))
    state, _ = drive(state, ids, 5)
    first = test(frozen.begin(learner.test_params(state), jax.random.key(0)), ids, 5)[1]
    second = test(frozen.begin(learner.test_params(state), jax.random.key(0)), ids, 5)[1]
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(drive(state, ids, 5)[1]).all()


@DRIVERS
def test_a_memory_may_start_as_the_carry_and_an_optimizer_as_the_weights(model, ids, make_driver):
    rule, sgd, ids = one_step(model), optax.sgd(RATE), jnp.asarray(ids)
    remembering = rule._replace(init=lambda params, carry, key: carry)

    def learn(updates, state, params=None):
        return sgd.update(updates, sgd.init(updates))[0], state

    averaging = optax.GradientTransformation(lambda params: (sgd.init(params), params), learn)
    runs = []
    for learner in (online(model, remembering, averaging), online(model, rule, sgd)):
        runs.append(make_driver(learner)(learner.init(jax.random.key(0)), ids, 5)[1])
    np.testing.assert_array_equal(*runs)


@DRIVERS
def test_one_array_may_be_two_parts_of_a_carry(ids, make_driver):
    def initial_carry(key, streams):
        zeros = jnp.zeros((*streams, 3))
        return {"h": zeros, "c": zeros}

    def step(params, carry, x):
        h = jnp.tanh(params["w"][x] + carry["c"])
        return {"h": h, "c": 0.5 * (carry["c"] + h)}, h @ params["o"]

    shared = jnp.ones((VOCAB, 3))
    model = Model(lambda key: {"w": shared, "o": shared.T}, initial_carry, step, vocab_size=VOCAB)
    learner = online(model, one_step(model), optax.sgd(RATE))
    for _ in range(2):  # a driver overwrites neither
        _, losses = make_driver(learner)(learner.init(jax.random.key(0)), jnp.asarray(ids), 5)
        assert np.isfinite(losses).all()


@DRIVERS
@pytest.mark.parametrize("jit", [lambda function: function, jax.jit], ids=["as it is", "jitted"])
@pytest.mark.parametrize(
    "make", [lambda model: online(model, one_step(model), optax.sgd(RATE)), reader], ids=["online", "reader"]
)
def test_two_learners_begin_with_the_same_weights(model, params, ids, make, make_driver, jit):
    params, ids = jax.tree.map(jnp.asarray, params), jnp.asarray(ids)
    learner = make(model)
    begin, restart = jit(learner.begin), jit(learner.restart)
    drive = make_driver(learner)
    first, second = (drive(begin(params, jax.random.key(0)), ids, 5)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    state = begin(params, jax.random.key(0))
    drive(restart(state, jax.random.key(1)), ids, 5)
    np.testing.assert_array_equal(drive(state, ids, 5)[1], first)

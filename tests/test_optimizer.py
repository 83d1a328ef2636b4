from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrnn import one_step, online
from jaxrnn.training.optimizers import (
    ENDLESS,
    OPTIMIZERS,
    make_optimizer,
    num_clipped,
    schedule_factor,
    schedule_length,
    with_learning_rate,
    with_schedule_length,
)
from jaxrnn.training.transformations import clip_by_global_norm, cosine_factor


def test_a_halved_rate_moves_the_weights_half_as_far():
    sgd, params, grads, moves = make_optimizer("sgd", 0.1), jnp.zeros(3), jnp.ones(3), []
    state = sgd.init(params)
    for rate in (0.1, 0.05):
        updates, _ = sgd.update(grads, with_learning_rate(state, rate), params)
        moves.append(np.asarray(updates))
    np.testing.assert_allclose(moves[0], -0.1, rtol=1e-6)
    np.testing.assert_allclose(moves[1], -0.05, rtol=1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_it_is_optax_sgd(model, ids, clip_norm):
    """The rate in the state and the counting change no number."""
    plain = optax.chain(optax.clip_by_global_norm(clip_norm), optax.sgd(0.1)) if clip_norm else optax.sgd(0.1)
    ends = []
    for each in (make_optimizer("sgd", 0.1, clip_norm), plain):
        learner = online(model, one_step(model), each)
        state, update = learner.init(jax.random.key(0)), jax.jit(learner.update)
        for t in range(50):
            state, _ = update(state, jnp.asarray(ids[t : t + 1]), jnp.asarray(ids[t + 1 : t + 2]))
        ends.append(state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *ends)


def test_only_gradients_that_are_too_long_are_shortened_and_counted():
    clip = clip_by_global_norm(5.0)
    grads = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}  # of norm 5
    state = clip.init(grads)
    for factor, norm, count in ((1.0, 5.0, 0), (2.0, 5.0, 1), (0.5, 2.5, 1), (100.0, 5.0, 2)):
        clipped, state = clip.update(jax.tree.map(lambda g, factor=factor: factor * g, grads), state)
        assert float(optax.tree.norm(clipped)) == pytest.approx(norm)
        assert num_clipped(state) == count
    assert num_clipped(make_optimizer("sgd", 0.1).init(grads)) is None
    assert num_clipped(make_optimizer("sgd", 0.1, 1.0).init(grads)) == 0


OPTAX = {
    "sgd": optax.sgd(0.01),
    "momentum": optax.sgd(0.01, momentum=0.9),
    "adam": optax.adam(0.01),
    "adamw": optax.adamw(0.01, weight_decay=0.5),
    "rmsprop": optax.rmsprop(0.01, decay=0.99),
}


def followed(transformation, num_updates=5):
    """Weights after some updates by gradients that are the weights themselves."""
    params: Any = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
    state = transformation.init(params)
    for _ in range(num_updates):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(params, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_name_is_optax_s(name):
    ours, _ = followed(make_optimizer(name, 0.01, weight_decay=0.5 if name == "adamw" else 0.0))
    theirs, _ = followed(OPTAX[name])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)
    slower, _ = followed(make_optimizer(name, 0.005, weight_decay=0.5 if name == "adamw" else 0.0))
    assert (slower["a"] != ours["a"]).all()


def test_a_cosine_goes_up_and_then_down_to_nothing():
    factors = [float(cosine_factor(jnp.int32(done), jnp.int32(1_000))) for done in (0, 49, 99, 500, 750, 1_000, 1_200)]
    expected = [0.01, 0.5 * (1 + np.cos(0.049 * np.pi)) / 2, (1 + np.cos(0.099 * np.pi)) / 2, 0.5, (1 - 0.5**0.5) / 2, 0, 0]
    np.testing.assert_allclose(factors, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_cosine_scales_the_rate(name):
    """The first of an endless run's updates is a hundredth of the usual one, the second two hundredths."""
    plain, warming = make_optimizer(name, 0.1), make_optimizer(name, 0.1, cosine_over=ENDLESS)
    params: Any = {"a": jnp.array([1.0, -2.0])}
    states: Any = plain.init(params), warming.init(params)
    for part in (0.01, 0.02):
        both: Any = plain.update(params, states[0]), warming.update(params, states[1])
        (usual, first), (scaled, second) = both
        states = first, second
        np.testing.assert_allclose(scaled["a"], part * usual["a"], rtol=1e-5)
    assert schedule_factor(states[1]) == pytest.approx(0.03)
    assert schedule_factor(states[0]) == 1


def test_the_length_of_a_run_is_in_the_state():
    state = make_optimizer("adam", 0.1, clip_norm=1.0, cosine_over=ENDLESS).init({"a": jnp.zeros(2)})
    assert schedule_length(state) == ENDLESS
    assert schedule_length(with_schedule_length(state, 77)) == 77
    plain = make_optimizer("adam", 0.1).init({"a": jnp.zeros(2)})
    assert schedule_length(plain) is None
    assert with_schedule_length(plain, 77) is plain

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrnn import one_step, online
from jaxrnn.optimizer import clip_by_global_norm, num_clipped, sgd, with_learning_rate


def test_a_halved_rate_moves_the_weights_half_as_far():
    optimizer, params, grads, moves = sgd(0.1), jnp.zeros(3), jnp.ones(3), []
    state = optimizer.init(params)
    for rate in (0.1, 0.05):
        updates, _ = optimizer.update(grads, with_learning_rate(state, rate), params)
        moves.append(np.asarray(updates))
    np.testing.assert_allclose(moves[0], -0.1, rtol=1e-6)
    np.testing.assert_allclose(moves[1], -0.05, rtol=1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_it_is_optax_sgd(model, ids, clip_norm):
    """The rate in the state and the counting change no number."""
    plain = optax.chain(optax.clip_by_global_norm(clip_norm), optax.sgd(0.1)) if clip_norm else optax.sgd(0.1)
    ends = []
    for optimizer in (sgd(0.1, clip_norm), plain):
        learner = online(model, one_step(model), optimizer)
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
    assert num_clipped(sgd(0.1).init(grads)) is None
    assert num_clipped(sgd(0.1, 1.0).init(grads)) == 0

"""Networks that join what a mixture of counts alone has learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture_witness import CODE, CONTEXTS
from test_mixture import MODEL, jit, learn_blocks, of_group, predict_jitted, some_known

from jaxrnn.models.mixture import mixture_model


@pytest.fixture(scope="module")
def of_counts():
    """A mixture of counts alone that has read a text, and the same without networks in the text."""
    model = mixture_model(CODE, CONTEXTS, np.ones((1, 2), bool))
    known, y = some_known()
    alone = known._replace(log_ps=known.log_ps[:, 2:])
    return model, alone, learn_blocks(alone, y, 16, model.init(), jit(model.learn))


def test_of_counts_alone_a_mixture_is_that_of_counts_among_others(of_counts):
    known, y = some_known()
    (state, nats), (alone, nats_alone) = learn_blocks(known, y), of_counts[2]
    np.testing.assert_allclose(nats_alone[:, 0], nats[:, 1], rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), alone.worth, state.worth)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_networks_join_what_counts_have_learned(of_counts, share):
    _, _, (learned, _) = of_counts
    arrays, at_counts = jax.tree.map(jnp.asarray, learned), [0, *range(3, 15)]
    joined, new = (jax.tree.map(np.asarray, each) for each in (MODEL.join(arrays, jnp.float32(share)), MODEL.init()))
    jax.tree.map(np.testing.assert_array_equal, of_group(joined, 0), of_group(new, 0))
    for old, rows in zip(learned.weights, joined.weights, strict=True):
        np.testing.assert_array_equal(rows[:, 1, at_counts], old[:, 0])
        np.testing.assert_array_equal(rows[:, 1, 1:3], 0)
        np.testing.assert_allclose(rows[:, 2, at_counts], (1 - share) * old[:, 0], rtol=1e-6)
        np.testing.assert_allclose(rows[:, 2, 1:3], share / 2, rtol=1e-6)
    for g in (1, 2):
        for old, rows in zip((learned.last_weights, *learned.refined), (joined.last_weights, *joined.refined), strict=True):
            np.testing.assert_array_equal(rows[:, g], old[:, 0])
    np.testing.assert_allclose(
        np.exp(joined.log_trust[2]),
        [(1 / 3) * each for each in (share, 1 - share, 1)] + [share / 6, share / 6, (1 - share) / 6, (1 - share) / 6],
        rtol=1e-5,
    )
    jax.tree.map(np.testing.assert_array_equal, (joined.worth, joined.before), (learned.worth, learned.before))
    assert any((old != fresh).any() for old, fresh in zip(learned.worth, new.worth, strict=True))


def test_counts_alone_go_on_as_before_where_networks_join(of_counts):
    model, _, (learned, _) = of_counts
    known, y = some_known(seed=1)
    arrays = jax.tree.map(jnp.asarray, learned)
    now, characters = jax.tree.map(lambda each: jnp.asarray(each[0]), known), jnp.array([y[0], y[1]])
    alone = model.predict(arrays, now._replace(log_ps=now.log_ps[2:]), characters)
    joined = predict_jitted(MODEL.join(arrays, jnp.float32(0.5)), now, characters)
    np.testing.assert_allclose(joined[1], alone[0], rtol=1e-5)

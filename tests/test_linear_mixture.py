"""The linear mixture behind a mixture: what it costs, and whom it trusts."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.models.linear_mixture import learn_trust, mix_linearly, start_trust

IS_NETWORK = np.array([True, True, True, False, False])
GROUPS = np.stack([IS_NETWORK, ~IS_NETWORK, IS_NETWORK | ~IS_NETWORK])


def log_p_of_experts(time, best, seed=0):
    rng = np.random.default_rng(seed)
    log_ps = np.log(rng.uniform(0.01, 0.3, (time, 8))).astype(np.float32)
    log_ps[:, best] = np.log(0.5)
    return log_ps


def read(trust, log_ps):
    """Nats of each mixture in all, and whom it trusts at the end."""
    nats = np.zeros(len(trust))
    for each in jnp.asarray(log_ps):
        nats -= np.asarray(mix_linearly(trust, each))
        trust = learn_trust(trust, each)
    return nats, np.exp(trust)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_third_is_for_the_mixture_itself(share):
    of_networks, of_counts, of_all = np.exp(start_trust(GROUPS, IS_NETWORK, jnp.float32(share)))
    np.testing.assert_allclose(of_networks, [1 / 3, 0, 0, *[2 / 9] * 3, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(of_counts, [0, 1 / 3, 0, 0, 0, 0, 1 / 3, 1 / 3], rtol=1e-5)
    networks, counts = share / 3, (1 - share) / 3
    np.testing.assert_allclose(of_all, [networks, counts, 1 / 3, *[networks / 3] * 3, *[counts / 2] * 2], rtol=1e-5)


@pytest.mark.parametrize("best", range(8))
def test_the_best_expert_is_followed_at_the_cost_of_its_first_trust(best):
    trust, log_ps = start_trust(GROUPS, IS_NETWORK, jnp.float32(0.5)), log_p_of_experts(200, best)
    nats, trusted = read(trust, log_ps)
    first = np.exp(np.asarray(trust[2, best]))
    assert nats[2] <= 200 * np.log(2) - np.log(first) + 200 * 8e-4  # what each expert keeps
    assert trusted[2].argmax() == best
    np.testing.assert_allclose(trusted.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(trusted == 0, np.exp(np.asarray(trust)) == 0)  # of others it takes no advice


def test_an_expert_that_fails_is_followed_again_when_it_recovers():
    log_ps = np.concatenate([log_p_of_experts(100, 3), log_p_of_experts(100, 6), log_p_of_experts(100, 3)])
    log_ps[100:200, 3] = -np.inf
    nats, trusted = read(start_trust(GROUPS, IS_NETWORK, jnp.float32(0.5)), log_ps)
    assert trusted[2].argmax() == 3
    assert nats[2] <= 300 * np.log(2) + 35

import math

import jax
import numpy as np
import optax
import pytest
import reference

from jaxrnn import evaluate

RATE = 0.2


def as_witness(model, params):
    carry = model.initial_carry(jax.random.key(5), ())
    return reference.to_float64(params), np.asarray(carry, np.float64)


def test_frozen_losses_are_those_of_the_witness(model, params, ids):
    losses = evaluate.frozen(model, params, ids, jax.random.key(5))
    np.testing.assert_allclose(losses, reference.read(*as_witness(model, params), ids), rtol=1e-5)


def test_dynamic_losses_are_those_of_the_witness(model, params, ids):
    losses = evaluate.dynamic(model, params, ids, jax.random.key(5), optax.sgd(RATE))
    expected, _, _ = reference.train(*as_witness(model, params), ids, RATE)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_dynamic_evaluation_scores_a_character_before_it_learns_from_it(model, params, ids):
    """One step at an absurd rate ruins the model: the loss before it must not show that, the next one must."""
    frozen = evaluate.frozen(model, params, ids[:3], jax.random.key(5))
    dynamic = evaluate.dynamic(model, params, ids[:3], jax.random.key(5), optax.sgd(1e4))
    np.testing.assert_allclose(dynamic[0], frozen[0], rtol=1e-6)
    assert abs(dynamic[1] - frozen[1]) > 100


def test_evaluation_leaves_the_weights_as_they_are(model, params, ids):
    before = jax.tree.map(np.array, params)
    evaluate.dynamic(model, params, ids, jax.random.key(5), optax.sgd(RATE))
    evaluate.frozen(model, params, ids, jax.random.key(5))
    jax.tree.map(np.testing.assert_array_equal, before, params)


def test_more_characters_than_one_call_takes_change_nothing(model, params, ids, monkeypatch):
    whole = evaluate.dynamic(model, params, ids, jax.random.key(5), optax.sgd(RATE))
    monkeypatch.setattr(evaluate, "UPDATES_PER_CALL", 37)
    np.testing.assert_array_equal(evaluate.dynamic(model, params, ids, jax.random.key(5), optax.sgd(RATE)), whole)


def test_means_are_summed_in_float64():
    losses = np.random.default_rng(0).uniform(1, 3, 1_000_000).astype(np.float32)
    assert evaluate.mean_nats(losses) == pytest.approx(math.fsum(losses.tolist()) / len(losses), rel=1e-13)

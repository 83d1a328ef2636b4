"""Mixing losses after the fact, against plain sums of probabilities."""

import math

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxrnn.errors import InputError
from jaxrnn.models import interpolation

SHARES = [0.0, 0.01, 0.3, 1.0]
shares = st.floats(0, 1)
many_losses = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=st.floats(0, 20, allow_subnormal=False)
)


def some_losses(num_models=3, time=50, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 4, (num_models, time))


def both_ways(losses):
    """Mixed with equal fixed weights, and online."""
    weights = np.full(len(losses), 1 / len(losses))
    return [interpolation.interpolate(losses, weights), *(interpolation.mix_online(losses, share) for share in SHARES)]


def test_fixed_weights_by_hand():
    """0.75 1/2 + 0.25 1/4 = 7/16; 0.75 1/8 + 0.25 1 = 11/32."""
    losses = -np.log([[1 / 2, 1 / 8], [1 / 4, 1]])
    np.testing.assert_allclose(
        interpolation.interpolate(losses, np.array([0.75, 0.25])), -np.log([7 / 16, 11 / 32]), atol=1e-12
    )


def test_bayes_by_hand():
    """Probabilities 1/2, 1/8, 1/4 and 1/4, 1, 1/2.

    Weights 1/2, 1/2: 3/8. Then 1/4 : 1/8 = 2/3, 1/3: 2/3 1/8 + 1/3 = 5/12.
    Then 1/12 : 1/3 = 1/5, 4/5: 1/5 1/4 + 4/5 1/2 = 9/20.
    """
    losses = -np.log([[1 / 2, 1 / 8, 1 / 4], [1 / 4, 1, 1 / 2]])
    np.testing.assert_allclose(interpolation.mix_online(losses, 0.0), -np.log([3 / 8, 5 / 12, 9 / 20]), atol=1e-12)


def test_a_share_by_hand():
    """As above, half of the weights shared equally.

    Then 1/2 2/3 + 1/4 = 7/12, 5/12: 7/12 1/8 + 5/12 = 47/96.
    Then 7/47, 40/47, shared 61/188, 127/188: 61/188 1/4 + 127/188 1/2 = 315/752.
    """
    losses = -np.log([[1 / 2, 1 / 8, 1 / 4], [1 / 4, 1, 1 / 2]])
    np.testing.assert_allclose(interpolation.mix_online(losses, 0.5), -np.log([3 / 8, 47 / 96, 315 / 752]), atol=1e-12)


@settings(deadline=None)
@given(many_losses, shares)
def test_it_is_the_sum_of_plain_probabilities(losses, share):
    weights = np.arange(1, len(losses) + 1) / math.fsum(range(1, len(losses) + 1))
    fixed, online, w = [], [], [1 / len(losses)] * len(losses)
    for p in np.exp(-losses).T.tolist():
        fixed.append(-math.log(math.fsum(w_m * p_m for w_m, p_m in zip(weights, p, strict=True))))
        joint = [w_m * p_m for w_m, p_m in zip(w, p, strict=True)]
        online.append(-math.log(math.fsum(joint)))
        w = [(1 - share) * j / math.fsum(joint) + share / len(losses) for j in joint]
    np.testing.assert_allclose(interpolation.interpolate(losses, weights), fixed, atol=1e-10)
    np.testing.assert_allclose(interpolation.mix_online(losses, share), online, atol=1e-10)


@pytest.mark.parametrize("copies", [1, 3])
def test_one_model_and_equal_models_are_that_model(copies):
    losses = np.repeat(some_losses(1), copies, axis=0)
    for mixed in both_ways(losses):
        assert mixed.dtype == np.float64
        np.testing.assert_allclose(mixed, losses[0], atol=1e-12)


def test_a_weight_of_one_is_that_model_and_a_weight_of_zero_is_none():
    losses = some_losses()
    np.testing.assert_allclose(interpolation.interpolate(losses, np.array([0.0, 1.0, 0.0])), losses[1], atol=1e-12)


@settings(deadline=None)
@given(many_losses)
def test_bayes_is_at_most_the_best_model_and_ln_models(losses):
    assert interpolation.mix_online(losses, 0.0).sum() <= losses.sum(axis=1).min() + math.log(len(losses)) + 1e-9


def test_the_bound_of_bayes_is_tight():
    """One model is certain of every character, the other ones of its opposite: all that is lost is ln models."""
    losses = np.array([[0.0] * 20, [50.0] * 20, [50.0] * 20])
    assert interpolation.mix_online(losses, 0.0).sum() == pytest.approx(math.log(3), abs=1e-12)


@settings(deadline=None)
@given(many_losses, st.floats(0.001, 0.999), st.data())
def test_a_share_follows_any_sequence_of_models(losses, share, data):
    num_models, time = losses.shape
    followed = np.array(data.draw(st.lists(st.integers(0, num_models - 1), min_size=time, max_size=time)))
    k = int((followed[1:] != followed[:-1]).sum())
    bound = math.log(num_models) + k * math.log(num_models / share) - (time - 1 - k) * math.log(1 - share)
    assert interpolation.mix_online(losses, share).sum() <= losses[followed, np.arange(time)].sum() + bound + 1e-9


def test_with_a_share_the_best_model_can_change():
    good, bad = np.full(200, 0.5), np.full(200, 3.0)
    losses = np.array([np.concatenate([good, bad]), np.concatenate([bad, good])])
    assert interpolation.mix_online(losses)[210:].mean() < 0.6
    assert interpolation.mix_online(losses, 0.0)[210:].mean() > 2


def test_a_character_is_scored_before_the_weights_learn_from_it():
    losses = some_losses()
    changed = losses.copy()
    changed[0, 20] += 1
    for share in (0.0, 0.01, 0.3):
        before, after = interpolation.mix_online(losses, share), interpolation.mix_online(changed, share)
        np.testing.assert_array_equal(before[:20], after[:20])
        assert (before[20:23] != after[20:23]).all()
    np.testing.assert_allclose(np.exp(-interpolation.mix_online(losses)[0]), np.exp(-losses[:, 0]).mean(), rtol=1e-12)


@settings(deadline=None)
@given(many_losses, shares)
def test_a_mixture_is_between_the_models(losses, share):
    for mixed in (interpolation.mix_online(losses, share), interpolation.interpolate(losses, np.eye(len(losses))[0])):
        assert (mixed >= losses.min(axis=0) - 1e-9).all()
        assert (mixed <= losses.max(axis=0) + 1e-9).all()


def test_the_order_of_the_models_does_not_matter():
    losses, weights, order = some_losses(), np.array([0.5, 0.3, 0.2]), [2, 0, 1]
    changed = interpolation.interpolate(losses[order], weights[order])
    np.testing.assert_allclose(changed, interpolation.interpolate(losses, weights), atol=1e-12)
    for mixed, permuted in zip(both_ways(losses), both_ways(losses[order]), strict=True):
        np.testing.assert_allclose(permuted, mixed, atol=1e-12)


def test_losses_that_float64_has_no_probability_for_are_mixed():
    """A model that fell 3000 nats behind and then gains 4000 leads: no weight is lost on the way."""
    losses = np.array([[1000.0] * 7, [2000.0] * 3 + [0.0] * 4])
    assert interpolation.mix_online(losses, 0.0).sum() == pytest.approx(6000 + math.log(2), abs=1e-9)
    fixed = interpolation.interpolate(losses, np.array([0.5, 0.5]))
    np.testing.assert_allclose(fixed, np.array([1000.0] * 3 + [0.0] * 4) + math.log(2), atol=1e-12)


def test_float32_losses_are_mixed_in_float64_and_left_as_they_are():
    losses = some_losses().astype(np.float32)
    before = losses.copy()
    for mixed, expected in zip(both_ways(losses), both_ways(losses.astype(np.float64)), strict=True):
        assert mixed.dtype == np.float64
        np.testing.assert_array_equal(mixed, expected)
    np.testing.assert_array_equal(losses, before)
    assert np.isfinite(interpolation.interpolate(losses, np.array([0.7, 0.2, 0.1], np.float32))).all()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.2, -0.2, 0.0], r"are \[1.2, -0.2, 0.0\]; they must be 0 or more, with sum 1"),
        ([0.5, 0.3, 0.1], "with sum 1"),
        ([math.nan, 0.5, 0.5], "with sum 1"),
        ([0.5, 0.5], "2 weights for 3 models"),
    ],
)
def test_wrong_weights_are_a_one_line_error(weights, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for whoever has no checks at each call
    with pytest.raises(InputError, match=said) as caught:
        interpolation.interpolate(some_losses(), np.array(weights))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_wrong_share_is_an_error(share):
    with pytest.raises(InputError, match="it must be 0 to 1"):
        interpolation.mix_online(some_losses(), share)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (np.zeros((0, 5)), r"of shape \(0, 5\)"),
        (np.zeros(5), r"of shape \(5,\)"),
        (np.array([[1.0, math.nan]]), "finite"),
        (np.array([[1.0, math.inf]]), "finite"),
    ],
)
def test_wrong_losses_are_an_error(losses, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for mix in (interpolation.mix_online, lambda losses: interpolation.interpolate(losses, np.array([1.0]))):
        with pytest.raises(InputError, match=said):
            mix(losses)

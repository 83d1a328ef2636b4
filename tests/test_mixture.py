import functools
import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxrnn.errors import InputError
from jaxrnn.models import mixture
from jaxrnn.models.mixture import LOG_SHARE, LOWEST, learn_mixture, start_mixture

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
    return [mixture.interpolate(losses, weights), *(mixture.mix_online(losses, share) for share in SHARES)]


def test_fixed_weights_by_hand():
    """0.75 1/2 + 0.25 1/4 = 7/16; 0.75 1/8 + 0.25 1 = 11/32."""
    losses = -np.log([[1 / 2, 1 / 8], [1 / 4, 1]])
    np.testing.assert_allclose(mixture.interpolate(losses, np.array([0.75, 0.25])), -np.log([7 / 16, 11 / 32]), atol=1e-12)


def test_bayes_by_hand():
    """Probabilities 1/2, 1/8, 1/4 and 1/4, 1, 1/2.

    Weights 1/2, 1/2: 3/8. Then 1/4 : 1/8 = 2/3, 1/3: 2/3 1/8 + 1/3 = 5/12.
    Then 1/12 : 1/3 = 1/5, 4/5: 1/5 1/4 + 4/5 1/2 = 9/20.
    """
    losses = -np.log([[1 / 2, 1 / 8, 1 / 4], [1 / 4, 1, 1 / 2]])
    np.testing.assert_allclose(mixture.mix_online(losses, 0.0), -np.log([3 / 8, 5 / 12, 9 / 20]), atol=1e-12)


def test_a_share_by_hand():
    """As above, half of the weights shared equally.

    Then 1/2 2/3 + 1/4 = 7/12, 5/12: 7/12 1/8 + 5/12 = 47/96.
    Then 7/47, 40/47, shared 61/188, 127/188: 61/188 1/4 + 127/188 1/2 = 315/752.
    """
    losses = -np.log([[1 / 2, 1 / 8, 1 / 4], [1 / 4, 1, 1 / 2]])
    np.testing.assert_allclose(mixture.mix_online(losses, 0.5), -np.log([3 / 8, 47 / 96, 315 / 752]), atol=1e-12)


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
    np.testing.assert_allclose(mixture.interpolate(losses, weights), fixed, atol=1e-10)
    np.testing.assert_allclose(mixture.mix_online(losses, share), online, atol=1e-10)


@pytest.mark.parametrize("copies", [1, 3])
def test_one_model_and_equal_models_are_that_model(copies):
    losses = np.repeat(some_losses(1), copies, axis=0)
    for mixed in both_ways(losses):
        assert mixed.dtype == np.float64
        np.testing.assert_allclose(mixed, losses[0], atol=1e-12)


def test_a_weight_of_one_is_that_model_and_a_weight_of_zero_is_none():
    losses = some_losses()
    np.testing.assert_allclose(mixture.interpolate(losses, np.array([0.0, 1.0, 0.0])), losses[1], atol=1e-12)


@settings(deadline=None)
@given(many_losses)
def test_bayes_is_at_most_the_best_model_and_ln_models(losses):
    assert mixture.mix_online(losses, 0.0).sum() <= losses.sum(axis=1).min() + math.log(len(losses)) + 1e-9


def test_the_bound_of_bayes_is_tight():
    """One model is certain of every character, the other ones of its opposite: all that is lost is ln models."""
    losses = np.array([[0.0] * 20, [50.0] * 20, [50.0] * 20])
    assert mixture.mix_online(losses, 0.0).sum() == pytest.approx(math.log(3), abs=1e-12)


@settings(deadline=None)
@given(many_losses, st.floats(0.001, 0.999), st.data())
def test_a_share_follows_any_sequence_of_models(losses, share, data):
    num_models, time = losses.shape
    followed = np.array(data.draw(st.lists(st.integers(0, num_models - 1), min_size=time, max_size=time)))
    k = int((followed[1:] != followed[:-1]).sum())
    bound = math.log(num_models) + k * math.log(num_models / share) - (time - 1 - k) * math.log(1 - share)
    assert mixture.mix_online(losses, share).sum() <= losses[followed, np.arange(time)].sum() + bound + 1e-9


def test_with_a_share_the_best_model_can_change():
    good, bad = np.full(200, 0.5), np.full(200, 3.0)
    losses = np.array([np.concatenate([good, bad]), np.concatenate([bad, good])])
    assert mixture.mix_online(losses)[210:].mean() < 0.6
    assert mixture.mix_online(losses, 0.0)[210:].mean() > 2


def test_a_character_is_scored_before_the_weights_learn_from_it():
    losses = some_losses()
    changed = losses.copy()
    changed[0, 20] += 1
    for share in (0.0, 0.01, 0.3):
        before, after = mixture.mix_online(losses, share), mixture.mix_online(changed, share)
        np.testing.assert_array_equal(before[:20], after[:20])
        assert (before[20:23] != after[20:23]).all()
    np.testing.assert_allclose(np.exp(-mixture.mix_online(losses)[0]), np.exp(-losses[:, 0]).mean(), rtol=1e-12)


@settings(deadline=None)
@given(many_losses, shares)
def test_a_mixture_is_between_the_models(losses, share):
    for mixed in (mixture.mix_online(losses, share), mixture.interpolate(losses, np.eye(len(losses))[0])):
        assert (mixed >= losses.min(axis=0) - 1e-9).all()
        assert (mixed <= losses.max(axis=0) + 1e-9).all()


def test_the_order_of_the_models_does_not_matter():
    losses, weights, order = some_losses(), np.array([0.5, 0.3, 0.2]), [2, 0, 1]
    changed = mixture.interpolate(losses[order], weights[order])
    np.testing.assert_allclose(changed, mixture.interpolate(losses, weights), atol=1e-12)
    for mixed, permuted in zip(both_ways(losses), both_ways(losses[order]), strict=True):
        np.testing.assert_allclose(permuted, mixed, atol=1e-12)


def test_losses_that_float64_has_no_probability_for_are_mixed():
    """A model that fell 3000 nats behind and then gains 4000 leads: no weight is lost on the way."""
    losses = np.array([[1000.0] * 7, [2000.0] * 3 + [0.0] * 4])
    assert mixture.mix_online(losses, 0.0).sum() == pytest.approx(6000 + math.log(2), abs=1e-9)
    fixed = mixture.interpolate(losses, np.array([0.5, 0.5]))
    np.testing.assert_allclose(fixed, np.array([1000.0] * 3 + [0.0] * 4) + math.log(2), atol=1e-12)


def test_float32_losses_are_mixed_in_float64_and_left_as_they_are():
    losses = some_losses().astype(np.float32)
    before = losses.copy()
    for mixed, expected in zip(both_ways(losses), both_ways(losses.astype(np.float64)), strict=True):
        assert mixed.dtype == np.float64
        np.testing.assert_array_equal(mixed, expected)
    np.testing.assert_array_equal(losses, before)
    assert np.isfinite(mixture.interpolate(losses, np.array([0.7, 0.2, 0.1], np.float32))).all()


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
        mixture.interpolate(some_losses(), np.array(weights))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_wrong_share_is_an_error(share):
    with pytest.raises(InputError, match="it must be 0 to 1"):
        mixture.mix_online(some_losses(), share)


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
    for mix in (mixture.mix_online, lambda losses: mixture.interpolate(losses, np.array([1.0]))):
        with pytest.raises(InputError, match=said):
            mix(losses)


# The mixture of all characters, whose weights learn as it reads.

V = 6
GROUPS = np.array([[True, True, False, False], [False, False, True, True], [True, True, True, True]])
mix_jitted, learn_jitted = jax.jit(mixture.mix), jax.jit(learn_mixture)


def some_log_ps(time=48, num_models=4, vocab_size=V, seed=0):
    """Log probabilities of models, some quite sure, and a text that they predict a little."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (time, num_models, vocab_size))
    log_ps = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    y = np.array([rng.choice(vocab_size, p=np.exp(log_p).mean(axis=0)) for log_p in log_ps], np.int32)
    return log_ps.astype(np.float32), np.append(np.int32(0), y[:-1]), y


def learn_blocks(log_ps, previous, y, length=8, groups=GROUPS):
    """The state before each block and after the last one, and nats of each mixture at each character."""
    states, nats = [start_mixture(groups, log_ps.shape[2])], []
    for t in range(0, len(y), length):
        state, of_block = learn_jitted(states[-1], *(jnp.asarray(each[t : t + length]) for each in (log_ps, previous, y)))
        states.append(state)
        nats.append(np.asarray(of_block))
    return states, np.concatenate(nats)


def learn_witness(log_ps, previous, y, length, groups=GROUPS):
    """The same with plain sums and probabilities, one number at a time."""
    num_models, vocab_size = log_ps.shape[1:]
    nats, by_hand = np.zeros((len(y), len(groups))), []
    for g, takes_part in enumerate(groups):
        members = [m for m in range(num_models) if takes_part[m]]
        w = {m: 1 / len(members) for m in members}
        by_character = {(c, m): 0.0 for c in range(vocab_size) for m in members}
        trust = {"mixture": 0.5} | {m: 0.5 / len(members) for m in members}
        for start in range(0, len(y), length):
            steps, proof = {}, dict(trust)
            rate = mixture.RATE * (1 + mixture.FIRST_RATES / (1 + start / mixture.CHARACTERS_TO_SETTLE))
            for t in range(start, start + length):
                log_p = {m: [float(max(log_ps[t, m, v], -15.0)) for v in range(vocab_size)] for m in members}
                q = [
                    math.exp(sum((w[m] + by_character[previous[t], m]) * log_p[m][v] for m in members))
                    for v in range(vocab_size)
                ]
                q = [each / sum(q) for each in q]
                p = {m: math.exp(log_ps[t, m, y[t]]) for m in members} | {"mixture": q[y[t]]}
                nats[t, g] = -math.log(sum(trust[e] * p[e] for e in trust))
                for m in members:
                    slope = log_p[m][y[t]] - sum(q[v] * log_p[m][v] for v in range(vocab_size))
                    steps[t, m] = rate * slope
                proof = {e: proof[e] * max(p[e], math.exp(-15.0)) for e in trust}
            for (t, m), step in steps.items():
                w[m] += step
                by_character[previous[t], m] += step
            shared = {e: each / sum(proof.values()) + 1e-4 for e, each in proof.items()}
            trust = {e: each / sum(shared.values()) for e, each in shared.items()}
        by_hand.append((w, by_character, trust))
    return nats, by_hand


@pytest.mark.parametrize("length", [1, 8])
def test_what_is_learned_is_what_plain_sums_give(length):
    assert (-15.0, np.float32(np.log(1e-4))) == (LOWEST, LOG_SHARE)
    log_ps, previous, y = some_log_ps()
    log_ps[3, 1] = np.log([1 - 1e-9, *([2e-10] * 5)]).astype(np.float32)  # too sure, and surely wrong
    y[3], previous[4] = 2, 2
    sure_of_0 = np.full((4, V), -30, np.float32)
    sure_of_0[:, 0], sure_of_0[:, 1] = 0, [-16, -19, -22, -25]
    log_ps[12], y[12], previous[13] = sure_of_0, 1, 1  # so are all, to different degrees
    (*_, state), nats = learn_blocks(log_ps, previous, y, length)
    expected, by_hand = learn_witness(log_ps, previous, y, length)
    np.testing.assert_allclose(nats, expected, rtol=1e-4)
    for g, (w, by_character, trust) in enumerate(by_hand):
        members = np.flatnonzero(GROUPS[g])
        np.testing.assert_allclose(np.asarray(state.weights)[g, members], [w[m] for m in members], rtol=1e-4)
        np.testing.assert_allclose(
            np.asarray(state.by_character)[:, g, members],
            [[by_character[c, m] for m in members] for c in range(V)],
            rtol=1e-4,
            atol=1e-6,
        )
        found = np.exp(np.asarray(state.log_trust, np.float64))[g, [0, *(1 + members)]]
        np.testing.assert_allclose(found, [trust["mixture"], *(trust[m] for m in members)], rtol=1e-3, atol=1e-7)
    assert int(state.num_read) == len(y)


def test_probabilities_of_each_mixture_sum_to_one():
    log_ps, previous, y = some_log_ps()
    log_ps[5, 1], log_ps[12] = np.nan, np.nan
    log_ps[9, 3], log_ps[10] = (np.append(np.zeros(1), np.full(V - 1, low)) for low in (-np.inf, -200))
    for state in learn_blocks(log_ps, previous, y)[0]:
        p = np.exp(np.asarray(mix_jitted(state, log_ps, previous), np.float64))
        np.testing.assert_allclose(p.sum(axis=2), 1, atol=1e-5)
        assert (p > 0).all()


@pytest.mark.parametrize("copies", [1, 3])
def test_mixed_with_itself_a_model_stays_what_it_is(copies):
    log_ps, previous, _ = some_log_ps(num_models=1)
    state = start_mixture(np.ones((1, copies), bool), V)
    mixed = mix_jitted(state, np.repeat(log_ps, copies, axis=1), previous)
    np.testing.assert_allclose(np.exp(mixed), np.exp(log_ps), atol=1e-6)


def test_a_model_with_a_nan_knows_nothing():
    log_ps, previous, y = some_log_ps()
    ignorant = log_ps.copy()
    log_ps[20:, 2, 4], ignorant[20:, 2] = np.nan, np.float32(-np.log(V))
    (states, nats), (expected_states, expected) = (learn_blocks(each, previous, y) for each in (log_ps, ignorant))
    np.testing.assert_array_equal(nats, expected)
    assert np.isfinite(nats).all()
    jax.tree.map(np.testing.assert_array_equal, states, expected_states)


@pytest.mark.parametrize("other", [0.0, -3.0, math.nan, -math.inf])
def test_models_outside_a_group_change_nothing_in_it(other):
    log_ps, previous, y = some_log_ps()
    changed = log_ps.copy()
    changed[:, 2] = log_ps[:, 3]
    changed[:, 3, 1] = other
    (states, nats), (others, changed_nats) = (learn_blocks(each, previous, y) for each in (log_ps, changed))
    np.testing.assert_array_equal(nats[:, 0], changed_nats[:, 0])
    assert (nats[:, 1:] != changed_nats[:, 1:]).any(axis=0).all()
    for a, b in zip(states, others, strict=True):
        np.testing.assert_array_equal(a.weights[0], b.weights[0])
        np.testing.assert_array_equal(a.by_character[:, 0], b.by_character[:, 0])
        np.testing.assert_array_equal(a.log_trust[0], b.log_trust[0])
        np.testing.assert_array_equal(a.weights[0, 2:], 0)


@pytest.mark.parametrize("length", [1, 8])
def test_characters_are_scored_by_what_was_learned_before_their_block(length):
    log_ps, previous, y = some_log_ps()
    states, nats = learn_blocks(log_ps, previous, y, length)
    for t, (state, of_block) in enumerate(zip(states[:-1], nats.reshape(-1, length, 3), strict=True)):
        block = slice(t * length, (t + 1) * length)
        mixed = np.asarray(mix_jitted(state, log_ps[block], previous[block]))
        np.testing.assert_allclose(-mixed[np.arange(length), :, y[block]], of_block, rtol=1e-5)
    changed = np.append(y[:-1], (y[-1] + 1) % V).astype(np.int32)
    np.testing.assert_array_equal(learn_blocks(log_ps, previous, changed, length)[1][:-1], nats[:-1])


@functools.cache
def learn_long(length):
    """A program that reads a long text in blocks."""

    def run(log_ps, previous, y):
        groups = np.ones((1, log_ps.shape[1]), bool)
        blocks = jax.tree.map(lambda each: each.reshape(-1, length, *each.shape[1:]), (log_ps, previous, y))
        _, nats = jax.lax.scan(
            lambda state, block: learn_mixture(state, *block), start_mixture(groups, log_ps.shape[2]), blocks
        )
        return nats.reshape(-1)

    return jax.jit(run)


@pytest.mark.parametrize("length", [1, 10, 100])
@pytest.mark.parametrize("members", ["far better", "useless", "surely wrong", "diverges", "the best diverges", "turns wrong"])
def test_a_mixture_is_hardly_worse_than_its_best_member(members, length):
    rng, time, vocab_size = np.random.default_rng(1), 5_000, 20
    logits = rng.normal(0, 1, (time, 4, vocab_size))
    y = rng.integers(0, vocab_size, time).astype(np.int32)
    logits[np.arange(time), :, y] += [3.0, 1.0, 1.0, 0.5] if members == "far better" else [2.0, 2.1, 1.9, 1.0]
    wrong = logits.copy()
    wrong[np.arange(time), :, (y + 1) % vocab_size] += 60
    half = time // 2
    if members == "useless":
        logits[:, 3] = 0
    elif members == "surely wrong":
        logits[:, 3] = wrong[:, 3]
    elif members == "diverges":
        logits[half:, 3] = np.nan
    elif members == "the best diverges":
        logits[np.arange(half), 0, y[:half]] += 2
        logits[half:, 0] = np.nan
    elif members == "turns wrong":
        logits[np.arange(half), 0, y[:half]] += 2
        logits[half:, 0] = wrong[half:, 0]
    log_ps = np.asarray(jax.nn.log_softmax(logits.astype(np.float32)))
    nats = np.asarray(learn_long(length)(log_ps, np.append(np.int32(0), y[:-1]), y), np.float64)
    known = np.where(np.isnan(log_ps), -math.log(vocab_size), log_ps)
    assert nats.mean() <= -known[np.arange(time), :, y].mean(axis=0, dtype=np.float64).max() + 0.01

"""The mixture at binary decisions, against the same in plain numbers, one decision at a time."""

import functools
import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixture_witness import CODE, CONTEXTS, GROUPS, V, Witness
from test_binary_code import shared

from jaxrnn.models import mixture
from jaxrnn.models.binary_code import make_code
from jaxrnn.models.decisions import Known
from jaxrnn.models.mixture import mixture_model
from jaxrnn.training.drivers import compiler_options
from jaxrnn.training.learner import copy_arrays

MODEL = mixture_model(CODE, CONTEXTS, GROUPS)
TIME = 240
jit = functools.partial(jax.jit, compiler_options=compiler_options())  # without them, each decision copies the weights
learn_jitted, predict_jitted = jit(MODEL.learn), jit(MODEL.predict)
learn_in_place = jit(MODEL.learn, donate_argnums=0)


def known_of(log_ps, times, last):
    """Make it of NumPy's arrays, too."""
    return Known(log_ps, times, last)


def some_known(time=TIME, seed=0):
    """What networks and counts know of a text that they predict a little, by character; and the text."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (time, 4, V))
    log_ps = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    y = np.array([rng.choice(V, p=np.exp(log_p).mean(axis=0)) for log_p in log_ps], np.int32)
    times = rng.geometric(0.3, (time, 5, V)) * rng.integers(0, 2, (time, 5, V)) * rng.integers(0, 2, (time, 5, 1))
    times[:, [0, 3]] *= rng.integers(1, 60, (time, 2, 1))
    times[np.arange(time), :, y] *= 2
    last = np.where(times.sum(axis=2) > 0, times.argmax(axis=2), -1)
    last[:, [0, 3]] = -1
    return known_of(log_ps.astype(np.float32), times.astype(np.int32), last.astype(np.int32)), y


def by_decisions(known, y, code=CODE):
    """The same by how many decisions of y are shared."""
    vocab_size, depth = code.bits.shape
    shares = np.array([[shared(code, x, w) for w in range(vocab_size)] for x in range(vocab_size)])[y]
    agreeing = np.stack([(known.times * (shares == d)[:, None]).sum(axis=2) for d in range(depth + 1)], axis=2)
    last = np.where(known.last < 0, -1, np.take_along_axis(shares, np.maximum(known.last, 0), axis=1))
    return known_of(known.log_ps, agreeing.astype(np.int32), last.astype(np.int32))


def previous_of(y):
    return np.append(np.int32(0), y[:-1])


def learn_blocks(known, y, length=16, state=None, learn=learn_in_place):
    """The state after a text, and nats of each mixture at each character."""
    state, nats, found = copy_arrays(state or MODEL.init()), [], by_decisions(known, y)
    for t in range(0, len(y), length):
        block = jax.tree.map(lambda each: jnp.asarray(each[t : t + length]), (found, previous_of(y), y))  # noqa: B023
        state, of_block = learn(state, *block)
        nats.append(np.asarray(of_block))
    return jax.tree.map(np.asarray, state), np.concatenate(nats)


@functools.cache
def witnessed(seed=0):
    """Nats of each mixture at each character, and what each has learned."""
    known, y = some_known(seed=seed)
    known.log_ps[20, 1] = np.log([1 - 1e-9, *([2e-10] * 5)])  # too sure, and surely wrong
    y[20] = 2
    known.log_ps[2] = -30
    known.log_ps[2, :, 0], known.log_ps[2, :, 1], y[2] = 0, [-16, -19, -22, -25], 1  # so are all, to different degrees
    witnesses, characters, nats = [Witness(g) for g in range(3)], [0, 0, *y.tolist()], []
    for t, (before, previous, now) in enumerate(zip(characters, characters[1:], characters[2:], strict=False)):
        ps = [each.mix(known, t, now, previous, before) for each in witnesses]
        nats.append([each.trust_whom(known.log_ps[t], now, ps) for each in witnesses])
    return known, y, np.array(nats), witnesses


@pytest.mark.parametrize("length", [1, 16])
def test_nats_are_those_of_the_witness(length):
    known, y, expected, _ = witnessed()
    _, nats = learn_blocks(known, y, length)
    np.testing.assert_allclose(nats, expected, rtol=2e-4)


def all_rows(state, g, witness):
    """What was learned, as the witness names it: found and expected, in pairs."""
    first = {2: 0, 3: 3}  # the first context of a model
    inputs = {"bias": 0} | {("odds", m): 1 + m for m in range(4)}
    inputs |= {(what, c): 5 + 5 * i + c for i, what in enumerate(("counted", "worth")) for c in range(5)}
    for selected, row in witness.rows.items():
        if selected[0] == "previous":
            found = state.weights[0][selected[1], g]
        else:
            m, longest, one_sided, total = selected
            number = 0 if longest is None else longest - first[m] + 1
            found = state.weights[m - 1][(number * 2 + one_sided) * 8 + total, g]
        yield found, [row.get(name, 0) for name in inputs]
    places = {"previous": 0, 2: 1, 3: 2}
    for node, row in witness.last_rows.items():
        yield state.last_weights[node, g, [places[s] for s in witness.selections]], row
    for (which, *characters, node), row in witness.refined.items():
        number = node * V + characters[-1] if which == "one" else (node * V + characters[-1]) * V + characters[0]
        place = (number * 0x9E3779B1 % 2**32) >> 18
        yield state.refined[which == "two"][place, g], row
    for (c, a, b, side), p in witness.worth.items():
        yield state.worth[c][(a * 13 + b) * 3 + side], p
    trust = [witness.trust[e] for e in ("mixture", *(("mixture", part) for part in witness.parts), *witness.members)]
    yield np.exp(state.log_trust[g, [g, *witness.parts, *(3 + m for m in witness.members)]]), trust


def test_what_is_learned_is_what_the_witness_learns():
    known, y, _, witnesses = witnessed()
    state, _ = learn_blocks(known, y)
    start = MODEL.init()
    for g, witness in enumerate(witnesses):
        pairs = list(all_rows(state, g, witness))
        for found, expected in pairs:
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
        for found, expected in all_rows(jax.tree.map(np.asarray, start), g, Witness(g)):
            np.testing.assert_allclose(found, expected, rtol=1e-6)  # the trust at first
        assert len(pairs) > 50
    assert int(state.num_read) == len(y)
    assert int(state.before) == y[-2]


def test_blocks_make_no_difference():
    known, y = some_known()
    (state, nats), *others = (learn_blocks(known, y, length) for length in (16, 1))
    for other, other_nats in others:
        np.testing.assert_allclose(other_nats, nats, rtol=1e-4)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), other, state)


def predict_all(state, known, y, t):
    """Log probabilities of all characters at place t, of each mixture."""
    now = jax.tree.map(lambda each: jnp.asarray(each[t]), known)
    characters = np.array([0, 0, *y], np.int32)[t : t + 2]
    return np.asarray(predict_jitted(jax.tree.map(jnp.asarray, state), now, jnp.asarray(characters)), np.float64)


def score(learn, state, known, y, t, character):
    """Nats of a character at place t, of each mixture."""
    now = jax.tree.map(lambda each: each[t : t + 1], known)
    found = by_decisions(now, np.array([character], np.int32))
    return np.asarray(
        learn(state, *jax.tree.map(jnp.asarray, (found, previous_of(y)[t : t + 1], y[t : t + 1] * 0 + character)))[1][0]
    )


@pytest.fixture(scope="module")
def learned():
    """What has been learned of a text up to some of its places; and the text, of which some models are ill."""
    known, y = some_known()
    known.log_ps[80, 1], known.log_ps[160, 0] = np.nan, np.nan
    known.log_ps[161, 1], known.log_ps[162, 2] = (np.append(0, np.full(V - 1, low)) for low in (-np.inf, -200))
    after = [learn_blocks(jax.tree.map(lambda each: each[:t], known), y[:t])[0] for t in (80, 160)]  # noqa: B023
    return known, y, [jax.tree.map(jnp.asarray, each) for each in (MODEL.init(), *after)]


@pytest.fixture(scope="module")
def still():
    """A function that scores like `learn`, but that learns nothing from one decision to the next."""
    with pytest.MonkeyPatch.context() as patched:
        for rate in ("RATE", "RATE_OF_NETWORKS", "COUNT_RATE", "REFINING_RATE"):
            patched.setattr(mixture, rate, 0.0)
        learn = jit(mixture_model(CODE, CONTEXTS, GROUPS).learn)
        known, y = some_known(1)
        score(learn, MODEL.init(), known, y, 0, 0)  # compiled now
    return learn


@pytest.mark.parametrize(("number", "t"), [(0, 0), (0, 1), (1, 80), (1, 81), (2, 160), (2, 161), (2, 162)])
def test_probabilities_sum_to_one_and_are_those_that_are_scored(learned, still, number, t):
    known, y, states = learned
    log_p = predict_all(states[number], known, y, t)
    state = states[number]._replace(before=jnp.int32([0, 0, *y.tolist()][t]))
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-5)
    scored = np.stack([score(still, state, known, y, t, character) for character in range(V)], axis=1)
    np.testing.assert_allclose(-log_p, scored, rtol=1e-4)
    # While it learns, a decision depends on those before, so that all that can be scored sum to 1 as well.
    learning = np.stack([score(learn_jitted, state, known, y, t, character) for character in range(V)], axis=1)
    np.testing.assert_allclose(np.exp(-learning.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(learning, scored, rtol=0.1)


def test_a_character_is_scored_before_anything_learns_from_it():
    known, y = some_known()
    changed = y.copy()
    changed[200] = (y[200] + 1) % V
    nats, others = learn_blocks(known, y)[1], learn_blocks(known, changed)[1]
    np.testing.assert_array_equal(nats[:200], others[:200])
    assert (nats[200:203] != others[200:203]).all()


def test_a_model_with_a_nan_knows_nothing():
    known, y = some_known()
    ill, ignorant = (known._replace(log_ps=known.log_ps.copy()) for _ in range(2))
    ill.log_ps[50:, 1, 4] = np.nan
    ignorant.log_ps[50:, 1] = np.float32(-np.log(V))
    (state, nats), (expected, expected_nats) = learn_blocks(ill, y), learn_blocks(ignorant, y)
    np.testing.assert_array_equal(nats, expected_nats)
    assert np.isfinite(nats).all()
    jax.tree.map(np.testing.assert_array_equal, state, expected)


def of_group(state, g):
    """All that a mixture has learned alone: where it takes no counts, it selects no weights by them either."""
    return [each[:, g] for each in (*state.weights[: 3 if g else 1], state.last_weights, *state.refined)], state.log_trust[g]


@pytest.mark.parametrize("other", [0.0, math.nan, -math.inf])
def test_models_outside_a_group_change_nothing_in_it(other):
    known, y = some_known()
    log_ps, times = known.log_ps.copy(), known.times.copy()
    log_ps[:, 1], log_ps[:, 0, 1] = known.log_ps[:, 2], other
    of_networks = known._replace(log_ps=log_ps)  # other ones
    log_ps, times = known.log_ps.copy(), known.times.copy()
    log_ps[:, 2], log_ps[:, 3, 1], times[:, :, 0] = known.log_ps[:, 0], other, 3
    of_counts = known_of(log_ps, times, np.full_like(known.last, -1))
    (state, nats), *changed = (learn_blocks(each, y) for each in (known, of_counts, of_networks))
    for g, (other_state, other_nats) in enumerate(changed):
        np.testing.assert_array_equal(other_nats[:, g], nats[:, g])
        jax.tree.map(np.testing.assert_array_equal, of_group(other_state, g), of_group(state, g))
        assert (other_nats[:, 1 - g] != nats[:, 1 - g]).mean() > 0.9
        assert (other_nats[:, 2] != nats[:, 2]).mean() > 0.9
    for rows in state.weights:
        np.testing.assert_array_equal(rows[:, 0, 3:], 0)  # of networks alone
        np.testing.assert_array_equal(rows[:, 1, 1:3], 0)
    jax.tree.map(np.testing.assert_array_equal, changed[1][0].worth, state.worth)  # of counts, whoever mixes them


def test_it_goes_on_from_a_file_with_the_same_bits():
    known, y = some_known()
    whole, nats = learn_blocks(known, y)
    state, first = learn_blocks(jax.tree.map(lambda each: each[:112], known), y[:112])
    leaves, structure = jax.tree.flatten(state)
    file = io.BytesIO()
    np.savez(file, *leaves)
    file.seek(0)
    state = copy_arrays(jax.tree.unflatten(structure, map(jnp.asarray, np.load(file).values())))
    found, second = by_decisions(known, y), []
    for t in range(112, TIME, 16):
        now = jax.tree.map(lambda each: jnp.asarray(each[t : t + 16]), (found, previous_of(y), y))  # noqa: B023
        state, of_block = learn_in_place(state, *now)
        second.append(of_block)
    np.testing.assert_array_equal(np.concatenate([first, *second]), nats)
    jax.tree.map(np.testing.assert_array_equal, state, whole)


@pytest.mark.parametrize("vocab_size", [1, 2, 3])
def test_small_vocabularies(vocab_size):
    """Of one character there is no decision: it is certain."""
    code = make_code(vocab_size)
    model = mixture_model(code, (2,), np.array([[True, False], [True, True]]))
    y = (np.arange(12) % vocab_size).astype(np.int32)
    log_ps = np.full((12, 2, vocab_size), -np.log(vocab_size), np.float32)
    times, last = np.ones((12, 2, vocab_size), np.int32), np.zeros((12, 2), np.int32)
    found = by_decisions(known_of(log_ps, times, last), y, code)
    now = jax.tree.map(jnp.asarray, (found, previous_of(y), y))
    state, nats = jit(model.learn)(model.init(), *now)
    if vocab_size == 1:
        np.testing.assert_allclose(nats, 0, atol=1e-6)
    np.testing.assert_allclose(nats[0], np.log(vocab_size), atol=0.1)
    log_p = jit(model.predict)(state, known_of(log_ps[0], times[0], last[0]), jnp.zeros(2, jnp.int32))
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state._replace(log_trust=state.log_trust[1])))

"""Networks and counts that read together, against each of them reading alone."""

import io
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_loop import primitives

from jaxrnn import elman
from jaxrnn.models import mixture
from jaxrnn.models.counts import count_model
from jaxrnn.models.decisions import NUM_PLACES, Known
from jaxrnn.models.mixed_model import MixedCarry, MixedParams, mixed_model
from jaxrnn.scoring.evaluation import DynamicSettings, frozen_evaluation, rate_evaluation
from jaxrnn.training.drivers import compiler_options, fast_driver, update_many
from jaxrnn.training.learner import copy_arrays
from jaxrnn.training.mixed import columns, make_mixture, mixed
from jaxrnn.training.optimizers import make_optimizer

V = 7  # characters of the common model
COUNTS = (count_model(V, 3, 777), count_model(V, 2, 888, begins=np.arange(V) == 1))
OPTIMIZERS = (None, optax.sgd(0.1), make_optimizer("adam", 0.01))
LENGTHS = pytest.mark.parametrize("length", [1, 16])


@pytest.fixture(scope="module")
def read(model, params):
    """A function that reads a text with a driver for each length, which is compiled once."""
    learners = {length: mixed(model, length, OPTIMIZERS, COUNTS) for length in (1, 16)}
    drivers = {length: fast_driver(learner, 384 // length) for length, learner in learners.items()}

    def read(ids, length, prepare=lambda state: state, num_updates=None):
        start = copy_arrays(prepare(learners[length].begin(params, jax.random.key(5))))
        return drivers[length](start, jnp.asarray(ids), num_updates or (len(ids) - 1) // length)

    return read


def text(ids, size=385):
    """Some characters often, so that there is something to count."""
    return np.minimum(ids[:size], (ids[:size] * 3) % 5).astype(np.int32)


def count_alone(model, ids):
    """What is known before each character."""
    read, state, found = jax.jit(model.read), model.init(), []
    for y in jnp.asarray(ids):
        state, evidence = read(state, y)
        found.append(evidence)
    return state, jax.tree.map(lambda *each: np.stack(each), *found)


def mix_counts_alone(ids, models=COUNTS, size=None):
    """The states after a text, and what the counts of all models and their mixture say of its last characters.

    Args:
      size: how many are mixed; all but the first by default.
    """
    size = len(ids) - 1 if size is None else size
    states, evidence = zip(*(count_alone(model, ids) for model in models), strict=True)
    x, y = ids[-size - 1 : -1], ids[len(ids) - size :]
    log_ps = np.log(np.stack([each.p for each in evidence], axis=1))[len(ids) - size :]
    times, last = (np.concatenate([each[i] for each in evidence], axis=1)[len(ids) - size :] for i in (1, 2))
    known = Known(*map(jnp.asarray, (log_ps, times, last)))
    of_counts = make_mixture(V, 0, models)
    learned, nats = of_counts.init(), np.zeros((0, 1))
    if size:
        options = compiler_options()
        learned, nats = jax.jit(of_counts.learn, compiler_options=options)(learned, known, x, y)
    return states, -log_ps[np.arange(size), :, y], learned, np.asarray(nats)[:, 0]


@LENGTHS
def test_networks_are_what_they_are_alone(read, model, params, ids, length):
    found = columns(read(text(ids), length)[1], 3, 2)
    alone = [
        frozen_evaluation(model),
        partial(rate_evaluation(model, DynamicSettings("sgd", (0.1,), length)), rate=0.1),
        partial(rate_evaluation(model, DynamicSettings("adam", (0.01,), length)), rate=0.01),
    ]
    expected = [np.asarray(evaluate(params, text(ids), jax.random.key(5))) for evaluate in alone]
    assert found.networks.shape == (384, 3)
    np.testing.assert_allclose(found.networks, np.stack(expected, axis=1), rtol=2e-5)
    assert len({round(float(losses.mean()), 2) for losses in expected}) == 3  # else one could stand for another


@LENGTHS
def test_counts_and_their_mixture_are_what_they_are_alone(read, ids, length):
    state, losses = read(text(ids), length)
    found, (states, of_each, _, nats) = columns(losses, 3, 2), mix_counts_alone(text(ids))
    jax.tree.map(np.testing.assert_array_equal, state.memory.counts, states)
    np.testing.assert_allclose(found.counts, of_each, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.of_counts, nats, rtol=1e-3)


@pytest.mark.parametrize(("optimizers", "counts"), [(OPTIMIZERS, ()), ((), COUNTS)], ids=["networks", "counts"])
def test_networks_or_counts_alone_are_what_they_are_among_others(read, model, params, ids, optimizers, counts):
    learner = mixed(model, 16, optimizers, counts)
    start = copy_arrays(learner.begin(params, jax.random.key(5)))
    _, losses = fast_driver(learner, 24)(start, jnp.asarray(text(ids)), 24)
    found, whole = columns(losses, len(optimizers), len(counts)), columns(read(text(ids), 16)[1], 3, 2)
    expected = whole.of_networks if optimizers else whole.of_counts
    np.testing.assert_allclose(found.networks if optimizers else found.counts, whole.networks if optimizers else whole.counts)
    assert (found.networks.shape[1], found.counts.shape[1]) == (len(optimizers), len(counts))
    for column in (found.of_networks, found.of_counts, found.of_all):
        np.testing.assert_allclose(column, expected, rtol=1e-3)


@pytest.mark.parametrize("vocab_size", [1, 2])
def test_a_jitted_update_is_that_of_a_driver(vocab_size):
    """Some versions of XLA end the process where a kernel passes something on; of one character, all are certain."""
    model, counts = elman(vocab_size, 3), (count_model(vocab_size, 2, 50),)
    learner, ids = mixed(model, 4, (None,), counts), (np.arange(5) % vocab_size).astype(np.int32)
    start = learner.begin(model.init(jax.random.key(1)), jax.random.key(5))
    _, losses = jax.jit(learner.update)(start, jnp.asarray(ids[:4]), jnp.asarray(ids[1:]))
    _, driven = fast_driver(learner, 1)(copy_arrays(start), jnp.asarray(ids), 1)
    np.testing.assert_allclose(losses, driven, rtol=1e-4, atol=1e-6)
    if vocab_size == 1:
        np.testing.assert_allclose(losses, 0, atol=1e-6)


@LENGTHS
def test_mixtures_are_at_least_nearly_as_good_as_their_members(read, ids, length):
    found = columns(read(text(ids), length)[1], 3, 2)
    assert len(found.of_networks) == len(found.of_counts) == len(found.of_all) == 384
    assert found.of_networks.mean() < found.networks.mean(axis=0).min() + 0.02
    assert found.of_counts.mean() < found.counts.mean(axis=0).min() + 0.02
    assert found.of_all.mean() < min(found.of_networks.mean(), found.of_counts.mean()) + 0.02
    assert len({float(column.mean()) for column in (found.of_networks, found.of_counts, found.of_all)}) == 3


@LENGTHS
def test_no_loss_depends_on_a_later_character(read, ids, length):
    changed = text(ids)
    changed[200:] = (changed[200:] + 1) % V
    losses, others = (read(each, length)[1] for each in (text(ids), changed))
    np.testing.assert_array_equal(losses[:199], others[:199])
    assert (losses[199] != others[199]).all()


@LENGTHS
def test_calls_and_a_file_between_them_change_no_bit(read, ids, length):
    whole, losses = read(text(ids), length)
    state, first = read(text(ids), length, num_updates=160 // length)
    leaves, structure = jax.tree.flatten(state)
    file = io.BytesIO()
    np.savez(file, *leaves)
    file.seek(0)
    restored = jax.tree.unflatten(structure, map(jnp.asarray, np.load(file).values()))
    state, second = read(text(ids), length, lambda _: restored, 224 // length)
    np.testing.assert_array_equal(np.concatenate([first, second]), losses)
    jax.tree.map(np.testing.assert_array_equal, state, whole)


@LENGTHS
def test_a_network_that_has_diverged_leaves_the_others_as_they_are(read, ids, length):
    def diverge(state):
        nan = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), state.params[1])
        return state._replace(params=(state.params[0], nan, state.params[2]))

    good, ill = (columns(read(text(ids), length, prepare)[1], 3, 2) for prepare in (lambda state: state, diverge))
    assert np.isnan(ill.networks[:, 1]).all()
    np.testing.assert_array_equal(ill.networks[:, ::2], good.networks[:, ::2])
    np.testing.assert_array_equal(ill.counts, good.counts)
    np.testing.assert_array_equal(ill.of_counts, good.of_counts)
    assert (ill.of_networks != good.of_networks).all()
    for column in (ill.of_networks, ill.of_all):
        assert np.isfinite(column).all()
        assert column.mean() < ill.networks[:, ::2].mean(axis=0).min() + 0.02


def test_a_new_text_keeps_what_was_counted_and_learned(model, read, ids):
    learner = mixed(model, 16, OPTIMIZERS, COUNTS)
    state, _ = read(text(ids), 16)
    begun = learner.restart(state, jax.random.key(5))
    assert not begun.memory.started
    for counts, before, new in zip(begun.memory.counts, state.memory.counts, COUNTS, strict=True):
        np.testing.assert_array_equal(counts.nodes, before.nodes)
        np.testing.assert_array_equal(counts.contexts, new.init().contexts)
    for kept in ("params", "opt_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(begun, kept), getattr(state, kept))
    jax.tree.map(np.testing.assert_array_equal, begun.memory.mixture, state.memory.mixture)


@LENGTHS
def test_there_is_no_scan_and_no_copy_of_a_large_array(model, params, ids, length):
    """A copy of a tree, s32[777,8] or s32[888,8], for each update would take a thousand times as long as counting."""
    learner = mixed(model, length, OPTIMIZERS, COUNTS)
    program = update_many(learner, 40)
    given = learner.begin(params, jax.random.key(5)), jnp.asarray(text(ids)), jnp.int32(20)
    names = set(primitives(jax.make_jaxpr(program)(*given).jaxpr))
    assert "while" in names
    assert "scan" not in names
    run = jax.jit(program, donate_argnums=0, compiler_options=compiler_options())
    compiled = run.lower(*given).compile().as_text() or ""
    assert "s32[777,8]" in compiled
    assert "s32[888,8]" in compiled
    assert f"f32[{NUM_PLACES},3,33]" in compiled
    in_loop = compiled[: compiled.index("\nENTRY")]
    assert not re.findall(rf"= (?:s32\[(?:777|888),8\]|f32\[{NUM_PLACES},3,33\])\S* copy\(", in_loop)


def test_mixtures_learn_within_a_long_block(model, params, ids):
    """The counts' mixture is that of blocks of 16, to the last digits, although the networks wait for the end of theirs."""

    def mixed_counts(length):
        learner = mixed(model, length, (None,), COUNTS)
        drive = fast_driver(learner, 384 // length)
        start = copy_arrays(learner.begin(params, jax.random.key(5)))
        return columns(drive(start, jnp.asarray(text(ids)), 384 // length)[1], 1, 2).of_counts

    np.testing.assert_allclose(mixed_counts(192), mixed_counts(16), rtol=1e-3)


def test_the_mixture_writes_with_the_probabilities_that_it_is_scored_with(model, params, ids):
    """What the model of both predicts is what a learner scores that has learned the same and now stands still."""
    learner = mixed(model, 1, (None,), COUNTS)
    start = copy_arrays(learner.begin(params, jax.random.key(5)))
    before, _ = fast_driver(learner, 200)(start, jnp.asarray(text(ids)), 200)
    with pytest.MonkeyPatch.context() as patched:
        for rate in ("RATE", "RATE_OF_NETWORKS", "COUNT_RATE", "REFINING_RATE"):
            patched.setattr(mixture, rate, 0.0)
        still = jax.jit(mixed(model, 1, (None,), COUNTS).update)
        state, _ = still(before, jnp.asarray(text(ids)[200:201]), jnp.asarray(text(ids)[201:202]))
    both = mixed_model(model, COUNTS, make_mixture(V, 1, COUNTS))
    step = jax.jit(both.step)
    contexts = tuple(counts.contexts for counts in before.memory.counts)
    carry = MixedCarry(state.carry[0], contexts, jnp.asarray(text(ids)[200]))
    assert both.vocab_size == V
    new, begun = both.initial_carry(jax.random.key(5), ()), learner.restart(state, jax.random.key(5))
    jax.tree.map(np.testing.assert_array_equal, new.contexts, tuple(each.contexts for each in begun.memory.counts))
    for x, y in zip(text(ids)[201:206], text(ids)[202:207], strict=True):
        carry, log_p = step(MixedParams(params, state.memory.counts, state.memory.mixture), carry, jnp.asarray(x))
        jax.tree.map(np.testing.assert_array_equal, carry.contexts, tuple(each.contexts for each in state.memory.counts))
        state, losses = still(state, jnp.asarray([x]), jnp.asarray([y]))
        assert np.exp(np.asarray(log_p, np.float64)).sum() == pytest.approx(1, abs=1e-5)
        assert -float(log_p[y]) == pytest.approx(float(columns(losses, 1, 2).of_all[0]), rel=1e-4)
        assert carry.previous == x

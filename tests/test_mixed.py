"""Networks and counts that read together, against each of them reading alone."""

import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_loop import primitives
from test_mixture import learn_blocks

from jaxrnn.models.counts import count_model
from jaxrnn.scoring.evaluation import frozen_evaluation, learning_evaluation
from jaxrnn.training.drivers import copy_arrays, cpu_compiler_options, fast_driver, update_many
from jaxrnn.training.mixed import columns, mixed
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
    """All probabilities before each character."""
    read, state, ps = jax.jit(model.read), model.init(), []
    for y in jnp.asarray(ids):
        state, p = read(state, y)
        ps.append(np.asarray(p))
    return state, np.stack(ps)


@LENGTHS
def test_networks_are_what_they_are_alone(read, model, params, ids, length):
    found = columns(read(text(ids), length)[1], 3)
    alone = [
        frozen_evaluation(model),
        learning_evaluation(model, optax.sgd(0.1), length),
        learning_evaluation(model, make_optimizer("adam", 0.01), length),
    ]
    expected = [np.asarray(evaluate(params, text(ids), jax.random.key(5))) for evaluate in alone]
    assert found.networks.shape == (384, 3)
    np.testing.assert_allclose(found.networks, np.stack(expected, axis=1), rtol=2e-5)
    assert len({round(float(losses.mean()), 2) for losses in expected}) == 3  # else one could stand for another


@LENGTHS
def test_counts_and_their_mixture_are_what_they_are_alone(read, ids, length):
    state, losses = read(text(ids), length)
    found, x, y = columns(losses, 3), text(ids)[:-1], text(ids)[1:]
    states, ps = zip(*(count_alone(model, text(ids)) for model in COUNTS), strict=True)
    jax.tree.map(np.testing.assert_array_equal, state.memory.counts, states)
    log_ps = np.log(np.stack(ps, axis=1))[1:]  # the first character is scored by none
    np.testing.assert_allclose(found.counts, -log_ps[np.arange(384), :, y], rtol=1e-5, atol=1e-6)
    _, of_counts = learn_blocks(log_ps, x, y, length, np.ones((1, 2), bool))
    np.testing.assert_allclose(found.of_counts, of_counts[:, 0], rtol=1e-4)


@LENGTHS
def test_mixtures_are_at_least_nearly_as_good_as_their_members(read, ids, length):
    found = columns(read(text(ids), length)[1], 3)
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

    good, ill = (columns(read(text(ids), length, prepare)[1], 3) for prepare in (lambda state: state, diverge))
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
def test_there_is_no_scan_and_no_copy_of_a_tree(model, params, ids, length):
    """A copy of s32[777,8] or s32[888,8] for each update would take a thousand times as long as counting."""
    learner = mixed(model, length, OPTIMIZERS, COUNTS)
    program = update_many(learner, 40)
    given = learner.begin(params, jax.random.key(5)), jnp.asarray(text(ids)), jnp.int32(20)
    names = set(primitives(jax.make_jaxpr(program)(*given).jaxpr))
    assert "while" in names
    assert "scan" not in names
    run = jax.jit(program, donate_argnums=0, compiler_options=cpu_compiler_options())
    compiled = run.lower(*given).compile().as_text() or ""
    assert "s32[777,8]" in compiled
    assert "s32[888,8]" in compiled
    assert not re.findall(r"= s32\[(?:777|888),8\]\S* copy\(", compiled)


@pytest.mark.parametrize("length", [48, 192])
def test_mixtures_learn_within_a_long_block(model, params, ids, length):
    """The counts' mixture is that of blocks of 16, to the last digits, although the networks wait for the end of theirs."""

    def mixed_counts(length):
        learner = mixed(model, length, (None,), COUNTS)
        drive = fast_driver(learner, 384 // length)
        start = copy_arrays(learner.begin(params, jax.random.key(5)))
        return columns(drive(start, jnp.asarray(text(ids)), 384 // length)[1], 1).of_counts

    np.testing.assert_allclose(mixed_counts(length), mixed_counts(16), rtol=1e-5)

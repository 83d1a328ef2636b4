"""Losses that count only where they are asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed import apart, drawn
from regression import EXACT, HIDDEN, INPUTS, LENGTH, MODELS, OUTPUTS, STREAMS, begun, of_loop, read, squared, vectors

from jaxrnn import Pairs, fast_driver, masked, nats, network, online
from jaxrnn.rules import RULES, bptt, make_rule
from jaxrnn.training.learner import reader


@STREAMS
@pytest.mark.parametrize("rule", EXACT)
@pytest.mark.usefixtures("x64")
def test_a_masked_loss_counts_only_where_it_is_asked_for(rule, streams):
    model, name = MODELS["our GRU"], rule
    rule = EXACT[name](model)
    params, carry, x, y = begun(model, streams)
    asked = np.random.default_rng(0).random((LENGTH, *streams)) < 0.5
    asked[2], asked[3] = False, True
    y = jnp.where(asked[..., None], y, jnp.nan)
    found, losses = read(rule, params, carry, x, (y, jnp.asarray(asked)), masked(squared))

    def mean_of_asked(outputs):
        parts = [
            [((outputs[t][stream] - y[t][stream]) ** 2).sum() for stream in np.ndindex(streams) if asked[t][stream]]
            for t in range(LENGTH)
        ]
        if name == "bptt":  # the mean over the whole block
            return sum(map(sum, parts)) / float(asked.sum())
        return sum(sum(of_step) / len(of_step) for of_step in parts if of_step)

    assert apart(found, of_loop(model, params, carry, x, mean_of_asked)) < 1e-12
    assert losses[2] == 0
    assert np.isfinite(losses).all()


@STREAMS
@pytest.mark.parametrize("rule", EXACT)
@pytest.mark.usefixtures("x64")
def test_a_loss_that_comes_late_reaches_back_to_the_start(rule, streams):
    model = MODELS["characters"]
    rule = EXACT[rule](model)
    params, carry, x, _ = begun(model, streams)
    asked = np.zeros((LENGTH, *streams), bool)
    asked[-1] = True
    y = jnp.asarray(x[0])  # the first character is asked for, at the last
    targets = jnp.broadcast_to(y, x.shape), jnp.asarray(asked)
    found, _ = read(rule, params, carry, x, targets, masked(nats))
    assert apart(found, of_loop(model, params, carry, x, lambda outputs: nats(outputs[-1], y).mean())) < 1e-12


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.usefixtures("promoting")
def test_where_nothing_is_asked_for_only_carry_and_memory_go_on(rule):
    """Adam moves its weights without a gradient, too, once it has momentum; so does weight decay."""
    model = network("elman" if rule == "rtrl_kronecker" else "indrnn", OUTPUTS, HIDDEN, inputs=INPUTS)
    learner = online(model, make_rule(RULES[rule], model), optax.adamw(0.1), loss=masked(squared))
    update, state = jax.jit(learner.update), learner.init(jax.random.key(0))
    x, y = (leaf.astype(jnp.float32) for leaf in (vectors(), vectors((), OUTPUTS)))
    state, _ = update(state, x[:1], (y[:1], jnp.array([True])))
    after, losses = update(state, x[1:2], (y[1:2], jnp.array([False])))
    jax.tree.map(np.testing.assert_array_equal, (after.params, after.opt_state), (state.params, state.opt_state))
    assert apart(after.carry, state.carry) > 1e-3
    assert after.step == 2
    assert losses == 0
    moved, _ = update(state, x[1:2], (y[1:2], jnp.array([True])))
    assert apart(moved.params, state.params) > 1e-3


def test_an_optimizer_gets_the_mean_of_what_was_asked_as_its_value():
    """The number whose gradient it gets: over all streams and steps of the block together."""
    model, streams = MODELS["our GRU"], (3,)

    def remember(updates, state, params=None, **extra):
        del state, params
        return updates, extra["value"]

    seeing = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), remember)
    learner = online(model, bptt(model, 2), seeing, streams, loss=masked(squared))
    x, y = (leaf[:2].astype(jnp.float32) for leaf in (vectors(streams), vectors(streams, OUTPUTS)))
    asked = np.array([[True, False, False], [True, True, True]])
    state = learner.init(jax.random.key(0))
    _, outputs = jax.jit(bptt_outputs(model))(state.params, state.carry, x)
    errors = np.asarray(squared(outputs, y))
    after, losses = jax.jit(learner.update)(state, x, (y, jnp.asarray(asked)))
    np.testing.assert_allclose(after.opt_state, errors[asked].mean(), rtol=1e-5)
    np.testing.assert_allclose(losses, [errors[0, 0], errors[1].mean()], rtol=1e-5)


def bptt_outputs(model):
    """The outputs of two steps."""

    def read(params, carry, x):
        carry, first = model.step(params, carry, x[0])
        carry, second = model.step(params, carry, x[1])
        return carry, jnp.stack([first, second])

    return read


def test_a_masked_loss_is_tested_with_frozen_weights():
    model, x, y = MODELS["our GRU"], vectors().astype(jnp.float32), vectors((), OUTPUTS).astype(jnp.float32)
    asked, params = np.array([True, False, True, True, False, True]), drawn(MODELS["our GRU"])[0]
    found = []
    for loss, targets in (
        (squared, y),
        (masked(squared), (jnp.where(jnp.asarray(asked)[:, None], y, jnp.nan), jnp.asarray(asked))),
    ):
        frozen = reader(model, loss=loss)
        state = frozen.begin(jax.tree.map(jnp.copy, params), jax.random.key(0))  # a driver overwrites it
        found.append(fast_driver(frozen, 6)(state, Pairs(x, targets), 6)[1])
    np.testing.assert_allclose(found[1], np.where(asked, found[0], 0), rtol=1e-6)

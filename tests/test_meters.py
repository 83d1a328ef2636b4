"""What a rule reports, and meters, through both drivers."""

import operator

import dense
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed import case, drawn, often, text
from jax.flatten_util import ravel_pytree

from jaxrnn import fast_driver, masked, meters, nats, network, online, plain_driver
from jaxrnn.data.streams import Pairs
from jaxrnn.rules import RULES, Rule, bptt, make_rule, one_step, rtrl, snap1, uoro
from jaxrnn.training.learner import copy_arrays

VOCAB, HIDDEN, NUM = 5, 4, 23
MODEL = network("gru", VOCAB, HIDDEN)
BOTH = {"plain": plain_driver, "fast": lambda learner: fast_driver(learner, 10)}
DRIVERS = pytest.mark.parametrize("driver", BOTH.values(), ids=BOTH)


def started(learner, streams=()):
    """A state with drawn weights; a model's own way of drawing them takes longer to compile."""
    params, carry = drawn(MODEL, streams)
    return learner.begin(params, jax.random.key(0))._replace(carry=carry)


def drive(rule, driver=BOTH["fast"], number=NUM, rate=0.1, streams=(), **how):
    learner = online(MODEL, rule, optax.sgd(rate), streams, **how)
    ids, _ = text(VOCAB, NUM * rule.length + 1, streams)
    return driver(learner)(started(learner, streams), jnp.asarray(ids), number)


def all_of(model=MODEL):
    return {"cosine": meters.cosine_to(rtrl(model)), "norm": meters.gradient_norm(), "memory": meters.memory_norm()}


@pytest.mark.parametrize("name", often(("one_step", "snap1", "uoro", "tbptt_sliding"), seldom=("snap1", "tbptt_sliding")))
def test_a_rule_with_meters_learns_the_same(name):
    rule = make_rule(RULES[name], MODEL, 3)
    plain, losses = drive(rule)
    measured, (same, aux) = drive(meters.measured(rule, **all_of()), has_aux=True)
    np.testing.assert_allclose(losses, same, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), plain.params, measured.params)
    assert {each.shape for each in aux.values()} == {(NUM,)}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("part", [lambda grads: grads, operator.itemgetter("cell")], ids=["all", "cell"])
def test_meters_read_what_numpy_computes(part):
    """At fixed weights, beside a dense J in NumPy: the cosine of `one_step` to `rtrl`, and norms of the gradient and of J."""
    params, carry, x, y = case(MODEL, NUM)
    ids = jnp.asarray(np.append(x, y[-1]))
    rule = meters.measured(rtrl(MODEL), norm=meters.gradient_norm(part), memory=meters.memory_norm())
    local = meters.measured(one_step(MODEL), cosine=meters.cosine_to(rtrl(MODEL), part))
    read = {}
    for each in (rule, local):
        learner = online(MODEL, each, optax.sgd(0.0), has_aux=True)
        state = learner.begin(params, jax.random.key(0))._replace(carry=carry)
        read |= fast_driver(learner, 10)(copy_arrays(state), ids, NUM)[1].aux

    _, params_of = ravel_pytree(params)
    J, cosines, norms, of_memory = 0, [], [], []
    for now, D, g, delta in dense.steps(MODEL, params, carry, x, y):
        exact, here = (ravel_pytree(part(params_of(each)))[0] for each in (g + np.transpose(J) @ delta if np.ndim(J) else g, g))
        cosines.append(exact @ here / np.linalg.norm(exact) / np.linalg.norm(here))
        norms.append(np.linalg.norm(exact))
        J = now + (D @ J if np.ndim(J) else 0)
        of_memory.append(np.linalg.norm(J))
    np.testing.assert_allclose(read["cosine"], cosines, rtol=1e-10)
    np.testing.assert_allclose(read["norm"], norms, rtol=1e-10)
    np.testing.assert_allclose(read["memory"], of_memory, rtol=1e-10)
    assert min(cosines) < 0.99


@DRIVERS
def test_a_rule_is_at_no_angle_to_itself(driver):
    streams = (3,)
    rule = meters.measured(snap1(MODEL), cosine=meters.cosine_to(snap1(MODEL)))
    _, (_, aux) = drive(rule, driver, streams=streams, has_aux=True)
    np.testing.assert_allclose(aux["cosine"], np.ones(NUM), rtol=1e-6)


def reporting(rule, report):
    """A rule that reports something of the characters that it reads."""

    def gradient(params, memory, carry, x, y, loss=nats):
        return rule.gradient(params, memory, carry, x, y, loss=loss)._replace(aux=report(x, y))

    return Rule(rule.length, rule.init, gradient)


@DRIVERS
@pytest.mark.parametrize("length", [1, 3])
def test_what_a_rule_reports_comes_back_once_per_update(driver, length):
    def report(x, y):
        return {"read": x, "pair": (jnp.stack([x, y]), x[0] < 2), "nothing": None, "number": 7}

    rule = reporting(one_step(MODEL) if length == 1 else bptt(MODEL, length), report)
    ids, _ = text(VOCAB, NUM * length + 1)
    _, (losses, aux) = drive(rule, driver, has_aux=True)
    x, y = (each[: NUM * length].reshape(NUM, length) for each in (ids, ids[1:]))
    assert losses.shape == (NUM * length,)
    np.testing.assert_array_equal(aux["read"], x)
    np.testing.assert_array_equal(aux["pair"][0], np.stack([x, y], axis=1))
    np.testing.assert_array_equal(aux["pair"][1], x[:, 0] < 2)
    np.testing.assert_array_equal(aux["number"], np.full(NUM, 7))
    assert aux["nothing"] is None


@DRIVERS
def test_no_updates_have_no_results(driver):
    _, (losses, aux) = drive(meters.measured(one_step(MODEL), **all_of()), driver, 0, has_aux=True)
    assert losses.shape == (0,)
    assert {each.shape for each in aux.values()} == {(0,)}


def test_meters_join_what_the_rule_reports():
    rule = meters.measured(reporting(one_step(MODEL), lambda x, y: x), norm=meters.gradient_norm())
    _, (_, aux) = drive(rule, has_aux=True)
    assert aux.keys() == {"rule", "norm"}
    np.testing.assert_array_equal(aux["rule"][:, 0], text(VOCAB, NUM + 1)[0][:NUM])


def test_what_nobody_reads_is_not_computed():
    """Without `has_aux`, what a rule reports leaves no trace in the program that is compiled."""

    def program(rule, **how):
        learner = online(MODEL, rule, optax.sgd(0.1), **how)
        return jax.jit(learner.update).lower(started(learner), *text(VOCAB, 1)).as_text()

    expensive = reporting(one_step(MODEL), lambda x, y: jnp.linalg.qr(jnp.full((64, 64), x[0], jnp.float32)))
    assert program(expensive) == program(one_step(MODEL))
    assert len(program(expensive, has_aux=True)) > len(program(expensive))


def test_a_meter_of_ones_own_has_a_memory():
    """The largest gradient so far."""

    def read(most, reading):
        most = jnp.maximum(most, optax.tree.norm(reading.found.grads))
        return most, most

    largest = meters.Meter(lambda params, carry, key: jnp.float32(0), read)
    _, (_, aux) = drive(meters.measured(snap1(MODEL), norm=meters.gradient_norm(), largest=largest), has_aux=True)
    np.testing.assert_allclose(aux["largest"], np.maximum.accumulate(aux["norm"]), rtol=1e-6)
    assert aux["largest"][-1] > aux["norm"][-1]


def test_the_cosine_is_nan_where_no_loss_counts():
    ids, y = text(VOCAB, NUM)
    asked = np.arange(NUM) % 3 == 1
    rule = meters.measured(one_step(MODEL), cosine=meters.cosine_to(rtrl(MODEL)))
    learner = online(MODEL, rule, optax.sgd(0.1), loss=masked(nats), has_aux=True)
    pairs = Pairs(jnp.asarray(ids), (jnp.asarray(y), jnp.asarray(asked)))
    _, (_, aux) = fast_driver(learner, 10)(started(learner), pairs, NUM)
    np.testing.assert_array_equal(np.isnan(aux["cosine"]), ~asked)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_a_cosine_is_right_however_small_or_large_the_gradients_are(size):
    """Whose squares vanish or overflow in float32."""
    rule = one_step(MODEL)

    def gradient(*given, **named):
        found = rule.gradient(*given, **named)
        return found._replace(grads=jax.tree.map(lambda leaf: leaf * size, found.grads))

    cosines = [
        drive(meters.measured(each, cosine=meters.cosine_to(rtrl(MODEL))), rate=0.0, has_aux=True)[1].aux["cosine"]
        for each in (rule, rule._replace(gradient=gradient))
    ]
    np.testing.assert_allclose(*cosines, rtol=1e-5)
    assert cosines[0].min() < 0.99


def test_keys_and_counts_are_not_in_the_norm_of_a_memory():
    """And bfloat16 is squared in float32."""
    rule = Rule(1, lambda params, carry, key: (key, jnp.int32(3), jnp.full(2, 2.0**80, jnp.bfloat16)), one_step(MODEL).gradient)
    _, (_, aux) = drive(meters.measured(rule, memory=meters.memory_norm()), has_aux=True)
    np.testing.assert_array_equal(aux["memory"], np.full(NUM, np.inf))
    rule = rule._replace(init=lambda params, carry, key: (key, jnp.full(2, 2.0, jnp.bfloat16)))
    _, (_, aux) = drive(meters.measured(rule, memory=meters.memory_norm()), has_aux=True)
    np.testing.assert_allclose(aux["memory"], np.full(NUM, 8**0.5), rtol=1e-6)


def test_meters_do_not_change_the_signs_of_uoro():
    rule = meters.measured(uoro(MODEL), other=meters.cosine_to(uoro(MODEL)))
    _, (_, aux) = drive(rule, has_aux=True)
    assert np.abs(aux["other"][5:]).max() < 1

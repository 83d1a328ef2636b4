"""Arrays of other types than usual, keys of the old form and arrays that are used again: exact, or an error of one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed import apart, summed
from flax import linen as nn
from foreign_cells import OneVector
from misused import as_for_users

from jaxrnn import fast_driver, nats, network, online, plain_driver
from jaxrnn.errors import InputError
from jaxrnn.models.documents import with_documents
from jaxrnn.models.network import with_cell
from jaxrnn.rules import RULES, bptt, make_rule, one_step, rtrl_kronecker, snap1, snap_n, uoro
from jaxrnn.training.learner import reader
from jaxrnn.training.optimizers import make_optimizer

VOCAB, HIDDEN, TIME = 5, 3, 6
KEY = jax.random.key(0)
MODEL = network("gru", VOCAB, HIDDEN)
SGD = optax.sgd(0.1)


def unrolled(model, params, carry, x, y):
    """The gradient of the sum of all losses, through a loop in Python."""

    def loss(params):
        state, total = carry, 0.0
        for t in range(len(x)):
            state, logits = model.step(params, state, x[t])
            total += nats(logits, y[t]).mean()
        return total

    return jax.jit(jax.grad(loss))(params)


@pytest.mark.parametrize("name", ["bptt", "tbptt_sliding", "rtrl", "snap_n", "snap_n_lookahead"])
def test_a_document_begins_with_the_same_random_carry_in_every_stream(name, x64):
    """Each rule is exact here; those that follow each stream by itself must know the carry that the others get."""
    model = with_documents(with_cell(nn.GRUCell(HIDDEN, carry_init=nn.initializers.normal(1.0)), VOCAB, HIDDEN))
    ids = np.random.default_rng(0).integers(0, VOCAB, (2, TIME, 3))
    ids[0, 3, 1] = ~ids[0, 3, 1]
    ids[0, 4, 2] = ~ids[0, 4, 2]
    x, y = jnp.asarray(ids)
    params, carry = jax.tree.map(lambda leaf: leaf.astype(float), (model.init(KEY), model.initial_carry(KEY, (3,))))
    rule = make_rule(RULES[name], model, TIME)
    found = jax.tree.map(lambda leaf: rule.length * leaf, summed(rule, params, carry, x, y))
    assert apart(found, unrolled(model, params, carry, x, y)) < 1e-12


def test_a_document_begins_with_a_random_carry_that_does_not_depend_on_its_stream():
    model = with_documents(with_cell(nn.GRUCell(HIDDEN, carry_init=nn.initializers.normal(1.0)), VOCAB, HIDDEN))
    params, carry = model.init(KEY), model.initial_carry(jax.random.key(1), (3,))
    after, _ = model.step(params, carry, jnp.array([~2, ~2, ~2]))
    np.testing.assert_array_equal(after, after[:1].repeat(3, 0))


class Casting(OneVector):
    """A cell that computes in the type of its weights, and whose output is what it computed before it was cast."""

    @nn.compact
    def __call__(self, carry, x):
        w = self.param("w", nn.initializers.lecun_normal(), (x.shape[-1], HIDDEN), jnp.float32)
        u = self.param("u", nn.initializers.orthogonal(), (HIDDEN, HIDDEN), jnp.float32)
        h = nn.tanh(x.astype(w.dtype) @ w + carry.astype(w.dtype) @ u)
        return h.astype(carry.dtype), h


@pytest.mark.parametrize("make", [snap1, lambda model: snap_n(model, 2)])
def test_an_output_from_before_a_cast_is_refused_if_only_these_types_are_cast(make, promoting):
    """With float32 weights nothing is cast; with others the carry would seem to have no influence on the loss."""
    model = with_cell(Casting(HIDDEN), VOCAB, HIDDEN)
    learner = online(model, make(model), SGD)
    one, params = jnp.ones(1, jnp.int32), model.init(KEY)
    assert learner.update(learner.begin(params, KEY), one, one)[1].shape == (1,)
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    with pytest.raises(InputError, match="with arrays of these types and shapes, this rule needs a cell that computes"):
        learner.update(learner.begin(narrow, KEY), one, one)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm", "indrnn", "lru"])
def test_blocks_with_16_bit_weights_have_the_gradient_of_the_loop(cell, promoting):
    model = network(cell, VOCAB, 4)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model.init(KEY))
    carry = model.initial_carry(KEY, ())
    x, y = jnp.asarray(np.random.default_rng(1).integers(0, VOCAB, (2, TIME)))
    found = jax.tree.map(lambda leaf: TIME * leaf, jax.jit(bptt(model, TIME).gradient)(params, (), carry, x, y).grads)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    assert apart(found, unrolled(model, wide, carry, x, y)) < 0.02
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("make", [one_step, uoro, rtrl_kronecker, lambda model: bptt(model, 1, dropout=0.5)])
def test_a_raw_key_gives_the_same_numbers_as_a_typed_one(make):
    model = network("elman", VOCAB, HIDDEN)
    learner = online(model, make(model), SGD)
    one = jnp.ones(1, jnp.int32)
    update, raw = jax.jit(learner.update), jax.random.PRNGKey(3)
    with as_for_users():
        states = [learner.restart(learner.init(key), key) for key in (raw, jax.random.key(3))]
    after = [update(state, one, one) for state in states]
    jax.tree.map(np.testing.assert_array_equal, *[(state.params, state.carry, losses) for state, losses in after])


KEYS = {"a number": 0, "several": jax.random.split(KEY, 3), "numbers": jnp.arange(3), "a typed key as a shape": jnp.float32(1)}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("make", [lambda: online(MODEL, one_step(MODEL), SGD), lambda: reader(MODEL)])
def test_no_key_is_an_error_wherever_one_is_needed(make, key):
    learner = make()
    state = learner.init(KEY)
    for begin in (
        learner.init,
        lambda key: learner.begin(state.params, key),
        lambda key: learner.restart(state, key),
    ):
        with as_for_users(), pytest.raises(InputError, match=r"^the key is"):
            begin(KEYS[key])


@pytest.mark.parametrize("make", [plain_driver, lambda learner: fast_driver(learner, 4)])
def test_a_stream_that_was_filled_anew_is_checked_anew(make):
    """An array of NumPy may be; of JAX it cannot."""
    learner = online(MODEL, one_step(MODEL), SGD)
    drive, buffer = make(learner), np.array([0, 1, 2, 3, 4])
    with as_for_users():
        state, _ = drive(learner.init(KEY), buffer, 2)
        buffer[:] = 99
        with pytest.raises(InputError, match="the stream holds the input 99"):
            drive(state, buffer, 2)


@pytest.mark.parametrize("make", [plain_driver, lambda learner: fast_driver(learner, 4)])
def test_a_state_that_was_overwritten_is_an_error(make):
    learner = online(MODEL, one_step(MODEL), SGD)
    drive, state, ids = make(learner), learner.init(KEY), jnp.arange(5)
    drive(state, ids, 2)
    with pytest.raises(InputError, match=r"this state was overwritten: .*; continue with the state that it returned"):
        drive(state, ids, 2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_long_gradient_is_clipped_in_every_type(dtype):
    """The squares of 1,000 numbers of 20 sum up to more than float16 can hold."""
    optimizer = make_optimizer("sgd", 0.1, clip_norm=1.0)
    params = {"w": jnp.zeros(1000, dtype)}
    updates, _ = optimizer.update({"w": jnp.full(1000, 20.0, dtype)}, optimizer.init(params), params)
    (found,) = map(np.asarray, jax.tree.leaves(updates))
    assert found.dtype == dtype
    np.testing.assert_allclose(np.linalg.norm(found.astype(np.float32)), 0.1, rtol=0.01)

"""The streams axis is known from the model's own shapes, not guessed from those of a carry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixed import apart, case, drawn, full, summed, text

from jaxrnn import Model, rules
from jaxrnn.errors import InputError
from jaxrnn.models.model import num_characters
from jaxrnn.rules._carry_parts import carry_streams_shape

VOCAB, HIDDEN = 5, 3
SHAPES = {"W_x": (VOCAB, HIDDEN), "W_h": (HIDDEN, HIDDEN), "W_o": (HIDDEN, VOCAB)}


def fast_weights():
    """Three functions that remember by a matrix: A' = 0.9 A + h' h'^T / 2, h' = tanh(W_x x + W_h h + A h)."""

    def init(key):
        keys = jax.random.split(key, len(SHAPES))
        return {name: 0.3 * jax.random.normal(key, shape) for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)}

    def initial_carry(key, streams):
        return {"A": jnp.zeros((*streams, HIDDEN, HIDDEN)), "h": 0.1 * jax.random.normal(key, (*streams, HIDDEN))}

    def step(params, carry, ids):
        A, h = carry["A"], carry["h"]
        h = jnp.tanh(params["W_x"][ids] + h @ params["W_h"] + jnp.einsum("...ij,...j->...i", A, h))
        A = 0.9 * A + 0.5 * h[..., :, None] * h[..., None, :]
        return {"A": A, "h": h}, h @ params["W_o"]

    return Model(init, initial_carry, step, vocab_size=VOCAB)


MODEL = fast_weights()
EXACT = {  # over a text of 7 characters
    "rtrl": lambda model: rules.rtrl(model),
    "snap_n": lambda model: rules.snap_n(model, 3),
    "snap_n_lookahead": lambda model: rules.snap_n_lookahead(model, 3),
    "tbptt_sliding": lambda model: rules.tbptt_sliding(model, 7),
}


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("streams", [(), (2,)])
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.usefixtures("x64")
def test_a_rule_is_exact_for_a_carry_with_a_matrix(name, streams):
    arguments = case(MODEL._replace(vocab_size=VOCAB), 7, streams)
    assert apart(summed(EXACT[name](MODEL), *arguments), full(MODEL, *arguments)) < 1e-6


@pytest.mark.usefixtures("x64")
def test_uoro_is_unbiased_for_a_carry_with_a_matrix():
    """In the mean over 300 keys, within their spread, and with one stream as for itself in two."""
    params, carry, x, y = case(MODEL._replace(vocab_size=VOCAB), 4)
    rule, x, y = rules.uoro(MODEL), jnp.asarray(x), jnp.asarray(y)

    def reading(key):
        total, carried, memory = jax.tree.map(jnp.zeros_like, params), carry, rule.init(params, carry, key)
        for t in range(len(x)):
            grads, carried, memory, *_ = rule.gradient(params, memory, carried, x[t : t + 1], y[t : t + 1])
            total = jax.tree.map(jnp.add, total, grads)
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(total)])

    found = np.asarray(jax.jit(jax.vmap(reading))(jax.random.split(jax.random.key(0), 300)))
    exact = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(full(MODEL, params, carry, x, y))])
    error = found.std(0) / np.sqrt(len(found)) + 1e-9
    assert np.abs((found.mean(0) - exact) / error).max() < 5
    assert np.abs(found.mean(0) - exact).max() < 0.1 * np.abs(exact).max()


def test_the_axis_of_streams_is_that_of_the_model():
    for streams in ((), (2,)):
        assert carry_streams_shape(MODEL, drawn(MODEL, streams)[1]) == streams


def test_a_rule_that_follows_units_refuses_a_matrix_in_one_line():
    for rule in (rules.snap1, rules.snap1_lookahead, rules.rtrl_diagonal):
        with pytest.raises(InputError, match=r"needs a carry of vectors, .*; its arrays are \(3, 3\), \(3,\); try rtrl"):
            rule(MODEL)


def test_rules_that_look_inside_a_model_say_what_it_lacks():
    with pytest.raises(InputError, match="rflo needs a network of jaxrnn's own cells"):
        rules.rflo(MODEL)
    with pytest.raises(InputError, match="dropout needs a network of jaxrnn's own cells"):
        rules.bptt(MODEL, 4, dropout=0.5)
    with pytest.raises(InputError, match="this model has no layers"):
        MODEL.embed({}, jnp.int32(0))


def test_how_many_characters_a_model_knows_is_read_from_its_logits():
    assert num_characters(MODEL) == VOCAB
    x, _ = text(VOCAB, 3)
    assert x.shape == (3,)

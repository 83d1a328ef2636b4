"""Every rule on cells whose carry is any PyTree: exact, or refused in one sentence."""

import functools
import itertools

import foreign_cells
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed import apart, case, drawn, often, reading, summed, text
from flax import linen as nn

from jaxrnn import Model, nats, online, with_cell
from jaxrnn.errors import InputError
from jaxrnn.rules import RULES, bptt, make_rule, one_step, rtrl, snap1, snap_n, tbptt_sliding, uoro

VOCAB, HIDDEN, LENGTH = 3, 3, 5  # as many characters as units, and as many streams
MODELS = {name: with_cell(cell(HIDDEN), VOCAB, HIDDEN) for name, cell in foreign_cells.CELLS.items()}
SELDOM = ("tanh + LayerNorm", "minGRU", "two layers as one")
STREAMS = pytest.mark.parametrize("streams", [pytest.param((), marks=pytest.mark.slow), (3,)], ids=["one stream", "3 streams"])
EACH_MODEL = pytest.mark.parametrize("name", often(MODELS, SELDOM))
EXACT = {
    "bptt": functools.partial(bptt, length=LENGTH),
    "tbptt_sliding": functools.partial(tbptt_sliding, length=LENGTH),
    "rtrl": rtrl,
    "snap_n": functools.partial(snap_n, length=LENGTH),
    "snap_n_lookahead": functools.partial(RULES["snap_n_lookahead"].make, length=LENGTH),
}
DIAGONAL = ("minGRU", "a GRU that counts", "complex units")
FOR_UNITS = ("rtrl_diagonal", "snap1", "snap1_lookahead")  # exact for those, refused for the others
FOR_OWN_CELLS = {rule: f"{rule} needs a network of jaxrnn's own cells; try snap1" for rule in ("rflo", "eprop")}
FOR_OWN_CELLS["rtrl_kronecker"] = "rtrl_kronecker needs a network of elman, leaky, gru or lstm cells, .*; try uoro or rtrl"
REFUSALS = {
    "mLSTM": r"needs a carry of vectors, with one number per unit; its arrays are \(3, 3\), \(\), \(3,\)",
    "linear attention": r"needs a carry of vectors, with one number per unit; its arrays are \(3, 3\)",
    "tanh + LayerNorm": "needs weights that each drive one unit; those of 'cell/.*' drive several",
    "two layers as one": r"needs a carry of vectors, with one number per unit; its arrays are \(3,\), \(3,\), \(\)",
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def unrolled(model, carry, x, y, stop=False):
    """The summed mean loss of the streams by a Python loop, to be differentiated by JAX; of single steps if it stops."""

    def loss(params):
        total, state = 0.0, carry
        for x_t, y_t in zip(jnp.asarray(x), jnp.asarray(y), strict=True):
            state, logits = model.step(params, jax.lax.stop_gradient(state) if stop else state, x_t)
            total = total + nats(logits, y_t).mean()
        return total

    return loss


@functools.cache
def given(name, streams):
    return case(MODELS[name], LENGTH, streams)


@functools.cache
def expected(name, streams, stop=False):
    params, carry, x, y = given(name, streams)
    return jax.jit(jax.grad(unrolled(MODELS[name], carry, x, y, stop)))(params)


@STREAMS
@EACH_MODEL
@pytest.mark.parametrize("rule", EXACT)
def test_a_rule_that_sees_the_whole_past_is_the_derivative_of_the_loop(rule, name, streams):
    found = summed(EXACT[rule](MODELS[name]), *given(name, streams))
    whole = jax.tree.map(lambda leaf: LENGTH * leaf, found) if rule == "bptt" else found
    assert apart(whole, expected(name, streams)) < 1e-12
    assert apart(whole, expected(name, streams, stop=True)) > 1e-3


@STREAMS
@EACH_MODEL
def test_one_step_is_the_derivative_of_single_steps(name, streams):
    assert apart(summed(one_step(MODELS[name]), *given(name, streams)), expected(name, streams, stop=True)) < 1e-12


@STREAMS
@pytest.mark.parametrize("name", DIAGONAL)
@pytest.mark.parametrize("rule", FOR_UNITS)
def test_a_rule_that_follows_units_is_exact_where_they_reach_themselves_alone(rule, name, streams):
    found = summed(make_rule(RULES[rule], MODELS[name]), *given(name, streams))
    assert apart(found, expected(name, streams)) < 1e-12


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("rule", [*FOR_UNITS, *FOR_OWN_CELLS])
def test_where_a_rule_does_not_fit_one_sentence_says_why(rule, name):
    of_units = f"{rule} {REFUSALS[name]}.*; try rtrl"
    says = FOR_OWN_CELLS.get(rule, of_units)
    with pytest.raises(InputError, match=f"^{says}$"):
        make_rule(RULES[rule], MODELS[name])


@STREAMS
@EACH_MODEL
def test_the_mean_of_uoro_over_all_signs_is_rtrl(name, streams):
    """The streams have the same signs here: the gradient is a sum over streams, each of which depends on its own alone."""
    width = 3 if name == "tanh + LayerNorm" else 2  # two normalised numbers are always 1 and -1
    model = with_cell(foreign_cells.CELLS[name](width), width, width)
    params, carry, x, y = case(model, 3 if name != "mLSTM" else 2, streams)
    numbers = sum(
        leaf.size * (2 if leaf.dtype.kind == "c" else 1)
        for leaf in jax.tree.leaves(jax.eval_shape(lambda: model.initial_carry(jax.random.key(0), ())))
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    )
    every = np.array(list(itertools.product([1.0, -1.0], repeat=(len(x) - 1) * numbers))).reshape(-1, len(x) - 1, numbers)

    def gradient(signs):
        return reading(uoro(model, lambda key, num_read, shape: jnp.broadcast_to(signs[num_read], shape)), params, carry, x, y)

    of_each = jax.jit(jax.vmap(gradient))(every)
    mean, last = (jax.tree.map(of, of_each) for of in (lambda leaf: np.mean(leaf, axis=0), lambda leaf: np.asarray(leaf)[-1]))
    whole = jax.jit(jax.grad(unrolled(model, carry, x, y)))(params)
    assert apart(mean, whole) < 1e-12
    assert apart(last, whole) > 1e-3


class Mixed(foreign_cells.Foreign):
    """Two arrays of different types: h in bfloat16 follows c in float32."""

    def form(self, width):
        return {"c": (width, jnp.float32), "h": (width, jnp.bfloat16)}

    @nn.compact
    def __call__(self, carry, x):
        c = 0.9 * carry["c"] + self.dense("input", x)
        h = nn.tanh(self.dense("recurrent", carry["h"].astype(jnp.float32)) + c).astype(jnp.bfloat16)
        return {"c": c, "h": h}, h.astype(jnp.float32)


LECUN = nn.initializers.lecun_normal()  # Flax's own, orthogonal, cannot be drawn in bfloat16
COARSE = {
    "Flax's GRU": lambda **types: with_cell(nn.GRUCell(4, **types), VOCAB, 4),
    "with weights": lambda **types: with_cell(
        nn.GRUCell(4, param_dtype=types["dtype"], recurrent_kernel_init=LECUN, **types), VOCAB, 4
    ),
    "Flax's LSTM": lambda **types: with_cell(nn.OptimizedLSTMCell(4, **types), VOCAB, 4),
}


@STREAMS
@pytest.mark.parametrize("name", COARSE)
@pytest.mark.parametrize("rule", [rtrl, snap1, uoro, functools.partial(tbptt_sliding, length=3)])
def test_in_bfloat16_a_rule_adds_up_in_float32(rule, name, streams):
    """Strict promotion would also refuse what Flax does inside of its cells."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        coarse, fine = COARSE[name](dtype=jnp.bfloat16), COARSE[name](dtype=jnp.float32)
        (params, carry), (x, y) = drawn(fine, streams), text(VOCAB, 9, streams)
        like = jax.eval_shape(lambda: (coarse.init(jax.random.key(0)), coarse.initial_carry(jax.random.key(0), streams)))
        coarse_params, coarse_carry = jax.tree.map(lambda leaf, shape: leaf.astype(shape.dtype), (params, carry), like)
        found = summed(rule(coarse), coarse_params, coarse_carry, x, y)
        expected = summed(rule(fine), params, carry, x, y)
        memory = rule(coarse).init(coarse_params, coarse_carry, jax.random.key(0))
    jax.tree.map(lambda grad, leaf: _assert_type(grad, leaf.dtype), found, coarse_params)
    if rule in (rtrl, snap1):
        jax.tree.map(lambda leaf: _assert_type(leaf, jnp.float32), memory)
    assert apart(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), found), expected) < 0.1


def _assert_type(leaf, dtype):
    assert leaf.dtype == dtype


@STREAMS
def test_arrays_of_different_types_are_followed_together(streams):
    with jax.enable_x64(False):
        model = with_cell(Mixed(4), VOCAB, 4)
        (params, carry), (x, y) = drawn(model, streams), text(VOCAB, 5, streams)
        carry = {"c": carry["c"], "h": carry["h"].astype(jnp.bfloat16)}
        grads = summed(rtrl(model), params, carry, x, y)
        expected = jax.jit(jax.grad(unrolled(model, carry, x, y)))(params)
    assert apart(grads, expected) < 0.02


def test_a_cell_that_mixes_units_is_no_diagonal_in_bfloat16_either():
    with jax.numpy_dtype_promotion("standard"), pytest.raises(InputError, match="needs a diagonal recurrence"):
        make_rule(RULES["rtrl_diagonal"], COARSE["Flax's GRU"](dtype=jnp.bfloat16))


@pytest.mark.parametrize("rule", [one_step, rtrl, snap1, uoro, functools.partial(bptt, length=2)])
def test_a_flax_cell_is_trained_where_x64_is_enabled(rule):
    """Its weights are float32 all the same."""
    model = with_cell(nn.GRUCell(4), VOCAB, 4)
    learner = online(model, rule(model), optax.sgd(0.1))
    x = jnp.zeros(learner.length, jnp.int32)
    state, losses = jax.jit(learner.update)(jax.jit(learner.init)(jax.random.key(0)), x, x)
    assert losses.dtype == state.carry.dtype == jnp.float32


def test_a_carry_whose_arrays_have_no_axis_of_streams_is_refused():
    """One count for all streams: which of them it belongs to cannot be said."""
    own = MODELS["a GRU that counts"]

    def initial_carry(key, streams):
        return own.initial_carry(key, streams) | {"read": jnp.int32(0)}

    model = own._replace(initial_carry=initial_carry)
    for rule in (rtrl, uoro, snap1, one_step):
        learner = online(model, rule(model), optax.sgd(0.1), (3,))
        with pytest.raises(
            InputError, match=r"the carry's arrays have shapes \(3, 3\), \(3,\), \(\); .* one extra leading axis of size B"
        ):
            learner.init(jax.random.key(0))
        learner = online(model, rule(model), optax.sgd(0.1))
        learner.init(jax.random.key(0))


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"rflo", "eprop"}))
def test_a_model_without_a_carry_is_only_its_step(rule):
    """Logistic regression on one character: every rule is one_step."""
    kernel = jax.ShapeDtypeStruct((VOCAB, VOCAB), jnp.float32)
    model = Model(
        init=lambda key: {"kernel": jax.random.normal(key, kernel.shape, kernel.dtype)},
        initial_carry=lambda key, streams: (),
        step=lambda params, carry, x: (carry, params["kernel"][x]),
    )
    x, y = jnp.array([[0, 1, 2], [2, 2, 1]]), jnp.array([[1, 1, 0], [0, 2, 2]])
    params = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=kernel.shape))}
    found = summed(
        make_rule(RULES[rule], model, length=1 if rule == "bptt" else 3), params, (), x.astype(jnp.int32), y.astype(jnp.int32)
    )
    assert apart(found, jax.grad(unrolled(model, (), x, y))(params)) < 1e-12


SELDOM_SWITCHED = {
    "by a boolean": foreign_cells.Switching(HIDDEN),
    "by a count": foreign_cells.Switching(HIDDEN, by="count"),
    "complex": foreign_cells.Saturating(HIDDEN),
    "averaging": foreign_cells.Averaging(HIDDEN),
    "with a key": foreign_cells.Noisy(HIDDEN),
}


@pytest.mark.parametrize("name", SELDOM_SWITCHED)
@pytest.mark.parametrize("streams", [(), (3,)], ids=["one stream", "3 streams"])
def test_dependencies_that_show_only_now_and_then_are_found(name, streams):
    """`snap_n` with n as long as the text is exact, if its mask holds everything."""
    model = with_cell(SELDOM_SWITCHED[name], VOCAB, HIDDEN)
    length = 9
    params, (x, y) = drawn(model, streams, "float")[0], text(VOCAB, length, streams)
    with jax.enable_x64(False):
        begun = model.initial_carry(jax.random.key(1), streams)
    carry = jax.tree.map(lambda leaf: _wide(leaf) + 0.3 if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, begun)
    expected = jax.jit(jax.grad(unrolled(model, carry, x, y)))(params)
    for rule in (snap_n(model, length), RULES["snap_n_lookahead"].make(model, length), tbptt_sliding(model, length)):
        assert apart(summed(rule, params, carry, x, y), expected) < 1e-12
    if name in ("complex", "with a key"):
        assert apart(summed(make_rule(RULES["rtrl_diagonal"], model), params, carry, x, y), expected) < 1e-12
    else:
        with pytest.raises(InputError, match="rtrl_diagonal needs"):
            make_rule(RULES["rtrl_diagonal"], model)


def _wide(leaf):
    return leaf.astype(jnp.complex128 if leaf.dtype.kind == "c" else jnp.float64)


class Nowhere(foreign_cells.Foreign):
    """The square root of what is below zero."""

    def form(self, width):
        return (width, jnp.float32)

    @nn.compact
    def __call__(self, h, x):
        h = jnp.sqrt(-jnp.exp(self.dense("input", x) + h))
        return h, h


@pytest.mark.parametrize("rule", ["snap1", "snap1_lookahead", "rtrl_diagonal", "snap_n", "snap_n_lookahead"])
def test_a_cell_without_finite_derivatives_is_refused(rule):
    with pytest.raises(InputError, match=r"drive several; try rtrl|found no finite derivative of this cell"):
        make_rule(RULES[rule], with_cell(Nowhere(3), VOCAB, 3), 2)


def test_a_carry_that_has_no_streams_is_refused():
    own = MODELS["minGRU"]
    model = own._replace(initial_carry=lambda key, streams: own.initial_carry(key, ()))
    with pytest.raises(InputError, match=r"the carry is for streams=\(\), but the learner has streams=\(3,\)"):
        online(model, rtrl(model), optax.sgd(0.1), (3,)).init(jax.random.key(0))

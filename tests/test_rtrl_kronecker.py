"""RTRL with a sum of Kronecker products: exact where the terms are enough, and in the mean over all signs elsewhere."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed import DENSE, apart, case, often, reading, summed
from fixed import drawn as drawn_weights
from flax import linen as nn

from jaxrnn import meters, network, online, rtrl, rtrl_kronecker, uoro, with_cell
from jaxrnn.errors import InputError
from jaxrnn.models.base import Cell
from jaxrnn.models.cells import CellKind

VOCAB, HIDDEN, LENGTH = 5, 4, 7
MODELS = DENSE | {"no bias": network("gru", VOCAB, HIDDEN, initialisation="mikolov")}
pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("streams", [(), (3,)])
@pytest.mark.parametrize("name", often(MODELS, seldom=("leaky", "gru", "lstm", "no bias")))
def test_a_term_for_each_earlier_character_is_exact(name, streams):
    given = case(MODELS[name], LENGTH, streams)
    exact = summed(rtrl(MODELS[name]), *given)
    assert apart(summed(rtrl_kronecker(MODELS[name], LENGTH - 1), *given), exact) < 1e-12
    assert apart(summed(rtrl_kronecker(MODELS[name], 1), *given), exact) > 1e-3


@pytest.mark.parametrize(("name", "rows"), [("elman", VOCAB + HIDDEN + 1), ("gru", VOCAB + 1)])
def test_a_term_for_each_row_is_exact(name, rows):
    """However long the text is."""
    given = case(MODELS[name], 3 * rows)
    exact = summed(rtrl(MODELS[name]), *given)
    for rank in (rows, rows + 2):
        assert apart(summed(rtrl_kronecker(MODELS[name], rank), *given), exact) < 1e-12
    assert apart(summed(rtrl_kronecker(MODELS[name], rows // 2), *given), exact) > 1e-6


@pytest.mark.parametrize(
    ("name", "rank", "length", "streams"), [("elman", 2, 5, ()), ("gru", 1, 4, ()), ("lstm", 1, 5, (2,)), ("layers", 1, 3, ())]
)
def test_the_mean_over_all_signs_is_rtrl(name, rank, length, streams):
    """Streams have the same signs here: the gradient is a sum over streams, each of which depends on its own alone."""
    stacked = network("lstm", 3, 2, num_layers=2, embedding_size=2)
    model = stacked if name == "layers" else network(name, 3, 2)
    params, carry, x, y = case(model, length, streams)
    products = {"gru": 2, "layers": 3}.get(name, 1)
    shape = (length - 1, products, rank + 1)  # those drawn at the last character do not count
    every = np.array(list(itertools.product([1.0, -1.0], repeat=math.prod(shape)))).reshape(-1, *shape)

    given = []  # signs, while the rule is traced
    rule = rtrl_kronecker(model, rank, lambda key, num_read, shape: jnp.broadcast_to(given[-1][num_read], shape))

    def gradient(signs):
        given.append(signs)
        return reading(rule, params, carry, x, y)

    of_each = jax.jit(lambda every: jax.lax.map(gradient, every, batch_size=256))(every)
    mean = jax.tree.map(lambda leaf: np.mean(leaf, axis=0), of_each)
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[len(every) // 3], of_each)
    expected = summed(rtrl(model), params, carry, x, y)
    assert apart(mean, expected) < 1e-12
    assert apart(one, expected) > 1e-5


def test_each_product_and_stream_has_its_own_signs():
    asked = []

    def signs(key, num_read, shape):
        asked.append(shape)
        return jnp.ones(shape)

    model = MODELS["gru"]
    params, carry, x, y = case(model, LENGTH, (3,))
    summed(rtrl_kronecker(model, 4, signs), params, carry, x, y)
    assert asked[0] == (3, 2, 5)


def test_it_is_nearer_to_rtrl_than_uoro():
    """With a single term: the root mean square of the error over 50 draws."""
    model = network("gru", VOCAB, 8)
    params, carry, x, y = case(model, 20)
    exact = summed(rtrl(model), params, carry, x, y)

    numbers = []  # of the draw, while the rule is traced

    def signs(key, num_read, shape):
        return jax.random.rademacher(jax.random.fold_in(jax.random.key(numbers[-1]), num_read), shape, jnp.float32)

    def spread(rule):
        def gradient(number):
            numbers.append(number)
            return reading(rule, params, carry, x, y)

        found = jax.jit(jax.vmap(gradient))(jnp.arange(50))
        return np.sqrt(np.mean([apart(jax.tree.map(lambda leaf, i=i: leaf[i], found), exact) ** 2 for i in range(50)]))

    assert 3 * spread(rtrl_kronecker(model, 1, signs)) < spread(uoro(model, signs))


class Squared(Cell):
    """A cell whose weights are those of an Elman cell, but are squared."""

    def set_up_recurrence(self):
        self.recurrent_kernel = self.param("recurrent_kernel", nn.initializers.normal(), (self.hidden_size, self.hidden_size))

    def recur(self, h):
        return h @ jnp.square(self.recurrent_kernel)

    @nn.nowrap
    def gates(self, carry, px, ph):
        return jnp.tanh(px + ph)


SQUARED = CellKind(lambda size, hidden, start: Squared(size, hidden, start), "squared")
SAYS = "rtrl_kronecker needs a network of elman, leaky, gru or lstm cells, .*; try uoro or rtrl"


@pytest.mark.parametrize("name", ["indrnn", "lru"])
def test_other_cells_are_refused(name):
    with pytest.raises(InputError, match=SAYS):
        rtrl_kronecker(network(name, VOCAB, HIDDEN))


def test_weights_that_are_no_factors_are_refused():
    with pytest.raises(InputError, match=SAYS):
        rtrl_kronecker(network(SQUARED, VOCAB, HIDDEN))


def test_a_custom_cell_and_a_rank_of_none_are_refused():
    with pytest.raises(InputError, match=SAYS):
        rtrl_kronecker(with_cell(nn.GRUCell(HIDDEN), VOCAB, HIDDEN))
    with pytest.raises(InputError, match="rank is 0; it must be a whole number, 1 or more"):
        rtrl_kronecker(MODELS["gru"], 0)


class Fading(Cell):
    """A cell whose recurrence has no weights."""

    def set_up_recurrence(self):
        pass

    def recur(self, h):
        return 0.5 * h

    @nn.nowrap
    def gates(self, carry, px, ph):
        return jnp.tanh(px + ph)


def test_a_cell_without_recurrent_weights_is_exact():
    model = network(CellKind(lambda size, hidden, start: Fading(size, hidden, start), "fading"), VOCAB, HIDDEN)
    given = case(model, LENGTH)
    assert apart(summed(rtrl_kronecker(model, LENGTH), *given), summed(rtrl(model), *given)) < 1e-12


def test_vectors_as_inputs_are_rows():
    model = network("gru", VOCAB, HIDDEN, inputs=3)
    (params, carry), y = drawn_weights(model, (), "float"), case(MODELS["gru"], LENGTH)[3]
    given = params, carry, np.random.default_rng(0).normal(size=(LENGTH, 3)), y
    assert apart(summed(rtrl_kronecker(model, LENGTH), *given), summed(rtrl(model), *given)) < 1e-12
    assert apart(summed(rtrl_kronecker(model, 1), *given), summed(rtrl(model), *given)) > 1e-3


def axes_in_lapack(function, *given):
    """What LAPACK computes in a traced function, each time with the number of axes of its argument."""
    found = []

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("qr", "svd"):
                found.append((equation.primitive.name, equation.invars[0].aval.ndim))
            for inner in jax.tree.leaves(equation.params, is_leaf=lambda each: hasattr(each, "eqns") or hasattr(each, "jaxpr")):
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    visit(getattr(inner, "jaxpr", inner))

    visit(jax.make_jaxpr(function)(*given).jaxpr)
    return found


def test_lapack_gets_one_matrix_at_a_time():
    """Given several, jaxlib before 0.11.2 can hang: the threads that wait for its batch are those that should compute it."""
    model = MODELS["gru"]
    rule = rtrl_kronecker(model)
    learner = online(model, meters.measured(rule, other=meters.cosine_to(rule)), optax.sgd(0.1), (8,))
    state, x = learner.init(jax.random.key(0)), jnp.zeros((1, 8), jnp.int32)
    for update, states in (
        (learner.update, state),
        (jax.vmap(learner.update, (0, None, None)), jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), state)),
    ):
        axes = axes_in_lapack(update, states, x, x)
        assert set(axes) == {("qr", 2), ("svd", 2)}

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
from jaxrnn.rules._kronecker_sum import KroneckerSum, drop_term

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


def dense(terms):
    return np.einsum("ra,ruc->auc", *map(np.asarray, terms))


def drawn(scales, rows=6):
    """A sum of a term for each scale."""
    rng, scales = np.random.default_rng(7), np.asarray(scales, float)
    left, right = rng.normal(size=(len(scales), rows)), rng.normal(size=(len(scales), 3, 4))
    return KroneckerSum(jnp.asarray(left * scales[:, None]), jnp.asarray(right * scales[:, None, None]))


SPREADS = [
    ([1, 1], 6, 2),
    ([3, 0.1], 6, 2),
    ([5, 4, 0.1, 0.1, 0.1], 6, 2),
    ([9, 1, 1, 0], 6, 2),
    ([1, 1, 1, 1], 12, 3),
    ([1, 1, 1, 1], 0, 4),  # 0: orthogonal terms
]


@pytest.mark.parametrize(("scales", "rows", "mixed"), SPREADS)
def test_a_term_less_keeps_the_mean_with_the_least_variance(scales, rows, mixed):
    """The mean and the variance over all signs, beside the formula of the paper in NumPy: the best number of values to keep."""
    equal = KroneckerSum(jnp.eye(4, 6), jnp.eye(4, 12).reshape(4, 3, 4))
    terms = drawn(scales, rows) if rows else equal
    whole, count = dense(terms), len(scales)
    fewer = [drop_term(terms, jnp.asarray(signs)) for signs in itertools.product([1.0, -1.0], repeat=count)]
    assert {len(each.left) for each in fewer} == {count - 1}
    matrices = np.stack([dense(each) for each in fewer])
    np.testing.assert_allclose(matrices.mean(0), whole, atol=1e-12)

    sigma = np.linalg.svd(whole.reshape(len(whole), -1), compute_uv=False)[:count]
    best, number = min(
        (sigma[kept:].sum() ** 2 / (count - kept - 1) - (sigma[kept:] ** 2).sum(), count - kept)
        for kept in range(count - 1)
        if (count - kept - 1) * sigma[kept] <= sigma[kept:].sum() * (1 + 1e-12)
    )
    assert number == mixed
    np.testing.assert_allclose(((matrices - whole) ** 2).sum((1, 2, 3)).mean(), best, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "scales", [[1, 1], [5, 4, 0.1, 0.1, 0.1], [1, 0.03, 0.03, 0.01], [1e8, 1e7, 1e7], [1e-10, 1e-11, 1e-11]]
)
def test_the_mean_is_kept_in_float32(scales):
    terms = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), drawn(scales))
    whole, signs = dense(terms), itertools.product([1.0, -1.0], repeat=len(scales))
    fewer = [drop_term(terms, jnp.asarray(each, jnp.float32)) for each in signs]
    assert {leaf.dtype for each in fewer for leaf in each} == {jnp.dtype("float32")}
    mean = np.mean([dense(each).astype(float) for each in fewer], axis=0)
    assert np.linalg.norm(mean - whole) < 2e-6 * np.linalg.norm(whole)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 2e-6)])
@pytest.mark.parametrize("apart", [1.0, 1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("balance", [1.0, 1e4, 1e-4])
def test_unbalanced_and_nearly_equal_terms_keep_the_mean(balance, apart, dtype, tolerance):
    """Where the smallest singular value is far below the largest, or a factor far above the other."""
    left, right = drawn([1, 1, 1])
    left, right = left.at[1].set(left[0] + apart * left[1]), right.at[1].set(right[0] + apart * right[1])
    of_term = jnp.array([1, balance, 1 / balance])
    terms = KroneckerSum((left * of_term[:, None]).astype(dtype), (right / of_term[:, None, None]).astype(dtype))
    whole, signs = dense(jax.tree.map(lambda leaf: leaf.astype(float), terms)), itertools.product([1.0, -1.0], repeat=3)
    fewer = [drop_term(terms, jnp.asarray(each, dtype)) for each in signs]
    mean = np.mean([dense(jax.tree.map(lambda leaf: leaf.astype(float), each)) for each in fewer], axis=0)
    assert np.linalg.norm(mean - whole) < tolerance * np.linalg.norm(whole)


def test_with_more_terms_than_rows_small_directions_are_kept_in_float32():
    """Each relative to itself, not to the largest: what is cut at each step could never grow."""
    rows, rng = 16, np.random.default_rng(0)
    basis, sizes = np.linalg.qr(rng.normal(size=(rows, rows)))[0], np.logspace(0, -6, rows)
    right = np.linalg.qr(rng.normal(size=(30, rows)))[0].T * sizes[:, None]
    left, right = np.vstack([basis.T, np.zeros(rows)]), np.vstack([right, np.zeros(30)]).reshape(-1, 5, 6)
    terms = KroneckerSum(jnp.asarray(left, jnp.float32), jnp.asarray(right, jnp.float32))
    after = dense(jax.tree.map(lambda leaf: leaf.astype(float), drop_term(terms, jnp.ones(rows + 1, jnp.float32))))
    off = np.linalg.norm((basis.T @ (after.reshape(rows, -1)) - right[:-1].reshape(rows, -1)), axis=1)
    assert (off < 2e-6 + 0.1 * sizes).all()
    assert off[-1] < 0.5 * sizes[-1]


def test_one_term_has_less_variance_than_kf_rtrl():
    """Whose sum of two products is (p u + s q v) (x) (A / p + s B / q), with the best p and q."""
    terms = drawn([1, 1])
    (u, v), (A, B) = (list(map(np.asarray, each)) for each in terms)
    norm = np.linalg.norm
    p, q = np.sqrt(norm(A) / norm(u)), np.sqrt(norm(B) / norm(v))
    whole = dense(terms)
    theirs = [np.tensordot(p * u + s * q * v, A / p + s * B / q, axes=0) for s in (1, -1)]
    ours = [dense(drop_term(terms, jnp.array([1.0, s]))) for s in (1.0, -1.0)]
    np.testing.assert_allclose(np.mean(theirs, axis=0), whole, atol=1e-12)
    assert norm(ours[0] - whole) < 0.95 * np.mean([norm(each - whole) for each in theirs])


@pytest.mark.parametrize(("scales", "rows"), [([0, 0, 0], 6), ([2, 0, 0], 6), ([1, 1, 1, 1], 3), ([1, 1, 1, 1], 2)])
def test_what_fits_is_kept_exactly(scales, rows):
    """Terms of zeros, and more terms than rows."""
    terms = drawn(scales, rows)
    fewer = drop_term(terms, jnp.asarray([1.0, -1.0, 1.0, -1.0])[: len(terms.left)])
    assert len(fewer.left) == len(terms.left) - 1
    np.testing.assert_allclose(dense(fewer), dense(terms), atol=1e-12)


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

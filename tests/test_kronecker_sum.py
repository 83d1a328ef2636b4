"""A sum of Kronecker products with a term less: the same mean, and the least variance."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.rules._kronecker_sum import KroneckerSum, drop_term

pytestmark = pytest.mark.usefixtures("x64")


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
    """Singular values, or the sizes of the two factors of a term, that differ by orders of magnitude."""
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
    """KF-RTRL's sum of two products is (p u + s q v) (x) (A / p + s B / q), with the best p and q."""
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

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from conftest import HIDDEN, VOCAB
from fixed import drawn

from jaxrnn import elman, nats
from jaxrnn.errors import InputError
from jaxrnn.models.base import INITIALISATIONS
from jaxrnn.models.dense import Elman


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_a_step_is_that_of_the_witness(activation, initialisation):
    with jax.enable_x64(True):
        model = elman(VOCAB, HIDDEN, activation, initialisation)
        params, h = drawn(model, dtype="float64")
        carry, logits = jax.jit(model.step)(params, h, 3)
        expected_carry, expected_logits = reference.step(reference.to_float64(params), np.asarray(h), 3, activation)
        np.testing.assert_allclose(carry, expected_carry, rtol=1e-13)
        np.testing.assert_allclose(logits, expected_logits, rtol=1e-13)


def test_nats_are_the_cross_entropy_of_each_stream():
    logits = jax.random.normal(jax.random.key(0), (3, VOCAB))
    y = jnp.array([1, 0, 6])
    expected = [reference.nats(np.asarray(row, np.float64), int(label)) for row, label in zip(logits, y, strict=True)]
    np.testing.assert_allclose(nats(logits, y), expected, rtol=1e-6)


def test_a_row_of_the_input_kernel_is_the_product_with_a_one_hot_vector(params):
    cell = Elman(VOCAB, HIDDEN)
    variables = {"params": params["cell"]}
    for x in range(VOCAB):
        one_hot = jax.nn.one_hot(x, VOCAB)
        expected = one_hot @ params["cell"]["input_kernel"] + params["cell"]["bias"]
        gathered = np.asarray(cell.apply(variables, jnp.int32(x), method="project"))
        np.testing.assert_allclose(gathered, expected, rtol=1e-6)


def test_equal_streams_do_what_one_stream_does(model, params):
    h = model.initial_carry(jax.random.key(2), ())
    one_carry, one_logits = model.step(params, h, jnp.int32(4))
    carry, logits = model.step(params, jnp.stack([h, h, h]), jnp.array([4, 4, 4]))
    np.testing.assert_allclose(carry, jnp.stack([one_carry] * 3), rtol=1e-6)
    np.testing.assert_allclose(logits, jnp.stack([one_logits] * 3), rtol=1e-5)


def test_streams_do_not_see_each_other(model, params):
    h = model.initial_carry(jax.random.key(2), (3,))
    carry, _ = model.step(params, h, jnp.array([1, 2, 3]))
    other, _ = model.step(params, h.at[1].set(0.7), jnp.array([1, 5, 3]))
    np.testing.assert_array_equal(carry[np.array([0, 2])], other[np.array([0, 2])])
    assert not np.allclose(carry[1], other[1])


def test_pytorch_values_are_uniform_within_the_root_of_the_fan_in():
    params = jax.tree.map(np.asarray, jax.jit(elman(73, 128).init)(jax.random.key(0)))
    for arrays, fan_in in ((params["cell"], 73 + 128), (params["readout"], 128)):
        for array in arrays.values():
            bound = fan_in**-0.5
            assert abs(array).max() <= bound
            assert abs(array).max() > 0.9 * bound
            np.testing.assert_allclose(array.std(), bound / 3**0.5, rtol=0.15)


def test_mikolov_values_are_normal_with_a_carry_of_a_tenth_and_no_biases():
    model = elman(73, 128, initialisation="mikolov")
    params = jax.tree.map(np.asarray, jax.jit(model.init)(jax.random.key(0)))
    assert set(params["cell"]) == {"input_kernel", "recurrent_kernel"}
    assert set(params["readout"]) == {"kernel"}
    for array in jax.tree.leaves(params):
        np.testing.assert_allclose(array.std(), 0.1, rtol=0.05)
        assert abs(array.mean()) < 0.005
    assert (model.initial_carry(jax.random.key(0), (2,)) == np.full((2, 128), 0.1, np.float32)).all()


def test_the_course_draws_the_carry_anew_for_each_key(model):
    first, second = (np.asarray(elman(7, 10_000).initial_carry(jax.random.key(seed), ())) for seed in (0, 1))
    np.testing.assert_allclose(first.std(), 0.1, rtol=0.05)
    assert not np.allclose(first, second)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"hidden_size": 0}, "no network can be made with hidden_size=0; it must be a whole number, 1 or more"),
        ({"activation": "gelu"}, "no activation 'gelu'; the known ones are sigmoid, tanh, relu"),
        ({"initialisation": "zeros"}, "no initialisation 'zeros'; the known ones are pytorch, mikolov, orthogonal"),
    ],
)
def test_a_network_that_there_is_not_is_an_error(wrong, says):
    with pytest.raises(InputError, match=f"^{says}$"):
        elman(VOCAB, **{"hidden_size": HIDDEN, **wrong})

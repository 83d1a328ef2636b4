import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from conftest import HIDDEN, VOCAB

from jaxrnn import elman, one_step
from jaxrnn.rules import RULES


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("initialisation", ["pytorch", "mikolov"])
def test_one_step_is_the_gradient_of_the_witness(activation, initialisation):
    with jax.enable_x64(True):
        model = elman(VOCAB, HIDDEN, activation, initialisation)
        params = jax.tree.map(lambda array: array.astype(jnp.float64), model.init(jax.random.key(0)))
        h = jax.random.normal(jax.random.key(1), (HIDDEN,), jnp.float64)
        grads, carry, _, losses = jax.jit(one_step(model).gradient)(params, (), h, jnp.array([3]), jnp.array([5]))
        loss, new_h, expected = reference.gradient(reference.to_float64(params), np.asarray(h), 3, 5, activation)
        np.testing.assert_allclose(losses, [loss], rtol=1e-13)
        np.testing.assert_allclose(carry, new_h, rtol=1e-13)
        for name, array in reference.to_float64(grads).items():
            if array.any():  # else the model has no such bias
                np.testing.assert_allclose(array, expected[name], rtol=1e-11, atol=1e-15)
        assert {array.dtype for array in jax.tree.leaves(grads)} == {np.dtype(np.float64)}


@pytest.mark.parametrize("rule", RULES)
def test_no_gradient_reaches_the_carried_state(rule, model, params):
    def loss(carry):
        _, new_carry, _, losses = RULES[rule](model, 1, 0.0).gradient(params, (), carry, jnp.array([3]), jnp.array([5]))
        return losses.sum() + new_carry.sum()

    carry = model.initial_carry(jax.random.key(0), ())
    assert (jax.grad(loss)(carry) == np.zeros(HIDDEN)).all()


@pytest.mark.parametrize("rule", RULES)
def test_the_gradient_of_streams_is_the_mean_of_theirs(rule, model, params):
    gradient = jax.jit(RULES[rule](model, 1, 0.0).gradient)
    h = model.initial_carry(jax.random.key(0), (3,))
    x, y = jnp.array([[1, 2, 3]]), jnp.array([[4, 5, 6]])
    together = gradient(params, (), h, x, y)
    alone = [gradient(params, (), h[b], x[:, b], y[:, b]) for b in range(3)]
    mean = jax.tree.map(lambda *arrays: sum(arrays) / 3, *[each.grads for each in alone])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), together.grads, mean)
    np.testing.assert_allclose(together.losses, sum(each.losses for each in alone) / 3, rtol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_the_same_under_jit(rule, model, params):
    gradient = RULES[rule](model, 1, 0.0).gradient
    arguments = (params, (), model.initial_carry(jax.random.key(0), ()), jnp.array([3]), jnp.array([5]))
    plain, jitted = gradient(*arguments), jax.jit(gradient)(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), plain, jitted)

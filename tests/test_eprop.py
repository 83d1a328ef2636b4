"""E-prop beside witnesses in NumPy: with symmetric and with random feedback, in one layer and in several."""

import functools

import dense
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from fixed import DENSE, apart, case, often, summed
from jax.flatten_util import ravel_pytree

from jaxrnn import eprop, network, online, rflo
from jaxrnn.errors import InputError
from jaxrnn.models.losses import nats

VOCAB, HIDDEN, LENGTH = 5, 4, 7
MODELS = DENSE
randomly = functools.partial(eprop, feedback="random")
pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("streams", [(), (3,)])
@pytest.mark.parametrize("name", often(MODELS, seldom=("elman", "leaky", "layers")))
def test_symmetric_feedback_is_rflo(name, streams):
    given = case(MODELS[name], LENGTH, streams)
    assert apart(summed(eprop(MODELS[name]), *given), summed(rflo(MODELS[name]), *given)) < 1e-14


def read(rule, params, carry, x, y, feedback, loss=nats):
    """The sum of the gradients, with these feedback weights."""
    memory = rule.init(params, carry, jax.random.key(0))._replace(feedback=feedback)
    total, step = np.zeros(()), jax.jit(functools.partial(rule.gradient, loss=loss))
    for t in range(len(x)):
        grads, carry, memory, *_ = step(params, memory, carry, x[t : t + 1], y[t : t + 1])
        total = total + np.asarray(ravel_pytree(grads)[0])
    return ravel_pytree(params)[1](jnp.asarray(total))


def weights(number=1, size=VOCAB):
    return tuple(jnp.asarray(R) for R in np.random.default_rng(3).normal(size=(number, size, HIDDEN)))


@pytest.mark.parametrize("leak", [0.1, 1.0])
def test_random_feedback_to_leaky_units_is_the_witness_by_hand(leak):
    model = network("leaky", VOCAB, HIDDEN, leak=leak)
    params, carry, x, y = case(model)
    grads = read(randomly(model), params, carry, x, y, weights())
    expected = reference.rflo(reference.to_float64(params), np.asarray(carry), x, y, leak, np.asarray(weights()[0]))
    for name, array in reference.to_float64(grads).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-11, atol=1e-15)


@functools.cache
def errors(name):
    """The error of the outputs at each character: predicted minus true probabilities."""
    model, found = MODELS[name], []
    params, carry, x, y = case(model, LENGTH)
    for x_t, y_t in zip(x, y, strict=True):
        carry, logits = model.step(params, carry, jnp.asarray(x_t))
        found.append(np.asarray(jax.nn.softmax(logits)) - np.eye(VOCAB)[y_t])
    return found


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_random_feedback_weights_traces_by_the_error_of_the_outputs(name):
    model = MODELS[name]
    params, carry, x, y = case(model, LENGTH)
    steps = dense.steps(model, params, carry, x, y)
    (R,), total, E = weights(), 0, 0
    for (now, D, g, _), e in zip(dense.kept_steps(model, params, carry, x, y, steps), errors(name), strict=True):
        E = now + (D @ E if np.ndim(E) else 0)
        signal = np.concatenate([np.zeros(len(E) - HIDDEN), e @ R])  # h is the last state of an LSTM, which has c before it
        total = total + np.where(now.any(0) | E.any(0), E.T @ signal, g)
    grads = read(randomly(model), params, carry, x, y, (R,))
    assert apart(grads, total) < 1e-12
    assert apart(grads, dense.rtrl(steps)) > 0.1


def layer_alone(size):
    return network("lstm", VOCAB, HIDDEN, inputs=size)


def test_layers_under_random_feedback_learn_each_by_itself():
    """Layer 2 as if it read vectors; layer 1 and the embedding as if the outputs' errors came from elsewhere."""
    model = MODELS["layers"]
    params, carry, x, y = case(model, LENGTH)
    feedback = weights(2)
    grads = read(randomly(model), params, carry, x, y, feedback)

    first, seen, state = network("lstm", VOCAB, HIDDEN, embedding_size=3), [], carry
    for x_t in x:
        state, _ = model.step(params, state, jnp.asarray(x_t))
        seen.append(state[0][1])  # h of layer 1
    upper = {"cell": params["cell_2"], "readout": params["readout"]}
    of_upper = read(randomly(layer_alone(HIDDEN)), upper, carry[1], jnp.stack(seen), y, feedback[1:])
    assert apart((grads["cell_2"], grads["readout"]), (of_upper["cell"], of_upper["readout"])) < 1e-12

    def given_error(outputs, error):
        return (outputs * error).sum(-1)

    lower = {name: params[name] for name in ("embedding", "cell", "readout")}
    of_lower = read(randomly(first), lower, carry[0], x, jnp.asarray(errors("layers")), feedback[:1], given_error)
    assert apart((grads["embedding"], grads["cell"]), (of_lower["embedding"], of_lower["cell"])) < 1e-12


def test_streams_share_the_feedback_and_average_their_gradients():
    model = MODELS["layers"]
    params, carry, x, y = case(model, LENGTH, (3,))
    together = read(randomly(model), params, carry, x, y, weights(2))
    carries = [jax.tree.map(lambda leaf, b=b: leaf[b], carry) for b in range(3)]
    each = [read(randomly(model), params, carries[b], x[:, b], y[:, b], weights(2)) for b in range(3)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *each)
    assert apart(together, mean) < 1e-12


def test_feedback_is_drawn_once():
    """Not again when the carry is reset; another seed draws others, with standard deviation 1 / sqrt(hidden)."""
    model = network("gru", 30, 100, num_layers=2)
    learner = online(model, eprop(model, "random", seed=1), optax.sgd(0.1))
    begun = learner.init(jax.random.key(0))
    again = learner.restart(begun, jax.random.key(5))
    assert [R.shape for R in begun.memory.feedback] == [(30, 100)] * 2
    np.testing.assert_array_equal(np.stack(begun.memory.feedback), np.stack(again.memory.feedback))
    other = eprop(model, "random", seed=2).init(begun.params, begun.carry, jax.random.key(0)).feedback
    drawn = np.stack([*begun.memory.feedback, *other])
    assert abs(np.corrcoef(drawn.reshape(4, -1)) - np.eye(4)).max() < 0.1
    np.testing.assert_allclose(drawn.std((1, 2)), np.full(4, 0.1), rtol=0.05)


def test_any_outputs_are_fed_back():
    """A tree of outputs, and a loss of vectors."""
    inner = MODELS["gru"]

    def step(params, carry, x):
        carry, outputs = inner.step(params, carry, x)
        return carry, {"b": outputs[..., 2:], "a": outputs[..., :2]}

    def read_out(params, h):
        outputs = inner.read_out(params, h)
        return {"b": outputs[..., 2:], "a": outputs[..., :2]}

    model = inner._replace(step=step, read_out=read_out, step_of_layers=step)
    params, carry, x, _ = case(inner, LENGTH)
    y = jnp.asarray(np.random.default_rng(5).normal(size=(LENGTH, VOCAB)))

    def squared(outputs, y):
        return ((outputs - y) ** 2).sum(-1)

    def of_tree(outputs, y):
        return squared(outputs["a"], y[..., :2]) + squared(outputs["b"], y[..., 2:])

    whole = read(randomly(inner), params, carry, x, y, weights(), squared)
    assert apart(read(randomly(model), params, carry, x, y, weights(), of_tree), whole) < 1e-14


def test_memory_has_a_limit():
    params, carry, *_ = case(MODELS["gru"])
    with pytest.raises(InputError, match=r"eprop needs .* of memory; the limit is 100 bytes"):
        randomly(MODELS["gru"], max_bytes=100).init(params, carry, jax.random.key(0))

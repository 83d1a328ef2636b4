"""Custom losses: real-valued, of several targets; inputs that are vectors; pairs of both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed import apart, drawn, often
from regression import EXACT, HIDDEN, INPUTS, LENGTH, MODELS, OUTPUTS, STREAMS, begun, of_loop, read, squared, vectors

from jaxrnn import Model, Pairs, fast_driver, masked, nats, network, online, plain_driver, with_nnx_cell
from jaxrnn.errors import InputError
from jaxrnn.models.losses import Masked
from jaxrnn.models.model import with_step
from jaxrnn.rules import RULES, Rule, bptt, one_step, rtrl, snap1, with_precision
from jaxrnn.training.learner import reader


@STREAMS
@pytest.mark.parametrize("rule", EXACT)
@pytest.mark.parametrize("name", often(MODELS, ("minGRU", "our GRU")))
@pytest.mark.usefixtures("x64")
def test_a_regression_has_the_gradient_of_the_loop(name, rule, streams):
    model, rule = MODELS[name], EXACT[rule](MODELS[name])
    params, carry, x, y = begun(model, streams)
    found, losses = read(rule, params, carry, x, y, squared)

    def mean_of_streams(outputs):
        return sum(((output - y_t) ** 2).sum(-1).mean() for output, y_t in zip(outputs, y, strict=True))

    expected = of_loop(model, params, carry, x, mean_of_streams)
    assert apart(jax.tree.map(lambda leaf: rule.length * leaf, found), expected) < 1e-12
    assert losses.shape == (LENGTH,)


def two_heads():
    """A model of the library with two outputs: a class, and a number."""
    model = network("gru", 4, HIDDEN, inputs=INPUTS)

    def step(params, carry, x):
        carry, outputs = model.step(params, carry, x)
        return carry, {"class": outputs[..., :3], "number": outputs[..., 3]}

    return Model(model.init, model.initial_carry, step, inputs=INPUTS)


@STREAMS
@pytest.mark.parametrize("rule", EXACT)
@pytest.mark.usefixtures("x64")
def test_outputs_and_targets_may_be_any_tree(rule, streams):
    model = two_heads()
    rule = EXACT[rule](model)
    params, carry, x, y = begun(model, streams)
    y = {"class": jnp.asarray(np.random.default_rng(3).integers(0, 3, (LENGTH, *streams)), jnp.int32), "number": y[..., 0]}

    def both(outputs, y):
        return nats(outputs["class"], y["class"]) + 0.5 * (outputs["number"] - y["number"]) ** 2

    found, _ = read(rule, params, carry, x, y, both)
    of_steps = [jax.tree.map(lambda leaf, t=t: leaf[t], y) for t in range(LENGTH)]
    expected = of_loop(
        model, params, carry, x, lambda outputs: sum(both(*each).mean() for each in zip(outputs, of_steps, strict=True))
    )
    assert apart(jax.tree.map(lambda leaf: rule.length * leaf, found), expected) < 1e-12


@STREAMS
@pytest.mark.parametrize("length", [1, 3])
def test_both_drivers_read_pairs_as_updates_one_by_one_do_in_pieces_of_any_length(length, streams):
    model = MODELS["our GRU"]
    rule = bptt(model, length) if length > 1 else snap1(model)
    learner = online(model, rule, optax.sgd(0.1), streams, loss=masked(squared))
    asked = jnp.asarray(np.random.default_rng(0).random((LENGTH, *streams)) < 0.7)
    stream = Pairs(vectors(streams).astype(jnp.float32), (vectors(streams, OUTPUTS).astype(jnp.float32), asked))
    updates = 2 * LENGTH // length  # the stream twice
    results = []
    for drive, pieces in ((plain_driver(learner), [updates]), (fast_driver(learner, 4), [1, updates - 1])):
        state, losses = learner.init(jax.random.key(0)), []
        for number in pieces:
            state, found = drive(state, stream, number)
            losses.append(found)
        results.append((state.params, state.carry, np.concatenate(losses)))
    state, losses, update = learner.init(jax.random.key(0)), [], jax.jit(learner.update)
    for start in [*range(0, LENGTH, length)] * 2:
        state, found = update(state, *jax.tree.map(lambda leaf, start=start: leaf[start : start + length], tuple(stream)))
        losses.append(found)
    expected = state.params, state.carry, np.concatenate(losses)
    for result in results:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), result, expected)


@pytest.mark.usefixtures("promoting")
def test_a_regression_learns():
    """y is a leaky sum of the inputs, which a leaky unit can hold: the error falls to a hundredth."""
    x = np.random.default_rng(0).normal(size=(4_000, 2)).astype(np.float32)
    y, held = np.zeros((4_000, 1), np.float32), 0.0
    for t, both in enumerate(x):
        held = 0.8 * held + 0.2 * both.sum()
        y[t] = held
    model = network("lru", 1, 8, inputs=2)
    learner = online(model, RULES["rtrl_diagonal"].make(model), optax.adam(0.003), loss=squared)
    state, losses = fast_driver(learner, 4_000)(learner.init(jax.random.key(0)), Pairs(jnp.asarray(x), jnp.asarray(y)), 4_000)
    assert losses[-500:].mean() < 0.01 * y.var()
    frozen = reader(model, loss=squared)
    _, held_out = fast_driver(frozen, 500)(
        frozen.begin(state.params, jax.random.key(0)), Pairs(jnp.asarray(x[:500]), jnp.asarray(y[:500])), 500
    )
    assert held_out[50:].mean() < 0.01 * y.var()


def test_a_cell_of_nnx_reads_vectors():
    from flax import nnx

    model = with_nnx_cell(nnx.GRUCell, OUTPUTS, HIDDEN, inputs=INPUTS)
    params, carry = drawn(model)
    carry, outputs = model.step(params, carry, jnp.ones(INPUTS))
    assert outputs.shape == (OUTPUTS,)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda outputs, y: optax.squared_error(outputs, y), r"returns losses of shape \(3, 2\); .*, shape \(3,\)"),
        (
            lambda outputs, y: squared(outputs, y).mean(),
            r"returns losses of shape \(\); it must .*, shape \(3,\)",
        ),
        (lambda outputs, y: jnp.argmax(outputs, -1), "returns dtype int32; it must return floats"),
        (lambda outputs, y: Masked(squared(outputs, y), jnp.bool_(True)), r"returns a mask of shape \(\)"),
    ],
)
@pytest.mark.parametrize("rule", [one_step, functools.partial(bptt, length=2), rtrl])
def test_a_loss_that_is_not_one_number_per_stream_is_refused(loss, says, rule):
    model, streams = MODELS["our GRU"], (3,)
    learner = online(model, rule(model), optax.sgd(0.1), streams, loss=loss)
    x, y = (leaf[: learner.length].astype(jnp.float32) for leaf in (vectors(streams), vectors(streams, OUTPUTS)))
    with pytest.raises(InputError, match=says):
        learner.update(learner.init(jax.random.key(0)), x, y)


def test_a_rule_that_knows_no_loss_lowers_nats_alone():
    known = one_step(MODELS["characters"])
    own = Rule(1, known.init, lambda params, memory, carry, x, y: known.gradient(params, memory, carry, x, y))
    online(MODELS["characters"], own, optax.sgd(0.1))
    for rule in (own, with_precision(own, "float32")):
        with pytest.raises(InputError, match="takes no `loss`, so it works only with nats"):
            online(MODELS["characters"], rule, optax.sgd(0.1), loss=squared)


@pytest.mark.usefixtures("promoting")
@pytest.mark.parametrize("named", [False, True])
def test_a_rule_is_given_its_loss_by_name(named):
    """Wherever it stands among the arguments; `with_precision` hands it on."""
    model = MODELS["our GRU"]
    known = one_step(model)

    def by_name(params, memory, carry, x, y, scale=1.0, *, loss=nats):
        assert scale == 1.0
        return known.gradient(params, memory, carry, x, y, loss)

    rule = with_precision(known, "float32") if named else Rule(1, known.init, by_name)
    x, y = (leaf.astype(jnp.float32) for leaf in (vectors(), vectors((), OUTPUTS)))
    learners = [online(model, each, optax.sgd(0.1), loss=squared) for each in (rule, known)]
    states = [jax.jit(learner.update)(learner.init(jax.random.key(0)), x[:1], y[:1])[0] for learner in learners]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), states[0].params, states[1].params)


def test_pairs_whose_lengths_differ_are_refused():
    model = MODELS["our GRU"]
    learner = online(model, one_step(model), optax.sgd(0.1), loss=squared)
    with pytest.raises(InputError, match="the arrays of Pairs have 5 and 6 steps"):
        fast_driver(learner, 4)(learner.init(jax.random.key(0)), Pairs(jnp.ones((6, INPUTS)), jnp.ones((5, OUTPUTS))), 4)


def test_vectors_are_not_embedded():
    with pytest.raises(InputError, match="inputs is 5 and embedding_size 3"):
        network("gru", OUTPUTS, HIDDEN, inputs=5, embedding_size=3)


@pytest.mark.parametrize("length", [2, 4])
def test_narrow_vectors_are_read_by_a_window_where_numbers_may_be_wide(length):
    """With x64, a float may have 64 bits, but vectors and weights still have 32."""
    model = network("gru", 3, HIDDEN, inputs=INPUTS)
    learner = online(model, RULES["tbptt_sliding"].make(model, length), optax.sgd(0.1))
    rng = np.random.default_rng(0)
    pairs = Pairs(jnp.asarray(rng.normal(size=(9, INPUTS)), jnp.float32), jnp.asarray(rng.integers(0, 3, 9), jnp.int32))
    runs = []
    for wide in (False, True):
        state = learner.init(jax.random.key(0))
        with jax.enable_x64(wide):
            runs.append(fast_driver(learner, 9)(state, pairs, 9)[1])
    np.testing.assert_allclose(*runs, rtol=1e-6)


def test_wide_vectors_are_refused_by_narrow_weights():
    model = network("gru", 3, HIDDEN, inputs=INPUTS)
    learner = online(model, one_step(model), optax.sgd(0.1))
    state = learner.init(jax.random.key(0))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), pytest.raises(InputError) as caught:
        learner.update(state, jnp.zeros((1, INPUTS)), jnp.zeros(1, jnp.int32))
    says = "turns float32[3] in the carry into float64[3]; both must be the same (the input is float64[5]: cast it to float32)"
    assert says in str(caught.value)


def test_losses_have_32_bits_even_if_logits_have_16():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=50), jnp.bfloat16)
    loss = nats(logits, jnp.int32(3))
    exact = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), jnp.int32(3))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, exact, rtol=1e-6)
    model = network("gru", 3, HIDDEN)

    def step(params, carry, x):
        carry, logits = model.step(params, carry, x)
        return carry, logits.astype(jnp.bfloat16)

    coarse = with_step(model, step)
    learner = online(coarse, one_step(coarse), optax.sgd(0.1), loss=lambda logits, y: -logits[y])
    state = learner.init(jax.random.key(0))
    _, losses = jax.eval_shape(learner.update, state, jnp.array([1]), jnp.array([2]))
    assert losses.dtype == jnp.float32

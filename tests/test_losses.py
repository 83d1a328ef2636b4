"""Losses of one's own: real-valued, masked, late, of several targets; inputs that are vectors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed import apart, drawn, often
from flax import linen as nn
from foreign_cells import MinGRU

from jaxrnn import Model, Pairs, fast_driver, masked, nats, network, online, plain_driver, with_cell, with_nnx_cell
from jaxrnn.errors import InputError
from jaxrnn.models.losses import Masked
from jaxrnn.rules import RULES, Rule, bptt, make_rule, one_step, rtrl, snap1, snap_n, tbptt_sliding, with_precision
from jaxrnn.training.learner import reader

INPUTS, OUTPUTS, HIDDEN, LENGTH = 5, 2, 3, 6
STREAMS = pytest.mark.parametrize("streams", [pytest.param((), marks=pytest.mark.slow), (3,)], ids=["one stream", "3 streams"])
MODELS = {
    "our GRU": network("gru", OUTPUTS, HIDDEN, inputs=INPUTS),
    "our layers": network("lstm", OUTPUTS, HIDDEN, num_layers=2, inputs=INPUTS),
    "Flax's GRU": with_cell(nn.GRUCell(HIDDEN), OUTPUTS, HIDDEN, inputs=INPUTS),
    "minGRU": with_cell(MinGRU(HIDDEN), OUTPUTS, HIDDEN, inputs=INPUTS),
    "characters": network("gru", OUTPUTS, HIDDEN),
}
EXACT = {
    "bptt": functools.partial(bptt, length=LENGTH),
    "tbptt_sliding": functools.partial(tbptt_sliding, length=LENGTH),
    "rtrl": rtrl,
    "snap_n": functools.partial(snap_n, length=LENGTH),
}


def squared(outputs, y):
    """The squared error of all outputs, for each stream."""
    return optax.squared_error(outputs, y).sum(-1)


@pytest.fixture
def promoting():
    """Optax's Adam mixes types."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def vectors(streams=(), number=INPUTS):
    return jnp.asarray(np.random.default_rng(2).normal(size=(LENGTH, *streams, number)), float)


def begun(model, streams=()):
    """Weights, a carry, inputs and real targets."""
    x = vectors(streams) if model.inputs else jnp.asarray(np.random.default_rng(2).integers(0, OUTPUTS, (LENGTH, *streams)))
    return *drawn(model, streams, "float"), x.astype(jnp.int32) if not model.inputs else x, vectors(streams, OUTPUTS)


def read(rule, params, carry, x, y, loss):
    """Gradients summed over the text, and the losses, by a Python loop over updates."""
    total, memory, losses = jax.tree.map(jnp.zeros_like, params), rule.init(params, carry, jax.random.key(0)), []
    gradient = jax.jit(functools.partial(rule.gradient, loss=loss))
    for t in range(0, len(x), rule.length):
        found = gradient(params, memory, carry, *jax.tree.map(lambda leaf, t=t: leaf[t : t + rule.length], (x, y)))
        memory, carry, total = found.memory, found.carry, jax.tree.map(jnp.add, total, found.grads)
        losses.append(found.losses)
    return total, np.concatenate(losses)


def of_loop(model, params, carry, x, weigh):
    """The derivative of a number made of all outputs, which a Python loop computes."""

    def number(params):
        state, outputs = carry, []
        for x_t in x:
            state, output = model.step(params, state, x_t)
            outputs.append(output)
        return weigh(outputs)

    return jax.jit(jax.grad(number))(params)


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


@STREAMS
@pytest.mark.parametrize("rule", EXACT)
@pytest.mark.usefixtures("x64")
def test_a_masked_loss_counts_only_where_it_is_asked_for(rule, streams):
    model, name = MODELS["our GRU"], rule
    rule = EXACT[name](model)
    params, carry, x, y = begun(model, streams)
    asked = np.random.default_rng(0).random((LENGTH, *streams)) < 0.5
    asked[2], asked[3] = False, True
    y = jnp.where(asked[..., None], y, jnp.nan)
    found, losses = read(rule, params, carry, x, (y, jnp.asarray(asked)), masked(squared))

    def mean_of_asked(outputs):
        parts = [
            [((outputs[t][stream] - y[t][stream]) ** 2).sum() for stream in np.ndindex(streams) if asked[t][stream]]
            for t in range(LENGTH)
        ]
        if name == "bptt":  # the mean over the whole block
            return sum(map(sum, parts)) / float(asked.sum())
        return sum(sum(of_step) / len(of_step) for of_step in parts if of_step)

    assert apart(found, of_loop(model, params, carry, x, mean_of_asked)) < 1e-12
    assert losses[2] == 0
    assert np.isfinite(losses).all()


@STREAMS
@pytest.mark.parametrize("rule", EXACT)
@pytest.mark.usefixtures("x64")
def test_a_loss_that_comes_late_reaches_back_to_the_start(rule, streams):
    model = MODELS["characters"]
    rule = EXACT[rule](model)
    params, carry, x, _ = begun(model, streams)
    asked = np.zeros((LENGTH, *streams), bool)
    asked[-1] = True
    y = jnp.asarray(x[0])  # the first character is asked for, at the last
    targets = jnp.broadcast_to(y, x.shape), jnp.asarray(asked)
    found, _ = read(rule, params, carry, x, targets, masked(nats))
    assert apart(found, of_loop(model, params, carry, x, lambda outputs: nats(outputs[-1], y).mean())) < 1e-12


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


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.usefixtures("promoting")
def test_where_nothing_is_asked_for_only_carry_and_memory_go_on(rule):
    """Adam moves its weights without a gradient, too, once it has momentum; so does weight decay."""
    model = network("indrnn", OUTPUTS, HIDDEN, inputs=INPUTS)
    learner = online(model, make_rule(RULES[rule], model), optax.adamw(0.1), loss=masked(squared))
    update, state = jax.jit(learner.update), learner.init(jax.random.key(0))
    x, y = (leaf.astype(jnp.float32) for leaf in (vectors(), vectors((), OUTPUTS)))
    state, _ = update(state, x[:1], (y[:1], jnp.array([True])))
    after, losses = update(state, x[1:2], (y[1:2], jnp.array([False])))
    jax.tree.map(np.testing.assert_array_equal, (after.params, after.opt_state), (state.params, state.opt_state))
    assert apart(after.carry, state.carry) > 1e-3
    assert after.step == 2
    assert losses == 0
    moved, _ = update(state, x[1:2], (y[1:2], jnp.array([True])))
    assert apart(moved.params, state.params) > 1e-3


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


def test_an_optimizer_gets_the_mean_of_what_was_asked_as_its_value():
    """The number whose gradient it gets: over all streams and steps of the block together."""
    model, streams = MODELS["our GRU"], (3,)

    def remember(updates, state, params=None, **extra):
        del state, params
        return updates, extra["value"]

    seeing = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), remember)
    learner = online(model, bptt(model, 2), seeing, streams, loss=masked(squared))
    x, y = (leaf[:2].astype(jnp.float32) for leaf in (vectors(streams), vectors(streams, OUTPUTS)))
    asked = np.array([[True, False, False], [True, True, True]])
    state = learner.init(jax.random.key(0))
    _, outputs = jax.jit(bptt_outputs(model))(state.params, state.carry, x)
    errors = np.asarray(squared(outputs, y))
    after, losses = jax.jit(learner.update)(state, x, (y, jnp.asarray(asked)))
    np.testing.assert_allclose(after.opt_state, errors[asked].mean(), rtol=1e-5)
    np.testing.assert_allclose(losses, [errors[0, 0], errors[1].mean()], rtol=1e-5)


def bptt_outputs(model):
    """The outputs of two steps."""

    def read(params, carry, x):
        carry, first = model.step(params, carry, x[0])
        carry, second = model.step(params, carry, x[1])
        return carry, jnp.stack([first, second])

    return read


def test_a_masked_loss_is_tested_with_frozen_weights():
    model, x, y = MODELS["our GRU"], vectors().astype(jnp.float32), vectors((), OUTPUTS).astype(jnp.float32)
    asked, params = np.array([True, False, True, True, False, True]), drawn(MODELS["our GRU"])[0]
    found = []
    for loss, targets in (
        (squared, y),
        (masked(squared), (jnp.where(jnp.asarray(asked)[:, None], y, jnp.nan), jnp.asarray(asked))),
    ):
        frozen = reader(model, loss=loss)
        state = frozen.begin(jax.tree.map(jnp.copy, params), jax.random.key(0))  # a driver overwrites it
        found.append(fast_driver(frozen, 6)(state, Pairs(x, targets), 6)[1])
    np.testing.assert_allclose(found[1], np.where(asked, found[0], 0), rtol=1e-6)


def test_pairs_whose_lengths_differ_are_refused():
    model = MODELS["our GRU"]
    learner = online(model, one_step(model), optax.sgd(0.1), loss=squared)
    with pytest.raises(InputError, match="the arrays of Pairs have 5 and 6 steps"):
        fast_driver(learner, 4)(learner.init(jax.random.key(0)), Pairs(jnp.ones((6, INPUTS)), jnp.ones((5, OUTPUTS))), 4)


def test_vectors_are_not_embedded():
    with pytest.raises(InputError, match="inputs is 5 and embedding_size 3"):
        network("gru", OUTPUTS, HIDDEN, inputs=5, embedding_size=3)

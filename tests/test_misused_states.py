"""States, rules, optimizers and sources that cannot be used are an error of one sentence, before anything is learned."""
# pyright: reportArgumentType=false, reportCallIssue=false

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from misused import HIDDEN, KEY, ONE, VOCAB, check_message

from jaxrnn import (
    Model,
    Rule,
    fast_driver,
    make_optimizer,
    network,
    one_step,
    online,
    plain_driver,
    rtrl,
    rtrl_kronecker,
    sweep,
    tbptt_sliding,
)
from jaxrnn.data.automaton import write_text
from jaxrnn.data.documents import mark
from jaxrnn.data.streams import to_streams
from jaxrnn.data.synthetic import anbn, delayed_sum, hmm, noisy_copy, pcfg

MODEL, OTHER = network("elman", VOCAB, HIDDEN), network("gru", VOCAB, HIDDEN)
VECTORS = network("gru", 2, HIDDEN, inputs=3)
IDS = jnp.arange(9) % VOCAB
PLAIN = one_step(MODEL)


def learner_of(make, model=MODEL, optimizer=None):
    return online(model, make(model), optimizer or optax.sgd(0.1))


SGD, OF_VECTORS = learner_of(one_step), learner_of(one_step, VECTORS)


def swap(one, other):
    """An update of one learner with a state of another."""
    return jax.eval_shape(one.update, jax.eval_shape(other.init, KEY), ONE, ONE)


def own_rule(change=lambda found: found, length=1, init=lambda params, carry, key: ()):
    """An update by a rule of one's own, which changes what `one_step` returns."""

    def gradient(params, memory, carry, x, y):
        return change(PLAIN.gradient(params, memory, carry, x[:1], y[:1]))

    learner = online(MODEL, Rule(length, init, gradient), optax.sgd(0.1))
    x = jnp.zeros(length, jnp.int32)
    return jax.eval_shape(learner.update, jax.eval_shape(learner.init, KEY), x, x)


def own_step(step, **settings):
    """A rule for a model with this step."""
    return rtrl(Model(lambda key: {"w": jnp.ones(VOCAB)}, lambda key, streams: jnp.zeros((*streams, 3)), step, **settings))


def one_of_many_states():
    states = jax.vmap(SGD.init)(jax.random.split(KEY, 3))
    return fast_driver(SGD, 4)(states, IDS, 2)


def swapped(params, carry, x):
    return params["w"], carry


MISUSES = {
    # a state of another learner
    "weights as a state": (lambda: SGD.update(MODEL.init(KEY), ONE, ONE), "the state is a dict; begin with the learner's init"),
    "a memory of no rule": (
        lambda: swap(learner_of(rtrl), SGD),
        "the state's memory is not of this learner; begin with its init",
    ),
    "a window of another length": (
        lambda: swap(learner_of(lambda model: tbptt_sliding(model, 5)), learner_of(lambda model: tbptt_sliding(model, 3))),
        "the state's memory is not of this learner",
    ),
    "a sum of another rank": (
        lambda: swap(learner_of(lambda model: rtrl_kronecker(model, 4)), learner_of(lambda model: rtrl_kronecker(model, 2))),
        "the state's memory is not of this learner",
    ),
    "another optimizer": (
        lambda: swap(learner_of(one_step, optimizer=optax.adam(0.1)), SGD),
        "the state's optimizer's state is not of this learner",
    ),
    "weights of another cell": (lambda: swap(SGD, learner_of(one_step, OTHER)), "the state's weights are not of this learner"),
    "stacked states": (one_of_many_states, "the states are stacked; drive them with .*stacked_driver"),
    "a number as a key": (lambda: SGD.init(0), r"the key is an int; make one with jax.random.key\(0\)"),
    "a driver of a model": (lambda: fast_driver(MODEL, 10), "the learner is a Model; it must be a jaxrnn.Learner"),
    "a plain driver of a rule": (lambda: plain_driver(PLAIN), "the learner is a Rule; it must be a jaxrnn.Learner"),
    "a driver inside jit": (
        lambda: jax.jit(lambda state: fast_driver(SGD, 4)(state, IDS, 2)[1])(SGD.init(KEY)),
        "a driver cannot run inside jit, grad or vmap; use learner.update there",
    ),
    # a rule of one's own
    "a length of zero": (lambda: own_rule(length=0), "the rule's length is 0; it must be 1 or more, a whole number"),
    "a length as a float": (lambda: online(MODEL, PLAIN._replace(length=1.0), optax.sgd(0.1)), "the rule's length is 1.0"),
    "no length": (lambda: online(MODEL, PLAIN._replace(length=None), optax.sgd(0.1)), "the rule's length is None"),
    "a part of a block": (lambda: own_rule(length=4), r"losses of shape \(1,\); for its length it must be \(4,\)"),
    "losses twice": (
        lambda: own_rule(lambda found: found._replace(losses=jnp.tile(found.losses, 2))),
        r"losses of shape \(2,\); for its length it must be \(1,\)",
    ),
    "a loss without an axis": (
        lambda: own_rule(lambda found: found._replace(losses=found.losses[0])),
        r"losses of shape \(\); for its length",
    ),
    "a tuple": (lambda: own_rule(tuple), "the rule's gradient returns a tuple; it must return a jaxrnn.rules.Gradient"),
    "no gradient": (lambda: own_rule(lambda found: None), "the rule's gradient returns nothing"),
    "a gradient of some weights": (
        lambda: own_rule(lambda found: found._replace(grads={"cell": found.grads["cell"]})),
        "the rule's grads do not have the form of the weights",
    ),
    "a memory that grows": (
        lambda: own_rule(lambda found: found._replace(memory=jnp.zeros(2))),
        "the rule returns a memory of another form than it was given",
    ),
    "a carry of another type": (
        lambda: own_rule(lambda found: found._replace(carry=found.carry.astype(jnp.bfloat16))),
        "the rule returns a carry of another form than it was given",
    ),
    # a model of one's own
    "complex weights": (
        lambda: online(
            (model := Model(lambda key: jnp.array(1j), lambda key, streams: jnp.zeros(streams), swapped, vocab_size=VOCAB)),
            one_step(model),
            optax.sgd(0.1),
        ).init(KEY),
        "have dtype complex64; weights must be floats .keep real and imaginary parts as two arrays",
    ),
    "a step without a carry": (
        lambda: own_step(lambda params, carry, x: params["w"], vocab_size=VOCAB),
        r"the model's step returns a .*; it must return \(carry, outputs\)",
    ),
    "a step that swaps its results": (
        lambda: own_step(swapped),
        r"turns float32\[3\] in the carry into float32\[5\]",
    ),
    # targets
    "vectors alone": (
        lambda: fast_driver(OF_VECTORS, 4)(OF_VECTORS.init(KEY), np.ones((9, 3), np.float32), 2),
        r"this model reads vectors, so it needs targets beside them: give it Pairs\(x, y\)",
    ),
    # an optimizer
    "a rate that is NaN": (
        lambda: make_optimizer("sgd", float("nan")),
        "learning_rate is nan; it must be a finite number",
    ),
    "a rate below 0": (lambda: make_optimizer("sgd", -1.0), "learning_rate is -1.0"),
    "no rate": (lambda: make_optimizer("sgd", None), "learning_rate is None"),
    "a rate in words": (lambda: make_optimizer("sgd", "0.1"), "learning_rate is '0.1'"),
    "a norm below 0": (
        lambda: make_optimizer("sgd", 0.1, clip_norm=-1),
        "clip_norm is -1; it must be a finite number",
    ),
    "a cosine over nothing": (lambda: make_optimizer("sgd", 0.1, cosine_over=0), "cosine_over is 0; it must be 1 or more"),
    "a misspelt optimizer": (lambda: make_optimizer("sdg", 0.1), "no optimizer 'sdg'; the known ones are sgd"),
    "an optimizer of Optax": (lambda: make_optimizer(optax.sgd, 0.1), "no optimizer a function; the known ones are sgd"),
    # seeds
    "keys as seeds": (
        lambda: sweep(SGD, (0.1,), jax.random.split(KEY, 2), IDS),
        "seeds has a PRNGKeyArray",
    ),
    # texts
    "a lag below 0": (lambda: delayed_sum(-1, 2), "first_lag is -1; it must be 0 or more, a whole number"),
    "two equal lags": (lambda: delayed_sum(5, 5), "both lags of a delayed sum are 5; they must differ"),
    "a copy of nothing": (lambda: noisy_copy(0), "lag is 0; it must be 1 or more, a whole number"),
    "more letters than there are": (lambda: noisy_copy(1, 30), "num_letters is 30; it must be at most 26"),
    "too much noise": (lambda: noisy_copy(noise=1.5), "must be >= 0 with sum 1"),
    "a flip that is no probability": (lambda: hmm(flip=-0.1), "must be >= 0 with sum 1"),
    "empty strings": (lambda: anbn(0), "longest is 0; it must be 1 or more"),
    "half a line": (lambda: anbn(num_newlines=0.5), "num_newlines is 0.5; it must be 0 or more, a whole number"),
    "branches below 0": (lambda: pcfg(-0.1), "must be >= 0 with sum 1"),
    "a text of a negative length": (lambda: write_text(hmm(), -5, 0), "num_characters is -5; it must be 0 or more"),
    "a seed between integers": (lambda: write_text(hmm(), 5, 1.5), "seed is 1.5; it must be 0 or more, a whole number"),
    "a start between characters": (
        lambda: mark(np.arange(9), [2.7]),
        r"the starts are float64\[1\]; they must be one row",
    ),
    "characters as floats": (lambda: mark(np.ones(9), [2]), r"the ids are float64\[9\]"),
    "a list as a text": (lambda: to_streams([1, 2, 3], 2), "the ids are a list; they must be an array"),
    "streams as a float": (lambda: to_streams(np.arange(9), 2.0), "the number of streams is 2.0; it must be a whole number"),
    # a network
    "an activation of a GRU": (
        lambda: network("gru", VOCAB, activation="relu"),
        "activation is 'relu', but GRU has none",
    ),
    "a leak of an LSTM": (lambda: network("lstm", VOCAB, leak=0.1), "leak is 0.1, but LSTM has none to choose: leave it out"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_misuse_is_an_error_of_one_sentence(name):
    check_message(*MISUSES[name])

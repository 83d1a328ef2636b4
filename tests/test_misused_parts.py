"""Models, rules, losses and streams that do not fit each other are an error of one sentence, before anything is learned."""
# pyright: reportArgumentType=false, reportCallIssue=false

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from misused import HIDDEN, KEY, MODEL, ONE, VOCAB, check_message, drive, learn, measure

from jaxrnn import (
    Model,
    Pairs,
    bptt,
    fast_driver,
    masked,
    meters,
    nats,
    network,
    one_step,
    online,
    plain_driver,
    rtrl,
    rtrl_diagonal,
    snap1,
    snap_n,
    tbptt_sliding,
)
from jaxrnn.models.cells import CellKind
from jaxrnn.models.documents import with_documents
from jaxrnn.models.model import with_step
from jaxrnn.rules import RuleKind, make_rule
from jaxrnn.training.learner import reader

OTHER = network("gru", VOCAB, HIDDEN, initialisation="orthogonal")
OF_THREE = Model(MODEL.init, MODEL.initial_carry, MODEL.step)  # without a number of characters
IDS = np.array([0, 1, 2])
TWO_HEADS = with_step(MODEL, lambda params, carry, x: (carry, {"logits": MODEL.step(params, carry, x)[1]}))


def update_now(y, loss):
    """Like `learn`, without `jax.eval_shape`, which makes arrays of numbers."""
    learner = online(MODEL, one_step(MODEL), optax.sgd(0.1), loss=loss)
    return learner.update(learner.init(KEY), ONE, y)


def with_carry(carry, step=None):
    """A model of five characters with any carry."""
    logits = lambda params, carry, x: (carry, params["w"] * jnp.ones(VOCAB))  # noqa: E731
    return Model(lambda key: {"w": jnp.ones(())}, lambda key, streams: carry, step or logits, vocab_size=VOCAB)


def widening(params, carry, x):
    return carry.astype(jnp.float32) + params["w"], params["w"] * jnp.ones(VOCAB)


def growing(params, carry, x):
    return (carry, carry), params["w"] * jnp.ones(VOCAB)


COARSE = with_carry(jnp.zeros(3, jnp.bfloat16), widening)
COUNTED_WEIGHTS = Model(lambda key: {"n": jnp.int32(1)}, lambda key, streams: jnp.zeros(3), widening, vocab_size=VOCAB)


def whole(**settings):
    """A network of a function of one's own that makes the whole model."""
    kind = CellKind(lambda *_: None, "own network", model=lambda vocab_size, hidden_size: MODEL)
    return network(kind, VOCAB, HIDDEN, **settings)


def blocks(model):
    """A rule of one's own that reads two characters per update, though nothing says so."""
    return bptt(model, 2)


MISUSES = {
    # a rule of another model
    "a rule of another model": (lambda: online(MODEL, rtrl(OTHER), optax.sgd(0.1)), "the rule was made for another model"),
    "a rule from before there were documents": (
        lambda: online(with_documents(MODEL), bptt(MODEL, 2), optax.sgd(0.1)),
        "the rule was made for another model; make it with the one that online gets",
    ),
    "meters of a rule of another model": (
        lambda: online(MODEL, meters.measured(one_step(OTHER), norm=meters.gradient_norm()), optax.sgd(0.1)),
        "the rule was made for another model",
    ),
    "a reference of another model": (
        lambda: measure(cosine=meters.cosine_to(rtrl(OTHER))),
        "the measured rule and its reference were made for different models",
    ),
    "a part of the gradient that is empty": (
        lambda: measure(cosine=meters.cosine_to(rtrl(MODEL), part=lambda grads: {})),
        "the part of the gradient to compare is empty",
    ),
    # a model whose vocabulary is not known
    "an id beyond the logits": (lambda: drive(np.array([0, 99, 1]), OF_THREE), "the stream holds the input 99; .* ids 0 to 4"),
    "marks of a model of one's own": (lambda: drive(np.array([0, ~1, 1]), OF_THREE), "have marks where documents begin"),
    "marks without logits": (
        lambda: drive(Pairs(np.array([0, ~1, 1]), IDS), TWO_HEADS._replace(vocab_size=0), loss=lambda o, y: o["logits"][y]),
        "have marks where documents begin",
    ),
    "ids that cannot be tried": (lambda: snap_n(OF_THREE, 2), "this rule tries every id .* state their number"),
    "ids that snap1 cannot try": (lambda: snap1(OF_THREE), "this rule tries every id that a model can read"),
    "no row of logits": (
        lambda: drive(IDS, TWO_HEADS._replace(vocab_size=0)),
        "this model returns no row of logits, so it must state its number of characters: vocab_size",
    ),
    # a loss or targets of another kind
    "masked targets without masked": (lambda: learn(y=(ONE, ONE > 0)), r"the targets of nats are a tuple; .*masked\(nats\)"),
    "two heads for nats": (lambda: learn(model=TWO_HEADS), "the model returns a dict; nats needs logits"),
    "a name of a loss": (
        lambda: online(MODEL, one_step(MODEL), optax.sgd(0.1), loss="nats"),
        "the loss is a str; it must be a",
    ),
    "no loss at all": (lambda: reader(MODEL, loss=None), "the loss is nothing; it must be a function"),
    "a mask that was not made": (
        lambda: online(MODEL, one_step(MODEL), optax.sgd(0.1), loss=masked),
        r"give online loss=masked\(nats\)",
    ),
    "a mask of other streams": (
        lambda: learn(
            x=jnp.zeros((1, 4), jnp.int32),
            y=(jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 3), bool)),
            loss=masked(nats),
            streams=(4,),
        ),
        r"the loss mask has shape \(3,\); for outputs \(4, 5\), it must have one bool per stream",
    ),
    "a mask that is no array": (lambda: update_now((ONE, [True]), masked(nats)), "y holds a bool; it must hold arrays only"),
    "a list of targets": (lambda: update_now([1], nats), "y holds an int; it must hold arrays only"),
    "a target that is asked for and unknown": (
        lambda: drive(Pairs(IDS, (np.array([0, 7, 1]), np.array([True, True, False]))), loss=masked(nats)),
        "the stream holds the target 7; the model knows ids 0 to 4",
    ),
    "a target from a text with marks": (
        lambda: drive(Pairs(IDS, (np.array([0, ~3, 1]), np.ones(3, bool))), loss=masked(nats)),
        "the stream holds the target -4",
    ),
    # a carry or weights that cannot be kept
    "a carry that grows wider": (
        lambda: learn(model=COARSE),
        r"turns bfloat16\[3\] in the carry into float32\[3\]; both must be",
    ),
    "the same for the plain driver": (
        lambda: drive(IDS, COARSE, driver=plain_driver),
        r"turns bfloat16\[3\] in the carry into float32\[3\]",
    ),
    "the same for a window": (lambda: learn(model=COARSE, rule=lambda model: tbptt_sliding(model, 2)), r"turns bfloat16\[3\]"),
    "the same for a reader": (
        lambda: reader(COARSE).update(reader(COARSE).begin({"w": jnp.ones(())}, KEY), ONE, ONE),
        r"turns bfloat16\[3\]",
    ),
    "a carry of another structure": (
        lambda: learn(model=with_carry(jnp.zeros(3), growing)),
        "the model's step turns the carry",
    ),
    "a number as a carry": (lambda: learn(model=with_carry({"n": 0})), "the carry holds an int; it must hold arrays only"),
    "whole numbers as weights": (lambda: rtrl(COUNTED_WEIGHTS), "the weights 'n' have dtype int32; weights must be floats"),
    "an empty carry": (lambda: snap1(with_carry(jnp.zeros(0))), "snap1 needs a carry of at least one unit; this one is empty"),
    "an empty diagonal": (lambda: rtrl_diagonal(with_carry(jnp.zeros(0))), "rtrl_diagonal needs a carry of at least one unit"),
    # a stream without time
    "a single id": (lambda: drive(jnp.int32(1)), r"the stream has shape \(\); this learner reads \(time\)"),
    # numbers that are not whole
    "half a block": (lambda: bptt(MODEL, 2.5), "length is 2.5 and dropout 0.0; length must be 1 or more"),
    "a length in words": (lambda: tbptt_sliding(MODEL, "3"), "length is '3'; tbptt_sliding needs a window of 1"),
    "no length": (lambda: snap_n(MODEL, None), "length is None; snap_n needs 1 step or more, a whole number"),
    "updates as a float": (
        lambda: drive(IDS, number=2.0),
        "the number of updates is 2.0; it must be 0 or more, a whole number",
    ),
    "updates per call as a float": (
        lambda: fast_driver(online(MODEL, one_step(MODEL), optax.sgd(0.1)), 4.5),
        "updates_per_call is 4.5; it must be 1 or more, a whole number",
    ),
    # a network that cannot be made
    "a misspelt cell": (lambda: network("gruu", VOCAB), "no cell 'gruu'; the known ones are elman, .*lru"),
    "a misspelt activation": (lambda: network("elman", VOCAB, activation="tahn"), "no activation 'tahn'; the known ones are"),
    "a misspelt initialisation": (
        lambda: network("gru", VOCAB, initialisation="zeros"),
        "no initialisation 'zeros'; the known",
    ),
    "too large a leak": (lambda: network("leaky", VOCAB, leak=1.5), "leak=1.5; it must be over 0 and at most 1"),
    "a leak in words": (lambda: network("leaky", VOCAB, leak="half"), "leak='half'; it must be over 0 and at most 1"),
    "a cell of linen": (lambda: network(nn.GRUCell(4), VOCAB), "the cell is a GRUCell; .*use with_cell"),
    "a cell of nnx": (
        lambda: network(nnx.GRUCell(5, 4, rngs=nnx.Rngs(0)), VOCAB),
        "the cell is a GRUCell; .*use with_nnx_cell",
    ),
    "a list of cells": (lambda: network(["gru"], VOCAB), "the cell is a list"),
    "a vocabulary as a float": (lambda: network("gru", 5.0), "vocab_size=5.0; it must be a whole number, 1 or more"),
    "no vocabulary": (lambda: network("gru", None), "vocab_size=None"),
    "fewer inputs than none": (lambda: network("gru", VOCAB, inputs=-1), "inputs=-1; it must be a whole number, 0 or more"),
    "vectors for a whole network": (lambda: whole(inputs=3), "inputs is given, but own network makes the whole model itself"),
    "layers for a whole network": (lambda: whole(num_layers=2), "num_layers is given, but own network makes the whole"),
    # a rule that is not what its entry says
    "blocks that are not announced": (
        lambda: make_rule(RuleKind(blocks), MODEL),
        "the rule blocks reads 2 characters per update, where 1 would be expected; correct in_blocks",
    ),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_misuse_is_an_error_of_one_sentence(name):
    check_message(*MISUSES[name])

"""What the public functions are given by mistake is an error of one sentence, before anything is learned."""
# pyright: reportArgumentType=false

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from misused import HIDDEN, MODEL, ONE, VOCAB, check_message, drive, learn, measure

from jaxrnn import (
    Model,
    Pairs,
    bptt,
    elman,
    eprop,
    fast_driver,
    masked,
    meters,
    nats,
    network,
    one_step,
    online,
    plain_driver,
    rflo,
    rtrl,
    rtrl_diagonal,
    snap1,
    snap_n,
    tbptt_sliding,
    vocabulary,
    with_cell,
    with_nnx_cell,
)  # fmt: skip
from jaxrnn.data.streams import to_streams
from jaxrnn.models.documents import with_documents
from jaxrnn.models.losses import Masked
from jaxrnn.models.model import with_step
from jaxrnn.scoring.evaluation import frozen_evaluation
from jaxrnn.scoring.sampling import sample
from jaxrnn.scoring.stream import resuming_scorer
from jaxrnn.training.learner import reader

VECTORS = network("gru", VOCAB, HIDDEN, inputs=3)
TWO = jnp.array([[1, 2]], jnp.int32)  # two streams
BLOCKS = functools.partial(bptt, length=4)
KNOWN = vocabulary.of_text("abcde")


def replaced():
    """A model whose step is another one than its layers make up."""
    return MODEL._replace(step=lambda params, carry, x: MODEL.step(params, carry, x))


def write(prompt, model=MODEL, **how):
    return sample(model, model.init(jax.random.key(0)), prompt, 3, key=jax.random.key(0), **how)


def without_loss():
    """A rule that works only with nats."""
    rule = one_step(MODEL)
    return rule._replace(gradient=lambda params, memory, carry, x, y: rule.gradient(params, memory, carry, x, y))


def report(aux):
    return measure(own=meters.Meter(lambda params, carry, key: (), lambda memory, reading: (aux, ())))


def states_of_other_streams():
    two, one = (online(MODEL, one_step(MODEL), optax.sgd(0.1), streams) for streams in ((2,), ()))
    return one.update(two.init(jax.random.key(0)), ONE, ONE)


def squared(outputs, y):
    return optax.squared_error(outputs, y).sum(-1)


MISUSES = {
    # an update is given something else than its learner reads
    "4 characters at length 1": (
        lambda: learn(jnp.zeros(4, jnp.int32), jnp.zeros(4, jnp.int32)),
        r"x has shape \(4,\); .*\(1,\)",
    ),
    "1 character at length 4": (lambda: learn(ONE, ONE, rule=BLOCKS), r"x has shape \(1,\); .*\(4,\)"),
    "3 streams for one": (lambda: learn(TWO, TWO), r"x has shape \(1, 2\); an update of this learner reads \(1,\)"),
    "one stream for two": (
        lambda: learn(ONE, ONE, streams=(2,)),
        r"x has shape \(1,\); an update of this learner reads \(1, 2\)",
    ),
    "2 streams for three": (lambda: learn(TWO, TWO, streams=(3,)), r"x has shape \(1, 2\); .*\(1, 3\)"),
    "ids as floats": (lambda: learn(jnp.ones(1), ONE), "the input has dtype float32; this model reads integer ids"),
    "ids to a model of vectors": (
        lambda: learn(ONE, ONE, VECTORS),
        "the input has dtype int32; this model reads float vectors of size 3",
    ),
    "vectors of another size": (lambda: learn(jnp.ones((1, 2)), ONE, VECTORS), r"x has shape \(1, 2\); .*\(1, 3\)"),
    "a list as input": (lambda: learn([1], ONE), "the input is a list; it must be an array"),
    "targets of another length": (lambda: learn(ONE, jnp.zeros(2, jnp.int32)), r"y has shape \(2,\); .* axis of 1 step"),
    "real targets for nats": (lambda: learn(ONE, jnp.ones(1)), "nats needs one id per row of logits"),
    "targets of other streams": (lambda: learn(TWO, jnp.zeros((1, 3), jnp.int32), streams=(2,)), "nats needs one id per row"),
    "a state of other streams": (states_of_other_streams, r"the carry is for streams=\(2,\), but the learner has streams=\(\)"),
    # a loss that is none
    "a mean over streams": (
        lambda: learn(TWO, TWO, streams=(2,), loss=lambda o, y: nats(o, y).mean()),
        r"losses of shape \(\)",
    ),
    "a loss and more": (lambda: learn(ONE, ONE, loss=lambda o, y: (nats(o, y), 1)), "the loss returns a tuple"),
    "no loss": (lambda: learn(ONE, ONE, loss=lambda o, y: None), "the loss returns nothing"),
    "an integer loss": (lambda: learn(ONE, ONE, loss=lambda o, y: jnp.argmax(o)), "the loss returns dtype int32"),
    "a mask of numbers": (lambda: learn(ONE, (ONE, jnp.ones(1)), loss=masked(nats)), "the loss mask has dtype float32"),
    "a mask without targets": (lambda: learn(ONE, ONE, loss=masked(nats)), r"takes targets \(y, asked\), not a"),
    "a mask of one number": (
        lambda: learn(TWO, TWO, streams=(2,), loss=lambda o, y: Masked(nats(o, y), jnp.bool_(True))),
        r"a mask of shape \(\)",
    ),
    "a mask of a mask": (lambda: learn(ONE, ((ONE, ONE > 0), ONE > 0), loss=masked(masked(nats))), "the loss returns a Masked"),
    "masked without a loss": (lambda: masked(None), "the loss is nothing"),
    # a stream that cannot be read
    "an id that is too large": (lambda: drive(jnp.array([0, 1, 99])), "the stream holds the input 99; .* ids 0 to 4"),
    "an id below 0": (lambda: drive(np.array([0, -9, 1])), "the stream holds the input -9; the model knows ids 0 to 4"),
    "a target that is too large": (lambda: drive(Pairs(jnp.array([0, 1]), jnp.array([5, 1]))), "the stream holds the target 5"),
    "marks where none are read": (lambda: drive(np.array([0, ~1, 1])), "have marks where documents begin.*use with_documents"),
    "one character": (lambda: drive(ONE), "the stream has 1 step; an update of 1 needs at least 2"),
    "less than a block": (lambda: drive(jnp.zeros(4, jnp.int32), rule=BLOCKS), "the stream has 4 steps; .* at least 5"),
    "no pairs": (lambda: drive(Pairs(jnp.zeros(0, jnp.int32), jnp.zeros(0, jnp.int32))), "the stream has 0 steps"),
    "pairs of different lengths": (
        lambda: drive(Pairs(jnp.zeros(3, jnp.int32), ONE)),
        "the arrays of Pairs have 1 and 3 steps",
    ),
    "a single target": (lambda: drive(Pairs(jnp.zeros(3, jnp.int32), 0.0)), "x and y of Pairs must be arrays"),
    "streams in a text of one": (
        lambda: drive(jnp.zeros((9, 2), jnp.int32)),
        r"the stream has shape \(9, 2\); this learner reads \(time\)",
    ),
    "vectors that are not finite": (
        lambda: drive(Pairs(jnp.full((3, 3), jnp.nan), jnp.zeros(3, jnp.int32)), VECTORS),
        "holds NaN or infinity",
    ),
    "a negative number of updates": (lambda: drive(jnp.zeros(9, jnp.int32), number=-1), "the number of updates is -1"),
    "no updates in a call": (lambda: drive(ONE, driver=functools.partial(fast_driver, updates_per_call=0)), "per_call is 0"),
    "a short text, one by one": (lambda: drive(ONE, driver=plain_driver), "the stream has 1 step"),
    "a text of two axes": (
        lambda: to_streams(np.zeros((4, 2), np.int32), 2),
        r"the ids have shape \(4, 2\); they must have one axis",
    ),
    "more streams than characters": (lambda: to_streams(np.zeros(3, np.int32), 9), "3 characters are too few for 9 streams"),
    "an unknown id in evaluation": (
        lambda: frozen_evaluation(MODEL)(MODEL.init(jax.random.key(0)), np.array([1, 7, 2]), jax.random.key(0)),
        "the input 7",
    ),
    # a learner that is put together wrongly
    "a rule that is not made": (
        lambda: online(MODEL, one_step, optax.sgd(0.1)),
        r"a function; .*: call one_step\(model\) first",
    ),
    "an optimizer that is not made": (lambda: online(MODEL, one_step(MODEL), optax.sgd), r"call sgd\(learning_rate\) first"),
    "a cell as a model": (
        lambda: online(nn.GRUCell(4), one_step(MODEL), optax.sgd(0.1)),
        "the model is a GRUCell; .*with_cell",
    ),
    "a number of streams": (
        lambda: online(MODEL, one_step(MODEL), optax.sgd(0.1), 3),
        r"streams is 3; it must be \(\) .* or \(B,\)",
    ),
    "two axes of streams": (lambda: online(MODEL, one_step(MODEL), optax.sgd(0.1), (2, 3)), r"streams is \(2, 3\)"),
    "no streams": (lambda: reader(MODEL, (0,)), r"streams is \(0,\)"),
    "a step without its layers": (
        lambda: bptt(replaced(), 2),
        "this model's step was replaced, but its layers are the old ones",
    ),
    "the same for rflo": (lambda: rflo(replaced()), "this model's step was replaced"),
    "the same for snap1": (lambda: snap1(replaced()), "this model's step was replaced"),
    "the same for documents": (lambda: with_documents(replaced()), "this model's step was replaced"),
    "documents of vectors": (lambda: with_documents(VECTORS), "this model reads vectors"),
    "eprop with another feedback": (
        lambda: eprop(MODEL, feedback="adaptive"),
        "feedback is 'adaptive'; it must be symmetric or random",
    ),
    "eprop with a seed that is none": (lambda: eprop(MODEL, seed=1.5), "seed is 1.5; it must be a whole number from 0"),
    "eprop without layers": (
        lambda: eprop(with_step(MODEL, MODEL.step)),
        "eprop needs a network of jaxrnn's own cells; try snap1",
    ),
    "rflo without layers": (lambda: rflo(with_step(MODEL, MODEL.step)), "rflo needs a network of jaxrnn's own cells"),
    "a cell as the model of a rule": (lambda: rtrl(nn.GRUCell(4)), "the model is a GRUCell"),
    "a dense cell as diagonal": (lambda: rtrl_diagonal(MODEL), "rtrl_diagonal needs a diagonal recurrence"),
    "a block of no characters": (lambda: bptt(MODEL, 0), "length is 0"),
    "a window of no characters": (lambda: tbptt_sliding(MODEL, 0), "length is 0"),
    "no steps of influence": (lambda: snap_n(MODEL, 0), "length is 0"),
    # a model that cannot be made
    "a cell of nnx as one of linen": (lambda: with_cell(nnx.GRUCell(5, 4, rngs=nnx.Rngs(0)), VOCAB, 4), "use with_nnx_cell"),
    "a class of cells": (lambda: with_cell(nn.GRUCell, VOCAB, 4), "call the class with its size"),
    "another width than the cell's": (
        lambda: with_cell(nn.GRUCell(4), VOCAB, 5),
        r"has shape \(4,\), which does not fit hidden_size=5",
    ),
    "an unknown initialisation": (
        lambda: with_cell(nn.GRUCell(4), VOCAB, 4, "random"),
        "no initialisation 'random'; the known",
    ),
    "no characters": (lambda: with_cell(nn.GRUCell(4), 0, 4), "vocab_size=0"),
    "no characters for nnx": (lambda: with_nnx_cell(nnx.GRUCell, 0, 4), "vocab_size=0"),
    "no units": (lambda: elman(VOCAB, 0), "hidden_size=0"),
    "an unknown cell": (lambda: network("transformer", VOCAB), "'transformer'"),
    "an odd LRU": (lambda: network("lru", VOCAB, 5), "even"),
    "embedded vectors": (lambda: network("gru", VOCAB, inputs=3, embedding_size=2), "vectors cannot have an embedding"),
    "a model without layers": (lambda: Model(MODEL.init, MODEL.initial_carry, MODEL.step).embed({}, ONE), "has no layers"),
    # a prompt that cannot be read
    "an empty prompt": (lambda: write(np.zeros(0, np.int32)), "the prompt is empty"),
    "a prompt of two axes": (
        lambda: write(np.zeros((2, 2), np.int32)),
        r"the prompt is int32\[2, 2\]; it must be one row of ids",
    ),
    "a prompt of floats": (lambda: write(np.zeros(2)), r"the prompt is float64\[2\]"),
    "an unknown prompt": (lambda: write(np.array([1, 5])), "the prompt holds the id 5; the model knows ids 0 to 4"),
    "a negative prompt": (lambda: write(np.array([-1])), "the prompt holds the id -1"),
    "a temperature below 0": (lambda: write(np.array([1]), temperature=-1.0), "temperature is -1.0; it must be"),
    "fewer characters than none": (lambda: write(np.array([1]), top_k=-2), "top_k is -2; it must be 0"),
    "no probability": (lambda: write(np.array([1]), top_p=0.0), "top_p is 0.0; it must be over 0"),
    "an unknown character": (lambda: vocabulary.encode(KNOWN, "abz"), "'z'.* at position 2 is not one of the 5"),
    # meters
    "meters of a function": (lambda: meters.measured(rtrl, norm=meters.gradient_norm()), r"call rtrl\(model\) first"),
    "the cosine to a function": (lambda: meters.cosine_to(rtrl), r"call rtrl\(model\) first"),
    "a meter that was not made": (
        lambda: measure(norm=meters.gradient_norm),
        r"the meter norm is a function; .*gradient_norm\(\)",
    ),
    "a meter named rule": (lambda: measure(rule=meters.gradient_norm()), "no meter can have the name rule"),
    "a reference of another length": (
        lambda: measure(cosine=meters.cosine_to(bptt(MODEL, 3))),
        "the measured rule reads 1 character per update, its reference 3",
    ),
    "a loss for a measured rule that takes none": (
        lambda: online(MODEL, meters.measured(without_loss(), norm=meters.gradient_norm()), optax.sgd(0.1), loss=squared),
        "this rule's `gradient` takes no `loss`",
    ),
    "a scorer of reports": (
        lambda: resuming_scorer(online(MODEL, one_step(MODEL), optax.sgd(0.1), has_aux=True), None),
        "make it without has_aux to score with it",
    ),
    "a report in words": (lambda: report({"a": "word"}), "the rule's aux holds a str"),
    "a report of a key": (lambda: report(jax.random.key(0)), "the rule's aux holds a random key"),
    "an unknown id as text": (lambda: vocabulary.decode(KNOWN, np.array([0, 9])), "id 9 is not in the vocabulary"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_misuse_is_an_error_of_one_sentence(name):
    check_message(*MISUSES[name])

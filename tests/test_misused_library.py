"""What cells, counts, mixtures, sources and settings of rules cannot be is an error of one sentence."""
# pyright: reportArgumentType=false, reportCallIssue=false, reportReturnType=false

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from foreign_cells import OneVector
from misused import HIDDEN, KEY, MODEL, VOCAB, as_for_users, check_message, drive, learn, measure

from jaxrnn import (
    Model,
    bptt,
    fast_driver,
    meters,
    network,
    one_step,
    online,
    rtrl,
    rtrl_kronecker,
    uoro,
    with_cell,
    with_nnx_cell,
)
from jaxrnn.data import synthetic
from jaxrnn.data.automaton import bound_entropy_rate, entropy_rate, write_text
from jaxrnn.data.streams import count_updates
from jaxrnn.models.classes import with_classes
from jaxrnn.models.counts import count_model
from jaxrnn.models.documents import with_documents
from jaxrnn.models.interpolation import interpolate, mix_online
from jaxrnn.models.ngram import count_ngrams, next_probabilities
from jaxrnn.rules import make_rule
from jaxrnn.rules.base import with_precision
from jaxrnn.training.mixed import mixed, online_with_counts
from jaxrnn.training.optimizers import learning_rate
from jaxrnn.training.stacked import stacked_driver

SGD = optax.sgd(0.1)
LEARNER = online(MODEL, one_step(MODEL), SGD)
COUNTS = (count_model(VOCAB, 2, 64),)
IDS = np.array([0, 1, 2, 3, 4, 0, 1], np.int32)
LOSSES = np.ones((2, 3))


TWICE = Model(
    lambda key: {"a/b": jnp.ones(VOCAB), "a": {"b": jnp.ones(VOCAB)}},
    lambda key, streams: jnp.zeros((*streams, VOCAB)),
    lambda params, carry, x: (carry * params["a/b"] + params["a"]["b"], carry),
    vocab_size=VOCAB,
)


class Remembering(OneVector):
    """A cell that keeps a variable of Flax, draws random numbers, or returns two outputs."""

    kind: str = ""

    @nn.compact
    def __call__(self, carry, x):
        h = nn.tanh(nn.Dense(HIDDEN)(jnp.concatenate([carry, x], -1)))
        if self.kind == "variable":
            h = h + self.variable("statistics", "mean", lambda: jnp.zeros(())).value
        if self.kind == "dropout":
            h = nn.Dropout(0.5, deterministic=False)(h)
        return h, (h, h) if self.kind == "two" else h


def ngram(ids, order=2):
    return count_ngrams(ids, VOCAB, order)


MISUSES = {
    # cells and models
    "a cell that keeps a variable": (
        lambda: with_cell(Remembering(HIDDEN, "variable"), VOCAB, HIDDEN),
        "this cell keeps variables beside its weights, 'statistics'; let it keep them in its carry",
    ),
    "a cell with dropout": (lambda: with_cell(Remembering(HIDDEN, "dropout"), VOCAB, HIDDEN), "this cell draws random numbers"),
    "a cell with two outputs": (
        lambda: with_cell(Remembering(HIDDEN, "two"), VOCAB, HIDDEN),
        "the output of this cell is a tuple",
    ),
    "an nnx cell that was made": (
        lambda: with_nnx_cell(nnx.GRUCell(VOCAB, HIDDEN, rngs=nnx.Rngs(0)), VOCAB, HIDDEN),
        "the cell is a GRUCell; it must be a function",
    ),
    "a name for an nnx cell": (lambda: with_nnx_cell("gru", VOCAB, HIDDEN), "the cell is a str; it must be a function"),
    "a linen class for an nnx cell": (lambda: with_nnx_cell(nn.GRUCell, VOCAB, HIDDEN), "the cell cannot be made .*rngs"),
    "an nnx module that is no cell": (
        lambda: with_nnx_cell(nnx.Linear, VOCAB, HIDDEN),
        "the cell returns a Linear; it must be",
    ),
    "vectors of a name": (
        lambda: with_nnx_cell(nnx.GRUCell, VOCAB, HIDDEN, inputs="3"),
        "no network can be made with inputs='3'",
    ),
    "documents of a cell": (lambda: with_documents(nn.GRUCell(4)), "the model is a GRUCell; it must be a jaxrnn.Model"),
    "classes of fractions": (lambda: with_classes(MODEL, np.linspace(0, 4, 5)), "the classes are float64.5.; they must be int"),
    "two weights of one path": (
        lambda: rtrl(TWICE),
        "two arrays of weights have the path 'a/b'; give one another name",
    ),
    # rules
    "dropout as text": (lambda: bptt(MODEL, 2, dropout="0.1"), "length is 2 and dropout '0.1'; length must be 1 or more"),
    "a limit as text": (
        lambda: learn(rule=lambda model: rtrl(model, max_bytes="1GB")),
        "max_bytes is '1GB'; it must be a number",
    ),
    "no signs": (lambda: uoro(MODEL, signs=None), r"signs is nothing; it must be a function \(key, num_read, shape\)"),
    "signs without a shape": (lambda: rtrl_kronecker(MODEL, signs=lambda key, n: 1), r"signs takes \(key, n\); it must be"),
    "a rule without its entry": (lambda: make_rule(rtrl, MODEL), "the rule is a function; make_rule takes an entry"),
    "a precision that is none": (lambda: with_precision(one_step(MODEL), "high-ish"), "no precision 'high-ish'; use one of"),
    "two characters for one": (
        lambda: one_step(MODEL).gradient(MODEL.init(KEY), (), MODEL.initial_carry(KEY, ()), jnp.arange(2), jnp.arange(2)),
        r"the block has shape \(2,\); this rule reads one character at a time: \(1, ...\)",
    ),
    "a meter that returns a number": (
        lambda: measure(norm=meters.gradient_norm()._replace(read=lambda memory, reading: 1.0)),
        "the read of the meter norm returns a float; it must return",
    ),
    "a part that is a number": (lambda: measure(norm=meters.gradient_norm(lambda grads: 1.0)), "the part .* holds a float"),
    # optimizers and drivers
    "a line search": (
        lambda: learn_with(optax.lbfgs()),
        "the optimizer needs more than the gradient and the loss, as a line search does",
    ),
    "a state without a rate": (
        lambda: learning_rate(SGD.init({"w": jnp.ones(1)})),
        "the optimizer's state holds no learning rate",
    ),
    "weights for a state": (lambda: fast_driver(LEARNER, 2)(MODEL.init(KEY), IDS, 1), "the state is a dict; begin with"),
    "weights to restart": (lambda: LEARNER.restart(MODEL.init(KEY), KEY), "the state is a dict; begin with the learner's init"),
    "a stack without a learner": (lambda: stacked_driver(MODEL), "the learner is a Model; it must be a jaxrnn.Learner"),
    "a stack of weights": (lambda: stacked_driver(LEARNER)({}, IDS, 1), "the state is a dict; begin with"),
    # counts and mixtures
    "counts of no characters": (lambda: count_model(0), "vocab_size is 0; it must be 1 or more"),
    "an order that is no number": (lambda: count_model(VOCAB, "2"), "order is 2, capacity"),
    "an order that is not whole": (lambda: count_model(VOCAB, 2.5), "order is 2.5, capacity"),
    "two discounts": (lambda: count_model(VOCAB, 2, discounts=(0.5, 1.0)), "they must be at least 1, at least 7"),
    "beginnings of other characters": (
        lambda: count_model(VOCAB, 2, begins=np.ones(3, bool)),
        "begins must be an array of 5 bools",
    ),
    "counts of other characters": (
        lambda: online_with_counts(MODEL, 2, SGD, (count_model(4, 2, 64),)),
        "the counts are of 4 characters, but the model knows 5",
    ),
    "counts alone": (lambda: online_with_counts(MODEL, 2, SGD, COUNTS[0]), "counts is a CountModel; it must be a tuple"),
    "an optimizer alone": (
        lambda: mixed(MODEL, 2, SGD, COUNTS),
        "optimizers is a GradientTransformation.*; it must be a tuple",
    ),
    "an optimizer that was not made": (lambda: mixed(MODEL, 2, (optax.sgd,), COUNTS), "optimizers holds a function; each must"),
    "no optimizer": (lambda: online_with_counts(MODEL, 2, None, COUNTS), "the optimizer is nothing"),
    "nothing to mix": (lambda: mixed(MODEL, 2, (), ()), "there are neither networks nor counts"),
    "blocks of none": (lambda: online_with_counts(MODEL, 0, SGD, COUNTS), "length is 0; it must be 1 or more"),
    "a cell beside counts": (lambda: online_with_counts(nn.GRUCell(4), 2, SGD, COUNTS), "the model is a GRUCell"),
    "a state without counts": (
        lambda: online_with_counts(MODEL, 1, SGD, COUNTS).update(LEARNER.init(KEY), IDS[:1], IDS[:1]),
        "the state is not of a learner with counts",
    ),
    "no key for counts": (lambda: online_with_counts(MODEL, 1, SGD, COUNTS).init(0), "the key is an int"),
    # n-grams
    "a text of fractions": (lambda: ngram(np.array([0.9, 1.7])), r"the text is float64\[2\]; an n-gram needs ids"),
    "a text as a list": (lambda: ngram([0, 1]), "the text is a list; an n-gram needs ids"),
    "a text with two axes": (
        lambda: ngram(np.zeros((2, 2), int)),
        "an n-gram needs ids, a NumPy array of integers with one axis",
    ),
    "an order as text": (lambda: ngram(IDS, "2"), "the order of an n-gram is '2'; it must be 1 or more, a whole number"),
    "a context of fractions": (lambda: next_probabilities(ngram(IDS), np.array([0.7])), r"the text is float64\[1\]"),
    "a list to mix": (lambda: interpolate([1.0], np.ones(1)), "losses to mix are a list; they must be a NumPy array"),
    "a list of weights": (lambda: interpolate(LOSSES, [0.5, 0.5]), "the weights of a mixture are a list"),
    "a share as text": (lambda: mix_online(LOSSES, share="x"), "the share of a mixture is 'x'; it must be 0 to 1"),
    # sources and streams
    "a lag of too many bits": (lambda: synthetic.delayed_sum(10, 30), r"this source has 2\^31 states; at most 65,536"),
    "a lag of too many letters": (lambda: synthetic.noisy_copy(lag=20), r"this source has 4\^20 states; .*: lower its lag"),
    "noise that is no number": (lambda: synthetic.noisy_copy(noise=None), "noise is None; it must be a number from 0 to 1"),
    "a flip as text": (lambda: synthetic.hmm(flip="x"), "flip is 'x'; it must be a number from 0 to 1"),
    "branching as text": (lambda: synthetic.pcfg("a"), "branching is 'a'; it must be a number from 0 to 1"),
    "texts of no characters": (lambda: bound_entropy_rate(synthetic.hmm(), length=0), "length is 0; it must be 1 or more"),
    "too many texts": (lambda: bound_entropy_rate(synthetic.hmm(), length=99), "length is 99, but there are too many texts"),
    "a text of no source": (lambda: write_text({"a": 1.0}, 3, 0), "the source is a dict; it must be a Source"),
    "a rate of no source": (lambda: entropy_rate(synthetic.hmm), "the source is a function; it must be a Source"),
    "updates of a list": (lambda: count_updates([0, 1], 1), "the stream is a list; it must be an array or Pairs"),
    "updates of none": (lambda: count_updates(IDS, 0), "length is 0; it must be 1 or more, a whole number"),
}


def learn_with(optimizer):
    learner = online(MODEL, one_step(MODEL), optimizer)
    return learner.update(learner.init(KEY), jnp.ones(1, jnp.int32), jnp.ones(1, jnp.int32))


@pytest.mark.parametrize("misuse", MISUSES)
def test_what_cannot_be_is_one_sentence(misuse):
    check_message(*MISUSES[misuse])


def test_what_can_be():
    """Lists, fractions, empty contexts and states that were just begun."""
    with as_for_users():
        assert with_classes(MODEL, [0, 1, 2, 3, 4, 4]).vocab_size == VOCAB + 1
        network("leaky", VOCAB, HIDDEN, leak=Fraction(1, 3)).init(KEY)
        assert next_probabilities(ngram(IDS), np.array([])).sum() == pytest.approx(1)
        learner = online_with_counts(MODEL, 2, SGD, COUNTS)
        state, losses = fast_driver(learner, 2)(learner.init(KEY), IDS, 3)
        assert losses.shape == (6,)
        assert int(learner.restart(state, jax.random.PRNGKey(1)).step) == 0
        assert drive(IDS, number=2)[1].shape == (2,)

"""A text of three documents, marked and unmarked, and what learns from it."""

import jax
import jax.numpy as jnp
import numpy as np
from conftest import HIDDEN, VOCAB
from fixed import drawn
from flax import linen as nn

from jaxrnn import online
from jaxrnn.data.documents import mark
from jaxrnn.models.classes import with_classes
from jaxrnn.models.counts import count_model
from jaxrnn.models.network import network, with_cell
from jaxrnn.rules import RULES, make_rule
from jaxrnn.training.learner import copy_arrays
from jaxrnn.training.optimizers import make_optimizer

NEWLINE, LENGTH = 0, 3
LENGTHS = (31, 21, 39)  # of the documents: blocks of 3 end where they do
STARTS = (31, 52)
KINDS = ((3, None), (2, np.arange(VOCAB) < 2))  # orders, and characters after which contexts begin
COUNTS = tuple(count_model(VOCAB, order, 777, begins=begins) for order, begins in KINDS)
MODELS = {
    "elman": network("elman", VOCAB, HIDDEN),
    "leaky": network("leaky", VOCAB, HIDDEN),
    "indrnn": network("indrnn", VOCAB, HIDDEN),
    "gru": network("gru", VOCAB, HIDDEN),
    "lstm": network("lstm", VOCAB, HIDDEN),
    "lru": network("lru", VOCAB, 4),
    "layers": network("lstm", VOCAB, HIDDEN, num_layers=2, embedding_size=2),
    "classes": with_classes(network("elman", VOCAB - 1, HIDDEN), np.array([0, 1, 2, 3, 4, 5, 5])),
    "in one piece": network("gru", VOCAB, HIDDEN, initialisation="orthogonal")._replace(layers=()),
    "Flax": with_cell(nn.SimpleCell(HIDDEN), VOCAB, HIDDEN),
}


def unmarked_text(seed=0):
    """Three documents, one after the other, the last characters of which are newlines."""
    ids = np.random.default_rng(seed).integers(1, VOCAB, sum(LENGTHS)).astype(np.uint8)
    ids[np.cumsum(LENGTHS) - 1] = NEWLINE
    ids[4:6] = 1, NEWLINE  # contexts that hold only a newline are in the tree of counts once one was counted after them
    return ids


def marked_text(seed=0, starts=STARTS):
    return mark(unmarked_text(seed), np.array(starts))


def documents(ids, starts=STARTS):
    """Each document with the newline before it."""
    borders = [0, *starts, len(ids)]
    return [ids[max(0, start - 1) : end] for start, end in zip(borders[:-1], borders[1:], strict=True)]


def zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


def close(a, b, **how):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **(how or {"rtol": 2e-5, "atol": 2e-6})), a, b)


def rule_of(name, model):
    return make_rule(RULES[name], model, LENGTH)


def learner_of(name, model):
    return online(model, rule_of(name, model), make_optimizer("sgd", 0.2))


def begun(learner, model):
    """A state with a carry of zeros, which is what a document begins with."""
    state = learner.begin(drawn(model)[0], jax.random.key(0))
    return copy_arrays(state._replace(carry=zeros(state.carry)))


def forgetting(learner, state):
    """The state of a learner that begins to read with these weights; random signs go on."""
    memory = learner.restart(state, jax.random.key(0)).memory
    kept = {name: getattr(state.memory, name) for name in ("key", "num_read") if hasattr(memory, "key")}
    memory = memory._replace(**kept) if kept else memory
    return copy_arrays(state._replace(step=jnp.int32(0), carry=zeros(state.carry), memory=memory))

"""What sweeps are given by mistake is an error of one sentence, before anything is learned."""
# pyright: reportArgumentType=false, reportCallIssue=false

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from misused import check_message

from jaxrnn import Pairs, make_optimizer, network, one_step, online, show, sweep
from jaxrnn.training.stacked import stacked_driver

VOCAB, HIDDEN = 5, 4
MODEL = network("gru", VOCAB, HIDDEN)
IDS = jnp.arange(6) % VOCAB


def search(learner=None, optimizer=None, rates=(0.1, 0.2), seeds=(0, 1), stream=None, **how):
    learner = learner or online(MODEL, one_step(MODEL), optimizer or make_optimizer("sgd", 0.1))
    return sweep(learner, rates, seeds, IDS if stream is None else stream, **how)


def two_rates():
    parts = {name: make_optimizer("sgd", 0.1) for name in "ab"}
    return optax.multi_transform(parts, lambda params: {name: "ab"[name == "cell"] for name in params})


def drive_single():
    learner = online(MODEL, one_step(MODEL), optax.sgd(0.1))
    return stacked_driver(learner)(learner.init(jax.random.key(0)), IDS, 3)


MISUSES = {
    "a sweep of a rule": (lambda: search(learner=one_step(MODEL)), "the learner is a Rule; it must be a jaxrnn.Learner"),
    "a single rate": (lambda: search(rates=0.1), r"rates is 0.1; it must be several numbers, such as \(0.01, 0.1\)"),
    "no rates": (lambda: search(rates=()), "rates is empty"),
    "a rate in words": (lambda: search(rates=("high",)), "rates has 'high'"),
    "a negative rate": (lambda: search(rates=(0.1, -1.0)), "rates has -1.0; a rate must be over 0"),
    "an infinite rate": (lambda: search(rates=(float("inf"),)), "rates has inf"),
    "a number of seeds": (lambda: search(seeds=8), r"seeds is 8; it must be several numbers, such as range\(8\)"),
    "a seed between integers": (lambda: search(seeds=(0, 1.5)), "seeds has 1.5; a seed must be a whole number"),
    "a rate that is a row": (lambda: search(rates=np.ones((2, 2))), "rates has array"),
    "a seed that is no number": (lambda: search(seeds=(float("nan"),)), "seeds has nan"),
    "a stream too short for a sweep": (
        lambda: search(stream=IDS[:1]),
        "the stream has 1 step; an update of 1 needs at least 2",
    ),
    "a negative seed": (lambda: search(seeds=(-1,)), "seeds has -1"),
    "an optimizer without a rate to set": (
        lambda: search(optimizer=optax.sgd(0.1)),
        r"the optimizer's state holds no learning rate; .*make_optimizer\(",
    ),
    "a rate that follows a schedule": (
        lambda: search(optimizer=optax.inject_hyperparams(optax.sgd)(learning_rate=optax.constant_schedule(0.1))),
        "the learning rate follows a schedule",
    ),
    "two rates in one optimizer": (lambda: search(optimizer=two_rates()), "the optimizer's state holds 2 learning rates"),
    "a rate without an axis": (lambda: search(rates=jnp.float32(0.1)), "rates is .* it must be several numbers"),
    "a seed given twice": (lambda: search(seeds=(1, 1)), "seeds has the same number twice"),
    "a tuple of streams": (lambda: search(stream=(IDS, IDS)), "the streams are a tuple; give a list"),
    "half an update": (lambda: search(num_updates=2.5), "num_updates is 2.5; it must be a whole number"),
    "pairs beside a text": (lambda: search(stream=[IDS, Pairs(IDS, IDS)]), "have different shapes"),
    "states of single runs": (lambda: drive_single(), "the states are not stacked"),
    "a page of a learner": (lambda: show(online(MODEL, one_step(MODEL), optax.sgd(0.1))), "show was given a Learner"),
    "no updates of a sweep": (lambda: search(num_updates=0), "the number of updates is 0; it must be 1 or more"),
    "no updates per call": (lambda: search(updates_per_call=0), "updates_per_call is 0; it must be 1 or more"),
    "streams for other seeds": (lambda: search(stream=[IDS] * 3), "there are 3 streams for 2 seeds; give one per seed"),
    "streams of other lengths": (lambda: search(stream=[IDS, IDS[1:]]), "have different shapes; cut them to"),
    "a stream with an unknown id": (lambda: search(stream=IDS + 4), "the model knows ids 0 to 4"),
    "the end of a sweep that is longer than it": (lambda: show(search(), last=99), "last is 99; .* it must be 1 to 5"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_misuse_is_an_error_of_one_sentence(name):
    check_message(*MISUSES[name])

"""Functions of one's own with other parameters are an error of one sentence, before anything is learned."""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportReturnType=false

import operator

import jax
import numpy as np
import optax
import pytest
from misused import KEY, MODEL, ONE, check_message, measure

from jaxrnn import bptt, masked, meters, nats, one_step, online
from jaxrnn.rules import Rule
from jaxrnn.training.learner import reader
from jaxrnn.training.meters import Meter

OWN = one_step(MODEL)
SGD = optax.sgd(0.1)


def with_rule(**functions):
    return online(MODEL, OWN._replace(**functions), SGD)


def with_meter(**functions):
    return measure(norm=meters.gradient_norm()._replace(**functions))


MISUSES = {
    "a loss of outputs alone": (
        lambda: online(MODEL, OWN, SGD, loss=lambda outputs: outputs.sum()),
        r"the loss takes \(outputs\); it must be a function \(outputs, y\) -> one number per stream",
    ),
    "a mask for a loss of outputs alone": (lambda: masked(lambda outputs: 0), r"the loss takes \(outputs\); it must be"),
    "a mask for masked": (lambda: masked(masked), "masked makes a loss from another"),
    "a carry that knows no streams": (
        lambda: one_step(MODEL._replace(initial_carry=lambda key: MODEL.initial_carry(key, ()))),
        r"the model's initial_carry takes \(key\); it must be a function \(key, streams\) -> carry",
    ),
    "weights without a key": (lambda: reader(MODEL._replace(init=lambda: {})), r"init takes \(\); it must"),
    "a step without weights": (
        lambda: bptt(MODEL._replace(layers=(), step=lambda carry, x: (carry, x)), 2),
        r"the model's step takes \(carry, x\); it must be a function \(params, carry, x\) -> \(carry, outputs\)",
    ),
    "weights in place of their function": (
        lambda: reader(MODEL._replace(init=MODEL.init(KEY))),
        r"the model's init is a dict; it must be a function \(key\) -> weights",
    ),
    "a rule that draws without a key": (
        lambda: with_rule(init=lambda params, carry: ()),
        r"the rule's init takes \(params, carry\); it must be a function \(params, carry, key\) -> memory",
    ),
    "a rule without targets": (
        lambda: with_rule(gradient=lambda params, memory, carry, x: None),
        r"the rule's gradient takes \(params, memory, carry, x\); it must be a function \(params, memory, carry, x, y\)",
    ),
    "a meter that reads its memory only": (
        lambda: with_meter(read=lambda memory: memory),
        r"the read of the meter norm takes \(memory\); it must be a function \(memory, reading\)",
    ),
    "a meter that needs no key": (
        lambda: with_meter(init=lambda params: ()),
        r"the init of the meter norm takes \(params\)",
    ),
    "a part by its name": (lambda: meters.gradient_norm("cell"), r"part is a str; it must be a function \(grads\) -> a part"),
    "a part that is not there": (
        lambda: measure(norm=meters.gradient_norm(operator.itemgetter("cel"))),
        r"the gradient has no such part \(KeyError: 'cel'\); it is a dict of cell, readout",
    ),
    "a part to compare that is not there": (
        lambda: measure(cosine=meters.cosine_to(OWN, part=lambda grads: grads.cell)),
        "the gradient has no such part .*; it is a dict of cell, readout",
    ),
    "weights to test with, without a state": (
        lambda: online(MODEL, OWN, SGD, test_params=lambda state: state.params),
        r"test_params takes \(state\); it must be a function \(opt_state, params\) -> weights",
    ),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_a_function_with_other_parameters_is_one_sentence(misuse):
    check_message(*MISUSES[misuse])


def test_functions_may_take_more():
    """Defaults, any number of arguments, a loss that must be given: all fit."""
    required = lambda params, memory, carry, x, y, loss: OWN.gradient(params, memory, carry, x, y, loss)  # noqa: E731
    rule = Rule(1, lambda *of_all: (), required)
    meter = Meter(lambda *of_all: (), lambda memory, reading, twice=2: (0.0, memory))
    learner = online(MODEL, meters.measured(rule, zero=meter), SGD)
    plain = online(MODEL, OWN, SGD, loss=lambda outputs, y, scale=1: scale * nats(outputs, y))
    states = [jax.jit(each.update)(each.init(KEY), ONE, ONE)[0].params for each in (learner, plain)]
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)

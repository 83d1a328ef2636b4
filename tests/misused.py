"""What a misuse must do, whatever is misused, and the ways to learn that are misused."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import optax
import pytest

from jaxrnn import fast_driver, meters, nats, network, one_step, online
from jaxrnn.errors import InputError

VOCAB, HIDDEN = 5, 4
MODEL = network("gru", VOCAB, HIDDEN)
ONE, KEY = jnp.array([1], jnp.int32), jax.random.key(0)
FAST = functools.partial(fast_driver, updates_per_call=4)


def learn(x=ONE, y=ONE, model=MODEL, rule=one_step, streams=(), loss=nats):
    """The shapes after an update."""
    learner = online(model, rule(model), optax.sgd(0.1), streams, loss=loss)
    return jax.eval_shape(learner.update, jax.eval_shape(learner.init, KEY), x, y)


def drive(stream, model=MODEL, rule=one_step, streams=(), loss=nats, number=1, driver=FAST):
    """Learn from a stream."""
    learner = online(model, rule(model), optax.sgd(0.1), streams, loss=loss)
    return driver(learner)(learner.init(KEY), stream, number)


def measure(**each):
    """The shapes after an update with meters."""
    learner = online(MODEL, meters.measured(one_step(MODEL), **each), optax.sgd(0.1), has_aux=True)
    return jax.eval_shape(learner.update, jax.eval_shape(learner.init, KEY), ONE, ONE)


@contextlib.contextmanager
def as_for_users():
    """Without the checks of types that the tests install, which would come first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def check_message(misuse: Callable[[], Any], says: str) -> None:
    """Check that a misuse is an error of one sentence, without flags, which are for the programs."""
    with as_for_users(), pytest.raises(InputError, match=says) as caught:
        misuse()
    message = str(caught.value)
    assert "\n" not in message
    assert "--" not in message
    assert len(message) < 300

"""A cell of flax.linen, one of flax.nnx, a rule, an optimizer and a text: parts of one's own, in one file beside a run."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import nnx

from jaxrnn import Gradient, Rule, nats


class Decay(nn.RNNCellBase):
    """h' = d h + (1 - d) tanh(W x + b): units that forget at a rate d of their own, which they learn."""

    features: int

    @nn.compact
    def __call__(self, h, x):
        d = nn.sigmoid(self.param("decay", nn.initializers.normal(1.0), (self.features,)))
        d = jnp.broadcast_to(d, h.shape)
        h = d * h + (1 - d) * jnp.tanh(nn.Dense(self.features)(x))
        return h, h

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], self.features))

    @property
    def num_feature_axes(self):
        return 1


class Gated(nnx.Module):
    """h' = h + z (tanh(W x + U h) - h), z = s(V x): a cell of flax.nnx."""

    def __init__(self, in_features, hidden_features, *, rngs):
        self.features = hidden_features
        self.read = nnx.Linear(in_features, 2 * hidden_features, rngs=rngs)
        self.recur = nnx.Linear(hidden_features, hidden_features, use_bias=False, rngs=rngs)

    def __call__(self, h, x):
        z, n = jnp.split(self.read(x), 2, axis=-1)
        h = h + nnx.sigmoid(z) * (jnp.tanh(n + self.recur(h)) - h)
        return h, h

    def initialize_carry(self, input_shape, rngs):
        return 0.1 * jax.random.normal(rngs(), (*input_shape[:-1], self.features))


def e_prop(model):
    """Eligibility propagation: the learning signal dl_t/dh_t times a trace e <- dh'/dtheta + (dh'/dh) e of each weight.

    The trace keeps what a unit does to itself, so that the gradient is exact where units reach themselves alone. For one layer
    whose carry is a vector. Source: Bellec et al. (2020), Nature Communications 11.
    """

    def init(params, carry, key):
        del key
        return jax.tree.map(lambda leaf: jnp.zeros((*carry.shape[:-1], *leaf.shape)), params["cell"])

    def one_stream(params, traces, h, x, y):
        def step(weights, h):
            return model.step({**params, "cell": weights}, h, x)[0]

        after, pull = jax.vjp(lambda weights: step(weights, h), params["cell"])
        (immediate,) = pull(jnp.ones_like(h))  # each weight moves one unit
        itself = jnp.diagonal(jax.jacfwd(step, argnums=1)(params["cell"], h))
        traces = jax.tree.map(lambda new, old: new + old * jnp.broadcast_to(itself, old.shape), immediate, traces)
        loss, (grads, signal) = jax.value_and_grad(lambda *each: nats(model.read_out(*each), y), argnums=(0, 1))(params, after)
        of_cell = jax.tree.map(lambda trace: trace * jnp.broadcast_to(signal, trace.shape), traces)
        return {**grads, "cell": of_cell}, after, traces, loss

    def gradient(params, traces, carry, x, y):
        if x.ndim == 1:  # one stream has no axis
            grads, carry, traces, loss = one_stream(params, traces, carry, x[0], y[0])
        else:
            grads, carry, traces, loss = jax.vmap(one_stream, (None, 0, 0, 0, 0))(params, traces, carry, x[0], y[0])
            grads, loss = jax.tree.map(lambda leaf: leaf.mean(0), (grads, loss))
        return Gradient(grads, carry, traces, loss[None])

    return Rule(1, init, gradient)


class Steps(NamedTuple):
    """What the optimizer remembers."""

    longest: jax.Array  # step so far


def polyak(learning_rate):
    """Steps of loss / |gradient|^2, at most the learning rate: it takes the loss as `value`."""

    def init(params):
        del params
        return Steps(jnp.zeros(()))

    def update(updates, state, params=None, **extra):
        del params
        step = jnp.minimum(learning_rate, extra["value"] / (optax.tree.norm(updates) ** 2 + 1e-8))
        return jax.tree.map(lambda leaf: -step * leaf, updates), Steps(jnp.maximum(state.longest, step))

    return optax.GradientTransformationExtraArgs(init, update)


def weather():
    """A text: days of sun and rain, each like the one before with probability 0.8."""
    changes = np.random.default_rng(0).random(5_000) < 0.2
    return "".join(("sun ", "rain ")[day % 2] for day in np.cumsum(changes))

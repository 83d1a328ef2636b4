"""Cells of flax.linen whose carry is not one vector: matrices, scalars, counts, complex numbers, several arrays."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def _is_array(form):
    return isinstance(form, tuple) and not isinstance(form[0], tuple)


class Foreign(nn.RNNCellBase):
    """What they share: a width, and inputs with one axis of features."""

    features: int

    def form(self, width):
        """(*shape, type) of each array in the carry of one stream."""
        raise NotImplementedError

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        streams = input_shape[:-1]
        leaves, structure = jax.tree.flatten(self.form(self.features), is_leaf=_is_array)
        starts = [jnp.zeros((*streams, *shape), dtype) for *shape, dtype in leaves]
        return jax.tree.unflatten(structure, starts)

    @property
    def num_feature_axes(self):
        return 1

    def dense(self, name, inputs, width=None, **settings):
        return nn.Dense(width or self.features, name=name, **settings)(inputs)


class OneVector(Foreign):
    """Cells whose carry is one vector, of which what they compute is special."""

    def form(self, width):
        return (width, jnp.float32)


class MLSTM(Foreign):
    """The matrix memory of xLSTM, with its stabiliser and a count: C <- f C + i v k^T. Beck et al. (2024), eq. 19 to 27."""

    def form(self, width):
        C, n, m = (width, width, jnp.float32), (width, jnp.float32), (jnp.float32,)
        return {"C": C, "n": n, "m": m, "read": (jnp.int32,)}

    @nn.compact
    def __call__(self, carry, x):
        q, k, v = (self.dense(name, x) for name in "qkv")
        i, f = (self.dense(name, x, 1)[..., 0] for name in "if")
        m = jnp.maximum(f + carry["m"], i)
        i, f = jnp.exp(i - m), jnp.exp(f + carry["m"] - m)
        C = f[..., None, None] * carry["C"] + i[..., None, None] * v[..., :, None] * k[..., None, :]
        n = f[..., None] * carry["n"] + i[..., None] * k
        h = jnp.einsum("...vk,...k->...v", C, q) / jnp.maximum(jnp.abs((n * q).sum(-1)), 1.0)[..., None]
        h = nn.sigmoid(self.dense("o", x)) * h
        return {"C": C, "n": n, "m": m, "read": carry["read"] + 1}, h


class LinearAttention(Foreign):
    """A matrix alone: S <- S + v k^T, h = S q. Katharopoulos et al. (2020), eq. 18 to 20, without the normaliser."""

    def form(self, width):
        return (width, width, jnp.float32)

    @nn.compact
    def __call__(self, carry, x):
        q, k, v = (self.dense(name, x) for name in "qkv")
        S = carry + v[..., :, None] * nn.tanh(k)[..., None, :]
        return S, jnp.einsum("...vk,...k->...v", S, q)


class NormalisedTanh(Foreign):
    """h <- tanh(LayerNorm(W x + U h))."""

    def form(self, width):
        return (width, jnp.float32)

    @nn.compact
    def __call__(self, h, x):
        a = self.dense("input", x) + self.dense("recurrent", h, use_bias=False)
        a = (a - a.mean(-1, keepdims=True)) / jnp.sqrt(a.var(-1, keepdims=True) + 1e-6)  # Flax's own promotes types
        scale = self.param("scale", nn.initializers.ones, (self.features,), jnp.float32)
        h = nn.tanh(a * jnp.broadcast_to(scale, a.shape))
        return h, h


class MinGRU(Foreign):
    """h <- (1 - z) h + z n, with z and n from the input alone. Feng et al. (2024)."""

    def form(self, width):
        return (width, jnp.float32)

    @nn.compact
    def __call__(self, h, x):
        z = nn.sigmoid(self.dense("z", x))
        h = (1 - z) * h + z * self.dense("n", x)
        return h, h


class CountingGRU(Foreign):
    """A minimal GRU whose state changes its sign at every second character, and that knows whether it has read much."""

    def form(self, width):
        return {"h": (width, jnp.float32), "read": (jnp.int32,), "is late": (jnp.bool_,)}

    @nn.compact
    def __call__(self, carry, x):
        turned = jnp.where((carry["read"] % 2 == 0)[..., None], carry["h"], -carry["h"])
        h, _ = MinGRU(self.features, name="gru")(turned, x)
        read = carry["read"] + 1
        return {"h": h, "read": read, "is late": read > 3}, jnp.where(carry["is late"][..., None], h, 2 * h)


class TwoLayers(Foreign):
    """Two layers as one cell: a vector for each, and a scalar that both feed."""

    def form(self, width):
        return ((width, jnp.float32), (width, jnp.float32), (jnp.float32,))

    @nn.compact
    def __call__(self, carry, x):
        below, above, scalar = carry
        below = nn.tanh(self.dense("below", jnp.concatenate([x, below], -1)))
        above = nn.tanh(self.dense("above", jnp.concatenate([below, above, scalar[..., None]], -1)))
        return (below, above, 0.5 * scalar + above.mean(-1)), above


class ComplexUnits(Foreign):
    """z <- exp(-e^nu + i theta) z + W x in complex numbers, h = Re z + Im z."""

    def form(self, width):
        return (width, jnp.complex64)

    @nn.compact
    def __call__(self, z, x):
        nu, theta = (self.param(name, nn.initializers.normal(), (self.features,), jnp.float32) for name in ("nu", "theta"))
        rotation = jnp.exp(jax.lax.complex(-jnp.exp(nu), theta))
        fed = jax.lax.complex(self.dense("real", x), self.dense("imaginary", x))
        z = jnp.broadcast_to(rotation, z.shape) * z + fed
        return z, z.real + z.imag


class Switching(Foreign):
    """h <- s h or shifted by one unit, where a boolean, a count or both say which: no diagonal, but only now and then."""

    by: str = "boolean"

    def form(self, width):
        return {"h": (width, jnp.float32), "on": (jnp.bool_,), "read": (jnp.int32,)}

    @nn.compact
    def __call__(self, carry, x):
        shifts = ~carry["on"] if self.by == "boolean" else carry["read"] % 8 == 5
        h = jnp.where(shifts[..., None], jnp.roll(carry["h"], 1, -1), 0.9 * carry["h"]) + self.dense("input", x)
        return {"h": h, "on": ~carry["on"], "read": carry["read"] + 1}, h


class Saturating(Foreign):
    """z <- z / (1 + |z|^2) + W x in complex numbers."""

    def form(self, width):
        return (width, jnp.complex64)

    @nn.compact
    def __call__(self, z, x):
        fed = jax.lax.complex(self.dense("real", x), self.dense("imaginary", x))
        z = z / (1 + z.real**2 + z.imag**2).astype(z.dtype) + fed
        return z, z.real + z.imag


class Averaging(Foreign):
    """The mean of tanh(W x + U h) so far, whose count starts at 1; 1 / sqrt(n - 1/2) is finite from there on alone."""

    def form(self, width):
        return {"h": (width, jnp.float32), "read": (jnp.int32,)}

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        carry = super().initialize_carry(rng, input_shape)
        return carry | {"read": carry["read"] + 1}

    @nn.compact
    def __call__(self, carry, x):
        new = nn.tanh(self.dense("input", x) + self.dense("recurrent", carry["h"]))
        share = 1 / jnp.sqrt(carry["read"].astype(new.dtype) - 0.5)
        h = carry["h"] + (new - carry["h"]) * share[..., None] / 2
        return {"h": h, "read": carry["read"] + 1}, h


class Noisy(Foreign):
    """A leaky unit with noise from a key in its carry."""

    def form(self, width):
        return {"h": (width, jnp.float32)}

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        keys = jax.random.split(rng, input_shape[:-1]) if input_shape[:-1] else rng
        return super().initialize_carry(rng, input_shape) | {"key": keys}

    @nn.compact
    def __call__(self, carry, x):
        def draw(key):
            used, key = jax.random.split(key)
            return jax.random.normal(used, (self.features,), carry["h"].dtype), key

        noise, key = jax.vmap(draw)(carry["key"]) if carry["key"].ndim else draw(carry["key"])
        h = 0.5 * carry["h"] + self.dense("input", x) + 0.1 * noise
        return {"h": h, "key": key}, h


CELLS: dict[str, Any] = {
    "mLSTM": MLSTM,
    "linear attention": LinearAttention,
    "tanh + LayerNorm": NormalisedTanh,
    "minGRU": MinGRU,
    "two layers as one": TwoLayers,
    "a GRU that counts": CountingGRU,
    "complex units": ComplexUnits,
}

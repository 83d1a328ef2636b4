"""A second witness for any model of one stream: the whole influence matrix J of weights on the carry.

JAX gives the derivatives of single steps, with respect to all weights and the whole carry as one vector each: I, D, the loss's
own gradient g, and delta. What is made of them is written here in NumPy.
"""

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxrnn import nats
from jaxrnn.models.model import layer_names, split_carry


def steps(model, params, carry, x, y):
    """(I, D, g, delta) at each character."""
    theta, params_of = ravel_pytree(params)
    h, carry_of = ravel_pytree(carry)

    def step(theta, h, x, y):
        after, logits = model.step(params_of(theta), carry_of(h), x)
        return ravel_pytree(after)[0], nats(logits, y)

    derivatives, found = jax.jit(lambda *given: (step(*given)[0], jax.jacrev(step, argnums=(0, 1))(*given))), []
    for x_t, y_t in zip(x, y, strict=True):
        h, ((now, D), (g, delta)) = derivatives(theta, h, x_t, y_t)
        found.append(tuple(map(np.asarray, (now, D, g, delta))))
    return found


def kept_steps(model, params, carry, x, y, of_steps):
    """The same for a model of one layer in which nothing passes through the recurrent weights."""
    (layer,), found = model.layers, []
    of_layer = params[layer.name]

    def derivatives(carry, x, y):
        px, ph = layer.project(of_layer, x), layer.recur(of_layer, layer.hidden(carry))
        h, carry_of = ravel_pytree(carry)
        after = layer.gates(carry, px, ph)

        def loss(carry):
            return nats(model.read_out(params, layer.output(of_layer, layer.hidden(carry))), y)

        D = jax.jacfwd(lambda h: ravel_pytree(layer.gates(carry_of(h), px, ph))[0])(h)
        return after, D, ravel_pytree(jax.grad(loss)(after))[0]

    derivatives = jax.jit(derivatives)
    for x_t, y_t, (now, _, g, _) in zip(x, y, of_steps, strict=True):
        carry, D, error = derivatives(carry, x_t, y_t)
        found.append((now, np.asarray(D), g, np.asarray(D.T @ error)))
    return found


def rtrl(of_steps, mask: np.ndarray | float = 1):
    """The sum of g + J^T delta, with J <- mask (I + D J)."""
    total, J = 0, 0 * of_steps[0][0]
    for now, D, g, delta in of_steps:
        total, J = total + g + J.T @ delta, mask * (now + D @ J)
    return total


def published_snap(of_steps, mask: np.ndarray | float):
    """The sum of dL_t/dh_t . J_t, with J_t = mask (I_t + D_t J_{t-1}): SnAp of Menick et al. (2020).

    The readout's weights have their own gradient, what g holds beside I^T dL_t/dh_t. D must be invertible: dL_t/dh_t is found
    from delta = D^T dL_t/dh_t.
    """
    total, J = 0, 0 * of_steps[0][0]
    for now, D, g, delta in of_steps:
        dh, J = np.linalg.solve(D.T, delta), mask * (now + D @ J)
        total = total + g - now.T @ dh + J.T @ dh
    return total


def layered_snap(model, carry, of_steps, mask):
    """`published_snap` for two layers that are tracked by themselves: what a weight does to the other layer is masked.

    The error of the lower layer comes through the upper one in the same step, whose derivative with respect to the lower state
    is D_21 D_11^-1. Weights that do not reach the carry of their own layer have their own gradient, g.
    """
    size = ravel_pytree(split_carry(carry, len(model.layers))[0])[0].size
    tracked = np.any([mask * now for now, *_ in of_steps], axis=(0, 1))
    total, J = 0, 0 * of_steps[0][0]
    for now, D, g, delta in of_steps:
        dh, J = np.linalg.solve(D.T, delta), mask * (now + D @ J)
        through = np.linalg.solve(D[:size, :size].T, D[size:, :size].T).T
        whole = dh + np.concatenate([through.T @ dh[size:], 0 * dh[size:]])
        total = total + np.where(tracked, g - now.T @ dh + J.T @ whole, g)
    return total


def window(of_steps, length):
    """The sum of the gradients of each loss through the last characters."""
    total = 0
    for t, (_, _, g, delta) in enumerate(of_steps):
        total, d = total + g, delta
        for now, D, _, _ in reversed(of_steps[max(0, t - length + 1) : t]):
            total, d = total + now.T @ d, D.T @ d
    return total


def own_unit(model, params, carry):
    """The mask that leaves what a weight does to the states of its own unit: that of its last axis, modulo their number."""
    layers, weights = layer_names(max(1, len(model.layers))), jax.tree.flatten_with_path(params)[0]
    carries = zip(layers, split_carry(carry, len(layers)), strict=True)
    states = [(name, unit) for name, carry in carries for leaf in jax.tree.leaves(carry) for unit in range(leaf.size)]
    units = jax.tree.leaves(carry)[0].size
    places = [(path[0].key, np.arange(leaf.size) % leaf.shape[-1] % units) for path, leaf in weights]
    owners = [(name, unit) for name, of_leaf in places for unit in of_leaf.tolist()]
    return np.array([[state == owner for owner in owners] for state in states], float)

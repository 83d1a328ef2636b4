"""The networks of `peers.py` in braintrace, with our equations and weights."""

from collections.abc import Callable
from typing import Any

import brainstate  # pyright: ignore[reportMissingImports]
import braintools  # pyright: ignore[reportMissingImports]
import braintrace  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp

from jaxrnn.data.array_types import Params

RATE = 1e-3
ALGORITHMS: dict[str, tuple[Any, dict[str, int]]] = {"SnAp(1)": (braintrace.SnAp, {"n": 1}), "D_RTRL": (braintrace.D_RTRL, {})}


class Elman(braintrace.nn.ValinaRNNCell):
    """Their Elman network, with tanh."""

    def __init__(self, vocab_size: int, hidden_size: int):
        super().__init__(vocab_size, hidden_size, activation="tanh")

    def load(self, ours: Params) -> None:
        """Copy our weights."""
        W = jnp.concatenate([ours["input_kernel"], ours["recurrent_kernel"]])
        self.W.weight.value = {"weight": W, "bias": ours["bias"]}

    def recurrent_weights(self, grads: dict) -> jax.Array:
        """Return the gradient in the place of our `recurrent_kernel`."""
        return grads["W", "weight"]["weight"][-self.out_size[0] :]


class GRU(brainstate.nn.RNNCell):
    """Our GRU, whose reset gate follows the recurrent product. In theirs it precedes it, and D_RTRL leaves it untrained."""

    def __init__(self, vocab_size: int, hidden_size: int):
        super().__init__()
        self.in_size, self.out_size = (vocab_size,), (hidden_size,)
        start = braintools.init.Orthogonal()
        self.Wr = braintrace.nn.Linear(vocab_size + hidden_size, hidden_size, w_init=start)
        self.Wz = braintrace.nn.Linear(vocab_size + hidden_size, hidden_size, w_init=start)
        self.Wn = braintrace.nn.Linear(vocab_size, hidden_size, w_init=start)
        self.Un = braintrace.nn.Linear(hidden_size, hidden_size, w_init=start)

    def init_state(self, batch_size: int | None = None, **_: Any) -> None:
        """Start from zero."""
        del batch_size
        self.h = brainstate.HiddenState(jnp.zeros(self.out_size))

    def update(self, x: jax.Array) -> jax.Array:
        """Read one character."""
        h = self.h.value
        both = jnp.concatenate([x, h])
        r, z = jax.nn.sigmoid(self.Wr(both)), jax.nn.sigmoid(self.Wz(both))
        n = jnp.tanh(self.Wn(x) + r * self.Un(h))
        self.h.value = n + z * (h - n)
        return self.h.value

    def load(self, ours: Params) -> None:
        """Copy our weights, whose columns are r, z and n."""
        (Wr, Wz, Wn), (Ur, Uz, Un) = (jnp.split(ours[name], 3, axis=1) for name in ("input_kernel", "recurrent_kernel"))
        br, bz, bn = jnp.split(ours["bias"], 3)
        self.Wr.weight.value = {"weight": jnp.concatenate([Wr, Ur]), "bias": br}
        self.Wz.weight.value = {"weight": jnp.concatenate([Wz, Uz]), "bias": bz}
        self.Wn.weight.value = {"weight": Wn, "bias": bn}
        self.Un.weight.value = {"weight": Un, "bias": ours["recurrent_bias"]}

    def recurrent_weights(self, grads: dict) -> jax.Array:
        """Return the gradient in the place of our `recurrent_kernel`."""
        size = self.out_size[0]
        gates = [grads[name, "weight"]["weight"][-size:] for name in ("Wr", "Wz", "Un")]
        return jnp.concatenate(gates, axis=1)


class LRU(brainstate.nn.Module):
    """The state of our LRU; theirs has other parameters, a learned gain and a skip connection."""

    def __init__(self, vocab_size: int, hidden_size: int):
        super().__init__()
        self.units = hidden_size // 2
        self.nu = brainstate.ParamState(jnp.full(self.units, -2.0))
        self.theta = brainstate.ParamState(jnp.linspace(0.0, 6.0, self.units))
        self.real = braintrace.nn.Linear(vocab_size, self.units, b_init=None)
        self.imaginary = braintrace.nn.Linear(vocab_size, self.units, b_init=None)

    def init_state(self, batch_size: int | None = None, **_: Any) -> None:
        """Start from zero."""
        del batch_size
        self.h_real, self.h_imaginary = (brainstate.HiddenState(jnp.zeros(self.units)) for _ in range(2))

    def update(self, x: jax.Array) -> jax.Array:
        """Read one character."""
        nu, theta = braintrace.element_wise(self.nu.value), braintrace.element_wise(self.theta.value)
        size, gain = jnp.exp(-jnp.exp(nu)), jnp.sqrt(-jnp.expm1(-2 * jnp.exp(nu)))
        cosine, sine = size * jnp.cos(theta), size * jnp.sin(theta)
        h_real, h_imaginary = self.h_real.value, self.h_imaginary.value
        self.h_real.value = cosine * h_real - sine * h_imaginary + gain * self.real(x)
        self.h_imaginary.value = sine * h_real + cosine * h_imaginary + gain * self.imaginary(x)
        return jnp.concatenate([self.h_real.value, self.h_imaginary.value])

    def load(self, ours: Params) -> None:
        """Copy our weights."""
        real, imaginary = jnp.split(ours["input_kernel"], 2, axis=1)
        self.nu.value, self.theta.value = ours["nu"], ours["theta"]
        self.real.weight.value, self.imaginary.weight.value = {"weight": real}, {"weight": imaginary}

    def recurrent_weights(self, grads: dict) -> jax.Array:
        """Return the gradients in the place of our `nu` and `theta`."""
        return jnp.concatenate([grads["nu",], grads["theta",]])


CELLS: dict[str, Callable[[int, int], Any]] = {"elman": Elman, "gru": GRU, "lru": LRU, "their gru": braintrace.nn.GRUCell}


class Peer:
    """A network of theirs and its online learner."""

    def __init__(self, cell: str, vocab_size: int, hidden_size: int, algorithm: str):
        self.vocab_size, self.cell = vocab_size, CELLS[cell](vocab_size, hidden_size)
        found, options = ALGORITHMS[algorithm]
        self.learner = braintrace.compile(self.cell, found, jnp.zeros(vocab_size), **options)
        # What reads the state is outside the learner, which would not train it.
        self.readout = brainstate.nn.Linear(hidden_size, vocab_size)
        self.mix = brainstate.nn.Linear(hidden_size, hidden_size) if cell == "lru" else None
        of_cell = self.cell.states(brainstate.ParamState).items()
        self.weights = {("cell", *path): weight for path, weight in of_cell} | {("readout",): self.readout.weight}
        self.weights |= {("mix",): self.mix.weight} if self.mix else {}

    def load(self, ours: Params) -> None:
        """Copy our weights."""
        self.cell.load(ours["cell"])
        self.readout.weight.value = {"weight": ours["readout"]["kernel"].T, "bias": ours["readout"]["bias"]}
        if self.mix:
            self.mix.weight.value = {"weight": ours["cell"]["output_kernel"], "bias": ours["cell"]["output_bias"]}

    def gradient(self, x: jax.Array, y: jax.Array) -> tuple[dict, jax.Array]:
        """Compute the gradients and the loss at one character."""

        def loss() -> jax.Array:
            h = self.learner(jax.nn.one_hot(x, self.vocab_size))
            logits = self.readout(jax.nn.gelu(self.mix(h)) if self.mix else h)
            return jax.nn.logsumexp(logits) - logits[y]

        return brainstate.transform.grad(loss, self.weights, return_value=True)()

    def recurrent_gradient(self, ids: jax.Array) -> jax.Array:
        """Sum the gradients over a text, with constant weights, in the place of our recurrent weights."""
        step = brainstate.transform.jit(self.gradient)
        found = [step(*pair)[0] for pair in zip(ids, ids[1:], strict=False)]
        of_cell = [{path[1:]: leaf for path, leaf in grads.items() if path[0] == "cell"} for grads in found]
        return jnp.stack([self.cell.recurrent_weights(grads) for grads in of_cell]).sum(0)

    def trainer(self) -> Callable[[jax.Array], jax.Array]:
        """Make a function that reads a text with an SGD update after each character, and returns the losses."""

        def update(x: jax.Array, y: jax.Array) -> jax.Array:
            grads, loss = self.gradient(x, y)
            for path, of_weight in grads.items():
                descend = lambda weight, grad: weight - RATE * grad  # noqa: E731
                self.weights[path].value = jax.tree.map(descend, self.weights[path].value, of_weight)
            return loss

        return brainstate.transform.jit(lambda ids: brainstate.transform.for_loop(update, ids[:-1], ids[1:]))


def our_recurrent_weights(grads: Params) -> jax.Array:
    """Return our gradient with respect to the weights that act on the previous state."""
    of_cell = grads["cell"]
    return of_cell["recurrent_kernel"] if "recurrent_kernel" in of_cell else jnp.concatenate([of_cell["nu"], of_cell["theta"]])

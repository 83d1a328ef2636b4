"""The networks of `bench.py` in PyTorch, written as PyTorch users write them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from jaxrnn import State

Read = Callable[[], list[float]]


def device() -> str:
    """Return PyTorch's name of the device that JAX uses. Call it once JAX's devices are made: asking makes them."""
    return "cuda" if jax.default_backend() == "gpu" else "cpu"


def use_precision(products: str = "float32") -> None:
    """Compute products in full float32 unless it is tensorfloat32 that is wanted; cuDNN rounds factors on a GPU by default."""
    torch.backends.cudnn.allow_tf32 = products == "tensorfloat32"
    torch.backends.cuda.matmul.allow_tf32 = products == "tensorfloat32"


class Elman(nn.Module):
    """The course's network: one-hot characters concatenated with the state, two linear layers."""

    def __init__(self, vocab_size: int, hidden_size: int):
        super().__init__()
        self.hidden = nn.Linear(vocab_size + hidden_size, hidden_size)
        self.readout = nn.Linear(hidden_size, vocab_size)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.sigmoid(self.hidden(torch.cat([x, h], dim=-1)))
        return self.readout(h), h

    @classmethod
    def like(cls, state: State) -> tuple["Elman", torch.Tensor]:
        """Make the network with these weights. Returns it and its hidden state."""
        cell, readout = state.params["cell"], state.params["readout"]
        vocab_size, hidden_size = cell["input_kernel"].shape
        network = cls(vocab_size, hidden_size)
        with torch.no_grad():
            network.hidden.weight.copy_(_tensor(jnp.concatenate([cell["input_kernel"], cell["recurrent_kernel"]]).T))
            network.hidden.bias.copy_(_tensor(cell["bias"]))
            network.readout.weight.copy_(_tensor(readout["kernel"]))
            network.readout.bias.copy_(_tensor(readout["bias"]))
        return network.to(device()), _tensor(state.carry).to(device())


def one_step(state: State, stream: np.ndarray, rate: float, num_updates: int, num_threads: int) -> Read:
    """Read characters of each stream, with an SGD update after each. Returns their losses."""
    network, h = Elman.like(state)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    y = torch.tensor(stream, dtype=torch.long, device=device())
    one_hot = torch.eye(network.readout.out_features, device=device())[y]

    def read() -> list[float]:
        nonlocal h
        torch.set_num_threads(num_threads)
        losses = []
        for t in range(num_updates):
            logits, h = network(one_hot[t], h.detach())
            loss = nn.functional.cross_entropy(logits, y[t + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())  # fetched at the end: fetching each would make a GPU wait
        return torch.stack(losses).tolist()

    return read


class Gated(nn.Module):
    """Embedding, GRU or LSTM, readout."""

    def __init__(self, cell: str, vocab_size: int, hidden_size: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.cells = (nn.GRU if cell == "gru" else nn.LSTM)(hidden_size, hidden_size)
        self.readout = nn.Linear(hidden_size, vocab_size)

    def forward(self, x: torch.Tensor, carry: Any) -> tuple[torch.Tensor, Any]:
        hs, carry = self.cells(self.embedding(x), carry)
        return self.readout(hs), carry


def blocks(
    cell: str,
    vocab_size: int,
    hidden_size: int,
    stream: np.ndarray,
    length: int,
    num_updates: int,
    num_threads: int,
    products: str = "float32",
) -> Read:
    """Read blocks, with a clipped Adam update after each. Returns their losses.

    Args:
      products: their precision; bfloat16 is PyTorch's autocast, and weights and optimizer stay in float32.
    """
    network = Gated(cell, vocab_size, hidden_size).to(device())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    ids = torch.tensor(stream if stream.ndim > 1 else stream[:, None], dtype=torch.long, device=device())

    def read() -> list[float]:
        torch.set_num_threads(num_threads)
        use_precision(products)
        carry, losses = None, []
        for start in range(0, num_updates * length, length):
            with torch.autocast(device(), torch.bfloat16, enabled=products == "bfloat16"):
                logits, carry = network(ids[start : start + length], carry)
                carry = tuple(each.detach() for each in carry) if isinstance(carry, tuple) else carry.detach()
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[start + 1 : start + length + 1].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.detach())  # fetched at the end: fetching each would make a GPU wait
        return torch.stack(losses).tolist()

    return read


def sample(state: State, length: int, num_threads: int) -> Read:
    """Sample characters, one after another."""
    network, h = Elman.like(state)
    eye = torch.eye(network.readout.out_features, device=device())

    def draw() -> list[float]:
        torch.set_num_threads(num_threads)
        character, drawn, carry = 0, [], h
        with torch.no_grad():
            for _ in range(length):
                logits, carry = network(eye[character], carry)
                character = int(torch.multinomial(torch.softmax(logits, dim=-1), 1))
                drawn.append(float(character))
        return drawn

    return draw


def _tensor(array: jax.Array) -> torch.Tensor:
    return torch.tensor(np.asarray(array))

"""The network and the loop of `bench_step.py` in PyTorch, the peer to measure."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from jaxrnn import State


class TorchElman(nn.Module):
    """The course's network as one writes it in PyTorch: one-hot characters beside the state, two linear layers."""

    def __init__(self, vocab_size: int, hidden_size: int):
        super().__init__()
        self.hidden = nn.Linear(vocab_size + hidden_size, hidden_size)
        self.readout = nn.Linear(hidden_size, vocab_size)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.sigmoid(self.hidden(torch.cat([x, h], dim=-1)))
        return self.readout(h), h


def torch_losses(
    state: State, ids: np.ndarray, vocab_size: int, hidden_size: int, rate: float, count: int
) -> Callable[[], list[float]]:
    """A function that reads `count` characters and returns their losses, starting from the weights and carry of `state`."""
    torch.set_num_threads(1)  # two are slower for vectors of this size
    network = TorchElman(vocab_size, hidden_size)
    cell, readout = state.params["cell"], state.params["readout"]
    with torch.no_grad():
        network.hidden.weight.copy_(_tensor(jnp.concatenate([cell["input_kernel"], cell["recurrent_kernel"]]).T))
        network.hidden.bias.copy_(_tensor(cell["bias"]))
        network.readout.weight.copy_(_tensor(readout["kernel"]))
        network.readout.bias.copy_(_tensor(readout["bias"]))
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    one_hot, y, h = torch.eye(vocab_size)[torch.tensor(ids)], torch.tensor(ids, dtype=torch.long), _tensor(state.carry)

    def read() -> list[float]:
        nonlocal h
        losses = []
        for t in range(count):
            logits, h = network(one_hot[t], h.detach())
            loss = nn.functional.cross_entropy(logits, y[t + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return read


def _tensor(array: jax.Array) -> torch.Tensor:
    return torch.tensor(np.asarray(array))

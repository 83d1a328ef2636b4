"""One character, one update: both drivers beside the same loop in PyTorch.

    pip install -e ".[bench]" && python experiments/bench_step.py

Takes half a minute. Expected: the plain driver at least 6 times as fast as PyTorch, the fast driver at least 30 times, and at
least 4 times as fast as the plain one. All three start from the same weights, read the same characters and must show
the same losses. They run in turn, several times; the shortest time of each counts, because everything else that the machine
does only adds to it. The ratios are what carries over to another machine.
"""

import platform
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

try:
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
except ImportError:
    raise SystemExit("PyTorch, the peer to measure, is not installed: pip install -e '.[bench]'") from None

from jaxrnn import State, build, elman, fast_driver, one_step, online, plain_driver, text, vocabulary
from jaxrnn.stream import to_streams

HIDDEN, RATE, REPEATS, CHECKED = 128, 0.1, 9, 2_000
CHARACTERS = {"PyTorch": 2_000, "plain driver": 5_000, "fast driver": 50_000}  # read in each repeat


class TorchElman(nn.Module):
    """The course's network as one writes it in PyTorch: one-hot characters beside the state, two linear layers."""

    def __init__(self, vocab_size: int, hidden_size: int):
        super().__init__()
        self.hidden = nn.Linear(vocab_size + hidden_size, hidden_size)
        self.readout = nn.Linear(hidden_size, vocab_size)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.sigmoid(self.hidden(torch.cat([x, h])))
        return self.readout(h), h


def torch_losses(state: State, ids: np.ndarray, vocab_size: int, count: int) -> Callable[[], list[float]]:
    """A function that reads `count` characters and returns their losses, starting from the weights and carry of `state`."""
    network = TorchElman(vocab_size, HIDDEN)
    cell, readout = state.params["cell"], state.params["readout"]
    with torch.no_grad():
        network.hidden.weight.copy_(_tensor(jnp.concatenate([cell["input_kernel"], cell["recurrent_kernel"]]).T))
        network.hidden.bias.copy_(_tensor(cell["bias"]))
        network.readout.weight.copy_(_tensor(readout["kernel"]))
        network.readout.bias.copy_(_tensor(readout["bias"]))
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
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


def main() -> None:
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    torch.set_num_threads(1)  # two are slower for vectors of this size
    characters = text.read("comedie")
    known = vocabulary.of_text(characters)
    ids, vocab_size = vocabulary.encode(known, characters), len(known.characters)
    model = elman(vocab_size, HIDDEN)
    learner = online(model, one_step(model), optax.sgd(RATE))
    start, stream = jax.jit(learner.init)(build.keys(0).init), jnp.asarray(to_streams(ids))
    drives = {"plain driver": plain_driver(learner), "fast driver": fast_driver(learner, CHARACTERS["fast driver"])}

    def jax_losses(name: str, count: int) -> np.ndarray:
        return drives[name](jax.tree.map(jnp.copy, start), stream, count)[1]

    check_losses(torch_losses(start, ids, vocab_size, CHECKED)(), *(jax_losses(name, CHECKED) for name in drives))
    readers: dict[str, Callable[[], object]] = {
        "PyTorch": torch_losses(start, ids, vocab_size, CHARACTERS["PyTorch"]),
        "plain driver": lambda: jax_losses("plain driver", CHARACTERS["plain driver"]),
        "fast driver": lambda: jax_losses("fast driver", CHARACTERS["fast driver"]),
    }
    shortest = dict.fromkeys(readers, float("inf"))
    for _ in range(REPEATS):
        for name, reader in readers.items():
            started = time.perf_counter()
            reader()
            shortest[name] = min(shortest[name], (time.perf_counter() - started) / CHARACTERS[name])
    show(shortest)


def check_losses(of_torch: list[float], of_plain: np.ndarray, of_fast: np.ndarray) -> None:
    """Raises unless all three learned the same."""
    np.testing.assert_allclose(of_plain, of_torch, rtol=1e-3)
    np.testing.assert_allclose(of_fast, of_plain, rtol=1e-5)


def show(seconds: dict[str, float]) -> None:
    """The numbers as a table in Markdown."""
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
          f"jax {jax.__version__}, torch {torch.__version__}; {HIDDEN} hidden units, one stream\n")  # fmt: skip
    print("| | µs a character | beside PyTorch | beside the plain driver |\n|---|---|---|---|")
    for name, each in seconds.items():
        print(f"| {name} | {1e6 * each:.1f} | {seconds['PyTorch'] / each:.1f} | {seconds['plain driver'] / each:.1f} |")


def _tensor(array: jax.Array) -> torch.Tensor:
    return torch.tensor(np.asarray(array))


if __name__ == "__main__":
    main()

"""One character, one update: both drivers beside the same loop in PyTorch and in C.

    pip install -e ".[bench]" && python experiments/bench_step.py

Takes half a minute. Expected: the plain driver at least 8 times as fast as PyTorch, the fast driver at least 30 times, at
least 4 times as fast as the plain one, and at most 2 times as slow as hand-written C (`floor.c`, compiled here if there is a
gcc; 1.35 times with jax 0.12). All start from the same weights, read the same characters and must show the same losses. They
run in turn, several times; the shortest time of each counts, because everything else that the machine does only adds to it.
The ratios are what carries over to another machine.
"""

import ctypes
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

try:
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]
except ImportError:
    raise SystemExit("PyTorch, the peer to measure, is not installed: pip install -e '.[bench]'") from None

from jaxrnn import State, build, elman, fast_driver, one_step, online, plain_driver, text, vocabulary
from jaxrnn.optimizer import sgd
from jaxrnn.stream import to_streams

HIDDEN, RATE, REPEATS, CHECKED = 128, 0.1, 9, 2_000
TORCH, PLAIN, FAST, FLOOR = "PyTorch", "plain driver", "fast driver", "C"
CHARACTERS = {TORCH: 2_000, PLAIN: 5_000, FAST: 50_000, FLOOR: 50_000}  # read in each repeat
FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")


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


def floor_losses(state: State, ids: np.ndarray, vocab_size: int, count: int) -> Callable[[], np.ndarray]:
    """The same by `floor.c`, which is compiled for these sizes."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "floor.so")
        sizes = (f"-DVOCAB={vocab_size}", f"-DHIDDEN={HIDDEN}")
        subprocess.run(["gcc", *FLAGS, *sizes, Path(__file__).with_name("floor.c"), "-lm", "-o", library], check=True)
        program = ctypes.CDLL(str(library))
    cell, readout = state.params["cell"], state.params["readout"]
    arrays = {
        "input": cell["input_kernel"],
        "recurrent": cell["recurrent_kernel"],
        "bias": cell["bias"],
        "readout": readout["kernel"],
        "readout_bias": readout["bias"],
        "h": state.carry,
    }
    for name, array in arrays.items():
        np.ctypeslib.as_array((ctypes.c_float * array.size).in_dll(program, name))[:] = np.ravel(array)

    def read() -> np.ndarray:
        losses = np.empty(count, np.float32)
        program.learn(ids.ctypes.data_as(ctypes.c_void_p), count, ctypes.c_float(RATE), losses.ctypes.data_as(ctypes.c_void_p))
        return losses

    return read


def main() -> None:
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # as in `jaxrnn.train`
    torch.set_num_threads(1)  # two are slower for vectors of this size
    characters = text.read("comedie")
    known = vocabulary.of_text(characters)
    ids, vocab_size = vocabulary.encode(known, characters), len(known.characters)
    model = elman(vocab_size, HIDDEN)
    learner = online(model, one_step(model), sgd(RATE))
    start, stream = jax.jit(learner.init)(build.keys(0).init), jnp.asarray(to_streams(ids))
    drives = {PLAIN: plain_driver(learner), FAST: fast_driver(learner, CHARACTERS[FAST])}

    def reader(name: str, count: int) -> Callable[[], np.ndarray | list[float]]:
        if name == TORCH:
            return torch_losses(start, ids, vocab_size, count)
        if name == FLOOR:
            return floor_losses(start, ids, vocab_size, count)
        return lambda: drives[name](jax.tree.map(jnp.copy, start), stream, count)[1]

    names = [TORCH, PLAIN, FAST] + ([FLOOR] if shutil.which("gcc") else [])
    check_losses({name: np.asarray(reader(name, CHECKED)()) for name in names})
    readers = {name: reader(name, CHARACTERS[name]) for name in names}
    shortest = dict.fromkeys(names, float("inf"))
    for _ in range(REPEATS):
        for name, read in readers.items():
            started = time.perf_counter()
            read()
            shortest[name] = min(shortest[name], (time.perf_counter() - started) / CHARACTERS[name])
    show(shortest)


def check_losses(losses: dict[str, np.ndarray]) -> None:
    """Raises unless all learned the same."""
    np.testing.assert_allclose(losses[FAST], losses[PLAIN], rtol=1e-5)
    for others in losses.values():
        np.testing.assert_allclose(others, losses[PLAIN], rtol=1e-3)


def show(seconds: dict[str, float]) -> None:
    """The numbers as a table in Markdown."""
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
          f"jax {jax.__version__}, torch {torch.__version__}; {HIDDEN} hidden units, one stream\n")  # fmt: skip
    peers = [TORCH, PLAIN] + ([FLOOR] if FLOOR in seconds else [])
    print("| | µs a character |" + "".join(f" times as fast as {peer} |" for peer in peers))
    print("|---" * (2 + len(peers)) + "|")
    for name, each in seconds.items():
        print(f"| {name} | {1e6 * each:.1f} |" + "".join(f" {seconds[peer] / each:.2f} |" for peer in peers))


def _tensor(array: jax.Array) -> torch.Tensor:
    return torch.tensor(np.asarray(array))


if __name__ == "__main__":
    main()

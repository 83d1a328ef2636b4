"""One character, one update: both drivers beside the same loop in PyTorch and in C.

    pip install -e ".[bench]" && python experiments/bench_step.py

Takes half a minute. Expected: the plain driver at least 8 times as fast as PyTorch, the fast driver at least 30 times, at
least 4 times as fast as the plain one, and at most 2 times as slow as hand-written C (1.35 times with jax 0.12). PyTorch is
left out where it is not installed, and C (`floor.c`, compiled here) where there is no gcc. All start from the same weights,
read the same characters and must show the same losses. They run in turn, several times; the shortest time of each counts,
because everything else that the machine does only adds to it. The ratios are what carries over to another machine.
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

from jaxrnn import State, build, elman, fast_driver, one_step, online, plain_driver, text, vocabulary
from jaxrnn.optimizer import optimizer
from jaxrnn.stream import to_streams

try:
    import torch_elman
except ImportError:
    torch_elman = None

HIDDEN, RATE, REPEATS, CHECKED = 128, 0.1, 9, 2_000
TORCH, PLAIN, FAST, FLOOR = "PyTorch", "plain driver", "fast driver", "C"
CHARACTERS = {TORCH: 2_000, PLAIN: 5_000, FAST: 50_000, FLOOR: 50_000}  # read in each repeat
FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")


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
    characters = text.read("comedie")
    known = vocabulary.of_text(characters)
    ids, vocab_size = vocabulary.encode(known, characters), len(known.characters)
    model = elman(vocab_size, HIDDEN)
    learner = online(model, one_step(model), optimizer("sgd", RATE))
    start, stream = jax.jit(learner.init)(build.keys(0).init), jnp.asarray(to_streams(ids))
    drives = {PLAIN: plain_driver(learner), FAST: fast_driver(learner, CHARACTERS[FAST])}

    def reader(name: str, count: int) -> Callable[[], np.ndarray | list[float]]:
        if name == TORCH and torch_elman:
            return torch_elman.torch_losses(start, ids, vocab_size, HIDDEN, RATE, count)
        if name == FLOOR:
            return floor_losses(start, ids, vocab_size, count)
        return lambda: drives[name](jax.tree.map(jnp.copy, start), stream, count)[1]

    names = [TORCH] * bool(torch_elman) + [PLAIN, FAST] + [FLOOR] * bool(shutil.which("gcc"))
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
          f"jax {jax.__version__}; {HIDDEN} hidden units, one stream\n")  # fmt: skip
    peers = [name for name in (TORCH, PLAIN, FLOOR) if name in seconds]
    print("| | µs a character |" + "".join(f" times as fast as {peer} |" for peer in peers))
    print("|---" * (2 + len(peers)) + "|")
    for name, each in seconds.items():
        print(f"| {name} | {1e6 * each:.1f} |" + "".join(f" {seconds[peer] / each:.2f} |" for peer in peers))


if __name__ == "__main__":
    main()

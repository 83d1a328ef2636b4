"""The course's network of `bench.py` in plain C."""

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxrnn import State

FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")


def floor(start: State, rate: float) -> Callable[[np.ndarray, int], np.ndarray]:
    """Compile `floor.c`, the course's network, for these sizes; each call starts from these weights and learns at this rate."""
    cell, readout = start.params["cell"], start.params["readout"]
    vocab_size, hidden = cell["input_kernel"].shape
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "floor.so")
        sizes = (f"-DVOCAB={vocab_size}", f"-DHIDDEN={hidden}")
        subprocess.run(["gcc", *FLAGS, *sizes, Path(__file__).with_name("floor.c"), "-lm", "-o", library], check=True)
        program = ctypes.CDLL(str(library))
    arrays = {
        "input": cell["input_kernel"],
        "recurrent": cell["recurrent_kernel"],
        "bias": cell["bias"],
        "readout": readout["kernel"],
        "readout_bias": readout["bias"],
        "h": start.carry,
    }

    def read(ids: np.ndarray, count: int) -> np.ndarray:
        for name, array in arrays.items():
            np.ctypeslib.as_array((ctypes.c_float * array.size).in_dll(program, name))[:] = np.ravel(array)
        losses = np.empty(count, np.float32)
        program.learn(ids.ctypes.data_as(ctypes.c_void_p), count, ctypes.c_float(rate), losses.ctypes.data_as(ctypes.c_void_p))
        return losses

    return read

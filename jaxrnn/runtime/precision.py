"""The precision of matrix products: chosen for the processor, and float32 wherever a text is tested or written."""

import contextlib
import dataclasses
import functools
import platform
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxrnn.config import parts
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.errors import InputError
from jaxrnn.models.cells import CELLS
from jaxrnn.models.scalar_loops import first_device
from jaxrnn.runtime.devices import all_processes_max

FLOAT32, BFLOAT16, TENSORFLOAT32 = "float32", "bfloat16", "tensorfloat32"
# The processor's names, on Linux, for multiplying bfloat16: Intel's matrix unit, AVX-512, Arm.
FEATURES = {"amx_bf16", "avx512_bf16", "bf16"}
CPU_INFO = Path("/proc/cpuinfo")
# With fewer streams the weights are read, more than multiplied, and rounding gains nothing: measured with 1, 4, 8, 16 and 32.
MIN_STREAMS = 4
# Of the times of a product in float32 and in bfloat16: 1.5 to 4 with the feature, also on a busy machine, and under 1 where it
# is emulated. So that a machine always answers the same, the bound is far from both.
MIN_RATIO = 1.1
MIN_GENERATION = 8  # of NVIDIA's GPUs, with TensorFloat-32
SHAPE, NUM_PRODUCTS, NUM_REPEATS = (32, 512, 1536), 10, 4  # some 30 ms in all


def resolve_precision(config: Config) -> Config:
    """Choose the precision of products if the settings leave it open.

    Where it speeds up learning, in blocks of several streams by jaxrnn's own cells: bfloat16 on a CPU that multiplies it in
    hardware, and TensorFloat-32 on an NVIDIA GPU that has it, where bfloat16 is hardly faster and less precise. Everywhere else
    float32. All processes choose the same.
    """
    if config.device.precision != AUTO:
        return config
    gains = parts.can_round(config) and config.model.cell in CELLS and config.learning.num_streams >= MIN_STREAMS
    on_cpu = first_device().platform == "cpu"
    faster = gains and (multiplies_bfloat16() if on_cpu else multiplies_tensorfloat32())
    (lacking,) = all_processes_max(int(not faster))
    precision = FLOAT32 if lacking else BFLOAT16 if on_cpu else TENSORFLOAT32
    return dataclasses.replace(config, device=dataclasses.replace(config.device, precision=precision))


def check_precision(config: Config) -> None:
    """Raise `InputError` if a new run cannot have products of the precision that is asked for."""
    wanted, platform = config.device.precision, jax.default_backend()
    if wanted == TENSORFLOAT32 and platform == "cpu":
        raise InputError("--precision tensorfloat32 needs an NVIDIA GPU; a CPU multiplies in float32 or bfloat16")
    if wanted == BFLOAT16 and platform != "tpu" and not parts.can_round(config):
        raise InputError(
            f"--precision bfloat16 on a {platform.upper()} works only with --rule bptt, a --rule-length of 2 or more, no "
            "--counts, and jaxrnn's own cells and those derived from them"
        )
    if wanted not in (AUTO, FLOAT32) and config.learning.counts:
        raise InputError(f"--precision {wanted} does not work with --counts, which are read on a CPU in float32")


def use_float32() -> None:
    """Compute products in float32 from here on: a GPU or TPU would round their factors. A CPU does not."""
    if jax.default_backend() != "cpu":
        jax.config.update("jax_default_matmul_precision", FLOAT32)


def float32_products() -> contextlib.AbstractContextManager:
    """Compute products in float32, like `use_float32`, inside a context."""
    return contextlib.nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision(FLOAT32)


@functools.cache
def multiplies_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware: it says so, and a product shows it."""
    return bool(FEATURES & read_features()) and _measure_ratio() >= MIN_RATIO


def multiplies_tensorfloat32() -> bool:
    """Return whether the first device is an NVIDIA GPU with units for TensorFloat-32 (Ampere and later)."""
    generation = str(getattr(first_device(), "compute_capability", "")).partition(".")[0]  # AMD's begins with letters
    return first_device().platform == "gpu" and generation.isdecimal() and int(generation) >= MIN_GENERATION


@functools.cache
def describe_processor() -> str:
    """Name the processor that trains, and a CPU's bfloat16 features: on another one the last digits may differ."""
    if first_device().platform != "cpu":
        return first_device().device_kind
    known = _read_cpu_info()
    name = known.get("model name") or platform.machine()
    features = sorted(FEATURES & read_features())
    return f"{name} ({', '.join(features)})" if features else name


def read_features(path: Path = CPU_INFO) -> set[str]:
    """Read the names of the first processor's features; none where Linux does not list them."""
    known = _read_cpu_info(path)
    return set((known.get("flags") or known.get("Features") or "").split())


def _read_cpu_info(path: Path = CPU_INFO) -> dict[str, str]:
    """Read what Linux says of the first processor; nothing on other systems."""
    try:
        first = path.read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _measure_ratio() -> float:
    """Measure how many times as fast as in float32 a product is in bfloat16."""
    rows, inner, columns = SHAPE
    calls, shortest = {}, {}
    for dtype in (jnp.float32, jnp.bfloat16):
        factors = jax.device_put((np.zeros((rows, inner), dtype), np.zeros((inner, columns), dtype)))
        calls[dtype] = (jax.jit(_multiply_repeatedly), *factors)
    for _ in range(NUM_REPEATS + 1):  # the first of them compiles
        for dtype, (call, a, b) in calls.items():
            started = time.perf_counter()
            jax.block_until_ready(call(a, b, np.int32(NUM_PRODUCTS)))
            seconds = time.perf_counter() - started
            shortest[dtype] = min(seconds, shortest.get(dtype, seconds))
    return shortest[jnp.float32] / shortest[jnp.bfloat16]


def _multiply_repeatedly(a: Array, b: Array, count: Array) -> Array:
    """Multiply in a loop, as training does: outside of loops XLA may choose another routine."""

    def step(loop: tuple) -> tuple:
        done, a = loop
        product = jax.lax.dot_general(a, b, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)
        return done + 1, product[:, : a.shape[1]].astype(a.dtype)

    return jax.lax.while_loop(lambda loop: loop[0] < count, step, (jnp.int32(0), a))[1]

"""Device mesh: streams are sharded over devices, even those of several processes; everything else is replicated.

Streams interact only in the mean of their gradients. So programs need no change: `jit` follows the sharding of the arrays and
adds an all-reduce wherever there is a mean over streams.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import Integer, PyTree

from jaxrnn.config import parts
from jaxrnn.config.settings import AUTO, Config, DeviceConfig
from jaxrnn.data.array_types import Stream
from jaxrnn.errors import InputError, check_value, pluralize
from jaxrnn.models.dense import DenseCell
from jaxrnn.models.scalar_loops import first_device
from jaxrnn.runtime.restored import has_devices
from jaxrnn.training.learner import State
from jaxrnn.training.stacked import count_cores

AXIS = "streams"
MIN_STREAMS = 16  # per device, when choosing the number of devices: with fewer the products are too small
# Recurrent weights of a layer, from which on a CPU's cores do better to share the products of one device than to have 16
# streams each: with an LSTM of 512 units two devices need 53 microseconds a character and one 46, with a GRU of 512 (3 MiB) 39
# and 38, with a GRU of 384 units 20 and 27.
MIN_SHARED_BYTES = 2**22
MAX_CORES = 8  # of one machine that become devices, when choosing the number of devices
MAX_MESSAGE_BYTES = 4096  # of a text broadcast to all processes
Tree = TypeVar("Tree")


def join_processes(settings: DeviceConfig) -> None:
    """Connect to the other processes, if any. Call it before anything is computed.

    Raises:
      InputError: the processes could not connect.
    """
    if not settings.coordinator:
        return
    try:
        if settings.coordinator == AUTO:
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(settings.coordinator, settings.num_processes, settings.process_id)
    except Exception as error:  # any cluster or network error
        reason = str(error).partition("\n")[0][:200]
        raise InputError(f"--coordinator {settings.coordinator}: the processes could not connect ({reason})") from None
    _make_cpu_devices(max(1, settings.num_devices // max(1, settings.num_processes)))


def start_backend() -> None:
    """Start JAX's backend before anything depends on it; `InputError` if that fails."""
    try:
        jax.devices()
    except Exception as error:  # RuntimeError, or AssertionError if this installation does not have the backend
        name = platforms()
        said = str(error).partition("\n")[0].partition(" (set JAX_PLATFORMS")[0].rpartition(f"backend {name!r}: ")[2]
        reason = said[:200].rstrip(". ") or "this installation of JAX does not have it"
        instead = "" if name == "cpu" else "; JAX_PLATFORMS=cpu uses the CPU"
        raise InputError(f"JAX cannot start the backend {name!r}: {reason}{instead}") from None


def platforms() -> str:
    """Return the backends that JAX is set to use."""
    return getattr(jax.config, "jax_platforms", None) or "default"


def make_core_devices(rule: str, num_devices: int) -> None:
    """Turn CPU cores into devices, as many as may be useful. Call it before anything is computed.

    JAX treats a CPU as one device, however many cores it has, and runs small products on a single core.
    """
    if not jax.distributed.is_initialized():
        _make_cpu_devices(count_useful_cores(rule, num_devices))


def count_useful_cores(rule: str, num_devices: int) -> int:
    """Count the cores that a run may use: `num_devices` if it is set, else several if the rule may read blocks."""
    return num_devices or (min(count_cores(), MAX_CORES) if parts.may_read_blocks(rule) else 1)


def explain_missing_cores(rule: str, num_devices: int) -> str:
    """Explain why a CPU has fewer devices than `make_core_devices` was asked for; "" if it has enough.

    Call it before `make_core_devices`: a notebook may have computed something already.
    """
    if jax.distributed.is_initialized() or not has_devices() or jax.default_backend() != "cpu":
        return ""
    wanted = count_useful_cores(rule, num_devices)
    if jax.device_count() >= wanted:
        return ""
    started = f"JAX has already started with {jax.device_count()} of the {wanted} devices that training could use"
    return f"{started}; to use all of them, train before anything else is computed"


def check_devices(settings: DeviceConfig) -> None:
    """Raise `InputError` with the flag unless the device settings are valid."""
    check_value("num-devices", settings.num_devices, 0 <= settings.num_devices <= 100_000, "0 (chosen automatically) or more")
    if settings.coordinator in ("", AUTO):
        if settings.num_processes or settings.process_id >= 0:
            raise InputError("--num-processes and --process-id need --coordinator HOST:PORT")
        return
    if not settings.coordinator.rpartition(":")[2].isdecimal():
        raise InputError(f"--coordinator is {settings.coordinator!r}; it must be HOST:PORT of the first process, or auto")
    check_value("num-processes", settings.num_processes, settings.num_processes >= 1, "1 or more, with --coordinator HOST:PORT")
    most = settings.num_processes - 1
    check_value("process-id", settings.process_id, 0 <= settings.process_id <= most, f"0 to {most}, different in each process")
    if settings.num_devices % settings.num_processes:
        raise InputError(f"--num-devices {settings.num_devices} cannot be split evenly over {settings.num_processes} processes")


def resolve_num_devices(config: Config, begun: Config | None = None) -> Config:
    """Choose the number of devices if the settings leave it open.

    Args:
      begun: settings of the run being resumed; if its devices are not available here, the number is chosen again.
    """
    number = config.device.num_devices
    as_begun = begun is not None and number == begun.device.num_devices
    if number and not (as_begun and not _are_available(number)):
        return config
    return dataclasses.replace(config, device=dataclasses.replace(config.device, num_devices=choose_num_devices(config)))


def choose_num_devices(config: Config) -> int:
    """Choose as many devices as speed up training: each update must be enough work to pay for the synchronisation.

    Several processes use all their devices, because they were started for that.
    """
    num_streams, there = config.learning.num_streams, jax.device_count()
    if jax.process_count() > 1:
        return there
    gaining = [n for n in range(2, there + 1) if num_streams % n == 0 and num_streams // n >= MIN_STREAMS]
    most = max(gaining, default=1) if parts.reads_blocks(config) else 1
    in_float32 = jax.default_backend() == "cpu" and config.device.precision != "bfloat16"
    shares_products = in_float32 and _recurrent_bytes(config) >= MIN_SHARED_BYTES and num_streams // most < 2 * MIN_STREAMS
    return 1 if shares_products else most


def has_free_core(config: Config) -> bool:
    """Return whether a core of this machine has nothing to do while a run learns on its CPU.

    In blocks, the products of one device may use all cores. False on a machine with a GPU, where it was not measured.
    """
    alone_on_cpu = jax.process_count() == 1 and jax.default_backend() == "cpu"
    return alone_on_cpu and not parts.reads_blocks(config) and count_cores() > max(1, config.device.num_devices)


def _recurrent_bytes(config: Config) -> int:
    """Count the bytes of a layer's recurrent weights in float32, if the cell has such a matrix; else 0."""
    make: Any = parts.find_cell(config.model.cell).make
    width = config.model.hidden_size
    is_dense = isinstance(make, type) and issubclass(make, DenseCell)
    return 4 * make.num_gates * width**2 if is_dense and isinstance(width, int) else 0


def make_mesh(config: Config) -> Mesh | None:
    """Make a one-dimensional mesh of the devices; None for a single device.

    Raises:
      InputError: too few devices, or the streams cannot be split evenly over them.
    """
    number, num_streams = max(1, config.device.num_devices), config.learning.num_streams
    if not _are_available(number):
        raise InputError(f"--num-devices is {number}; the number of available devices is {jax.device_count()}")
    if num_streams % number:
        raise InputError(
            f"--num-streams {num_streams} cannot be split evenly over {number} devices; set --num-devices, for example to 1"
        )
    return None if number == 1 else Mesh(np.array(jax.devices()[:number]), (AXIS,))


def shard_stream(stream: Integer[np.ndarray, " time *streams"], mesh: Mesh | None) -> Stream:
    """Shard text over its streams axis."""
    return jnp.asarray(stream) if mesh is None else _put(stream, NamedSharding(mesh, PartitionSpec(None, AXIS)))


def shard_state(state: State, mesh: Mesh | None) -> State:
    """Shard the carry over its streams and replicate the rest of a state, whose leaves may be `jax.ShapeDtypeStruct`."""
    if mesh is None:
        return state
    carry = jax.tree.map(lambda leaf: _put(leaf, NamedSharding(mesh, PartitionSpec(AXIS))), state.carry)
    return replicate(state._replace(carry=()), mesh)._replace(carry=carry)


def replicate(tree: Tree, mesh: Mesh | None) -> Tree:
    """Copy a tree to every device of the mesh."""
    return tree if mesh is None else jax.tree.map(lambda leaf: _put(leaf, NamedSharding(mesh, PartitionSpec())), tree)


def _put(leaf: Any, sharding: Sharding) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.update(sharding=sharding)
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    if sharding.is_fully_addressable:
        is_whole = isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) == 1 and not is_key
        is_cut = is_whole and not sharding.is_fully_replicated  # by NumPy: JAX would compile a program for each shape
        return jax.device_put(np.asarray(leaf) if is_cut else leaf, sharding)
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
        return leaf
    if is_key:
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding))
    here = np.asarray(leaf)  # device_put cannot write to devices of other processes
    return jax.make_array_from_callback(here.shape, sharding, lambda index: here[index])


def restore_sharding() -> Sharding:
    """Return the sharding of arrays restored from disk: one device, or replicated over the devices of all processes."""
    if jax.process_count() == 1:
        return SingleDeviceSharding(first_device())
    return NamedSharding(Mesh(np.array(jax.devices()), (AXIS,)), PartitionSpec())


def to_local(tree: Tree) -> Tree:
    """Move replicated arrays to one device of this process."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def gather(tree: PyTree) -> Any:
    """Gather arrays that are sharded over processes; all processes must call it."""
    if not jax.distributed.is_initialized():
        return tree

    def of(leaf: Any) -> Any:
        is_whole = not isinstance(leaf, jax.Array) or leaf.is_fully_replicated
        return leaf if is_whole else multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(of, tree)


def is_first_process() -> bool:
    """Return whether this process is the one that prints and writes files."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def broadcast_from_first(make: Callable[[], str]) -> str:
    """Make a text of at most `MAX_MESSAGE_BYTES` bytes in the first process and broadcast it to all.

    Raises:
      InputError: in the other processes, if `make` raised in the first.
    """
    if not jax.distributed.is_initialized():
        return make()
    message = b""
    try:
        message = b"+" + os.fsencode(make()) if is_first_process() else b""
    finally:  # even after a failure, so that the others do not wait
        received = multihost_utils.broadcast_one_to_all(np.frombuffer(message.ljust(MAX_MESSAGE_BYTES, b"\0"), np.uint8))
    text = bytes(np.asarray(received)).rstrip(b"\0")
    if not text:
        raise InputError("the first process could not start; see its message")
    return os.fsdecode(text[1:])


def all_processes_max(*numbers: int) -> tuple[int, ...]:
    """Take the maximum of each number over all processes, so that they agree on what depends on a clock or a signal."""
    if jax.process_count() == 1:
        return numbers
    return tuple(int(number) for number in multihost_utils.process_allgather(np.array(numbers)).max(axis=0))


def describe_devices(config: Config) -> str:
    """Describe the devices and how many streams each has."""
    device, number, num_streams = first_device(), max(1, config.device.num_devices), config.learning.num_streams
    kind = device.platform if device.device_kind == device.platform else f"{device.device_kind} ({device.platform})"
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    rounds = config.device.precision == "bfloat16" or (config.device.precision != "float32" and device.platform != "cpu")
    precision = f", products in {config.device.precision}" if rounds else ""
    if number == 1:
        return f"{kind}{precision}"
    return f"{number} of {kind}{processes}, {pluralize(num_streams // number, 'stream')} on each{precision}"


def _are_available(number: int) -> bool:
    there = jax.device_count()
    return number <= there if jax.process_count() == 1 else number == there


def _make_cpu_devices(number: int) -> None:
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return  # an explicit choice there takes precedence; JAX would prefer our number
    with contextlib.suppress(RuntimeError):  # something was computed before: keep the existing devices
        jax.config.update("jax_num_cpu_devices", number)

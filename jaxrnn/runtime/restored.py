"""What a program changes in its process, put back at its end: a notebook, a test or another program may have called it."""

import contextlib
from collections.abc import Iterator

import jax
from jax.extend import backend

NUM_CPU_DEVICES = "jax_num_cpu_devices"
SETTINGS = ("jax_cpu_enable_async_dispatch", "jax_default_matmul_precision", NUM_CPU_DEVICES)


@contextlib.contextmanager
def restore_settings() -> Iterator[None]:
    """Restore JAX's settings, and its devices if they were not there before."""
    before, had_devices = {name: jax.config.values[name] for name in SETTINGS}, _has_devices()
    try:
        yield
    finally:
        # Devices stay as they were made; without them nobody can have arrays yet that would be lost.
        if not had_devices and _has_devices() and _are_ours_to_remove():
            backend.clear_backends()
        for name, value in before.items():
            with contextlib.suppress(RuntimeError):  # the number of devices, where these stay
                jax.config.update(name, value)


def _has_devices() -> bool:
    """Whether JAX has made its devices, which it does when it first computes: then their number cannot be changed."""
    number = jax.config.values[NUM_CPU_DEVICES]
    try:
        jax.config.update(NUM_CPU_DEVICES, 1 if number != 1 else 2)
    except RuntimeError:
        return True
    jax.config.update(NUM_CPU_DEVICES, number)
    return False


def _are_ours_to_remove() -> bool:
    """On a GPU the memory would be allocated twice; processes that have met share their devices."""
    return jax.default_backend() == "cpu" and not jax.distributed.is_initialized()

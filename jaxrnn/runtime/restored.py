"""Restore what a program changes in its process, which may be a notebook, a test or another program."""

import contextlib
from collections.abc import Iterator

import jax
from jax.extend import backend

NUM_CPU_DEVICES = "jax_num_cpu_devices"
RESTORED_SETTINGS = ("jax_cpu_enable_async_dispatch", "jax_default_matmul_precision", NUM_CPU_DEVICES)


@contextlib.contextmanager
def restore_settings(keep_devices: bool = False) -> Iterator[None]:
    """Restore JAX's settings on exit, and remove its devices if there were none before.

    Args:
      keep_devices: keep the devices, for a caller that goes on using arrays.
    """
    before, had_devices = {name: jax.config.values[name] for name in RESTORED_SETTINGS}, keep_devices or has_devices()
    try:
        yield
    finally:
        # Devices keep their number until removed; if there were none before, no arrays can be lost.
        if not had_devices and has_devices() and _are_ours_to_remove():
            backend.clear_backends()
        for name, value in before.items():
            with contextlib.suppress(RuntimeError):  # the number of devices, if they stay
                jax.config.update(name, value)


def has_devices() -> bool:
    """Return whether JAX has created its devices, after which their number is fixed."""
    number = jax.config.values[NUM_CPU_DEVICES]
    try:
        jax.config.update(NUM_CPU_DEVICES, 1 if number != 1 else 2)
    except RuntimeError:
        return True
    jax.config.update(NUM_CPU_DEVICES, number)
    return False


def _are_ours_to_remove() -> bool:
    """Return whether devices may be removed: a GPU would allocate its memory twice, and several processes share theirs."""
    return jax.default_backend() == "cpu" and not jax.distributed.is_initialized()

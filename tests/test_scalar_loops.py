import inspect
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn import elman
from jaxrnn.models import scalar_loops
from jaxrnn.models.scalar_loops import as_one_kernel, first_device, host_device, on_host, to_host
from jaxrnn.scoring import together
from jaxrnn.scoring.counting import make_counts
from jaxrnn.scoring.evaluation import DynamicSettings


def chosen():
    return getattr(jax.config, "jax_default_device", "no such setting")


def test_the_first_device_is_that_of_the_context():
    other = jax.devices()[3]
    with jax.default_device(other):
        assert first_device() == other
    with jax.default_device("cpu"):
        assert first_device() == jax.devices()[0]
    assert first_device() == jax.devices()[0]


def test_on_a_cpu_nothing_moves():
    with jax.default_device(jax.devices()[3]):
        with on_host():
            assert jnp.zeros(2).device == jax.devices()[3]
        array = jnp.zeros(2)
        assert to_host(array) is array


@pytest.fixture
def elsewhere(monkeypatch):
    """A machine whose first device is not a CPU, as far as these functions can see."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    real = scalar_loops.first_device

    def first():
        return SimpleNamespace(platform="gpu") if chosen() is None else real()

    monkeypatch.setattr(scalar_loops, "first_device", first)


def test_elsewhere_the_host_computes_inside_and_only_there(elsewhere):
    with on_host():
        assert chosen() == host_device() == jax.devices("cpu")[0]
        assert scalar_loops.first_device().platform == "cpu"
    assert chosen() is None
    moved = to_host({"weights": jax.device_put(np.ones(2), jax.devices()[3])})
    assert moved["weights"].devices() == {host_device()}


def test_a_reader_is_compiled_for_the_host(elsewhere, monkeypatch):
    """With the options of a GPU it would copy the trees of counts at every character."""
    made = []
    monkeypatch.setattr(together, "fast_driver", lambda *_: made.append(chosen()))
    make_reader = inspect.unwrap(together.make_reader)  # not one that another test has made
    make_reader(elman(3, 2), DynamicSettings("sgd", (0.1,), 1), make_counts("abc", 10))
    assert made == [host_device()]


def test_loops_are_marked_for_a_cpu_only(elsewhere):
    def marked():
        return "xla_cpu_small_call" in jax.jit(as_one_kernel(lambda x: x + 1)).lower(jnp.float32(0)).as_text()

    assert not marked()
    with on_host():
        assert marked()

"""Strict from the first import on: shapes and types checked at each call, no silent promotion, two simulated CPU devices."""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
install_import_hook("jaxrnn", "beartype.beartype")

import numpy as np
import pytest

from jaxrnn import elman

VOCAB, HIDDEN = 7, 5


@pytest.fixture(scope="session")
def model():
    return elman(VOCAB, HIDDEN)


@pytest.fixture(scope="session")
def params(model):
    return model.init(jax.random.key(1))


@pytest.fixture(scope="session")
def ids():
    return np.random.default_rng(0).integers(0, VOCAB, 400).astype(np.int32)

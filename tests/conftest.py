"""Strict from the first import on: shapes and types checked at each call, no silent promotion, two simulated CPU devices."""

import json
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

from jaxrnn import elman, train

VOCAB, HIDDEN = 7, 5
SMALL = ["--max-characters", "3000", "--hidden-size", "8", "--updates-per-call", "500", "--sample-length", "30"]


@pytest.fixture(scope="session")
def model():
    return elman(VOCAB, HIDDEN)


@pytest.fixture(scope="session")
def params(model):
    return model.init(jax.random.key(1))


@pytest.fixture(scope="session")
def ids():
    return np.random.default_rng(0).integers(0, VOCAB, 400).astype(np.int32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder in which both presets were trained."""
    folder, before = tmp_path_factory.mktemp("trained"), os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    train.main(["notebook", *SMALL, "--epochs", "2"])
    train.main(["mikolov2010", *SMALL, "--num-streams", "2", "--epochs", "20", "--learning-rate", "0.5"])
    os.chdir(before)
    return folder


def metrics(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text("utf-8").splitlines()]

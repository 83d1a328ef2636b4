"""The manifest of a checkpoint, as JSON: settings, vocabulary, progress of the run, and layout of the arrays.

A SHA-256 over the manifest, and one over manifest and arrays, are saved with it: a mismatch means damage. Intact data that do
not fit the code come from another version of jaxrnn.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import jaxrnn
from jaxrnn.config import build
from jaxrnn.config.build import Data
from jaxrnn.config.saved import config_from_json, config_to_json
from jaxrnn.config.settings import Config
from jaxrnn.config.trust import Untrusted
from jaxrnn.data.vocabulary import vocabulary_to_json
from jaxrnn.errors import InputError
from jaxrnn.runtime.precision import describe_processor
from jaxrnn.training.optimizers import learning_rate
from jaxrnn.training.progress import Progress, Snapshot

FORMAT = 2
PACKAGES = ("jaxrnn", "jax", "flax", "optax", "orbax-checkpoint")  # whose versions are saved


def make_manifest(config: Config, data: Data, snapshot: Snapshot, log_sizes: Mapping[str, int]) -> dict[str, Any]:
    """Make the manifest: everything that sampling, evaluating and resuming need besides the arrays.

    Args:
      log_sizes: bytes of the run's append-only files, by name; anything beyond was written later.
    """
    return {
        "format": FORMAT,
        "versions": package_versions(),
        "processor": describe_processor(),
        "config": config_to_json(config),
        "vocabulary": vocabulary_to_json(data.vocabulary),
        "text": {"sha256": data.sha256, "characters": data.num_used, **_describe_documents(data)},
        "progress": progress_to_json(snapshot),
        "log_sizes": dict(log_sizes),
        "optimizer": build.describe_optimizer(config),
        "random_keys": describe_random_keys(),
        "arrays": array_layout((snapshot.state, snapshot.best_params)),
    }


def _describe_documents(data: Data) -> dict[str, int]:
    """Return what follows from the documents of a text, if it has several."""
    return {"documents": data.num_documents, "train_characters": len(data.train)} if data.num_documents > 1 else {}


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a run's numbers depend on."""
    return {package: jaxrnn.__version__ if package == "jaxrnn" else importlib.metadata.version(package) for package in PACKAGES}


def describe_random_keys() -> str:
    """Describe the random number generator, which determines what a seed gives."""
    partitionable = getattr(jax.config, "jax_threefry_partitionable", True)
    return f"{jax.random.key_impl(jax.random.key(0))}, {'' if partitionable else 'not '}partitionable"


def array_layout(arrays: PyTree) -> dict[str, str]:
    """Describe the dtype and shape of each array, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def hash_arrays(arrays: PyTree, about: Mapping[str, Any]) -> str:
    """Compute the SHA-256 over the manifest and each array's path, dtype, shape and bytes."""
    result = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        kind = str(leaf.dtype)
        array = np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        result.update(f"{jax.tree_util.keystr(path)} {kind} {array.dtype.str} {array.shape}".encode())
        result.update(array.tobytes())
    return result.hexdigest()


def config_from_manifest(about: Mapping[str, Any], trust: Sequence[str] = ()) -> Config:
    """Read the settings; `InputError` if this version does not know them, or they name code that is not trusted."""
    try:
        return config_from_json(about["config"], trust)
    except Untrusted:
        raise
    except InputError as error:
        raise InputError(
            f"{error}; it was trained with jaxrnn {about['versions']['jaxrnn']}, and this is {jaxrnn.__version__}"
        ) from None


def progress_to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Write the progress in the layout of format 2."""
    progress = snapshot.progress._asdict()
    schedule = {name: progress.pop(name) for name in ("halving", "finished")}
    of_validation = {"learning_rate": learning_rate(snapshot.state.opt_state), "best_nats": snapshot.progress.best_nats}
    return {**progress, "schedule": {**of_validation, **schedule}}


def progress_from_manifest(about: Mapping[str, Any]) -> Progress:
    """Read the progress; the learning rate, which format 2 repeats here, is taken from the optimizer's state."""
    saved = {"epoch_read": None, **about["progress"]}  # older checkpoints lack this count
    schedule = saved.pop("schedule")
    return Progress(**saved, halving=schedule["halving"], finished=schedule["finished"])


def check_layout(expected: Mapping[str, str], about: Mapping[str, Any]) -> None:
    """Raise `InputError` if an array has an unexpected shape or dtype, which Orbax would cast silently."""
    saved = about["arrays"]
    for name in sorted({*expected, *saved}):
        if expected.get(name) != saved.get(name):
            raise InputError(
                f"its array {name} is {saved.get(name, 'missing')}, and this jaxrnn ({jaxrnn.__version__}) expects "
                f"{expected.get(name, 'no such array')}; it was saved by jaxrnn {about['versions']['jaxrnn']}"
            )

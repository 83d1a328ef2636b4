"""Weights as a safetensors file, which any program can read, with vocabulary and settings in its metadata."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from jaxrnn.config import build
from jaxrnn.config.saved import config_from_json, config_to_json
from jaxrnn.config.settings import Config
from jaxrnn.config.trust import Untrusted
from jaxrnn.data.array_types import Params
from jaxrnn.data.vocabulary import Vocabulary, vocabulary_from_json
from jaxrnn.errors import InputError
from jaxrnn.storage.manifest import hash_arrays

SUFFIX = ".safetensors"
KIND = "jaxrnn 1"  # kind of file; the number goes up when older versions could not read it


class Weights(NamedTuple):
    """A trained network, without the run that trained it."""

    config: Config
    vocabulary: Vocabulary
    params: Params


def weights_to_bytes(weights: Weights) -> bytes:
    """Serialise weights as a safetensors file, each array named by its path (`cell.input_kernel`).

    The metadata holds `vocabulary`, the characters in the order of their ids; `config`, the settings as JSON; and a `sha256` of
    everything. If characters are merged, `rare` lists them: they share the last row, and the others have one row each.
    """
    arrays, about = list_arrays(weights.params), weights_metadata(weights)
    return safetensors.numpy.save(arrays, {**about, "sha256": hash_arrays(arrays, about)})


def list_arrays(params: Params) -> dict[str, np.ndarray]:
    """Return the arrays of weights by name."""
    return {_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def weights_metadata(weights: Weights) -> dict[str, str]:
    """Make the metadata of a file of weights, except the `sha256`."""
    known = weights.vocabulary
    about = {"kind": KIND, "vocabulary": known.characters, "config": json.dumps(config_to_json(weights.config))}
    return about | ({"rare": known.rare} if known.rare else {})


def read_weights(path: Path, trust: Sequence[str] = ()) -> Weights:
    """Read and verify a file of weights.

    Args:
      trust: packages whose code its settings may name.
    Raises:
      InputError: the file is missing, not one of ours, damaged, or from an incompatible version.
      Untrusted: it names code that is not trusted.
    """
    try:
        with safetensors.safe_open(path, "np") as file:
            about = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{str(path)!r} cannot be read as a safetensors file: {error}") from None
    sha256 = about.pop("sha256", "")
    if about.get("kind") != KIND:
        raise InputError(f"{str(path)!r} was not written by jaxrnn.export of this version")
    if hash_arrays(arrays, about) != sha256:
        raise InputError(f"{str(path)!r} is damaged: its SHA-256 differs from when it was written")
    known = {"characters": about["vocabulary"], "rare": about.get("rare", "")}
    config, vocabulary = _config(path, about["config"], trust), vocabulary_from_json(known)
    shapes = jax.eval_shape(build.build_model(config, vocabulary).init, build.make_keys(0).init)
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    names = [_name(where) for where, _ in leaves]
    if set(names) != set(arrays) or any(
        arrays[name].shape != leaf.shape for name, (_, leaf) in zip(names, leaves, strict=True)
    ):
        raise InputError(f"{str(path)!r} does not hold the arrays of this version's network")
    return Weights(config, vocabulary, jax.tree.unflatten(structure, [jnp.asarray(arrays[name]) for name in names]))


def read_weights_config(path: Path, trust: Sequence[str] = ()) -> Config:
    """Read the settings in a file of weights without verifying it.

    Raises:
      InputError: it holds no settings.
      Untrusted: they name code that is not trusted.
    """
    try:
        with safetensors.safe_open(path, "np") as file:
            return _config(path, (file.metadata() or {})["config"], trust)
    except Untrusted:
        raise
    except (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} holds no settings: {error}") from None


def _config(path: Path, settings: str, trust: Sequence[str]) -> Config:
    try:
        return config_from_json(json.loads(settings), trust)
    except Untrusted as error:
        raise Untrusted(f"the weights in {str(path)!r} cannot be used: {error}", error.settings) from None


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def check_new_file(file: Path) -> None:
    """Raise `InputError` unless a new safetensors file can be made there."""
    if file.name == "-":
        raise InputError(f"FILE is '-', but weights cannot go to the screen; name a file, for example weights{SUFFIX}")
    if file.suffix not in ("", SUFFIX):
        raise InputError(f"{str(file)!r} does not end in {SUFFIX}; name it {str(file.with_suffix(SUFFIX))!r}")
    with contextlib.suppress(OSError):  # an impossible file name fails when it is written
        if os.path.lexists(file):
            raise InputError(f"{str(file)!r} already exists and is not overwritten; name another file")
        if not file.parent.is_dir():
            raise InputError(f"{str(file)!r} cannot be written: there is no folder {str(file.parent)!r}; create it first")

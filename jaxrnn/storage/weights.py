"""Weights as a safetensors file, which any program can read, with the vocabulary and the settings in it."""

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from jaxrnn.array_types import Params
from jaxrnn.config import build
from jaxrnn.config.settings import Config, config_from_json, config_to_json
from jaxrnn.data.vocabulary import Vocabulary, vocabulary_from_json
from jaxrnn.errors import InputError
from jaxrnn.storage.manifest import hash_arrays

SUFFIX = ".safetensors"
KIND = "jaxrnn 1"  # of file; the number goes up when what older programs read changes


class Weights(NamedTuple):
    """A trained network, without the run that trained it."""

    config: Config
    vocabulary: Vocabulary
    params: Params


def weights_to_bytes(weights: Weights) -> bytes:
    """The content of a safetensors file: an array for each weight, named by its path (`cell.input_kernel`).

    Its metadata: `vocabulary`, the characters in the order of their ids; `config`, the settings as JSON; a `sha256` over all.
    If characters are merged, also `rare`, which they are: the last row is theirs together, those before it are of the others.
    """
    arrays = {_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(weights.params)}
    known = weights.vocabulary
    about = {"kind": KIND, "vocabulary": known.characters, "config": json.dumps(config_to_json(weights.config))}
    about |= {"rare": known.rare} if known.rare else {}
    return safetensors.numpy.save(arrays, {**about, "sha256": hash_arrays(arrays, about)})


def read_weights(path: Path) -> Weights:
    """The weights in a file.

    Raises:
      InputError: there is none, it is not one of ours, it is damaged, or it does not fit this version.
    """
    try:
        with safetensors.safe_open(path, "np") as file:
            about = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{str(path)!r} cannot be read as a safetensors file: {error}") from None
    sha256 = about.pop("sha256", "")
    if about.get("kind") != KIND:
        raise InputError(f"{str(path)!r} was not written by jaxrnn.export of this version")
    if hash_arrays(arrays, about) != sha256:
        raise InputError(f"{str(path)!r} is damaged: its SHA-256 differs from when it was written")
    known = {"characters": about["vocabulary"], "rare": about.get("rare", "")}
    config, vocabulary = config_from_json(json.loads(about["config"])), vocabulary_from_json(known)
    shapes = jax.eval_shape(build.build_model(config, vocabulary).init, build.make_keys(0).init)
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    names = [_name(where) for where, _ in leaves]
    if set(names) != set(arrays) or any(
        arrays[name].shape != leaf.shape for name, (_, leaf) in zip(names, leaves, strict=True)
    ):
        raise InputError(f"{str(path)!r} holds other arrays than this version's network")
    return Weights(config, vocabulary, jax.tree.unflatten(structure, [jnp.asarray(arrays[name]) for name in names]))


def read_weights_config(path: Path) -> Config:
    """The settings in a file of weights, which is not verified.

    Raises:
      InputError: there are none.
    """
    try:
        with safetensors.safe_open(path, "np") as file:
            return config_from_json(json.loads((file.metadata() or {})["config"]))
    except (OSError, safetensors.SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} holds no settings: {error}") from None


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def check_new_file(file: Path) -> None:
    """Raises `InputError` unless a new file of this kind can be made there."""
    if file.name == "-":
        raise InputError(f"FILE is '-'; weights go into a file and not to the screen: name one, for example weights{SUFFIX}")
    if file.suffix not in ("", SUFFIX):
        raise InputError(f"{str(file)!r} would be a safetensors file; name it {str(file.with_suffix(SUFFIX))!r}")
    with contextlib.suppress(OSError):  # a name that no file can have is told when it is written
        if os.path.lexists(file):
            raise InputError(f"{str(file)!r} exists already and is not overwritten; name another file")
        if not file.parent.is_dir():
            raise InputError(f"{str(file)!r} cannot be written: there is no folder {str(file.parent)!r}; make it first")

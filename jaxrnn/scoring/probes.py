"""Find the units of a network that tell something about its text: a line's end, a vowel to come, a speaker's name."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrnn.array_types import Carry, Params, RandomKey
from jaxrnn.models.model import Model, split_carry
from jaxrnn.training.drivers import cpu_compiler_options

VOWELS = frozenset("aeiouyàâäéèêëîïôöùûüœæ")
OPENING, CLOSING = "«“(", "»”)"
LEAST_OFTEN = 20  # characters at which a probe must hold, and at which it must not


class ProbedUnit(NamedTuple):
    """A unit, and the probe with which it goes together most."""

    layer: int
    unit: int
    probe: str  # "" if there are no probes
    correlation: float  # between the unit's output and the probe, -1 to 1


def make_probes(text: str) -> dict[str, Float[np.ndarray, " characters"]]:
    """Describe each place of a text, after its character was read: 1 where something holds and 0 elsewhere, or a number.

    Probes that hold almost everywhere or nowhere in this text are left out.
    """
    following = text[1:] + " "
    named = [line.isupper() and sum(map(str.isalpha, line)) > 1 for line in text.split("\n")]
    of_line = np.cumsum([character == "\n" for character in " " + text[:-1]])  # a break belongs to the line that it ends
    starts = np.maximum.accumulate(np.where(np.diff(of_line, prepend=-1) > 0, np.arange(len(text)), 0))
    depth = np.cumsum([(character in OPENING) - (character in CLOSING) for character in text])
    truths = {
        "speaker": np.array(named)[of_line],
        "line end": [character == "\n" for character in following],
        "in a word": [a.isalnum() and b.isalnum() for a, b in zip(text, following, strict=True)],
        "word end": [a.isalnum() and not b.isalnum() for a, b in zip(text, following, strict=True)],
        "vowel next": [character.lower() in VOWELS for character in following],
        "capital next": [character.isupper() for character in following],
        "in brackets": depth > 0,
        "digit": [character.isdigit() for character in text],
    }
    arrays = {name: np.asarray(truth, np.float64) for name, truth in truths.items()}
    probes = {name: each for name, each in arrays.items() if LEAST_OFTEN <= each.sum() <= len(text) - LEAST_OFTEN}
    place = np.minimum(np.arange(len(text)) - starts, 200).astype(np.float64)
    return probes | ({"place in line": place} if len(named) > LEAST_OFTEN else {})


def read_units(
    model: Model, params: Params, ids: Int[np.ndarray, " characters"], key: RandomKey
) -> Float[np.ndarray, "characters layers hidden"]:
    """Read a text with a model that has layers; return what each unit gives after each character.

    Args:
      key: draws the initial carry as an evaluation does.
    """
    carry_key, _ = jax.random.split(key)
    num_layers = len(model.layers)

    def outputs(params: Params, carry: Carry) -> Float[Array, "layers hidden"]:
        parts = zip(model.layers, split_carry(carry, num_layers), strict=True)
        return jnp.stack([layer.output(params[layer.name], layer.hidden(part)) for layer, part in parts])

    def read(params: Params, carry: Carry, ids: Int[Array, " characters"]) -> Float[Array, "characters layers hidden"]:
        def one(loop: tuple) -> tuple:
            t, carry, found = loop
            carry, _ = model.step(params, carry, ids[t])
            return t + 1, carry, jax.lax.dynamic_update_index_in_dim(found, outputs(params, carry), t, 0)

        shape = jax.eval_shape(outputs, params, carry)
        start = (jnp.int32(0), carry, jnp.zeros((len(ids), *shape.shape), shape.dtype))
        return jax.lax.while_loop(lambda loop: loop[0] < len(ids), one, start)[2]

    carry = model.initial_carry(carry_key, ())
    return np.asarray(jax.jit(read, compiler_options=cpu_compiler_options())(params, carry, jnp.asarray(ids, jnp.int32)))


def rank_units(
    outputs: Float[np.ndarray, "characters layers hidden"], probes: Mapping[str, Float[np.ndarray, " characters"]]
) -> list[ProbedUnit]:
    """Sort all units: first the best one for each probe, then the others, each group by how well they tell something."""
    _, num_layers, hidden = outputs.shape
    units = [(layer, unit) for layer in range(num_layers) for unit in range(hidden)]
    if not probes:
        return [ProbedUnit(*each, "", 0.0) for each in units]
    names, flat = list(probes), outputs.reshape(len(outputs), -1)
    correlations = _standardise(flat).T @ _standardise(np.stack([probes[name] for name in names], axis=1)) / len(flat)
    strengths = np.abs(correlations)
    best = strengths.argmax(axis=1)
    leaders = {int(np.argmax(np.where(best == p, strengths[:, p], -1))) for p in range(len(names)) if (best == p).any()}
    order = sorted(range(len(units)), key=lambda u: (u not in leaders, -strengths[u, best[u]]))
    return [ProbedUnit(*units[u], names[best[u]], float(correlations[u, best[u]])) for u in order]


def _standardise(columns: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Shift and scale each column to mean 0 and variance 1; a constant one to 0."""
    centred = columns.astype(np.float64) - columns.mean(axis=0, dtype=np.float64)
    return centred / np.maximum(centred.std(axis=0), 1e-9)

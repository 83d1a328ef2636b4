"""Find the units of a network that track a feature of its text: the end of a line, an upcoming vowel, a speaker's name."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrnn.data.array_types import Carry, Params, RandomKey
from jaxrnn.models.model import Model, split_carry
from jaxrnn.training.drivers import compiler_options

VOWELS = frozenset("aeiouyàâäéèêëîïôöùûüœæ")
OPENING, CLOSING = "«“(", "»”)"
LEAST_OFTEN = 20  # a probe must hold at this many characters at least, and fail at as many
LEAST_CORRELATION = 0.3  # a unit that correlates less does not track the probe


class ProbedUnit(NamedTuple):
    """A unit, and the probe it correlates with most strongly."""

    layer: int
    unit: int
    probe: str  # "" if it tracks none of them
    correlation: float  # between the unit's output and the nearest probe, -1 to 1


def make_probes(text: str) -> dict[str, Float[np.ndarray, " characters"]]:
    """Compute features of a text, by name, after each character: 1 where the feature holds and 0 elsewhere, or a number.

    Features that hold almost everywhere or almost nowhere in this text are left out.
    """
    following = text[1:] + " "
    named = [line.isupper() and sum(map(str.isalpha, line)) > 1 for line in text.split("\n")]
    of_line = np.cumsum([character == "\n" for character in " " + text[:-1]])  # a break belongs to the line that it ends
    starts = np.maximum.accumulate(np.where(np.diff(of_line, prepend=-1) > 0, np.arange(len(text)), 0))
    truths = {
        "speaker": np.array(named)[of_line],
        "line end": [character == "\n" for character in following],
        "in a word": [a.isalnum() and b.isalnum() for a, b in zip(text, following, strict=True)],
        "word end": [a.isalnum() and not b.isalnum() for a, b in zip(text, following, strict=True)],
        "vowel next": [character.lower() in VOWELS for character in following],
        "capital next": [character.isupper() for character in following],
        "in brackets": _inside(text),
        "digit": [character.isdigit() for character in text],
    }
    arrays = {name: np.asarray(truth, np.float64) for name, truth in truths.items()}
    probes = {name: each for name, each in arrays.items() if LEAST_OFTEN <= each.sum() <= len(text) - LEAST_OFTEN}
    place = np.minimum(np.arange(len(text)) - starts, 200).astype(np.float64)
    return probes | ({"place in line": place} if len(named) > LEAST_OFTEN else {})


def _inside(text: str) -> list[bool]:
    """Mark the characters inside brackets or quotation marks; a blank line closes what was left open."""
    depth, found = 0, []
    for before, character in zip("\n" + text, text, strict=False):
        depth = 0 if before == character == "\n" else max(0, depth + (character in OPENING) - (character in CLOSING))
        found.append(depth > 0)
    return found


def read_units(
    model: Model, params: Params, ids: Int[np.ndarray, " characters"], key: RandomKey
) -> Float[np.ndarray, "characters layers hidden"]:
    """Read a text with a model that has layers; return the output of each unit after each character.

    Args:
      key: for the initial carry, drawn as in an evaluation.
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
    return np.asarray(jax.jit(read, compiler_options=compiler_options())(params, carry, jnp.asarray(ids, jnp.int32)))


def rank_units(
    outputs: Float[np.ndarray, "characters layers hidden"], probes: Mapping[str, Float[np.ndarray, " characters"]]
) -> list[ProbedUnit]:
    """Sort all units: first the best one for each probe, then the others, each group by strength of correlation."""
    _, num_layers, hidden = outputs.shape
    units = [(layer, unit) for layer in range(num_layers) for unit in range(hidden)]
    if not probes:
        return [ProbedUnit(*each, "", 0.0) for each in units]
    names, flat = list(probes), outputs.reshape(len(outputs), -1)
    correlations = _standardise(flat).T @ _standardise(np.stack([probes[name] for name in names], axis=1)) / len(flat)
    strengths = np.abs(correlations)
    best = strengths.argmax(axis=1)
    tells = strengths.max(axis=1) >= LEAST_CORRELATION
    leaders = {int(np.argmax(np.where((best == p) & tells, strengths[:, p], -1))) for p in set(best[tells].tolist())}
    order = sorted(range(len(units)), key=lambda u: (u not in leaders, -strengths[u, best[u]]))
    return [ProbedUnit(*units[u], names[best[u]] if tells[u] else "", float(correlations[u, best[u]])) for u in order]


def _standardise(columns: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Shift and scale each column to mean 0 and variance 1; a constant column becomes 0."""
    centred = columns.astype(np.float64) - columns.mean(axis=0, dtype=np.float64)
    return centred / np.maximum(centred.std(axis=0), 1e-9)

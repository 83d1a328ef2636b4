"""The inputs of a mixture (`mixture`): what is known before each binary decision of a character's code.

Each model's probabilities of all characters give the log odds of a decision. The characters that were counted after a context
give two counts, one for each side; their log odds, and what such counts have turned out to be worth, are inputs too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrnn.models.binary_code import BinaryCode

LARGEST_ODDS, SMALLEST = 12.0, 1e-9  # limits of a model's log odds and probability: no model decides alone, however sure it is
BIAS, ADDED = 0.3, 0.4  # the constant input; added to both counts before taking their log odds
# Each count from 0 to 7 is a level of its own; larger ones share levels. There is also the side of the last character, or none.
MAX_COUNT, NUM_LEVELS, NUM_SIDES, ON_NONE = 255, 13, 3, 2
LEVELS = np.searchsorted([1, 2, 3, 4, 5, 6, 7, 8, 12, 20, 40, 100], np.arange(MAX_COUNT + 1), side="right").astype(np.int32)
NEVER = NUM_LEVELS * NUM_LEVELS * NUM_SIDES  # the cell for two counts of 0
NUM_TOTALS = 8  # levels of a context's total count; each also says whether all that followed was on one side
# Decisions are refined by the last character and by the last two; those that share a place are refined together.
PLACE_BITS = 14
NUM_REFINEMENTS, NUM_PLACES = 2, 1 << PLACE_BITS


class Known(NamedTuple):
    """What the models know before one character, or before each character of a block."""

    log_ps: Float[Array, "*time models vocab"]  # networks first, then models that count
    times: Int[Array, "*time contexts counted"]  # how often characters were counted after each context; see `Evidence`
    last: Int[Array, "*time contexts"]  # which character came last


class Decisions(NamedTuple):
    """The inputs and table rows of one decision, or of several."""

    inputs: Float[Array, "*decisions inputs"]  # log odds; those of what counts are worth are still 0
    selected: Int[Array, "*decisions selections"]  # rows of the weights
    places: Int[Array, "*decisions refinements"]  # rows of the refinements
    node: Int[Array, "*decisions"]
    cells: Int[Array, "*decisions contexts"]  # which tell what the counts are worth


def num_inputs(num_models: int, num_contexts: int) -> int:
    return 1 + num_models + 2 * num_contexts


def num_selected(code: BinaryCode, num_contexts: tuple[int, ...]) -> tuple[int, ...]:
    """Count the rows of each set of weights: one selected by the previous character, then one by each model that counts."""
    return len(code.lengths), *(2 * NUM_TOTALS * (num + 1) for num in num_contexts)


def worth_of_counts() -> Float[np.ndarray, " cells"]:
    """Make a first guess of what counts are worth: the probability of a decision for each pair of levels."""
    zeros, ones = np.indices((NUM_LEVELS, NUM_LEVELS))
    p = (ones + ADDED) / (zeros + ones + 2 * ADDED)
    return np.append(np.repeat(p.ravel(), NUM_SIDES), 0.5).astype(np.float32)


def on_path(
    code: BinaryCode, num_contexts: tuple[int, ...], known: Known, characters: Int[Array, " read"], y: Int[Array, " time"]
) -> Decisions:
    """Describe the decisions that lead to the characters y, in arrays of [time, depth, ...].

    Args:
      known: `times` and `last` are indexed by the number of decisions shared with y (`counts.Evidence`).
      characters: the two characters before the first y, then y without its last: time + 1 in all.
    """
    depth, bits = code.bits.shape[1], jnp.asarray(code.bits)[y]
    words = jnp.asarray(code.words)
    agreed = jnp.minimum(jax.lax.clz(words[None] ^ words[y][:, None]).astype(jnp.int32), depth)
    agrees = (agreed[:, :, None] == jnp.arange(depth + 1)[None, None]).astype(jnp.float32)
    ps = jnp.einsum("tmv,tvd->tmd", jnp.exp(log_known(known.log_ps)), agrees, precision="highest")
    d, last = jnp.arange(depth)[None, :, None], known.last[:, None]
    side = jnp.where(last == d, 1 - bits[:, :, None], jnp.where(last > d, bits[:, :, None], ON_NONE))
    before, previous = (jnp.broadcast_to(each[:, None], bits.shape) for each in (characters[:-1], characters[1:]))
    sides = (_by_side(ps, bits), _by_side(known.times, bits), side)
    return _describe(code, num_contexts, *sides, previous, before, jnp.asarray(code.nodes)[y])


def at_all_nodes(code: BinaryCode, num_contexts: tuple[int, ...], known: Known, characters: Int[Array, "2"]) -> Decisions:
    """Describe all decisions about the next character.

    Args:
      known: before one character; `times` and `last` are indexed by character, -1 for none (`CountModel.followers`).
      characters: the two before it.
    """
    num_nodes, depth = max(1, len(code.lengths) - 1), code.bits.shape[1]
    is_taken = np.arange(depth)[None] < code.lengths[:, None]
    place = jnp.asarray(np.where(is_taken, 2 * code.nodes + code.bits, 2 * num_nodes))

    def by_side(values: Array) -> Array:
        sums = jnp.zeros((len(values), 2 * num_nodes + 1), values.dtype)
        sums = sums.at[:, place].add(jnp.broadcast_to(values[:, :, None], (*values.shape, depth)))
        return jnp.moveaxis(sums[:, :-1].reshape(len(values), num_nodes, 2), (0, 1, 2), (2, 1, 0))

    side_of = np.full((len(code.lengths) + 1, num_nodes), ON_NONE, np.int32)  # the last row for no character
    for character, length in enumerate(code.lengths):
        side_of[character, code.nodes[character, :length]] = code.bits[character, :length]
    nodes = jnp.arange(num_nodes, dtype=jnp.int32)
    before, previous = (jnp.broadcast_to(each, nodes.shape) for each in characters)
    sides = (by_side(jnp.exp(log_known(known.log_ps))), by_side(known.times), jnp.asarray(side_of)[known.last].T)
    return _describe(code, num_contexts, *sides, previous, before, nodes)


def log_known(log_ps: Float[Array, "*time models vocab"]) -> Float[Array, "*time models vocab"]:
    """Treat a model with a NaN among its probabilities as uniform."""
    nothing = jnp.isnan(log_ps).any(axis=-1, keepdims=True)
    return jnp.where(nothing, -np.log(log_ps.shape[-1]).astype(np.float32), log_ps)


def _by_side(sums: Array, bits: Array) -> Array:
    """Turn sums by number of shared decisions, [time, each, agreed], into sums on both sides, [2, time, decisions, each]."""
    others = jnp.moveaxis(sums[..., :-1], 2, 1)
    same = jnp.moveaxis(jnp.flip(jnp.cumsum(jnp.flip(sums[..., 1:], -1), -1), -1), 2, 1)
    on_one = bits[..., None] > 0
    return jnp.stack([jnp.where(on_one, others, same), jnp.where(on_one, same, others)])


def _describe(
    code: BinaryCode,
    num_contexts: tuple[int, ...],
    ps: Array,
    times: Array,
    side: Array,
    previous: Array,
    before: Array,
    node: Array,
) -> Decisions:
    """Describe decisions; the first axis of ps and times is the side: ``[2, *decisions, models or contexts]``."""
    odds = jnp.clip(jnp.log(ps[1] + SMALLEST) - jnp.log(ps[0] + SMALLEST), -LARGEST_ODDS, LARGEST_ODDS)
    is_new = times[0] + times[1] == 0
    counted = times.astype(jnp.float32) + ADDED
    of_counts = jnp.where(is_new, 0, jnp.log(counted[1]) - jnp.log(counted[0]))
    levels = jnp.asarray(LEVELS)[jnp.minimum(times, MAX_COUNT)]
    cells = jnp.where(is_new, NEVER, (levels[0] * NUM_LEVELS + levels[1]) * NUM_SIDES + side)
    ends = np.cumsum(num_contexts, dtype=int).tolist()
    of_each = [times[..., end - num : end] for num, end in zip(num_contexts, ends, strict=True)]
    at_node = node * len(code.lengths) + previous
    return Decisions(
        inputs=jnp.concatenate([jnp.full((*node.shape, 1), BIAS), odds, of_counts, jnp.zeros_like(of_counts)], axis=-1),
        selected=jnp.stack([previous, *map(_longest, of_each)], axis=-1),
        places=jnp.stack([_hash(at_node), _hash(at_node * len(code.lengths) + before)], axis=-1),
        node=node,
        cells=cells,
    )


def _longest(times: Int[Array, "2 *decisions contexts"]) -> Int[Array, "*decisions"]:
    """Encode the longest known context as a number: which it is, whether all was on one side, and the level of its total."""
    total = times[0] + times[1]
    length = jnp.max(jnp.where(total > 0, jnp.arange(1, total.shape[-1] + 1), 0), axis=-1)
    zeros, ones = jnp.take_along_axis(times, jnp.maximum(length - 1, 0)[None, ..., None], axis=-1)[..., 0]
    level = jnp.minimum(jnp.asarray(LEVELS)[jnp.minimum(zeros + ones, MAX_COUNT)], NUM_TOTALS - 1)
    return (length * 2 + ((zeros == 0) | (ones == 0)).astype(jnp.int32)) * NUM_TOTALS + level


def _hash(numbers: Int[Array, "*decisions"]) -> Int[Array, "*decisions"]:
    """Hash numbers to places; the product is meant to overflow."""
    return ((numbers.astype(jnp.uint32) * jnp.uint32(0x9E3779B1)) >> jnp.uint32(32 - PLACE_BITS)).astype(jnp.int32)

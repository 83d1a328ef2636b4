"""Experience replay: passages of the text read so far, drawn at random, from which an update learns once more."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Integer

from jaxrnn.data.array_types import Block, Params, RandomKey
from jaxrnn.data.documents import type_with_marks, unmark
from jaxrnn.data.reading import smallest_type
from jaxrnn.models.model import Model
from jaxrnn.rules.bptt import Read

PASSAGE, UNSCORED = 64, 16  # characters of a passage; those at its beginning, which lack a past and are not learned from


class Replay(NamedTuple):
    """How much is replayed."""

    num_passages: int  # per update
    num_characters: int  # length of the whole text, all of which is kept
    vocab_size: int


class Past(NamedTuple):
    """The text read so far: arrays only."""

    ids: Integer[Array, " characters"]  # in the smallest type that holds them and their marks; 0 where nothing was read yet
    num_read: Int[Array, ""]  # i32
    key: RandomKey  # for drawing passages


def start_past(replay: Replay, key: RandomKey, reads_marks: bool = False) -> Past:
    """Make an empty past; for a model that reads marks, they are kept too."""
    kind = type_with_marks(replay.vocab_size) if reads_marks else smallest_type(replay.vocab_size)
    return Past(jnp.zeros(replay.num_characters + 1, kind), jnp.int32(0), key)


def remember(past: Past, x: Block) -> Past:
    """Append a block to the past."""
    ids = jax.lax.dynamic_update_slice(past.ids, x.astype(past.ids.dtype), (past.num_read,))
    return past._replace(ids=ids, num_read=past.num_read + len(x))


def replay_loss(model: Model, read: Read, replay: Replay, past: Past, params: Params) -> Float[Array, ""]:
    """Compute the mean loss on passages drawn from the past; 0 while the past is shorter than two of them.

    Source: Lin (1992), Machine Learning 8(3-4).
    """
    most = past.num_read - PASSAGE - 1
    starts = jax.random.randint(jax.random.fold_in(past.key, past.num_read), (replay.num_passages,), 0, jnp.maximum(1, most))
    passages = past.ids[starts[None] + jnp.arange(PASSAGE + 1, dtype=jnp.int32)[:, None]]
    x, y = passages[:-1].astype(jnp.int32), unmark(passages[1:]).astype(jnp.int32)
    carry = model.initial_carry(past.key, (replay.num_passages,))
    _, logits = read(params, carry, x, None)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)[UNSCORED:]
    return jnp.where(most > PASSAGE, losses.mean(), 0.0)

"""Draw many texts side by side in one program; each has its own prompt and random numbers, and does not depend on the others.

A text has the characters that it would have if it were drawn alone, unless two of them are equally likely up to rounding.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrnn.data import vocabulary
from jaxrnn.data.array_types import Carry, ModelParams, RandomKey
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.models.model import Model
from jaxrnn.scoring.ending import Limits, Passage, extend
from jaxrnn.scoring.sampling import (
    BLOCK,
    begin_text,
    check_sampling,
    is_restricted,
    jit_writing,
    pad_prompt,
    read_prompt,
    write_block,
)
from jaxrnn.training.drivers import compiler_options

MOST = 64  # texts side by side; more of them are hardly faster


class Job(NamedTuple):
    """A text to draw."""

    prompt_ids: Int[np.ndarray, " prompt"]
    key: RandomKey


class Drawn(NamedTuple):
    """A text that was drawn."""

    text: str  #: what follows the prompt
    nats: float  #: -ln of its probability in the model's own distribution, whatever the temperature


def draw_texts(
    model: Model,
    params: ModelParams,
    known: Vocabulary,
    jobs: Sequence[Job],
    limits: Limits,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    most: int = MOST,
) -> Iterator[Drawn]:
    """Draw the texts in order, at most `most` side by side. One alone is drawn by the program of `sample`, to the bit."""
    check_sampling(temperature, top_k, top_p)
    how = (jnp.float32(temperature), jnp.int32(min(top_k, len(known.characters))), jnp.float32(top_p))
    restricted = is_restricted(top_k, top_p)
    num_groups = max(1, -(-len(jobs) // most))
    size = -(-len(jobs) // num_groups)
    width = max((len(pad_prompt(job.prompt_ids)[0]) for job in jobs), default=BLOCK)
    for start in range(0, len(jobs), size or 1):
        group = jobs[start : start + size]
        padded = [*group, *[group[-1]] * (size - len(group))]  # a smaller group would need a program of its own
        blocks = _blocks_of_group(model, params, padded, width, how, restricted)
        yield from _draw_group(known, blocks, len(group), limits)


def _blocks_of_group(
    model: Model, params: ModelParams, group: Sequence[Job], width: int, how: tuple[Array, ...], restricted: bool
) -> Iterator[tuple[Int[np.ndarray, "texts block"], Float[np.ndarray, "texts block"]]]:
    """Draw endless texts in blocks of `BLOCK` characters, with the nats of each character.

    Args:
      width: length to which the prompts are padded.
    """
    if len(group) == 1:
        write = jit_writing(model, restricted, scored=True)
        carry, logits, noise_key, block = begin_text(model, params, *group[0])
        while True:
            carry, logits, ids, nats = write(params, carry, logits, noise_key, np.uint32(block), *how)
            yield np.asarray(ids)[None], np.asarray(nats)[None]
            block += 1
    begin, write = _jit_for_streams(model, restricted)
    lengths = np.array([len(job.prompt_ids) for job in group], np.int32)
    prompts = np.stack([np.pad(job.prompt_ids, (0, width - len(job.prompt_ids))) for job in group])
    carry, logits, noise_keys = begin(params, jnp.stack([job.key for job in group]), prompts, lengths)
    for block in itertools.count():
        carry, logits, ids, nats = write(params, carry, logits, noise_keys, np.uint32(block), *how)
        yield np.asarray(ids), np.asarray(nats)


def _draw_group(known: Vocabulary, blocks: Iterator[tuple], num_texts: int, limits: Limits) -> list[Drawn]:
    passages = [extend(Passage(), "", limits)] * num_texts
    texts, scored = [""] * num_texts, [np.zeros((num_texts, 0), np.float32)]
    while not all(passage.has_ended for passage in passages):
        ids, nats = next(blocks)
        scored.append(nats[:num_texts])
        for i, passage in enumerate(passages):
            if not passage.has_ended:
                passages[i] = extend(passage, vocabulary.decode(known, ids[i]), limits)
                texts[i] += passages[i].new
    nats = np.concatenate(scored, axis=1)
    sums = [nats[i, : len(text)].sum(dtype=np.float64) for i, text in enumerate(texts)]
    return [Drawn(text, float(total)) for text, total in zip(texts, sums, strict=True)]


@functools.lru_cache(maxsize=16)
def _jit_for_streams(model: Model, restricted: bool) -> tuple[Callable, Callable]:
    """Jit two programs for many texts: one that reads their prompts, one that writes a block of each."""

    def begin(params: ModelParams, key: RandomKey, ids: Int[Array, " prompt"], length: Int[Array, ""]) -> tuple:
        carry_key, noise_key = jax.random.split(key)
        carry: Carry = model.initial_carry(carry_key, ())
        return *read_prompt(model)(params, carry, ids, length), noise_key

    write = write_block(model, restricted, scored=True)
    return (
        jax.jit(jax.vmap(begin, in_axes=(None, 0, 0, 0))),
        jax.jit(jax.vmap(write, in_axes=(None, 0, 0, 0, *[None] * 4)), compiler_options=compiler_options()),
    )

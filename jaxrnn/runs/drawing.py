"""Draw samples and format them, piece by piece."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxrnn.console.samples import SEPARATOR, describe_copied, sample_to_json, sample_to_text
from jaxrnn.data import vocabulary
from jaxrnn.runs.writer import Writer
from jaxrnn.scoring.ending import Limits, until_end
from jaxrnn.scoring.novelty import find_copied
from jaxrnn.scoring.sampling import sample_blocks
from jaxrnn.scoring.side_by_side import Job, draw_texts

Prompts = Sequence[Int[np.ndarray, " prompt"]]  # ids


class Wanted(NamedTuple):
    """Which samples to draw."""

    limits: Limits
    how: dict[str, Any]  # temperature, top_k, top_p
    seed: int
    num_samples: int  # of each prompt
    novelty: bool


def draw_as_text(writer: Writer, prompts: Prompts, wanted: Wanted) -> Iterator[str]:
    """Yield the samples as text with lines between them; a single one as it is drawn."""
    if len(prompts) * wanted.num_samples == 1:
        yield from _draw_one(writer, prompts[0], wanted)
        return
    for i, (prompt, _, drawn, copied) in enumerate(_draw_all(writer, prompts, wanted)):
        yield SEPARATOR * (i > 0) + sample_to_text(prompt, drawn, copied, writer.text)


def draw_as_json(writer: Writer, prompts: Prompts, wanted: Wanted, only_ascii: bool) -> Iterator[str]:
    """Yield a line of JSON for each sample."""
    for prompt, number, drawn, copied in _draw_all(writer, prompts, wanted):
        yield sample_to_json(prompt, drawn, copied, wanted.seed, number, only_ascii)


def _draw_all(writer: Writer, prompts: Prompts, wanted: Wanted) -> Iterator[tuple]:
    """Yield the prompt, the number, the text and what is copied of each sample; number i is the same beside others as alone."""
    root, numbers = jax.random.key(wanted.seed), range(wanted.num_samples)
    jobs = [Job(ids, jax.random.fold_in(root, number)) for ids in prompts for number in numbers]
    texts = draw_texts(writer.model, writer.params, writer.vocabulary, jobs, wanted.limits, **wanted.how)
    copied = itertools.repeat(None)
    if wanted.novelty:
        texts = list(texts)
        copied = find_copied([drawn.text for drawn in texts], writer.segments)
    for (ids, number), drawn, piece in zip(itertools.product(prompts, numbers), texts, copied, strict=False):
        yield vocabulary.decode(writer.vocabulary, ids), number, drawn, piece


def _draw_one(writer: Writer, ids: Int[np.ndarray, " prompt"], wanted: Wanted) -> Iterator[str]:
    key = jax.random.fold_in(jax.random.key(wanted.seed), 0)
    blocks = sample_blocks(writer.model, writer.params, ids, key=key, **wanted.how)
    first = next(blocks)  # the slow one, before anything is shown
    yield vocabulary.decode(writer.vocabulary, ids)
    drawn = (vocabulary.decode(writer.vocabulary, block) for block in itertools.chain([first], blocks))
    text = []
    for piece in until_end(drawn, wanted.limits):
        text += [piece] * wanted.novelty
        yield piece
    copied = find_copied(["".join(text)], writer.segments)[0] if wanted.novelty else None
    yield f"\n{describe_copied(copied, writer.text)}"

"""Draw text from a model, character by character."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrnn.data.array_types import Carry, Logits, ModelParams, RandomKey
from jaxrnn.data.documents import unmark
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError, check_value
from jaxrnn.models.model import Model, num_characters
from jaxrnn.models.scalar_loops import as_one_kernel
from jaxrnn.training.drivers import compiler_options

BLOCK = 64  # characters per call
TEMPERATURE = 0.7  # of displayed samples: readable but not repetitive


class Point(NamedTuple):
    """A point in a text, from which it can be continued."""

    carry: Carry
    logits: Logits  # of the next character
    noise_key: RandomKey
    block: int  # number of the next block that is drawn with the key


def sample(
    model: Model,
    params: ModelParams,
    prompt_ids: Int[np.ndarray, " prompt"],
    length: int,
    *,
    key: RandomKey,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[np.ndarray, " length"]:
    """Draw the ids of `length` characters that follow a prompt. The same key gives the same text.

    Args:
      prompt_ids: ids of the prompt, at least one.
      temperature: 0 = greedy (always the most likely character), 1 = the model's own probabilities.
      top_k: draw among the k most likely characters only; 0 = among all.
      top_p: draw among the fewest characters with this total probability; 1 = among all.
    Raises:
      InputError: empty prompt; invalid temperature, top_k or top_p.
    """
    blocks = sample_blocks(model, params, prompt_ids, key=key, temperature=temperature, top_k=top_k, top_p=top_p)
    enough = itertools.islice(blocks, -(-length // BLOCK))
    return np.concatenate([np.zeros(0, np.int32), *enough])[:length]


def sample_blocks(
    model: Model,
    params: ModelParams,
    prompt_ids: Int[np.ndarray, " prompt"],
    *,
    key: RandomKey,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Iterator[Int[np.ndarray, " block"]]:
    """Draw endless text in blocks of `BLOCK` characters; `sample` returns its beginning."""
    check_sampling(temperature, top_k, top_p)
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    return draw_blocks(model, params, begin_text(model, params, prompt_ids, key), **how)


def begin_text(model: Model, params: ModelParams, prompt_ids: Int[np.ndarray, " prompt"], key: RandomKey) -> Point:
    """Read a prompt; the text that is drawn from there is that of `sample` with the same key."""
    check_prompt(model, prompt_ids)
    carry_key, noise_key = jax.random.split(key)
    read = jit_reading(model)
    carry, logits = read(params, model.initial_carry(carry_key, ()), *pad_prompt(prompt_ids))
    return Point(carry, logits, noise_key, 0)


def check_prompt(model: Model, ids: Int[np.ndarray, "..."]) -> None:
    """Raise `InputError` unless a prompt is one row of characters that the model knows."""
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise InputError(f"the prompt is {ids.dtype}{list(ids.shape)}; it must be one row of ids")
    if not ids.size:
        raise InputError("the prompt is empty; give at least one character")
    number, plain = num_characters(model), unmark(ids) if model.reads_marks else ids
    if plain.min() < 0 or plain.max() >= number:
        wrong = plain.min() if plain.min() < 0 else plain.max()
        raise InputError(f"the prompt holds the id {wrong}; the model knows ids 0 to {number - 1}")


def draw_blocks(
    model: Model, params: ModelParams, point: Point, *, temperature: float, top_k: int, top_p: float
) -> Iterator[Int[np.ndarray, " block"]]:
    """Draw endless text from a point on, in blocks of `BLOCK` characters. The options are those of `sample`, checked."""
    write = jit_writing(model, is_restricted(top_k, top_p))
    carry, logits = point.carry, point.logits
    how = (jnp.float32(temperature), jnp.int32(min(top_k, logits.shape[0])), jnp.float32(top_p))
    for block in itertools.count(point.block):
        carry, logits, ids = write(params, carry, logits, point.noise_key, np.uint32(block), *how)
        yield np.asarray(ids)


def continue_text(model: Model, params: ModelParams, point: Point, ids: Int[np.ndarray, " drawn"]) -> Point:
    """Return the point after the first characters that were drawn from another point; random numbers are not used twice."""
    read, carry, logits = jit_reading(model), point.carry, point.logits
    for start in range(0, len(ids), BLOCK):
        carry, logits = read(params, carry, *pad_prompt(ids[start : start + BLOCK]))
    return Point(carry, logits, point.noise_key, point.block - (-len(ids) // BLOCK))


def check_sampling(temperature: float, top_k: int, top_p: float, as_flags: bool = False) -> None:
    """Raise `InputError` with the argument, or its flag, if a value is not allowed."""
    for name, value, allowed, in_words in (
        ("temperature", temperature, 0 <= temperature <= 1_000, "a number from 0 to 1000"),
        ("top_k", top_k, top_k >= 0, "0 (all) or more"),
        ("top_p", top_p, 0 < top_p <= 1, "over 0 and at most 1"),
    ):
        if as_flags:
            check_value(name.replace("_", "-"), value, allowed, in_words)
        elif not allowed:
            raise InputError(f"{name} is {value}; it must be {in_words}")


def draw_character(
    logits: Float[Array, " vocab"], noise: Float[Array, " vocab"], temperature: Float[Array, ""], kept: Bool[Array, " vocab"]
) -> Int[Array, ""]:
    """Draw from softmax(logits / temperature) among the kept characters, given standard Gumbel noise.

    argmax(logits / T + noise) is such a draw; argmax(logits + T noise) is the same character, and greedy at T = 0.
    """
    return jnp.argmax(jnp.where(kept, logits + temperature * noise, -jnp.inf)).astype(jnp.int32)


def nucleus(
    logits: Float[Array, " vocab"], temperature: Float[Array, ""], top_k: Int[Array, ""], top_p: Float[Array, ""]
) -> Bool[Array, " vocab"]:
    """Mark the characters that may be drawn: among the k likeliest, the fewest with total probability p.

    Characters as likely as the last one kept are kept too.

    Source: Holtzman et al. (2020), ICLR ("The curious case of neural text degeneration").
    """
    vocab = logits.shape[0]
    ranked = jnp.sort(logits)[::-1]
    in_top_k = jnp.arange(vocab) < jnp.where(top_k > 0, top_k, vocab)
    tiny = jnp.finfo(logits.dtype).tiny  # keeps the quotient defined at temperature 0, which is greedy
    probabilities = jax.nn.softmax(jnp.where(in_top_k, (ranked - ranked[0]) / jnp.maximum(temperature, tiny), -jnp.inf))
    before = jnp.cumsum(probabilities) - probabilities
    num_kept = jnp.maximum(jnp.sum(in_top_k & (before < top_p)), 1)  # a tiny p rounds to 0; keep the likeliest anyway
    return logits >= ranked[num_kept - 1]


def read_prompt(model: Model) -> Callable[..., tuple[Carry, Logits]]:
    """Make a pure function (params, carry, ids, num_read) -> the carry and the logits after the first `num_read` characters.

    Without `num_read` it reads all of them; with it, prompts of any length need a single program.
    """

    def read(
        params: ModelParams, carry: Carry, ids: Int[Array, " prompt"], num_read: Int[Array, ""] | None = None
    ) -> tuple[Carry, Logits]:
        end = jnp.int32(ids.shape[0]) if num_read is None else num_read

        def unfinished(loop: tuple) -> Array:
            t, _, _ = loop
            return t < end

        def one_character(loop: tuple) -> tuple:
            t, carry, _ = loop
            return t + 1, *model.step(params, carry, ids[t])

        first = model.step(params, carry, ids[0])
        _, carry, logits = jax.lax.while_loop(unfinished, one_character, (jnp.int32(1), *first))
        return carry, logits

    return read


def write_block(model: Model, restricted: bool, scored: bool = False) -> Callable[..., tuple]:
    """Make a pure function (params, carry, logits, key, block, temperature, top_k, top_p) -> carry, logits, ids[`BLOCK`].

    The ids are block number `block` of the text drawn with the key. Without `restricted`, top_k and top_p are ignored, which
    saves a sort per character. With `scored`, the result also holds nats[`BLOCK`]: -ln of the probability of each character
    in the model's own distribution, that of temperature 1.
    """

    def write(params: ModelParams, carry: Carry, logits: Logits, key: RandomKey, block: Array, *how: Array):
        temperature, top_k, top_p = how
        key = jax.random.fold_in(key, block)  # inside: a separate call takes as long as drawing 30 characters
        noise = jax.random.gumbel(key, (BLOCK, *logits.shape))  # all at once: half the time of one draw per character
        everything = jnp.ones(logits.shape, bool)

        def unfinished(loop: tuple) -> Array:
            return loop[0] < BLOCK

        def one_character(loop: tuple) -> tuple:
            t, carry, logits, ids, *nats = loop
            kept = nucleus(logits, temperature, top_k, top_p) if restricted else everything
            chosen = draw_character(logits, noise[t], temperature, kept)
            nats = [of_block.at[t].set(-jax.nn.log_softmax(logits)[chosen]) for of_block in nats]
            return t + 1, *model.step(params, carry, chosen), ids.at[t].set(chosen), *nats

        nats = [jnp.zeros(BLOCK, logits.dtype)] if scored else []
        start = (jnp.int32(0), carry, logits, jnp.zeros(BLOCK, jnp.int32), *nats)
        return jax.lax.while_loop(unfinished, one_character, start)[1:]

    return write


@functools.lru_cache(maxsize=16)
def jit_reading(model: Model) -> Callable[..., tuple[Carry, Logits]]:
    """Jit `read_prompt` once per model, so that the sample after each epoch does not compile it again."""
    return jax.jit(read_prompt(model))


@functools.lru_cache(maxsize=16)
def jit_writing(model: Model, restricted: bool, scored: bool = False) -> Callable[..., tuple]:
    """Jit `write_block` once per model.

    For a single text a step is a few microseconds of work, and XLA would spend as long between its parts. So a block is one
    kernel, if nothing in it sorts.
    """
    write = write_block(model, restricted, scored)
    if restricted or not model.fits_one_kernel:
        return jax.jit(write, compiler_options=compiler_options())

    def write_as_one(*arguments: Any) -> tuple:
        *used, top_k, top_p = arguments  # or the compiler of JAX 0.10 crashes: see `as_one_kernel`
        return as_one_kernel(lambda *used: write(*used, top_k, top_p))(*used)

    # One core: XLA of JAX 0.10 compiles a kernel wrongly that holds a split operation, such as the noise of 1,000 characters.
    return jax.jit(write_as_one, compiler_options=compiler_options(one_core=True))


def pad_prompt(ids: Int[np.ndarray, " prompt"]) -> tuple[Int[np.ndarray, " padded"], np.int32]:
    """Pad a prompt to one of few lengths, each of which needs a program; return its own length, too."""
    size = BLOCK
    while size < len(ids):
        size *= 4
    return np.pad(ids, (0, size - len(ids))), np.int32(len(ids))


def is_restricted(top_k: int, top_p: float) -> bool:
    """Return whether any character is excluded."""
    return top_k > 0 or top_p < 1


def default_prompt(known: Vocabulary) -> str:
    """Return a full stop, as in the course, or the first character of a vocabulary without one."""
    return "." if "." in known.characters else known.characters[0]

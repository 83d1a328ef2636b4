"""A character n-gram model with interpolated Kneser-Ney smoothing, to compare and mix with a network.

It counts a text once and does not learn during evaluation.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer

from jaxrnn.errors import InputError, describe_kind, is_array, is_whole


class Level(NamedTuple):
    """Counts of the n-grams of one length n. A gram is identified by its rank among all sorted grams of its length."""

    grams: Int[np.ndarray, " grams"]  # sorted: rank of the context (a gram one shorter) * vocab_size + last character
    kept: Float[np.ndarray, " grams"]  # (count - discount) / total of the context
    left: Float[np.ndarray, " contexts"]  # weight of the shorter context; 1 for a context without a successor


class NGram(NamedTuple):
    """An n-gram model of a text: arrays only."""

    vocab_size: int
    levels: tuple[Level, ...]  # n = 1, 2, ... the order


class _Grams(NamedTuple):
    num_contexts: int
    grams: Int[np.ndarray, " grams"]
    first: Int[np.ndarray, " grams"]  # position of the first occurrence
    times: Int[np.ndarray, " grams"]
    ranks: Int[np.ndarray, " places"]  # which gram is at each position


def count_ngrams(ids: Integer[np.ndarray, " characters"], vocab_size: int, order: int) -> NGram:
    """Count n-grams for interpolated Kneser-Ney smoothing.

    p(w | c) = (N(c w) - D) / N(c) + left(c) p(w | c without its first character).

    p(w) is interpolated with 1 / vocab_size, so no character has probability 0. N is the number of occurrences of c w if c has
    order - 1 characters; for a shorter c it is the number of distinct characters before c w, counting the start of the text as
    one. D is Chen & Goodman's for N = 1, 2, 3 or more. If one of them is undefined or not positive, all are n1 / (n1 + 2 n2),
    or 1/2 if n1 = 0.

    Args:
      order: characters in the longest gram, including the predicted one; 1 = no context. Time and memory are linear in it.
    Raises:
      InputError: an order under 1; an empty text; ids that are no integers, or outside the vocabulary.
    Source: Chen & Goodman (1999), Computer Speech & Language 13(4); Kneser & Ney (1995), ICASSP.
    """
    if not is_whole(order, 1):
        raise InputError(f"the order of an n-gram is {order!r}; it must be 1 or more, a whole number")
    _check(ids, vocab_size)
    found = _find_grams(ids.astype(np.int64), vocab_size, min(order, len(ids)))
    counts = [*(_predecessors(of, longer) for of, longer in zip(found[:-1], found[1:], strict=True)), found[-1].times]
    return NGram(vocab_size, tuple(_level(of, times, vocab_size) for of, times in zip(found, counts, strict=True)))


def ngram_losses(model: NGram, ids: Integer[np.ndarray, " characters"]) -> Float[np.ndarray, " read"]:
    """Compute the loss at each character of a text but the first, in nats, f64, like `evaluation.frozen_evaluation`.

    The first characters have shorter contexts.

    Raises:
      InputError: an empty text; an id outside the vocabulary.
    """
    _check(ids, model.vocab_size)
    return -np.log(_probabilities(model, ids.astype(np.int64))[1:])


def next_probabilities(model: NGram, context: Integer[np.ndarray, " characters"]) -> Float[np.ndarray, " vocab"]:
    """Compute the probabilities of the next character, f64, after a context of any length, even 0.

    Raises:
      InputError: an id outside the vocabulary.
    """
    _check(context, model.vocab_size, may_be_empty=True)
    recent = context[max(0, len(context) - len(model.levels) + 1) :].astype(np.int64)
    following = np.arange(model.vocab_size)[:, None]
    texts = np.concatenate([np.broadcast_to(recent, (model.vocab_size, len(recent))), following], axis=1)
    return _probabilities(model, texts)[:, -1]


def _probabilities(model: NGram, ids: Int[np.ndarray, "*texts time"]) -> Float[np.ndarray, "*texts time"]:
    """Compute the probability of each character of these texts after those before it."""
    p, contexts = np.full(ids.shape, 1 / model.vocab_size), np.zeros_like(ids)  # rank 0: the empty context
    for level in model.levels:
        keys = contexts * model.vocab_size + ids  # negative, so never found, after an unseen context
        places = np.minimum(np.searchsorted(level.grams, keys), len(level.grams) - 1)
        found = level.grams[places] == keys
        p = np.where(found, level.kept[places], 0) + np.where(contexts >= 0, level.left[contexts], 1) * p
        contexts = np.roll(np.where(found, places, -1), 1, axis=-1)  # a gram is the context of the character after it
        contexts[..., 0] = -1
    return p


def _find_grams(ids: Int[np.ndarray, " characters"], vocab_size: int, order: int) -> list[_Grams]:
    """Find the grams of each length. Ranks, unlike packed characters, fit 64 bits for any order and vocabulary."""
    found, contexts, num_contexts = [], np.zeros_like(ids), 1
    for n in range(1, order + 1):
        keys = contexts * vocab_size + ids[n - 1 :]
        grams, first, ranks, times = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        found.append(_Grams(num_contexts, grams, first, times, ranks))
        contexts, num_contexts = ranks[:-1], len(grams)
    return found


def _predecessors(of: _Grams, longer: _Grams) -> Int[np.ndarray, " grams"]:
    """Count the distinct characters before each gram, with the start of the text as one more."""
    without_their_first = of.ranks[longer.first + 1]
    counts = np.bincount(without_their_first, minlength=len(of.grams))
    counts[of.ranks[0]] += 1
    return counts


def _level(of: _Grams, counts: Int[np.ndarray, " grams"], vocab_size: int) -> Level:
    contexts, D = of.grams // vocab_size, _discounts(counts)[np.minimum(counts, 3) - 1]
    totals = np.bincount(contexts, counts, of.num_contexts)
    taken = np.bincount(contexts, D, of.num_contexts)
    left = np.divide(taken, totals, out=np.ones(of.num_contexts), where=totals > 0)
    return Level(of.grams, (counts - D) / totals[contexts], left)


def _discounts(counts: Int[np.ndarray, " grams"]) -> Float[np.ndarray, " 3"]:
    """Compute D for counts of 1, 2 and 3 or more: Y = n1 / (n1 + 2 n2), D_k = k - (k + 1) Y n_(k + 1) / n_k."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5]  # n_k: how many grams have count k
    Y = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.5
    if n.all():
        k = np.arange(1, 4)
        D = k - (k + 1) * Y * n[1:] / n[:-1]
        if (D > 0).all():
            return D
    return np.full(3, Y)


def _check(ids: Integer[np.ndarray, " characters"], vocab_size: int, may_be_empty: bool = False) -> None:
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or not (np.issubdtype(ids.dtype, np.integer) or not ids.size):
        found = f"{ids.dtype}{list(ids.shape)}" if is_array(ids) else describe_kind(ids)
        raise InputError(f"the text is {found}; an n-gram needs ids, a NumPy array of integers with one axis")
    if not ids.size and not may_be_empty:
        raise InputError("an n-gram needs a text of one character or more; this one is empty")
    outside = np.flatnonzero((ids < 0) | (ids >= vocab_size))
    if outside.size:
        position = int(outside[0])
        raise InputError(f"id {ids[position]} at position {position} is not in a vocabulary of {vocab_size} characters")

"""A character n-gram with interpolated Kneser-Ney smoothing: the model that a network is compared with, and mixed with.

It is counted once and does not learn while it is tested.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxrnn.errors import InputError


class Level(NamedTuple):
    """What was counted of the n-grams of one length n. A gram is known by its rank among the sorted ones of its length."""

    grams: Int[np.ndarray, " grams"]  # sorted: rank of the context, which is a gram one shorter, * vocab_size + last character
    kept: Float[np.ndarray, " grams"]  # (count - discount) / total of the context
    left: Float[np.ndarray, " contexts"]  # what the discounts leave to the shorter context; 1 where nothing was seen to follow


class NGram(NamedTuple):
    """A counted text: arrays only."""

    vocab_size: int
    levels: tuple[Level, ...]  # n = 1, 2, ... the order


class _Grams(NamedTuple):
    num_contexts: int
    grams: Int[np.ndarray, " grams"]
    first: Int[np.ndarray, " grams"]  # where each stands first
    times: Int[np.ndarray, " grams"]
    ranks: Int[np.ndarray, " places"]  # which of them stands at each place


def count_ngrams(ids: Int[np.ndarray, " characters"], vocab_size: int, order: int) -> NGram:
    """Interpolated Kneser-Ney: p(w | c) = (N(c w) - D) / N(c) + left(c) p(w | c without its first character).

    Below p(w) stands 1 / vocab_size, so no character has probability 0. N is how often c w was seen where c is of order - 1
    characters; for a shorter c, how many different characters were seen before c w, the beginning of the text being one more.
    D is that of Chen & Goodman for N = 1, 2, 3 or more. Where one is not defined or not over 0, it is n1 / (n1 + 2 n2) for all,
    and 1/2 if n1 = 0.

    Args:
      order: characters in the longest gram, the predicted one among them; 1 = no context. Time and memory grow with it
        linearly.
    Raises:
      InputError: an order under 1; an empty text; an id outside the vocabulary.
    Source: Chen & Goodman (1999), Computer Speech & Language 13(4); Kneser & Ney (1995), ICASSP.
    """
    if order < 1:
        raise InputError(f"the order of an n-gram is {order}; it must be 1 or more")
    _check(ids, vocab_size)
    found = _find_grams(ids.astype(np.int64), vocab_size, min(order, len(ids)))
    counts = [*(_predecessors(of, longer) for of, longer in zip(found[:-1], found[1:], strict=True)), found[-1].times]
    return NGram(vocab_size, tuple(_level(of, times, vocab_size) for of, times in zip(found, counts, strict=True)))


def ngram_losses(model: NGram, ids: Int[np.ndarray, " characters"]) -> Float[np.ndarray, " read"]:
    """Nats at each character of the text but the first, f64: the characters that `evaluation.frozen_evaluation` scores.

    The context of the first ones is shorter: it begins where the text does.

    Raises:
      InputError: an empty text; an id outside the vocabulary.
    """
    _check(ids, model.vocab_size)
    return -np.log(_probabilities(model, ids.astype(np.int64))[1:])


def next_probabilities(model: NGram, context: Int[np.ndarray, " characters"]) -> Float[np.ndarray, " vocab"]:
    """Of each character to come next, f64, after a context of any length, also none; its last order - 1 characters count.

    Raises:
      InputError: an id outside the vocabulary.
    """
    if context.size:
        _check(context, model.vocab_size)
    recent = context[max(0, len(context) - len(model.levels) + 1) :].astype(np.int64)
    following = np.arange(model.vocab_size)[:, None]
    texts = np.concatenate([np.broadcast_to(recent, (model.vocab_size, len(recent))), following], axis=1)
    return _probabilities(model, texts)[:, -1]


def _probabilities(model: NGram, ids: Int[np.ndarray, "*texts time"]) -> Float[np.ndarray, "*texts time"]:
    """Of each character of these texts after those before it."""
    p, contexts = np.full(ids.shape, 1 / model.vocab_size), np.zeros_like(ids)  # rank 0: the empty context
    for level in model.levels:
        keys = contexts * model.vocab_size + ids  # negative, so never found, after a context that was not seen
        places = np.minimum(np.searchsorted(level.grams, keys), len(level.grams) - 1)
        found = level.grams[places] == keys
        p = np.where(found, level.kept[places], 0) + np.where(contexts >= 0, level.left[contexts], 1) * p
        contexts = np.roll(np.where(found, places, -1), 1, axis=-1)  # a gram is the context of the character after it
        contexts[..., 0] = -1
    return p


def _find_grams(ids: Int[np.ndarray, " characters"], vocab_size: int, order: int) -> list[_Grams]:
    """The grams of each length. Ranks, not packed characters: any order and vocabulary fit 64 bits."""
    found, contexts, num_contexts = [], np.zeros_like(ids), 1
    for n in range(1, order + 1):
        keys = contexts * vocab_size + ids[n - 1 :]
        grams, first, ranks, times = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        found.append(_Grams(num_contexts, grams, first, times, ranks))
        contexts, num_contexts = ranks[:-1], len(grams)
    return found


def _predecessors(of: _Grams, longer: _Grams) -> Int[np.ndarray, " grams"]:
    """How many different characters stand before each gram, the beginning of the text being one more."""
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
    """D for a count of 1, of 2, of 3 or more: Y = n1 / (n1 + 2 n2), D_k = k - (k + 1) Y n_(k + 1) / n_k."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5]  # n_k: how many grams have count k
    Y = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.5
    if n.all():
        k = np.arange(1, 4)
        D = k - (k + 1) * Y * n[1:] / n[:-1]
        if (D > 0).all():
            return D
    return np.full(3, Y)


def _check(ids: Int[np.ndarray, " characters"], vocab_size: int) -> None:
    if not ids.size:
        raise InputError("an n-gram needs a text of one character or more; this one is empty")
    outside = np.flatnonzero((ids < 0) | (ids >= vocab_size))
    if outside.size:
        position = int(outside[0])
        raise InputError(f"id {ids[position]} at position {position} is not one of a vocabulary of {vocab_size} characters")

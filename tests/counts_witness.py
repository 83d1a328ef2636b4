"""Counts in plain Python: dictionaries of contexts, a character at a time."""

import functools

import numpy as np
from test_binary_code import shared

from jaxrnn.models.binary_code import make_code

DISCOUNTS = (0.9, 1.4, 2.0)


def contexts_of(read, order, begins):
    """The contexts of the next character, shortest first: () and what was read since a character after which one begins."""
    if begins is None:
        return [tuple(read[len(read) - n :]) for n in range(min(order, len(read)) + 1)]
    starts = [0, *(i + 1 for i, y in enumerate(read) if begins[y])]  # a text begins a context too
    return [(), *(("since", *read[i:]) for i in starts[::-1][:order])]


def witness(ids, vocab_size, order, begins=None, discounts=DISCOUNTS):
    """What is known before each character: all probabilities, and what was counted and came last after each context.

    The formula, a character at a time.
    """
    counts, latest, all_p, all_times, all_last = {}, {}, [], [], []
    for t, y in enumerate(ids):
        contexts = contexts_of([int(i) for i in ids[:t]], order, begins)
        p, times, last = [1 / vocab_size] * vocab_size, np.zeros((order + 1, vocab_size), int), [-1] * (order + 1)
        for k, context in enumerate(contexts):
            following = counts.get(context, {})
            last[k] = latest.get(context, -1) if k else -1  # those after the empty context are in no order
            if following:
                times[k, list(following)] = list(following.values())
                total = sum(following.values())
                taken = {w: discounts[min(n, 3) - 1] for w, n in following.items()}
                left = sum(taken.values()) / total
                p = [(following[w] - taken[w]) / total * (w in following) + left * p[w] if w in following else left * p[w]
                     for w in range(vocab_size)]  # fmt: skip
        for each, found in zip((all_p, all_times, all_last), (p, times, last), strict=True):
            each.append(found)
        latest |= dict.fromkeys(contexts, int(y))
        for context in reversed(contexts):
            following = counts.setdefault(context, {})
            following[int(y)] = following.get(int(y), 0) + 1
            if following[int(y)] > 1:
                break
    return np.array(all_p), np.array(all_times), np.array(all_last)


@functools.cache
def agreements(vocab_size):
    """How many decisions each two characters share."""
    code = make_code(vocab_size)
    return np.array([[shared(code, x, y) for y in range(vocab_size)] for x in range(vocab_size)])


def by_decisions(times, last, ids, vocab_size):
    """Times and last, not by character but by how many decisions it shares with the one that is read."""
    shares = agreements(vocab_size)[ids]  # [time, vocab]
    depth = make_code(vocab_size).bits.shape[1]
    agreeing = np.stack([(times * (shares == d)[:, None]).sum(axis=2) for d in range(depth + 1)], axis=2)
    return agreeing, np.where(last < 0, -1, np.take_along_axis(shares, np.maximum(last, 0), axis=1))

from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrnn.data import text, vocabulary
from jaxrnn.errors import InputError
from jaxrnn.models import ngram

START = -1
orders = st.integers(1, 6)
texts = st.lists(st.integers(0, 3), min_size=1, max_size=60)
contexts = st.lists(st.integers(0, 4), max_size=8)


def array(ids):
    return np.array(ids, np.int32)


def of_characters(characters, known="abc"):
    return array([known.index(character) for character in characters])


def skewed(size, vocab_size=12, seed=0):
    """A random text in which some grams are rare and others are not."""
    return (np.random.default_rng(seed).zipf(1.6, size) % vocab_size).astype(np.int32)


class Witness:
    """The textbook's recursion, with dictionaries and exact fractions, a character at a time."""

    def __init__(self, ids, vocab_size, order):
        self.vocab_size, self.order = vocab_size, order
        self.counts = [self.counted([START, *(int(i) for i in ids)], n, order) for n in range(order + 1)]
        self.discounts = [self.discounted(Counter(counts.values())) for counts in self.counts]
        self.following = defaultdict(dict)
        for counts in self.counts[1:]:
            for gram, times in counts.items():
                self.following[gram[:-1]][gram[-1]] = times

    @staticmethod
    def counted(padded, n, order):
        if n == order:
            return Counter(tuple(padded[i : i + n]) for i in range(1, len(padded) - n + 1))
        longer = {tuple(padded[i : i + n + 1]) for i in range(len(padded) - n)}
        return Counter(gram[1:] for gram in longer)

    @staticmethod
    def discounted(n):
        Y = Fraction(n[1], n[1] + 2 * n[2]) if n[1] else Fraction(1, 2)
        if n[1] and n[2] and n[3] and n[4]:
            D = [1 - 2 * Y * n[2] / n[1], 2 - 3 * Y * n[3] / n[2], 3 - 4 * Y * n[4] / n[3]]
            if min(D) > 0:
                return D
        return [Y, Y, Y]

    def probability(self, character, context):
        context = tuple(context)[max(0, len(context) - self.order + 1) :]
        shorter = self.probability(character, context[1:]) if context else Fraction(1, self.vocab_size)
        following = self.following[context]
        if not following:
            return shorter
        D = {w: self.discounts[len(context) + 1][min(times, 3) - 1] for w, times in following.items()}
        total = sum(following.values())
        kept = following[character] - D[character] if character in following else 0
        return kept / total + sum(D.values()) / total * shorter


def test_a_text_of_five_characters_worked_out_by_hand():
    """abaab, of an alphabet of a, b and c, in grams of two.

    Grams of one: in front of a stand the beginning, b and a: 3; in front of b stands a: 1. In all 4. n1 = 1, n2 = 0, so D = 1:
      p(a) = 2/4 + 2/4 1/3 = 2/3, p(b) = 0 + 2/4 1/3 = 1/6, p(c) = 1/6.
    Grams of two: ab twice, ba and aa once. n1 = 2, n2 = 1, so D = 2 / (2 + 2) = 1/2.
      After a, 3 in all: left are 2 D / 3 = 1/3: p(a|a) = 1/6 + 1/3 2/3, p(b|a) = 3/6 + 1/3 1/6, p(c|a) = 1/3 1/6.
      After b, 1 in all: left is D = 1/2: p(a|b) = 1/2 + 1/2 2/3, p(b|b) = p(c|b) = 1/2 1/6.
      After c nothing was seen.
    """
    model = ngram.count_ngrams(of_characters("abaab"), 3, 2)
    expected = {"": [2 / 3, 1 / 6, 1 / 6], "a": [7 / 18, 10 / 18, 1 / 18], "b": [10 / 12, 1 / 12, 1 / 12]}
    expected |= {"c": expected[""], "ba": expected["a"], "ccb": expected["b"]}
    for context, p in expected.items():
        np.testing.assert_allclose(ngram.next_probabilities(model, of_characters(context)), p, atol=1e-12)
    nats = -np.log([1 / 6 + 2 / 9, 1 / 18, 1 / 6, 5 / 6])
    np.testing.assert_allclose(ngram.ngram_losses(model, of_characters("aacba")), nats, atol=1e-12)


def test_the_discounts_of_chen_and_goodman_worked_out_by_hand():
    """Of 15 characters 8 stand there once, 4 twice, 2 three times and 1 four times, 26 in all.

    Y = 8 / (8 + 8) = 1/2, D1 = 1 - 2 Y 4/8 = 1/2, D2 = 2 - 3 Y 2/4 = 5/4, D3 = 3 - 4 Y 1/2 = 2. They leave
    8/2 + 4 5/4 + 3 2 = 15 of 26, which is 1 of 26 for each character.
    """
    model = ngram.count_ngrams(array([*range(15), *range(8, 15), *range(12, 15), 14]), 15, 1)
    p = np.array([1 / 2 + 1] * 8 + [3 / 4 + 1] * 4 + [1 + 1] * 2 + [2 + 1]) / 26
    np.testing.assert_allclose(ngram.next_probabilities(model, array([])), p, atol=1e-12)


def test_one_discount_where_the_three_are_not_defined():
    """aa, of an alphabet of 5: n1 = 0, so D = 1/2: p(a) = 3/4 + 1/4 1/5.

    Of 8 characters one stands there once, one twice, five 3 times, one 4 times, 22 in all: D2 = 2 - 3 1/3 5 is under 0, so
    D = Y = 1/3, which leaves 8/3 of 22: as much for each character as was taken from it.
    """
    p = ngram.next_probabilities(ngram.count_ngrams(array([0, 0]), 5, 1), array([]))
    np.testing.assert_allclose(p, [0.8, 0.05, 0.05, 0.05, 0.05], atol=1e-12)
    times = [1, 2, 3, 3, 3, 3, 3, 4]
    p = ngram.next_probabilities(ngram.count_ngrams(np.repeat(np.arange(8), times), 8, 1), array([]))
    np.testing.assert_allclose(p, np.array(times) / 22, atol=1e-12)


@settings(deadline=None)
@given(texts, orders, contexts)
def test_it_is_the_textbook_recursion(ids, order, context):
    witness = Witness(ids, 5, order)
    expected = [float(witness.probability(w, context)) for w in range(5)]
    np.testing.assert_allclose(
        ngram.next_probabilities(ngram.count_ngrams(array(ids), 5, order), array(context)), expected, rtol=1e-12
    )


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_it_is_the_textbook_recursion_with_three_discounts(order):
    ids, other = skewed(2_000), skewed(200, seed=1)
    witness = Witness(ids, 12, order)
    assert order == 1 or len(set(witness.discounts[order])) == 3
    expected = [-np.log(float(witness.probability(w, other[:t]))) for t, w in enumerate(other) if t]
    np.testing.assert_allclose(ngram.ngram_losses(ngram.count_ngrams(ids, 12, order), other), expected, rtol=1e-12)


@settings(deadline=None)
@given(texts, orders, contexts)
def test_probabilities_are_over_zero_and_one_together(ids, order, context):
    p = ngram.next_probabilities(ngram.count_ngrams(array(ids), 5, order), array(context))
    assert p.shape == (5,)
    assert p.min() > 0
    assert p.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 4, 50])
def test_losses_are_those_of_the_probabilities_at_each_place(order):
    model, ids = ngram.count_ngrams(skewed(40), 12, order), skewed(60, seed=1)
    losses = ngram.ngram_losses(model, ids)
    assert losses.dtype == np.float64
    expected = [-np.log(ngram.next_probabilities(model, ids[:t])[ids[t]]) for t in range(1, len(ids))]
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


def test_a_loss_depends_on_no_later_character_and_on_no_more_than_the_context():
    model, ids = ngram.count_ngrams(skewed(400), 12, 3), skewed(60, seed=1)
    changed = ids.copy()
    changed[30] = (ids[30] + 1) % 12
    different = np.flatnonzero(ngram.ngram_losses(model, ids) != ngram.ngram_losses(model, changed))
    assert set(different) <= {29, 30, 31}  # loss 29 is that of character 30
    assert 29 in different


def test_an_order_whose_packed_characters_would_not_fit_64_bits_is_exact():
    ids, order = np.concatenate([skewed(500), skewed(500)[:200]]), 40
    witness, model = Witness(ids, 12, order), ngram.count_ngrams(ids, 12, order)
    other = np.concatenate([skewed(40, seed=1), ids[100:160]])
    expected = [-np.log(float(witness.probability(w, other[:t]))) for t, w in enumerate(other) if t]
    np.testing.assert_allclose(ngram.ngram_losses(model, other), expected, rtol=1e-12)
    assert (ngram.ngram_losses(ngram.count_ngrams(ids, 12, 20), other) != ngram.ngram_losses(model, other)).any()


def test_a_longer_context_helps_on_a_real_text():
    play = text.read("comedie")[:40_000]
    known = vocabulary.of_text(play)
    ids = vocabulary.encode(known, play)
    nats = {
        n: ngram.ngram_losses(ngram.count_ngrams(ids[:36_000], len(known.characters), n), ids[36_000:]).mean()
        for n in (1, 3, 5)
    }
    assert nats[5] < nats[3] < nats[1] - 0.8


def test_the_text_is_unchanged():
    ids = skewed(100)
    before = ids.copy()
    ngram.ngram_losses(ngram.count_ngrams(ids, 12, 3), ids)
    np.testing.assert_array_equal(ids, before)


@pytest.mark.parametrize(
    ("ids", "order", "said"),
    [
        ([0, 1], 0, "the order of an n-gram is 0; it must be 1 or more"),
        ([], 2, "this one is empty"),
        ([0, 3, 1], 2, "id 3 at position 1 is not in a vocabulary of 3"),
        ([0, 1, -1], 2, "id -1 at position 2 is not in a vocabulary of 3"),
    ],
)
def test_what_cannot_be_counted_is_a_one_line_error(ids, order, said):
    with pytest.raises(InputError, match=said) as caught:
        ngram.count_ngrams(array(ids), 3, order)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_predicted_is_an_error():
    model = ngram.count_ngrams(array([0, 1, 2]), 3, 2)
    with pytest.raises(InputError, match="empty"):
        ngram.ngram_losses(model, array([]))
    with pytest.raises(InputError, match="id 3 at position 1"):
        ngram.ngram_losses(model, array([0, 3]))
    with pytest.raises(InputError, match="id -2 at position 0"):
        ngram.next_probabilities(model, array([-2]))
    assert ngram.ngram_losses(model, array([0])).shape == (0,)

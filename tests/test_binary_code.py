"""A binary code of the characters: a path for each of them, and no path the beginning of another."""

import itertools
import math

import numpy as np
import pytest

from jaxrnn.models.binary_code import make_code

SIZES = pytest.mark.parametrize("vocab_size", [1, 2, 3, 6, 7, 85, 128, 129, 5_000])


def path(code, character):
    """The decisions of a character, as (where, which half)."""
    length = code.lengths[character]
    return tuple(zip(code.nodes[character, :length].tolist(), code.bits[character, :length].tolist(), strict=True))


def shared(code, x, y):
    """How many decisions two characters share: all there can be, if they are the same one."""
    if x == y:
        return code.bits.shape[1]
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(path(code, x), path(code, y), strict=False)))


def test_five_characters_by_hand():
    """01234 -> 012 34; 012 -> 01 2; 01 -> 0 1; 34 -> 3 4."""
    code = make_code(5)
    assert [[bit for _, bit in path(code, c)] for c in range(5)] == [[0, 0, 0], [0, 0, 1], [0, 1], [1, 0], [1, 1]]
    assert [f"{word:032b}"[:4] for word in code.words.tolist()] == ["0000", "0010", "0100", "1000", "1100"]
    halves = {}
    for c in range(5):
        for d, (node, _) in enumerate(path(code, c)):
            halves.setdefault(node, set()).add((d, c))
    assert sorted(sorted(c for _, c in each) for each in halves.values()) == [[0, 1], [0, 1, 2], [0, 1, 2, 3, 4], [3, 4]]
    assert all(len({d for d, _ in each}) == 1 for each in halves.values())  # each is taken at one depth


@SIZES
def test_no_path_begins_another_and_all_are_balanced(vocab_size):
    code = make_code(vocab_size)
    depth = max(1, math.ceil(math.log2(vocab_size)))
    assert code.nodes.shape == code.bits.shape == (vocab_size, depth)
    assert {array.dtype for array in code[:3]} == {np.dtype(np.int32)}
    assert code.words.dtype == np.uint32
    assert sum(2.0 ** -int(length) for length in code.lengths) == 1  # Kraft: with the next line, all of the tree is used
    written = sorted("".join(str(bit) for _, bit in path(code, c)) for c in range(vocab_size))
    assert not any(after.startswith(before) for before, after in itertools.pairwise(written))
    assert set(code.lengths) <= {depth - 1, depth}


@SIZES
def test_a_node_is_one_prefix_and_both_of_its_halves_are_taken(vocab_size):
    code, prefixes, halves = make_code(vocab_size), {}, {}
    for c in range(vocab_size):
        bits = ""
        for node, bit in path(code, c):
            assert prefixes.setdefault(node, bits) == bits
            halves.setdefault(node, set()).add(bit)
            bits += str(bit)
        beyond = slice(int(code.lengths[c]), None)
        assert not code.nodes[c, beyond].any()
        assert not code.bits[c, beyond].any()
    assert sorted(prefixes) == list(range(vocab_size - 1))
    assert len(set(prefixes.values())) == len(prefixes)
    assert all(both == {0, 1} for both in halves.values())
    assert vocab_size == 1 or prefixes[0] == ""


@SIZES
def test_leading_zeros_of_two_words_are_the_decisions_that_they_share(vocab_size):
    code = make_code(vocab_size)
    pairs = itertools.product(range(vocab_size), repeat=2)
    if vocab_size > 100:
        pairs = np.random.default_rng(0).integers(0, vocab_size, (2_000, 2)).tolist()
        pairs += [(c, c + 1) for c in range(vocab_size - 1)]
    for x, y in pairs:
        zeros = 32 - int(code.words[x] ^ code.words[y]).bit_length()
        assert min(zeros, code.bits.shape[1]) == shared(code, x, y)


@SIZES
def test_neighbours_stay_neighbours(vocab_size):
    """Words rise with the characters, so each half is a range of the vocabulary."""
    assert (np.diff(make_code(vocab_size).words.astype(np.int64)) > 0).all()

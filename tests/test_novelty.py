"""The longest piece that a text has copied: every piece tried, as a witness."""

import random
from time import perf_counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrnn.data import text as texts
from jaxrnn.scoring import novelty
from jaxrnn.scoring.novelty import LENGTHS, Copied, Segment, find_copied

SEGMENTS = st.lists(st.builds(Segment, st.text("ab\n", max_size=80), st.integers(1, 9)), max_size=3)


def longest_of_all(text, segments):
    for length in range(len(text), 0, -1):
        for start in range(len(text) - length + 1):
            piece = text[start : start + length]
            for segment in segments:
                if piece in segment.text:
                    return Copied(piece, start, segment.line + segment.text[: segment.text.index(piece)].count("\n"))
    return Copied("", 0, 0)


@settings(deadline=None, max_examples=150)
@given(SEGMENTS, st.lists(st.text("abc\nd", max_size=30), max_size=3), st.randoms(use_true_random=False))
def test_it_is_the_longest_of_all_pieces(segments, written, random):
    source = "".join(segment.text for segment in segments)
    for i, text in enumerate(written):  # something long enough to be hashed
        start = random.randrange(len(source) + 1)
        written[i] = text + source[start : start + random.randrange(90)] + text
    assert find_copied(written, segments) == [longest_of_all(text, segments) for text in written]


def test_a_piece_over_the_edge_of_two_parts_is_found(monkeypatch):
    monkeypatch.setattr(novelty, "PART", 100)
    source = "".join(random.Random(0).choices("abcdefgh", k=1_000))
    for start in (0, 30, 99, 930):
        text = "x" + source[start : start + 70] + "y"
        assert find_copied([text], [Segment(source, 1)]) == [Copied(source[start : start + 70], 1, 1)]


def test_a_piece_does_not_go_on_in_the_next_segment():
    assert find_copied(["abcd"], [Segment("xab", 1), Segment("cdx", 7)]) == [Copied("ab", 0, 1)]
    assert find_copied(["bcd"], [Segment("xab", 1), Segment("\ncdx", 7)]) == [Copied("cd", 1, 8)]


def test_hashes_exclude_no_piece_that_is_there(monkeypatch):
    """All hashes equal: every piece is searched for, and the result is the same."""
    source = texts.read("comedie")[:3_000]
    written = [source[500:540] + source[100:130], "bonjour", ""]
    expected = find_copied(written, [Segment(source, 1)])
    hashed = novelty._hash_pieces(source)
    assert list(hashed) == list(LENGTHS)
    monkeypatch.setattr(
        novelty, "_hash_pieces", lambda text: {size: np.zeros(max(0, len(text) - size + 1), np.uint64) for size in LENGTHS}
    )
    assert find_copied(written, [Segment(source, 1)]) == expected
    assert expected[0].piece == source[500:540]


def test_a_long_text_is_searched_in_seconds():
    choose = random.Random(0)
    source = texts.read("comedie") * 20  # 1.7 million characters
    written = "".join(source[(at := choose.randrange(80_000)) : at + choose.randint(3, 25)] for _ in range(40))[:500]
    begun = perf_counter()
    (copied,) = find_copied([written], [Segment(source, 1)])
    assert perf_counter() - begun < 10  # about one on an idle machine
    assert copied.piece in written
    assert copied.piece in source

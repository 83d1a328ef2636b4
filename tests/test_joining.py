"""Texts that are joined, and the documents in them, against the same done on whole strings."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data import joining, reading, splitting, text
from jaxrnn.errors import InputError

sizes = st.integers(1, 7)  # of a part: borders everywhere
whole_texts = st.lists(st.text(st.sampled_from("ab\n=%")), min_size=1, max_size=4)
SEPARATORS = ["", "=", "==", "%a", r"\n%\n", r"\n=", r"=\n", r"\n", r"\n\n", "\n=\n", r"a\tb"]


def documents_of(whole, separator):
    """The documents of a whole text, line by line where the separator is one."""
    wanted = separator.replace(r"\n", "\n").replace(r"\t", "\t")
    if not wanted:
        return [whole]
    if not wanted.strip("\n"):
        return re.split("\n" * len(wanted) + "\n*", whole)
    if wanted[0] == "\n" == wanted[-1]:  # a whole line
        lines = re.findall(r"[^\n]*\n|[^\n]+", whole)
        is_border = [line.removesuffix("\n") == wanted.strip("\n") for line in lines]
        return ["".join(group) for border, group in groups(lines, is_border) if not border]
    before = r"(?m:^)" if wanted[0] == "\n" else ""
    after = r"(?:\n|\Z)" if wanted[-1] == "\n" else "\n?"
    return re.split(before + re.escape(wanted.strip("\n")) + after, whole)


def groups(lines, is_border):
    for border, group in itertools.groupby(zip(lines, is_border, strict=True), lambda pair: pair[1]):
        yield border, [line for line, _ in group]


def joined_whole(texts, separator):
    """The joined text and its starts."""
    found = [document for whole in texts for document in documents_of(whole, separator) if document]
    if len(found) > 1:
        found = [document if document.endswith("\n") else f"{document}\n" for document in found]
    starts = [sum(map(len, found[:number])) for number in range(len(found))]
    return "".join(found), starts


def joined(texts, separator, size):
    parts = joining.join_texts([reading.cut_parts(each, size) for each in texts], len(texts), separator)
    characters, starts, last = "", [], False
    for part in parts:
        starts += [len(characters) + start for start in part.starts]
        characters += part.characters
        last = part.is_last
    assert last
    return characters, starts


@given(whole_texts, st.sampled_from(SEPARATORS), sizes)
def test_texts_in_parts_are_joined_as_whole_ones(texts, separator, size):
    assert joined(texts, separator, size) == joined_whole(texts, separator)


@given(whole_texts, st.sampled_from(SEPARATORS), sizes, st.integers(0, 12))
def test_ids_digest_and_sizes_are_those_of_the_joined_text(texts, separator, size, most):
    whole, starts = joined_whole(texts, separator)
    used = whole[: most or None]
    parts = joining.join_texts([reading.cut_parts(each, size) for each in texts], len(texts), separator)
    coded = reading.code_parts(parts, 0, most)
    assert "".join(coded.characters[i] for i in coded.ids) == used
    assert coded.starts.tolist() == ([start for start in starts if start < len(used)] or [0])
    assert sum(coded.sizes) == len(used)
    if len(coded.starts) == 1:
        assert coded.sha256 == text.hash_text(used)


@given(st.lists(st.text(st.sampled_from("ab\n"), min_size=1), min_size=2, max_size=4), sizes)
def test_texts_equal_one_text_with_separators(texts, size):
    """Whether the separator is a line of its own or stands at the end of one."""
    as_lines = "".join(f"{each if each.endswith(chr(10)) else each + chr(10)}=\n" for each in texts)
    assert joined(texts, "", size) == joined([as_lines], "=", size)
    assert joined(texts, "", size) == joined(["=\n".join(texts)], "=", size)


def coded(*texts):
    return reading.code_parts(joining.join_texts([reading.cut_parts(each) for each in texts], len(texts)), 10)


def test_the_digest_says_where_documents_begin():
    digests = {coded(*texts).sha256 for texts in [("a\nb\nc\n",), ("a\n", "b\nc\n"), ("a\nb\n", "c\n"), ("a", "b", "c")]}
    assert len(digests) == 4
    assert coded("a", "b", "c").sha256 == coded("a\n", "", "b\n", "c").sha256
    assert coded("a", "").sha256 == coded("a").sha256 == text.hash_text("a")


@pytest.mark.parametrize(
    ("separator", "documents"),
    [
        ("<|end|>", ["one\n", "two\n", "three\n"]),
        (r"\n<|end|>\n", ["one<|end|>two\n", "three\n"]),
        (r"\n<|end|>", ["one<|end|>two\n", "three\n"]),
        (r"\n\n", ["one<|end|>two\n<|end|>\nthree\n"]),
        (r"\n", ["one<|end|>two\n", "<|end|>\n", "three\n"]),
    ],
)
def test_a_separator_is_a_line_or_a_mark(separator, documents):
    whole = "one<|end|>two\n<|end|>\nthree\n"
    characters, starts = joined([whole], separator, 100)
    if len(documents) == 1:
        assert (characters, starts) == (documents[0], [0])
    else:
        assert [characters[a:b] for a, b in itertools.pairwise([*starts, len(characters)])] == documents


documents_lengths = st.lists(st.integers(1, 60), min_size=1, max_size=30)


@given(documents_lengths, st.sampled_from([0.0, 0.01, 0.1, 0.3]), st.sampled_from([0.0, 0.01, 0.1, 0.5]), st.integers(1, 8))
def test_parts_consist_of_whole_documents(lengths, validation, heldout, num_pieces):
    starts, num_characters = np.cumsum([0, *lengths[:-1]]), sum(lengths)
    num_parts = 1 + (validation > 0) + (heldout > 0)
    if 1 < len(lengths) < num_parts:
        with pytest.raises(InputError, match=rf"^a text of {len(lengths)} documents cannot be cut into a training, a"):
            splitting.place_parts(num_characters, starts, validation, heldout, num_pieces)
        return
    places = splitting.place_parts(num_characters, starts, validation, heldout, num_pieces)
    whole = np.arange(num_characters)
    parts, found = splitting.cut(whole, places), splitting.count_parts(places)
    assert tuple(map(len, parts)) == found
    assert sorted(np.concatenate(parts)) == whole.tolist()
    if len(lengths) > 1:
        number = np.repeat(np.arange(len(lengths)), lengths)  # of the document of each character
        of_parts = [set(number[part].tolist()) for part in parts]
        assert sum(map(len, of_parts)) == len(set.union(*of_parts))
        assert [bool(of_part) for of_part in of_parts] == [True, validation > 0, heldout > 0]
        assert 1 <= len(places.pieces) <= num_pieces
        assert splitting.before_heldout(parts, places.pieces, num_characters).tolist() == whole[: places.end].tolist()
        wanted = num_characters - round(num_characters * heldout)
        if heldout:  # no other border would be nearer
            allowed = starts[1 + (validation > 0) :]
            assert abs(places.end - wanted) == np.abs(allowed - wanted).min()


def test_even_documents_are_cut_like_one_text():
    starts = np.arange(0, 1_000, 10)
    places = splitting.place_parts(1_000, starts, 0.2, 0.1, 4)
    assert places == splitting.place_parts(1_000, starts[:1], 0.2, 0.1, 4)._replace(pieces=places.pieces)
    assert (len(places.pieces), *splitting.count_parts(places)) == (4, 700, 200, 100)


def test_there_are_fewer_pieces_if_documents_are_long():
    """Six pieces of 17 characters are wanted; two are as many as none of which is empty."""
    starts = np.array([0, 100, 180, 200, 300, 380, 400, 500])
    assert splitting.place_parts(600, starts, 100 / 600, 100 / 600, 6).pieces == ((100, 180), (380, 400))
    assert splitting.place_parts(600, starts, 20 / 600, 100 / 600, 6).pieces == ((400, 500),)

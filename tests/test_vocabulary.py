import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data import vocabulary
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError

texts = st.text(min_size=1)


@given(texts)
def test_decoding_inverts_encoding(text):
    known = vocabulary.of_text(text)
    ids = vocabulary.encode(known, text)
    assert ids.dtype == np.int32
    assert vocabulary.decode(known, ids) == text


@given(texts)
def test_ids_are_in_the_order_of_code_points(text):
    known = vocabulary.of_text(text)
    assert list(known.characters) == sorted(set(text), key=ord)
    assert [known.characters[i] for i in vocabulary.encode(known, text)] == list(text)


@given(texts)
def test_json_gives_the_same_vocabulary(text):
    known = vocabulary.of_text(text)
    assert vocabulary.vocabulary_from_json(json.loads(json.dumps(vocabulary.vocabulary_to_json(known)))) == known


def test_characters_that_come_seldom_are_merged():
    known = vocabulary.of_text("abcd")
    ids = vocabulary.encode(known, "ababbcd")
    assert vocabulary.merge_rare(known, ids, 2) == Vocabulary("abcd", "cd")
    assert vocabulary.merge_rare(known, ids, 1) == known
    assert vocabulary.merge_rare(vocabulary.of_text("abc"), ids[:6], 2) == Vocabulary("abc")  # a single one is not


def test_merged_characters_are_the_last_class():
    known = Vocabulary("abcdef", "bef")
    assert vocabulary.class_ids(known).tolist() == [0, 3, 1, 2, 3, 3]
    assert vocabulary.class_representatives(known) == "acdb"
    assert vocabulary.class_ids(Vocabulary("abc")).tolist() == [0, 1, 2]
    assert vocabulary.class_representatives(Vocabulary("abc")) == "abc"


def test_json_knows_which_characters_are_merged_and_is_as_before_without():
    known = Vocabulary("abcdef", "bef")
    assert vocabulary.vocabulary_from_json(json.loads(json.dumps(vocabulary.vocabulary_to_json(known)))) == known
    assert vocabulary.vocabulary_to_json(Vocabulary("abc")) == "abc"


@pytest.mark.parametrize("rare", ["ba", "ax", 3, ["a"]])
def test_what_cannot_be_merged_is_an_error(rare):
    with pytest.raises(InputError, match="the rare characters of its vocabulary"):
        vocabulary.vocabulary_from_json({"characters": "abc", "rare": rare})


@pytest.mark.parametrize("wrong", ["ba", "aa", "", [1], 3, None, {"rare": "ab"}])
def test_what_is_no_vocabulary_is_an_error(wrong):
    with pytest.raises(InputError, match="is not a string of distinct characters"):
        vocabulary.vocabulary_from_json(wrong)


@pytest.mark.parametrize(
    ("text", "said"), [("abÜ", r"'Ü' \(U\+00DC\) at position 2"), ("\ta", r"'\\t' \(U\+0009\) at position 0")]
)
def test_an_unknown_character_is_named(text, said):
    with pytest.raises(InputError, match=f"{said} is not one of the 2"):
        vocabulary.encode(vocabulary.of_text("ab"), text)


def test_an_empty_text_has_no_vocabulary():
    with pytest.raises(InputError, match="empty"):
        vocabulary.of_text("")


def test_bytes_that_are_no_text_are_unknown_characters():
    with pytest.raises(InputError, match=r"U\+DCFF"):
        vocabulary.encode(vocabulary.of_text("ab"), "a\udcff")


def test_unknown_characters_can_be_left_out():
    assert vocabulary.drop_unknown(vocabulary.of_text("ab"), "aÜb€") == "ab"

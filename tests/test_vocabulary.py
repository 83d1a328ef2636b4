import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn import vocabulary
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
    assert vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json(known)))) == known


@pytest.mark.parametrize("wrong", ["ba", "aa", "", [1], 3, None])
def test_what_is_no_vocabulary_is_an_error(wrong):
    with pytest.raises(InputError, match="is not a string of distinct characters"):
        vocabulary.from_json(wrong)


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
    assert vocabulary.without_unknown(vocabulary.of_text("ab"), "aÜb€") == "ab"

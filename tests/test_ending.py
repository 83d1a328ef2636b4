"""Where a text that is being drawn ends: a witness that has the whole text, and any division into pieces."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.scoring.ending import MOST_MORE, Limits, Passage, check_stop, extend, unescape, until_end

ENDLESS = " " + "x" * 2 * MOST_MORE  # after the text, so that there is always enough


def end_of(text, limits):
    """The same, one character after the other, looking back at the whole text."""
    for end in range(len(text)):
        drawn = text[:end]
        if limits.stop and drawn.endswith(limits.stop):
            return text[: end - len(limits.stop)], end
        at_word = drawn[-1:].isspace() or text[end].isspace() or end >= limits.length + MOST_MORE
        if end >= limits.length and (limits.exact_length or not limits.length or at_word):
            return drawn, end
    raise AssertionError("the text is too short")


@given(
    st.text("ab \n", max_size=60),
    st.integers(0, 50),
    st.text("ab \n", max_size=4),
    st.booleans(),
    st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
)
@example("a" * 20, 5, "", False, [3])
@example("a" * 70, 5, "aab", False, [7])
@example("abab", 4, "abb", True, [1])
def test_a_text_ends_where_it_ends_as_a_whole_however_it_is_divided(text, length, stop, exact, sizes):
    limits, text = Limits(length, stop, exact), text + ENDLESS + ENDLESS
    passage, shown, begin, number = extend(Passage(), "", limits), "", 0, 0
    while not passage.has_ended:
        size = sizes[number % len(sizes)]
        passage = extend(passage, text[begin : begin + size], limits)
        shown += passage.new
        begin, number = begin + size, number + 1
        assert passage.num_shown == len(shown)
    assert (shown, passage.num_read) == end_of(text, limits)
    assert "".join(until_end(iter(text), limits)) == shown


def test_only_what_may_begin_the_stop_text_is_held_back():
    limits = Limits(100, "END")
    for piece, new in (("abc", "abc"), ("abE", "ab"), ("abEN", "ab"), ("EEN", "E"), ("ENE", "EN")):
        assert extend(Passage(), piece, limits).new == new


@pytest.mark.parametrize(
    ("typed", "meant"), [(r"a\nb", "a\nb"), (r"\t", "\t"), (r"\\n", r"\n"), (r"\x", r"\x"), ("\\", "\\"), ("é", "é")]
)
def test_a_stop_text_can_be_typed(typed, meant):
    assert unescape(typed) == meant


def test_a_stop_text_that_cannot_be_drawn_is_an_error():
    check_stop(Vocabulary("\nab"), "ab\n", "--stop")
    with pytest.raises(InputError, match=r"^--stop: character 'c' .* no text would end there$"):
        check_stop(Vocabulary("\nab"), "abc", "--stop")

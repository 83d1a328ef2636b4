import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.streams import count_updates, read_block, to_streams
from jaxrnn.errors import InputError


def test_one_stream_is_the_text_without_a_streams_axis():
    ids = np.arange(10, dtype=np.int32)
    assert to_streams(ids).shape == (10,)
    assert count_updates(to_streams(ids), 1) == 9


@given(st.integers(2, 6), st.integers(7, 60))
def test_streams_are_contiguous_parts_that_predict_each_character_once(num_streams, length):
    ids = np.arange(length, dtype=np.int32)
    stream = to_streams(ids, num_streams)
    assert stream.shape[1] == num_streams
    assert (np.diff(stream, axis=0) == 1).all()
    predicted = stream[1:].T.ravel()
    assert predicted.tolist() == list(range(1, 1 + len(predicted)))
    assert length - 1 - len(predicted) < num_streams


def test_too_few_characters_for_the_streams_is_an_error():
    with pytest.raises(InputError, match="3 characters are too few for 3 streams: at least 4 are needed, or at most 2 streams"):
        to_streams(np.zeros(3, np.int32), 3)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_what_is_read_is_a_function_of_the_step_number(length):
    stream = jnp.arange(8)
    reading = jax.jit(read_block, static_argnums=2)
    for step in range(20):
        start = step % (7 // length) * length
        x, y = reading(stream, jnp.int32(step), length)
        assert x.tolist() == list(range(start, start + length))
        assert y.tolist() == list(range(start + 1, start + 1 + length))

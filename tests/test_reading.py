"""A text that is read in parts is the text that is read whole."""

import hashlib
import io
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data import reading, streams, text, vocabulary
from jaxrnn.errors import InputError

sizes = st.integers(1, 7)  # of a part: borders everywhere
texts = st.text(st.sampled_from("ab\r\n\ufeffé’😀\x00ÿĀ") | st.characters(exclude_categories=["Cs"]), min_size=1)


def read(data, size, most=0, known=""):
    return reading.code_parts(reading.decode_parts(io.BytesIO(data), "x", size), len(data), most, known)


@given(texts, sizes, st.integers(0, 20), st.text("éz€", max_size=3))
def test_a_text_in_parts_has_the_ids_and_the_digest_of_the_whole(written, size, most, known):
    data = written.encode()
    whole = text.normalise_newlines(written)
    used = whole[: most or None]
    coded = read(data, size, most, known)
    assert coded.characters == "".join(sorted({*used, *known}))
    assert coded.sha256 == text.hash_text(used)
    assert coded.num_characters in ((len(whole),) if len(used) == len(whole) and not most else (len(whole), None))
    assert "".join(coded.characters[i] for i in coded.ids) == used
    if coded.characters:
        expected = vocabulary.encode(vocabulary.Vocabulary(coded.characters), used)
        np.testing.assert_array_equal(coded.ids, expected)
    assert coded.ids.dtype == reading.smallest_type(len(coded.characters))


@given(texts, sizes)
def test_a_string_and_a_file_are_read_alike(written, size):
    whole = text.normalise_newlines(written)
    of_string = reading.code_parts(reading.cut_parts(whole, size), len(whole))
    of_file = read(written.encode(), size)
    np.testing.assert_array_equal(of_string.ids, of_file.ids)
    assert of_string[1:] == of_file[1:]


@given(
    st.binary(max_size=12) | st.lists(st.sampled_from(["é".encode(), b"\xe2\x80", b"\xf0\x9f", b"a", b"\xff"])).map(b"".join),
    sizes,
)
def test_what_is_not_utf8_is_named_as_by_the_whole(data, size):
    try:
        whole = text.normalise_newlines(data.decode())
    except UnicodeDecodeError as error:
        with pytest.raises(InputError, match=f"byte 0x{data[error.start]:02X} at offset {error.start} is not valid"):
            read(data, size)
    else:
        assert "".join(part.characters for part in reading.decode_parts(io.BytesIO(data), "x", size)) == whole


@pytest.mark.parametrize(("num_distinct", "dtype"), [(2, "u1"), (256, "u1"), (257, "u2"), (65_536, "u2"), (65_537, "i4")])
def test_ids_have_the_smallest_type(num_distinct, dtype):
    distinct = [chr(code) for code in range(0x10FFFF, 0x10FFFF - num_distinct, -1)]  # the last one comes first
    coded = read("".join(distinct + distinct[:3]).encode(), 1000)
    assert coded.ids.dtype == np.dtype(dtype)
    assert coded.ids.tolist() == [
        *range(num_distinct - 1, -1, -1),
        *range(num_distinct - 1, num_distinct - 1 - min(3, num_distinct), -1),
    ]


def test_nothing_is_read_after_the_characters_in_use(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"abc" * reading.PART + b"\xff")
    coded = text.read_ids(str(path), 1_000)
    assert (len(coded.ids), coded.num_characters) == (1_000, None)
    assert coded.sha256 == hashlib.sha256(b"abc" * 333 + b"a").hexdigest()
    with pytest.raises(InputError, match=f"byte 0xFF at offset {3 * reading.PART} is not valid"):
        text.read_ids(str(path))


def test_characters_are_counted(tmp_path):
    (tmp_path / "x.txt").write_bytes("\ufeffé\r\n".encode() * 3)
    assert text.count_characters(str(tmp_path / "x.txt")) == 8


MEASURE = """
import resource, sys
from jaxrnn.data import streams, text
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stream = streams.to_streams(text.read_ids(sys.argv[1]).ids, 32)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / stream.size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs elsewhere")
@pytest.mark.parametrize("line", ["Le petit chat est mort.\n", "Le petit œuf est cassé.\n"])
def test_a_text_and_its_streams_take_two_bytes_a_character(tmp_path, line):
    (tmp_path / "x.txt").write_bytes(line.encode() * 2_000_000)
    bytes_each = subprocess.check_output([sys.executable, "-c", MEASURE, tmp_path / "x.txt"], text=True)
    assert float(bytes_each) < 2.6, bytes_each  # parts and the table take 20 MB


@pytest.mark.parametrize("num_streams", [1, 3, 7])
def test_streams_keep_the_type_and_the_numbers_of_an_update(num_streams):
    ids = np.random.default_rng(0).integers(0, 5, 200, np.uint8)
    narrow, wide = (streams.to_streams(of, num_streams) for of in (ids, ids.astype(np.int32)))
    assert (narrow.dtype, wide.dtype) == (np.uint8, np.int32)
    reading_block = jax.jit(streams.read_block, static_argnums=2)
    for blocks in zip(*(reading_block(jnp.asarray(of), jnp.int32(2), 4) for of in (narrow, wide)), strict=True):
        assert [block.dtype for block in blocks] == [jnp.int32] * 2
        np.testing.assert_array_equal(*blocks)

import bz2
import itertools
import os
import socket
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data import splitting, text
from jaxrnn.errors import InputError


def test_line_ends_become_newlines_and_the_mark_is_dropped():
    assert text.normalise("\ufeffà\r\nb\rc\n".encode(), "x") == "à\nb\nc\n"


@pytest.mark.parametrize(("mark", "offset"), [(b"", 4), (b"\xef\xbb\xbf", 7)])
def test_not_utf8_names_the_offset(mark, offset):
    with pytest.raises(InputError, match=f"byte 0xE9 at offset {offset} "):
        text.normalise(mark + "caf é".encode("latin-1"), "x")


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_text_is_an_error(data):
    with pytest.raises(InputError, match="is empty"):
        text.normalise(data, "x")


def test_a_file_is_read_by_its_path(tmp_path):
    (tmp_path / "a.txt").write_bytes("Été.\r\n".encode())
    assert text.read(str(tmp_path / "a.txt")) == "Été.\n"


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("Oui.", encoding="utf-8")
    assert text.read("~/a.txt") == "Oui."


def test_missing_files_and_folders_are_errors(tmp_path):
    with pytest.raises(InputError, match="neither a file nor one of the known names comedie, moliere, shakespeare"):
        text.read(str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match=r"^no text in the folder '.*': it holds nothing$"):
        text.read(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("fifo", "a pipe"), ("socket", "a socket"), ("/dev/zero", "a device"), ("/dev/null", "a device"), ("link", "a pipe")],
)
def test_what_is_no_regular_file_is_refused_and_not_read(folder, name, kind):
    os.mkfifo("fifo")  # without a writer, to open it would take forever
    (folder / "link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(InputError, match=f"^text '{name}' is {kind}.*save it to a file first"):
            text.read(name)


def test_a_pipe_that_has_a_writer_is_refused_too(folder):
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, b"Bonjour.\n")
        with pytest.raises(InputError, match=r"^text '/dev/fd/[0-9]+' is a pipe, and a text is read more than once"):
            text.read(f"/dev/fd/{read_end}")  # as the shell's <(command)
    finally:
        os.close(read_end)
        os.close(write_end)


def test_the_course_splits_45000_to_5000():
    parts = splitting.split(np.zeros(50_000, np.uint8), 0.0, 0.1)
    assert [len(part) for part in parts] == [45_000, 0, 5_000]


@given(st.integers(0, 1_000), st.floats(0, 0.49), st.floats(0, 0.49))
def test_parts_are_the_text(num_characters, validation, heldout):
    whole = np.arange(num_characters)
    assert np.concatenate(splitting.split(whole, validation, heldout)).tolist() == whole.tolist()


@given(st.integers(0, 3_000), st.floats(0, 0.49), st.floats(0, 0.49), st.integers(1, 20))
def test_each_character_is_in_exactly_one_part(num_characters, validation, heldout, num_pieces):
    whole = np.arange(num_characters)  # as if all characters differed
    parts = splitting.split(whole, validation, heldout, num_pieces)
    assert sorted(np.concatenate(parts)) == whole.tolist()
    assert all(sorted(part) == part.tolist() for part in parts)
    assert tuple(map(len, parts)) == splitting.split_lengths(num_characters, validation, heldout)
    assert parts.heldout.tolist() == whole[num_characters - len(parts.heldout) :].tolist()
    assert whole.tolist() == list(range(num_characters))


@given(st.integers(1, 1_000), st.floats(0, 0.49), st.floats(0, 0.49), st.integers(1, 20), st.integers(1, 1_100))
def test_what_stands_before_the_heldout_part_is_put_in_order(num_characters, validation, heldout, num_pieces, most):
    """The last characters of it, however many pieces the validation part was cut into."""
    whole = np.arange(num_characters)
    parts = splitting.split(whole, validation, heldout, num_pieces)
    places = splitting.place_validation(splitting.Lengths(*map(len, parts)), num_pieces)
    expected = whole[: num_characters - len(parts.heldout)][-most:]
    assert splitting.before_heldout(parts, places, most).tolist() == expected.tolist()


@given(st.integers(2, 20), st.integers(100, 3_000), st.integers(0, 500))
def test_pieces_of_the_validation_part_are_even_and_stand_among_the_training_part(num_pieces, num_train, num_validation):
    pieces = splitting.place_validation(splitting.Lengths(num_train, num_validation, 10), num_pieces)
    sizes, gaps = ([b - a for a, b in pieces], [b - a for (_, a), (b, _) in itertools.pairwise(pieces)])
    before, after = pieces[0][0], num_train + num_validation - pieces[-1][1]
    assert (sum(sizes), before + sum(gaps) + after) == (num_validation, num_train)
    for equal in (sizes, gaps, [before, after]):
        assert max(equal) - min(equal) <= 1
    assert after >= num_train // (2 * num_pieces)  # the end is trained on


@pytest.mark.parametrize(("lengths", "place"), [((45_000, 2_500, 2_500), (45_000, 47_500)), ((90, 0, 10), (90, 90))])
def test_one_piece_stands_before_the_held_out_part(lengths, place):
    assert splitting.place_validation(splitting.Lengths(*lengths), 1) == [place]


def test_comedie_is_real_writing():
    play = text.read("comedie")
    lines = play.split("\n")
    assert len(play) >= 60_000
    assert 2.3 <= len(bz2.compress(play[:60_000].encode(), 9)) * 8 / 60_000 <= 2.9
    assert max(Counter(line for line in lines if len(line) > 40).values()) == 1
    assert max(map(len, lines)) <= 72


def test_comedie_has_the_layout_of_the_course():
    paragraphs = text.read("comedie").rstrip("\n").split("\n\n")
    speakers = paragraphs[::2]
    assert all(speaker == speaker.upper() and speaker.endswith(".") and len(speaker) < 20 for speaker in speakers)
    assert not any(paragraph in speakers for paragraph in paragraphs[1::2])
    assert len(paragraphs) % 2 == 0

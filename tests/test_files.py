"""What names of texts stand for, and how each is opened."""

import bz2
import gzip
import io
import lzma
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxrnn.data import files, text
from jaxrnn.errors import InputError

WRITE = {".txt": lambda data: data, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def read_all(names, encoding="utf-8"):
    """Each text by name, read in parts."""
    return {name: "".join(part.characters for part in parts) for name, parts in files.read_files(names, encoding)}


def with_stdin(monkeypatch, file, is_terminal=False):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=file, closed=False, isatty=lambda: is_terminal))


@pytest.fixture
def letters(folder):
    """A folder of three texts, and of what is none."""
    (folder / "letters" / "sub").mkdir(parents=True)
    (folder / "letters" / ".git").mkdir()
    for name in ("b.txt", "sub/c.txt", ".git/config", ".hidden"):
        (folder / "letters" / name).write_text(f"{name}\n", "utf-8")
    (folder / "letters" / "a.txt.gz").write_bytes(gzip.compress(b"a\r\n"))
    (folder / "letters" / "picture.png").write_bytes(b"\x89PNG\0\0")
    (folder / "letters" / "none.txt").touch()
    (folder / "letters" / "broken").symlink_to("nowhere")
    (folder / "letters" / "up").symlink_to("..")
    os.mkfifo(folder / "letters" / "pipe")
    return folder


def test_a_folder_stands_for_the_texts_in_it_sorted_by_path_and_says_what_it_skips(letters):
    assert read_all(["letters"]) == {"letters/a.txt.gz": "a\n", "letters/b.txt": "b.txt\n", "letters/sub/c.txt": "sub/c.txt\n"}
    skipped = files.find_files(["letters"]).skipped
    assert sorted(skipped) == sorted(
        [
            "letters/broken (a broken link)",
            "letters/none.txt (empty)",
            "letters/picture.png (not a text)",
            "letters/pipe (a pipe)",
            "letters/up (a link to a folder)",
            "2 hidden files",
        ]
    )


def test_a_pattern_stands_for_the_files_that_it_matches(letters):
    assert files.find_files(["letters/*.txt"]).files == ("letters/b.txt", "letters/none.txt")
    found = tuple(f"{letters}/letters/{name}" for name in ("b.txt", "none.txt", "sub/c.txt"))
    assert files.find_files([f"{letters}/letters/**/*.txt"]).files == found  # and not again behind the link
    (letters / "[1].txt").write_text("x")
    assert files.find_files(["[1].txt"]).files == ("[1].txt",)  # a file of that name


def test_names_keep_their_order_and_may_be_given_twice(letters):
    names = ["letters/sub", "comedie", "letters/b.txt", "letters/b.txt"]
    assert files.find_files(names).files == ("letters/sub/c.txt", "comedie", "letters/b.txt", "letters/b.txt")
    assert read_all(["comedie"])["comedie"] == text.read("comedie")


def test_a_file_may_have_the_name_of_a_known_text_or_of_standard_input(folder):
    for name in ("comedie", "-"):
        (folder / name).write_text("mine")
        assert read_all([f"./{name}"]) == {f"./{name}": "mine"}
    assert files.find_files(["."]).files == ("./-", "./comedie")


@pytest.mark.parametrize("suffix", WRITE)
def test_a_file_is_decompressed_by_its_suffix(folder, suffix):
    (folder / f"x{suffix}").write_bytes(WRITE[suffix]("Été.\r\n".encode() * 400_000))
    assert text.read(f"x{suffix}") == "Été.\n" * 400_000
    assert len(text.read_ids(f"x{suffix}").ids) == 5 * 400_000


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_archive_is_one_line(folder, suffix, damage):
    data = WRITE[suffix](os.urandom(3_000).hex().encode())
    flipped = data[:1000] + bytes([data[1000] ^ 255]) + data[1001:]
    (folder / f"x{suffix}").write_bytes({"cut": data[:-100], "flipped": flipped, "other": b"plain text"}[damage])
    with pytest.raises(InputError, match=rf"^text 'x{suffix}' cannot be decompressed \([^\n]*\); is it damaged\?$"):
        text.read(f"x{suffix}")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "cp1252", "utf_32_be"])
def test_a_text_may_have_any_encoding_of_python(folder, encoding):
    (folder / "x.txt").write_bytes("Été.\r\nœ".replace("œ", "" if encoding == "latin-1" else "œ").encode(encoding))
    assert text.read("x.txt", encoding) == f"Été.\n{'' if encoding == 'latin-1' else 'œ'}"
    Path("d").mkdir()
    (folder / "x.txt").rename("d/x.txt")
    assert files.find_files(["d"], encoding).files == ("d/x.txt",)  # the zeros of UTF-16 are no sign of another format


@pytest.mark.parametrize("encoding", ["utf9", "rot13", "base64", "", "\0", "zip"])
def test_an_unknown_encoding_is_one_line(folder, encoding):
    with pytest.raises(InputError, match=r"^--encoding '.*' is unknown; use one of Python's text encodings, such as utf-8"):
        files.find_files(["comedie"], encoding)


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (b"caf\xe9 au", "utf-8", "is not UTF-8: byte 0xE9 at offset 3 is not valid; give its --encoding"),
        (b"caf\xe9 au", "ascii", "is not ascii: byte 0xE9 at offset 3 is not valid; give another --encoding"),
        (b"abc", "utf-16-le", "is not utf-16-le: byte 0x63 at offset 2 is not valid"),
        (b"a" * 2**20 + b"\x81 ", "shift_jis", f"at offset {2**20} is not valid"),
        (b"abc", "utf-16", "is not utf-16: "),
    ],
)
def test_what_cannot_be_decoded_names_the_file_and_the_offset(folder, data, encoding, said):
    (folder / "x.txt").write_bytes(data)
    with pytest.raises(InputError) as error:
        text.read("x.txt", encoding)
    assert str(error.value).startswith("text 'x.txt' is not ")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["empty"], "no text in the folder 'empty': it holds nothing"),
        (["pictures"], "no text in the folder 'pictures': it holds nothing besides pictures/x.png (not a text), 1 hidden file"),
        (["*.doc"], "no text '*.doc': no file matches this pattern"),
        (["comedie", "missing.txt"], "no text 'missing.txt': neither a file nor one of the known names comedie, "),
        (["missing/"], "no text 'missing"),
        (["-", "-"], "standard input, `-`, is given twice, and can be read only once"),
        (["~nobody-here/x"], "there is no home folder '~nobody-here'"),
    ],
)
def test_what_is_not_there_is_one_line_before_anything_is_read(folder, monkeypatch, names, said):
    with_stdin(monkeypatch, io.BytesIO())
    (folder / "empty").mkdir()
    (folder / "pictures").mkdir()
    (folder / "pictures" / "x.png").write_bytes(b"\0")
    (folder / "pictures" / ".x").write_bytes(b"\0")
    with pytest.raises(InputError) as error:
        files.read_files(names)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_standard_input_must_be_there(monkeypatch):
    with_stdin(monkeypatch, io.BytesIO(), is_terminal=True)
    with pytest.raises(InputError, match="is a terminal; pipe a text into it, or name a file"):
        files.read_files(["-"])
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="is closed"):
        files.read_files(["-"])


def test_standard_input_is_read_as_it_arrives(monkeypatch):
    """Each line is there before the next one is written; a CR ends a line at once, and its LF adds none."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as source:
        with_stdin(monkeypatch, source)
        ((_, parts),) = files.read_files(["-"])
        for written, expected in [(b"\xef\xbb\xbfone\n", "one\n"), (b"tw\xc3", "tw"), (b"\xa9\r", "é\n"), (b"\nlast", "last")]:
            os.write(write_end, written)
            assert next(parts) == (expected, False, (), 0)
        os.close(write_end)
        assert [part.is_last for part in parts] == [True]


def test_files_are_opened_one_at_a_time(folder):
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b")
    reading = files.read_files(["a.txt", "b.txt"])
    assert "".join(part.characters for part in next(reading).parts) == "a"
    (folder / "b.txt").unlink()
    with pytest.raises(InputError, match=r"^no text 'b\.txt'"):
        list(next(reading).parts)


@pytest.mark.parametrize(
    ("names", "title", "stem"),
    [
        ("docs/a.txt", "a.txt", "a"),
        (("docs/a.txt.gz", "b", "c"), "a.txt.gz and 2 more", "a-and-2-more"),
        ("docs/", "docs", "docs"),
        ("docs/*.txt", "*.txt", "docs"),
        ("*.txt", "*.txt", "texts"),
        ("comedie", "comedie", "comedie"),
    ],
)
def test_names_have_a_title_and_a_stem(folder, names, title, stem):
    assert (files.title(names), files.stem(names)) == (title, stem)


def test_lists_are_short():
    assert files.list_names([f"{number}" for number in range(27)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 17 more"
    assert files.list_names(["a", "b"]) == "a, b"
    assert files.shorten(["/x/y/a.txt", "/x/z/b.txt", "comedie"]) == ["y/a.txt", "z/b.txt", "comedie"]

"""Strings, files and patterns that Python hands over as a text: which documents they become."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from test_several_texts import PIECES, assert_same, here, runs, write_letters

import jaxrnn
from jaxrnn.config import build
from jaxrnn.config.resolve import resolve
from jaxrnn.errors import InputError
from jaxrnn.runs import api
from jaxrnn.storage import checkpoint

__all__ = ["here", "runs"]  # fixtures

QUICK = {"hidden_size": 8, "sample_length": 30, "epochs": 1, "updates_per_call": 500, "max_characters": 0, "show": False}


def test_any_iterable_of_strings_is_a_text_whose_strings_are_documents(here):
    run = jaxrnn.fit(iter(PIECES), **QUICK, run_dir="fitted")
    assert_same("fitted", "folder")
    assert run.sha256 == checkpoint.load_run("folder").about["text"]["sha256"]
    files = [Path("letters/a.txt"), Path("letters/b.txt.gz"), Path("letters/sub/c.txt")]
    assert jaxrnn.fit(files, **QUICK, run_dir="files").sha256 == run.sha256
    again = jaxrnn.fit(resume="fitted", epochs=2, show=False)
    assert again.snapshot.progress.epochs == 2


@pytest.mark.parametrize(
    ("given", "settings", "expected"),
    [
        (np.array(["one.txt", "comedie"] * 40), {}, ["one.txt\n", "comedie\n"] * 40),  # texts, not names
        (["one\ntext " * 100], {}, ["one\ntext " * 100]),
        (["\nfirst\r\n", "", "\nlast"], {}, ["\nfirst\n", "\nlast\n"]),
        ([Path("one.txt")], {"separator": "====="}, PIECES),
        ("one.txt", {"separator": "====="}, PIECES),
        ("=====\n".join(PIECES), {"separator": "====="}, PIECES),
        ([Path("letters"), Path("one.txt")], {}, [*PIECES, "=====\n".join(PIECES)]),
        ("letters/*.txt", {}, [PIECES[0].rstrip("\n")]),
    ],
)
def test_what_is_given_becomes_these_documents(folder, given, settings, expected):
    """As they are read from what is stored, or from the files."""
    write_letters(folder)
    settings = {"max_characters": 0, "heldout_fraction": 0.0, **settings}
    read = build.read_used_text(resolve(api._given(given, None, settings))).coded
    whole = "".join(read.characters[i] for i in read.ids)
    ends = [*read.starts.tolist(), len(whole)]
    assert [whole[start:end] for start, end in itertools.pairwise(ends)] == expected


class Table(dict):
    columns = ("text",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "text is empty: it has no characters"),
        (["", "\ufeff"], "text is empty: it has no characters"),
        (["a\n", 3], "item 1 of text is an int; each item must be a string"),
        (["a\n", None], "item 1 of text is nothing; each item must be a string"),
        ([Path("one.txt"), "a"], "item 0 of text is a PosixPath; each item must be a string"),
        ({"text": ["a"]}, "text is a dict; give strings, such as one of its columns"),
        (Table(), "text is a Table; give strings"),
        (io.StringIO("a\n"), "text is an open file; give its path"),
        (b"bytes", "item 0 of text is an int"),
        (["a", "b\ud800"], "item 1 of text is not UTF-8: it contains '\\ud800', half a character; remove it"),
        (["a\x1e", "b"], "text contains U+001E, which separates documents where they are stored"),
        (["a", ""], "has one character; two characters or more are needed"),
    ],
)
def test_what_yields_no_strings_is_one_line_and_nothing_is_written(folder, given, said):
    with pytest.raises(InputError) as error:
        jaxrnn.fit(given, **QUICK)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert list(folder.iterdir()) == []


def test_documents_given_as_strings_need_no_separator(folder):
    with pytest.raises(InputError, match="separator is for files"):
        jaxrnn.fit(["a\n", "b\n"], **QUICK, separator="x")
    with pytest.raises(InputError, match="encoding is for files"):
        jaxrnn.fit("a\nb\n", **QUICK, encoding="latin-1")

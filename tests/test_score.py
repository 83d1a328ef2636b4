"""The program that scores: what it prints, saves and refuses."""

import gzip
import json
import random

import numpy as np
import pytest

import jaxrnn
from jaxrnn import score
from jaxrnn.config import build
from jaxrnn.console import score_page
from jaxrnn.data import documents, vocabulary
from jaxrnn.data.reading import Part
from jaxrnn.errors import InputError
from jaxrnn.models.documents import with_documents
from jaxrnn.runs import incoming
from jaxrnn.scoring import evaluation, together
from jaxrnn.storage import checkpoint, streams
from jaxrnn.storage.checkpoint import load_run

TEXT = "COLAS.\nBonjour, Nicette.\nxxq z€ 12\n\nCOLAS.\nsans fin de ligne"
LINES = TEXT.splitlines(keepends=True)


@pytest.fixture(scope="module")
def run_dir(trained):
    return trained / "runs" / "notebook-comedie-0"


@pytest.fixture
def file(folder):
    path = folder / "a b.txt"
    path.write_text(TEXT, "utf-8")
    return path


def scored(capsys, *flags):
    """The lines that the program prints, and what it says on stderr."""
    score.main(list(map(str, flags)))
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err


@pytest.mark.parametrize("learn", ["off", "0.1", "auto"])
def test_each_line_has_the_sum_of_what_the_function_gives(run_dir, file, capsys, learn):
    rows, said = scored(capsys, run_dir, file, "--learn", learn, "--format", "jsonl")
    nats = jaxrnn.surprisal(jaxrnn.load(run_dir), TEXT, learn=float(learn) if learn == "0.1" else learn)
    start = 0
    for row, line in zip(map(json.loads, rows), LINES, strict=True):
        of_line = nats[start : start + len(line)]
        assert (row["text"], row["characters"], row["source"]) == (line, len(line), str(file))
        assert row["nats"] == pytest.approx(of_line.sum(), rel=1e-5)
        assert row["nats_per_character"] == pytest.approx(of_line.mean(), rel=1e-5)
        assert row["excess"] == pytest.approx(sum(max(0, each - 4) for each in of_line), abs=1e-4)
        assert (row["line"], row["column"]) == (TEXT.count("\n", 0, start) + 1, of_line.argmax() + 1)
        start += len(line)
    assert f"6 lines, {len(TEXT)} characters; {nats.mean():.4f} nats per character" in said
    assert f"{np.isclose(nats, np.log(1_112_064)).sum()} unknown characters, charged 13.92 nats each" in said


def test_the_same_scores_in_columns_and_in_colour(run_dir, file, capsys):
    rows = [json.loads(row) for row in scored(capsys, run_dir, file, "--format", "jsonl")[0]]
    columns = [row.split("\t") for row in scored(capsys, run_dir, file)[0]]
    coloured, _ = scored(capsys, run_dir, file, "--format", "ansi")
    for row, (place, excess, nats, mean, text), shown in zip(rows, columns, coloured, strict=True):
        assert place == f"{row['source']}:{row['line']}:{row['column']}"
        assert (float(nats), float(mean)) == (round(row["nats"], 3), round(row["nats_per_character"], 4))
        assert float(excess) == round(row["excess"], 3)
        assert text == (row["text"].rstrip("\n") or "\\n")
        assert place in shown
    assert "\x1b[48;5;196m\x1b[38;5;16m€" in coloured[2]
    assert coloured[0].endswith("\x1b[0m") or "\x1b[48" not in coloured[0]


def test_characters_and_documents(run_dir, file, capsys):
    nats = jaxrnn.surprisal(jaxrnn.load(run_dir), TEXT)
    rows = [json.loads(row) for row in scored(capsys, run_dir, file, "--format", "jsonl", "--per", "character")[0]]
    assert "".join(row["text"] for row in rows) == TEXT
    np.testing.assert_allclose([row["nats"] for row in rows], nats, rtol=1e-5)
    (row,) = [json.loads(row) for row in scored(capsys, run_dir, file, "--format", "jsonl", "--per", "document")[0]]
    assert (row["characters"], row["line"], row["column"]) == (len(TEXT), 3, 6)
    assert row["nats"] == pytest.approx(nats.sum(), rel=1e-5)


def test_documents_are_scored_anew_wherever_they_come_from(run_dir, folder, capsys):
    """Files of a folder, one of them compressed, and one file with separators; the witness reads marked ids."""
    texts = [LINES[1] * 3, "COLAS.\n" * 4, "Adieu, Nicette.\n"]
    (folder / "texts").mkdir()
    (folder / "texts" / "1.txt").write_text(texts[0], "utf-8")
    (folder / "texts" / "2.txt.gz").write_bytes(gzip.compress(texts[1].encode()))
    (folder / "texts" / "3.txt").write_text(texts[2].rstrip("\n"), "utf-8")
    (folder / "one.txt").write_text("===\n".join(texts), "utf-8")
    for per in ("line", "document"):
        rows = [
            [json.loads(row) for row in scored(capsys, run_dir, *files, "--format", "jsonl", "--per", per, "--learn", "0.1")[0]]
            for files in (["texts"], ["one.txt", "--separator", "==="])
        ]
        assert [row["nats"] for row in rows[0]][:-1] == [row["nats"] for row in rows[1]][:-1]
    assert [row["source"] for row in rows[0]] == ["texts/1.txt", "texts/2.txt.gz", "texts/3.txt"]
    run = load_run(run_dir)
    ids = vocabulary.encode(run.vocabulary, "." + "".join(texts))
    starts = np.cumsum([len(text) for text in texts])[:2] + 1
    key, params = build.make_keys(run.config.run.seed).evaluation, checkpoint.select_params(run)
    how = evaluation.DynamicSettings("sgd", (0.1,), 1)
    flags = ["one.txt", "--separator", "===", "--format", "jsonl", "--per", "document", "--learn", "0.1"]
    anew, on = (documents.mark(ids, starts), with_documents(run.model)), (ids, run.model)
    for (to_read, model), others in ((anew, []), (on, ["--no-reset"])):
        nats = together.dynamic_evaluation(model, how)(params, to_read, key)
        found, _ = scored(capsys, run_dir, *flags, *others)
        expected = [part.sum() for part in np.split(nats, starts - 1)]
        assert [json.loads(row)["nats"] for row in found] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("by", "key"), [("auto", "excess"), ("mean", "nats_per_character"), ("total", "nats")])
def test_only_the_oddest(run_dir, file, capsys, by, key):
    rows = [json.loads(row) for row in scored(capsys, run_dir, file, "--format", "jsonl")[0]]
    by_score = sorted(rows, key=lambda row: -row[key])
    top = [json.loads(row) for row in scored(capsys, run_dir, file, "--format", "jsonl", "--top", "3", "--by", by)[0]]
    assert top == by_score[:3]
    least = by_score[2][key]
    above = [
        json.loads(row) for row in scored(capsys, run_dir, file, "--format", "jsonl", "--above", least - 1e-4, "--by", by)[0]
    ]
    assert above == [row for row in rows if row[key] >= least]


def test_what_is_ignored_costs_nothing_and_is_read_all_the_same(run_dir, file, capsys):
    whole, ignoring = (
        [json.loads(row) for row in scored(capsys, run_dir, file, "--format", "jsonl", "--learn", "0.1", *flags)[0]]
        for flags in ([], ["--ignore", "xxq|€|$"])
    )
    nats = jaxrnn.surprisal(jaxrnn.load(run_dir), TEXT, learn=0.1)[TEXT.index("xxq") :]
    for number, (before, after) in enumerate(zip(whole, ignoring, strict=True)):
        gone = nats[:3].sum() + nats[5] if number == 2 else 0
        assert after["nats"] == pytest.approx(before["nats"] - gone, rel=1e-4)
    assert ignoring[2]["column"] != whole[2]["column"]


def test_a_page_that_no_browser_shows_is_refused(run_dir, file, capsys, monkeypatch):
    monkeypatch.setattr(score_page, "MOST_CHARACTERS", 30)
    with pytest.raises(SystemExit) as ended:
        scored(capsys, run_dir, file, "--format", "html")
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert "add --top or --above" in printed.err
    assert scored(capsys, run_dir, file, "--format", "html", "--top", "2")[0][0] == "<!doctype html>"


def test_places_are_those_of_the_file_whatever_is_removed(run_dir, folder, capsys):
    (folder / "a.txt").write_text("un\n===\n\n===\ndeux === trois\nquatre\n===\ncinq", "utf-8")
    flags = ["a.txt", "a.txt", "--separator", "===", "--format", "jsonl"]
    rows = [json.loads(row) for row in scored(capsys, run_dir, *flags)[0]]
    expected = [(1, "un\n"), (3, "\n"), (5, "deux \n"), (5, " trois\n"), (6, "quatre\n"), (8, "cinq\n")]
    assert [(row["line"], row["text"]) for row in rows] == [*expected, *expected[:-1], (8, "cinq")]
    assert rows[3]["column"] >= 9


@pytest.mark.parametrize("separator", ["===", "\\n%\\n", "a\\nb", "\\n\\n"])
def test_documents_are_the_same_however_the_text_comes(separator):
    text = "un === deux\n\n%\ntrois a\nb quatre\n\n\ncinq\n===\n"
    whole = [part for part in incoming.cut_documents(iter([Part(text, True)]), separator) if part]
    drawn = random.Random(0)
    for _ in range(50):
        cuts = sorted(drawn.choices(range(len(text) + 1), k=4))
        parts = [Part(text[a:b], False) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        joined = []
        for part in filter(None, incoming.cut_documents(iter([*parts, Part("", True)]), separator)):
            if part.begins:
                joined.append(part)
            else:
                joined[-1] = joined[-1]._replace(characters=joined[-1].characters + part.characters)
        assert joined == whole
    assert len(whole) > 1


def test_complete_lines_are_not_held_back():
    parts = incoming.cut_documents(iter([Part("one\n", False), Part("two\nth", False)]), "===")
    assert [part.characters for part in parts if part] == ["one\n", "two\n"]


def test_a_checkpoint_cannot_bring_code_of_its_own(run_dir, file, folder, capsys):
    scored(capsys, run_dir, file, "--learn", "0.1", "--save", "learned")
    run = load_run("learned")
    about = run.about["stream"]
    assert streams.learning_from_json(about, run.config).how
    with pytest.raises(InputError, match="which its settings do not name"):
        streams.learning_from_json({**about, "dynamic": {**about["dynamic"], "optimizer": "evil:opt"}}, run.config)


def test_bytes_that_are_not_valid_are_charged_and_shown(run_dir, folder, capsys):
    (folder / "log").write_bytes(b"COLAS\n" + b"a\xff\x1b[2Jb\n")
    (_, second), said = scored(capsys, run_dir, "log")
    assert second.split("\t")[4] == "a\\udcff\\x1b[2Jb"
    assert "unknown character" in said
    (_, as_json), _ = scored(capsys, run_dir, "log", "--format", "jsonl")
    assert json.loads(as_json)["text"] == "a\udcff\x1b[2Jb\n"
    (folder / "latin").write_bytes("Où êtes-vous ?\r\n".encode("latin-1"))
    (row,), said = scored(capsys, run_dir, "latin", "--encoding", "latin-1")
    assert row.endswith("\tOù êtes-vous ?")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["none", "a b.txt"], "no run in 'none'"),
        (["RUN", "--top", "-1", "a b.txt"], "--top is -1; it must be 0"),
        (["RUN", "--above", "nan", "a b.txt"], "--above is nan"),
        (["RUN", "--learn", "-1", "a b.txt"], "learn is -1"),
        (["RUN", "--learn", "much", "a b.txt"], "--learn takes"),
        (["RUN", "--save-every-seconds", "0", "a b.txt"], "--save-every-seconds is 0"),
        (["RUN", "a b.txt", "missing.txt"], "missing.txt"),
        (["RUN", "empty"], "no text in the folder 'empty'"),
        (["RUN", "*.log"], "no file matches this pattern"),
        (["RUN", "-", "-"], "is given twice"),
        (["RUN", "binary"], "'binary' is not a text: it has a null byte at offset 3"),
        (["RUN", "--encoding", "klingon", "a b.txt"], "--encoding"),
        (["RUN", "--save", "x", "a b.txt"], "--save needs --learn"),
        (["RUN", "--save", "RUN", "--learn", "0.1", "a b.txt"], "is never overwritten"),
        (["RUN", "--save", "x", "--learn", "0.1", "binary"], "'binary' is not a text"),
        (["RUN", "--save", "x", "--learn", "0.1", "a b.txt", "missing.txt"], "missing.txt"),
        (["RUN", "--save", "a b.txt", "--learn", "0.1", "a b.txt"], "is a file; name a folder"),
        (["RUN", "--resume", "a b.txt"], "--resume"),
        (["RUN", "--save-every-seconds", "inf", "a b.txt"], "--save-every-seconds is inf"),
        (["RUN", "--save", "n" * 300, "--learn", "0.1", "a b.txt"], "File name too long"),
        (["RUN", "--ignore", "(", "a b.txt"], "--ignore '(' is not a regular expression"),
        (["RUN", "--ignore", "a", "--per", "document", "a b.txt"], "--ignore is for lines"),
        ([], "RUN is missing"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(run_dir, file, folder, capsys, flags, message):
    (folder / "binary").write_bytes(b"abc\0def")
    (folder / "empty").mkdir()
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        score.main([str(run_dir) if flag == "RUN" else flag for flag in flags])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert message in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before

"""The program that scores: what it prints, saves and refuses."""

import gzip
import json
import random
import shutil

import jax
import numpy as np
import pytest
from conftest import SMALL
from fixed import often

import jaxrnn
from jaxrnn import evaluate, inspect, sample, score, train
from jaxrnn.config import build
from jaxrnn.console import score_page
from jaxrnn.data import documents, vocabulary
from jaxrnn.data.reading import Part
from jaxrnn.errors import Diverged, InputError
from jaxrnn.models.documents import with_documents
from jaxrnn.runs import incoming, open_stream, score_stream, stream_folder
from jaxrnn.runs.incoming import Incoming
from jaxrnn.scoring import evaluation, together
from jaxrnn.scoring.stream import make_read
from jaxrnn.storage import checkpoint, logs, streams
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


@pytest.mark.slow
def test_what_was_learned_is_a_run_like_any_other(run_dir, file, folder, capsys):
    scored(capsys, run_dir, file, "--learn", "0.1", "--save", "learned")
    before, after = load_run(run_dir), load_run("learned")
    assert after.config == before.config
    assert (folder / "learned" / "config.json").read_text() == (run_dir / "config.json").read_text()
    changed = [
        bool((a != b).any())
        for a, b in zip(*(jax.tree.leaves(checkpoint.select_params(run)) for run in (before, after)), strict=True)
    ]
    assert all(changed)
    assert [event["event"] for event in logs.read_events(folder / "learned") if event["event"] in ("final", "stream")] == [
        "stream"
    ]
    sample.main(["learned", "--length", "20"])
    evaluate.main(["learned", "--test-characters", "100", "--json"])
    inspect.main(["learned"])
    printed = capsys.readouterr().out
    assert f"5 lines, {len(TEXT)} characters" in printed  # complete ones
    train.main([*SMALL, "--init-from", "learned", "--epochs", "1", "--run-dir", "on"])
    assert "rejected" not in capsys.readouterr().err


def test_a_stream_that_diverges_says_so_and_keeps_what_was_saved(run_dir, file, folder, capsys):
    scored(capsys, run_dir, file, "--learn", "0.1", "--save", "learned")
    kept = stored("learned")[0]
    (folder / "long.txt").write_text(TEXT * 50, "utf-8")
    with pytest.raises(SystemExit) as ended:
        scored(capsys, run_dir, "long.txt", "--learn", "1e20")
    assert (ended.value.code, "diverged, at long.txt:" in capsys.readouterr().err) == (3, True)
    run = load_run("learned")
    scoring, position, folder_of = scoring_of(run, None, folder / "learned", 0.0)
    position.stream.state.params["readout"]["bias"] = position.stream.state.params["readout"]["bias"] * np.nan
    with pytest.raises(Diverged), folder_of as writer:
        list(score_stream.score(scoring, position, line_by_line(["COLAS.\n"]), writer))
    for before, after in zip(kept, stored("learned")[0], strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("learn", often(["0.1", "auto"], seldom=["auto"]))
def test_a_stream_goes_on_where_it_was_saved(run_dir, file, folder, capsys, learn):
    """In two commands as in one: for a new input, and for the rest of one that was read in part."""
    (folder / "more").write_text("Encore.\nAdieu.\n", "utf-8")
    (folder / "both").write_text(f"{TEXT}Encore.\nAdieu.\n", "utf-8")
    one, _ = scored(capsys, run_dir, "both", "--learn", learn, "--save", "one")
    first, _ = scored(capsys, run_dir, file, "--learn", learn, "--save", "two")
    saved = sorted((folder / "two").rglob("*"))
    with pytest.raises(SystemExit):
        scored(capsys, run_dir, "more", "--learn", learn, "--save", "two")  # not the run that is there
    assert sorted((folder / "two").rglob("*")) == saved
    shutil.copytree("two", "three")
    second, said = scored(capsys, "two", "more", "--save", "two")
    assert "after 5 lines read before" in said
    assert_same_stream(folder / "one", folder / "two")
    rest, _ = scored(capsys, "three", "both", "--save", "three", "--resume")
    assert_same_stream(folder / "one", folder / "three")
    assert [row.partition("\t")[0] for row in rest] == [row.partition("\t")[0] for row in one[-2:]]
    assert second[-1].split("\t")[1:] == one[-1].split("\t")[1:] == rest[-1].split("\t")[1:]
    with pytest.raises(SystemExit) as ended:
        scored(capsys, "three", "more", "--resume")
    assert ended.value.code == 2
    assert len(first) == 6


def line_by_line(lines):
    return [Incoming("-", line) for line in lines]


def scoring_of(run, learn, save_to=None, every_seconds=0.0):
    """What scores a stream of a saved run, its position, and the context of a writer."""
    opened = open_stream.open_stream(run, learn)
    scoring = score_stream.Scoring(run.vocabulary, make_read(opened.scorer))
    position = score_stream.Position(opened.stream, opened.extent)
    folder = save_to and stream_folder.open_folder(save_to, run, opened, every_seconds)
    return scoring, position, folder


def some_lines(number, seed=0):
    drawn = random.Random(seed)
    return ["".join(drawn.choices("abc dé€.", k=drawn.randrange(12))) + "\n" for _ in range(number)]


def stored(path):
    """The arrays of a run that reads a stream, and the stream."""
    run = load_run(path)
    assert run.stream
    return jax.tree.leaves((run.snapshot, run.stream.stream)), run.stream


def assert_same_stream(path, other):
    """The same model and the same position, to the bit."""
    (arrays, a), (others, b) = stored(path), stored(other)
    for mine, theirs in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert a.extent._replace(nats=0.0, of_networks=()) == b.extent._replace(nats=0.0, of_networks=())
    assert a.extent.nats == pytest.approx(b.extent.nats)
    assert a.learning == b.learning


class Killed(BaseException):
    """What a kill is to the code that it ends."""


def read_with_kills(monkeypatch, run_dir, path, lines, num_kills, learn, seed=0):
    """Score lines while the process is killed again and again: also just before, in and after a save."""
    drawn, chances = random.Random(seed), {"left": 0}
    write = checkpoint.store.write_checkpoint

    def write_or_die(*arguments, **named):
        at = drawn.random()
        if chances["left"] <= 0 and at < 0.3:
            raise Killed
        write(*arguments, **named)
        if chances["left"] <= 0 and at < 0.6:
            raise Killed

    monkeypatch.setattr(checkpoint.store, "write_checkpoint", write_or_die)
    done, kills = 0, 0
    while True:
        run = load_run(path if path.exists() else run_dir)
        done = run.stream.extent.num_lines if run.stream else 0
        scoring, position, folder = scoring_of(run, None if run.stream else learn, path)
        chances["left"] = drawn.randrange(4) if kills < num_kills else len(lines) + 1
        try:
            with folder as writer:
                for _ in score_stream.score(scoring, position, line_by_line(lines[done:]), writer):
                    chances["left"] -= 1
            return kills
        except Killed:
            kills += 1


@pytest.mark.parametrize("learn", often([0.1, "auto"], seldom=["auto"]))
def test_a_stream_that_is_killed_again_and_again_learns_the_same(run_dir, folder, monkeypatch, learn):
    lines, run = some_lines(60), load_run(run_dir)
    scoring, position, writing = scoring_of(run, learn, folder / "alone", 1e9)
    with writing as writer:
        list(score_stream.score(scoring, position, [Incoming("-", "".join(lines))], writer))
    assert read_with_kills(monkeypatch, run_dir, folder / "killed", lines, 12, learn) == 12
    assert_same_stream(folder / "killed", folder / "alone")

"""The page of a run as a file: what it holds, how large it is, and what is never overwritten."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_cli_errors import error_of

from jaxrnn import load, page, show
from jaxrnn.console import web_page
from jaxrnn.runs.page import MOST_SAMPLES, _samples
from jaxrnn.scoring.probes import make_probes
from jaxrnn.training.progress import FinalNumbers

WEB = Path(web_page.__file__).parent / "web"
SOURCES = sorted(path.name for path in WEB.iterdir() if path.suffix != ".json")
MOST_LINES = 1_200
ROOT = Path(__file__).parent.parent


@pytest.fixture
def run_dir(trained, tmp_path, monkeypatch):
    """A run that a test may damage."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained / "runs" / "notebook-comedie-0", "run"))


@pytest.fixture(scope="module")
def shown(trained):
    """The page of a run, and the data in it."""
    html = show(load(trained / "runs" / "notebook-comedie-0")).html
    return html, page_data(html)


def page_data(html):
    (data,) = re.findall(r'<script id="data"[^>]*>(.*?)</script>', html, re.DOTALL)
    return json.loads(data)


def test_the_program_writes_one_file_into_the_run(run_dir, capsys):
    before = {path.name for path in run_dir.iterdir()}
    page.main([str(run_dir)])
    assert {path.name for path in run_dir.iterdir()} - before == {"page.html"}
    assert capsys.readouterr().out.startswith("run/page.html: ")
    page.main([str(run_dir)])  # a page of ours is replaced


def test_it_is_small(run_dir):
    page.main([str(run_dir), "--output", "mine.html"])
    weights = sum(array.nbytes for array in map(np.asarray, leaves(load(run_dir).params)))
    assert Path("mine.html").stat().st_size <= 400_000 + 1.4 * weights


def leaves(params):
    return [array for part in params.values() for array in part.values()]


def test_it_holds_all_that_a_reader_wants_to_know(shown, trained):
    run, (html, data) = load(trained / "runs" / "notebook-comedie-0"), shown
    assert run.numbers is not None
    assert data["numbers"] == run.numbers._asdict()
    assert data["facts"]["weights"] == sum(array.size for array in leaves(run.params))
    assert data["curve"]["epochs"] == [[int(s), round(float(n), 4)] for s, n in zip(*run.losses[2:4], strict=True)]
    assert len(data["units"]) == run.config.model.hidden_size
    assert [sample["title"].split(",")[0] for sample in data["samples"]] == ["epoch 1", "epoch 2"]
    assert "{{" not in html


def test_it_names_no_other_place(shown):
    """Nothing is fetched, and nothing of the machine is told."""
    html, _ = shown
    assert re.findall(r"https?://[^\s\"'`]+", html) == ["http://www.w3.org/2000/svg"]  # the name of a kind of element
    assert not re.search(r"\b(src|href)=\"(?!#|data:,)", html)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', html, re.DOTALL)
    assert not re.findall(r"^import |^export ", script, re.MULTILINE)


def test_it_tells_nothing_of_the_machine(trained):
    run = load(trained / "runs" / "notebook-comedie-0")
    text = dataclasses.replace(run.config.text, text="/home/somebody/novel.txt")
    started = dataclasses.replace(run.config.run, init_from="/home/somebody/run")
    html = show(run._replace(config=dataclasses.replace(run.config, text=text, run=started))).html
    assert "novel.txt" in html
    assert "somebody" not in html


def test_a_text_cannot_break_out_of_the_page():
    data = {"passage": "</script><b> {{script}} \u2028 <!-- <script>"}
    html = web_page.assemble_page(data, b"")
    assert "</script><b>" not in html
    assert "<!-- <" not in html
    assert page_data(html) == data


def test_what_no_page_wrote_is_never_overwritten(run_dir, capsys):
    for name, content in (("notes.html", "<p>mine"), ("empty.html", ""), ("binary", "\0")):
        Path(name).write_text(content, "utf-8")
        assert "so it is not overwritten" in error_of(capsys, page.main, [str(run_dir), "--output", name])
        assert Path(name).read_text("utf-8") == content
    for name, words in (("-", "cannot go to the screen"), (".", "is a folder"), ("none/page.html", "there is no folder")):
        assert words in error_of(capsys, page.main, [str(run_dir), "--output", name])
    (run_dir / "page.html").write_text("mine", "utf-8")
    assert "so it is not overwritten" in error_of(capsys, page.main, [str(run_dir)])


def test_a_damaged_run_is_one_line_and_nothing_is_written(run_dir, capsys):
    for file in run_dir.glob("checkpoints/**/*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-3])
    before = sorted(path for path in Path().rglob("*") if path.is_file())
    assert "damaged" in error_of(capsys, page.main, [str(run_dir)])
    assert sorted(path for path in Path().rglob("*") if path.is_file()) == before
    for missing in ("none", "run/config.json"):
        error_of(capsys, page.main, [missing])


def test_without_the_text_the_page_has_no_passage(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = load(trained / "runs" / "notebook-comedie-0")
    data = page_data(show(run._replace(sha256="another")).html)
    assert data["passage"] == ""
    assert data["heldout"] is False
    assert len(data["units"]) == 8
    assert all(probe == "" for _, _, probe, _ in data["units"])


def test_samples_are_thinned_but_for_the_first_and_the_last(trained, tmp_path):
    run = load(trained / "runs" / "notebook-comedie-0")
    text = "".join(f"=== epoch {n} ===\n=== no title\n\ntext {n}\n\n" for n in range(1, 201))
    (tmp_path / "samples.txt").write_text(text, "utf-8")
    found = _samples(run._replace(path=tmp_path))
    assert len(found) == MOST_SAMPLES
    assert found[0] == {"title": "epoch 1", "text": "=== no title\n\ntext 1"}
    assert found[-1]["title"] == "epoch 200"
    assert _samples(run._replace(path=tmp_path / "none")) == []


def test_a_notebook_shows_the_page_in_a_frame(trained):
    made = show(load(trained / "runs" / "notebook-comedie-0"))
    assert made._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert repr(made).startswith("Page(")


def test_a_foreign_cell_is_refused(trained):
    run = load(trained / "runs" / "notebook-comedie-0")
    config = dataclasses.replace(run.config, model=dataclasses.replace(run.config.model, cell="mine:Cell"))
    with pytest.raises(page.InputError, match="this run uses 'mine:Cell'"):
        show(run._replace(config=config))


def test_the_sources_are_short_and_all_of_them_are_used():
    lines = [line for name in SOURCES for line in (WEB / name).read_text("utf-8").splitlines()]
    assert len(lines) < MOST_LINES
    assert max(map(len, lines)) <= 180
    assert set(SOURCES) == {"page.html", "style.css", *(f"{name}.js" for name in web_page.MODULES)}


def test_everything_is_said_in_both_languages():
    words = json.loads(web_page.read_part("words.json"))
    for key, (english, french) in words.items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", french)), key
        assert english != french or key == "nats"
    sources = "".join((WEB / name).read_text("utf-8") for name in SOURCES)
    asked = set(re.findall(r"""(?:data-(?:word|label)=|say\(|say\([^()]*\? |note = |: )"(\w+)\"""", sources))
    probes = {*make_probes(web_page.read_part("words.json")), "speaker", "in brackets", "digit"}
    wanted = {"factText", "factNetwork", "factTraining", "text", "network", "training", *FinalNumbers._fields, *probes}
    assert wanted <= set(words)
    assert all(key in wanted or re.search(rf"""["`']{key}["`']""", sources) for key in words)
    assert {key for key in asked if key in sources and f'say("{key}"' in sources} <= set(words)


def test_modules_import_what_others_export_and_use_it():
    """In the page nothing is imported, so that nobody would notice."""
    sources = {name: (WEB / f"{name}.js").read_text("utf-8") for name in web_page.MODULES}
    export = re.compile(r"^export (?:const|(?:async )?function\*?) (\w+)", re.MULTILINE)
    exported = {name: set(export.findall(source)) for name, source in sources.items()}
    for name, source in sources.items():
        imports = re.findall(r'^import \{ ([^}]*) \} from "\./(\w+)\.js";$', source, re.MULTILINE)
        imported = {each: module for names, module in imports for each in names.split(", ")}
        assert all(each in exported[module] for each, module in imported.items()), name
        body = web_page.IMPORT.sub("", source)
        used = set(re.findall(r"(?<![\w.])\w+(?=\()", body)) & set().union(*exported.values()) - exported[name]
        assert used <= set(imported), name
        assert all(re.search(rf"\b{each}\b", body) for each in imported), name


def test_the_live_page_is_made_of_the_sources_as_they_are():
    """`experiments/page.py` makes it anew."""
    live = (ROOT / "docs" / "live" / "comedy.html").read_text("utf-8")
    data = r'(<script id="(?:data|weights)"[^>]*>).*?(</script>)'
    assert re.sub(data, r"\1\2", live) == re.sub(data, r"\1\2", web_page.assemble_page({}, b""))


def test_names_are_used_once_in_the_whole_script():
    """In the page all modules are one."""
    sources = [(WEB / f"{name}.js").read_text("utf-8") for name in web_page.MODULES]
    named = [re.findall(r"^(?:export )?(?:const|let|function\*?|class) (\w+)", text, re.MULTILINE) for text in sources]
    names = sorted(name for each in named for name in each)
    assert names == sorted(set(names))

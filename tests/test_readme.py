"""README and documentation are true: programs run, links work, files and flags exist."""

import contextlib
import importlib
import io
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import pytest

from jaxrnn import export

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (README, *sorted(ROOT.glob("docs/**/*.md")))}
PAGES |= {name: (ROOT / name).read_text("utf-8") for name in ("CONTRIBUTING.md", "SECURITY.md")}
FENCED = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page, and its number among those of its language there."""

    page: str
    number: int
    code: str


def blocks(language):
    """All fenced blocks of a language."""
    return [
        Block(page, number, code)
        for page, text in PAGES.items()
        for number, code in enumerate([body for name, body in FENCED.findall(text) if name == language])
    ]


COURSE = ("docs/course.md", "docs/cours.md")  # whose blocks `test_course.py` runs, among its cells
PROGRAMS = [block for block in blocks("python") if block.page not in COURSE]
QUICK = "hidden_size=8, max_characters=3_000"
FITTED = f'{QUICK}, epochs=1, run_dir="fitted"'
# Of a page's program: what is put for what, so that it takes no longer than a test may, and what it must print then.
SHORTENED = {
    ("README.md", 0): [("range(5)", "range(1)"), ("len(ids) - 1)", "20_000)")],
    ("docs/how-to/python.md", 0): [
        ("my_novel.txt", "comedie"),
        ('preset="gru", minutes=1.5', FITTED.replace("fitted", "fitted_too")),
        ("Once", "COLAS"),
    ],
    ("docs/how-to/python.md", 2): [
        ("my_novel.txt", "comedie"),
        ("runs/novel", "novel"),
        ("epochs=1", f"epochs=1, {QUICK}"),
    ],
    ("docs/how-to/python.md", 5): [("range(5)", "range(1)"), ("len(ids) - 1)", "20_000)")],
    ("docs/how-to/python.md", 6): [("range(2_000)", "range(20)")],
    ("docs/how-to/many-texts.md", 0): [('preset="gru", minutes=10', f'{QUICK}, epochs=1, run_dir="poems", show=False')],
    ("docs/how-to/score-a-log.md", 0): [("runs/log", "runs/notebook-comedie-0")],
    ("docs/how-to/beyond-text.md", 0): [("20_000", "6_000")],
    ("docs/how-to/beyond-text.md", 1): [("50_000", "15_000")],
    ("docs/how-to/compare-rules.md", 0): [("5_00", "1_00")],
    ("docs/how-to/compare-rules.md", 2): [("20_001", "2_001"), ("range(8)", "range(2)")],
    ("docs/explanation/rules.md", 0): [("100_0", "3_0")],
}
PRINTED = {
    ("README.md", 0): r"epoch 1: 3\.0\d{3} nats per character\n",
    ("docs/how-to/export.md", 0): r".{200,}",
    ("docs/how-to/python.md", 0): r".*\nRun\('fitted_too': .* nats\)\nCOLAS.{300}\n",
    ("docs/how-to/python.md", 1): r"no setting 'hiden_size'; did you mean hidden_size\?\n",
    ("docs/how-to/python.md", 2): r".*\nresumed +epoch 2, character 0 of .*",
    ("docs/how-to/python.md", 3): r"\d+ hidden units, \d+ characters\n",
    ("docs/how-to/python.md", 4): r"\(15,\) \(15,\)\n",
    ("docs/how-to/python.md", 5): r"epoch 1: 3\.0\d{3} nats per character\n",
    ("docs/how-to/python.md", 6): r"\(3, 1\)\nCOLAS\..{30}\n",
    ("docs/how-to/beyond-text.md", 0): r"squared error 0\.03\d\d at first, 0\.00\d\d at last; variance 0\.\d{4}\n",
    ("docs/how-to/beyond-text.md", 1): r"1\.2\d\d nats per answer at first, 0\.[01]\d\d at last\n",
    ("docs/how-to/beyond-text.md", 2): r"\(1,\)\n",
    (
        "docs/how-to/compare-rules.md",
        0,
    ): r"{'cosine': \(1000,\), .*}\ncosine 0\.9\d\d, gradient norm 1\.\d+, memory norm \d\.\d+\n",
    ("docs/how-to/compare-rules.md", 1): r"True\n",
    ("docs/how-to/compare-rules.md", 2): r"\(3, 2, 2000\)\n\| learning rate .*\| \*\*0\.3\*\* \| .*\|\n",
    ("docs/how-to/compare-rules.md", 3): r"\[0\.2\d? 0\.2\d?\]\n",
    ("docs/how-to/score-a-log.md", 0): r"(line \d: \d+\.\d nats\n)+",
    ("docs/explanation/exact-resume.md", 0): r"\('step', 'params', 'opt_state', 'carry', 'memory'\)\n",
    ("docs/explanation/rules.md", 0): r"0\.[0-6]\d{3} nats above the source itself, whose rate is 0\.4043\n",
}


@pytest.fixture(scope="module")
def with_a_run(trained, tmp_path_factory):
    """A folder with the run and the exported weights that programs of the pages read."""
    path = tmp_path_factory.mktemp("pages")
    shutil.copytree(trained / "runs", path / "runs")
    (path / "poems.jsonl").write_text('{"text": "Il fait nuit.\\nIl fait jour."}\n' * 60, "utf-8")
    (path / "today.log").write_text("COLAS.\n\nMonsieur, la nuit.\n€€€ 12:00\n", "utf-8")
    export.main([str(trained / "runs" / "notebook-comedie-0"), str(path / "weights.safetensors")])
    return path


def shortened(block):
    """The block's program with its replacements, each of which must be there."""
    code = block.code
    for long, short in SHORTENED.get(block[:2], ()):
        assert long in code, f"{block.page} no longer holds {long}"
        code = code.replace(long, short)
    return code


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: f"{block.page}-{block.number}")
def test_a_program_of_a_page_runs(block, with_a_run, monkeypatch, capsys):
    monkeypatch.chdir(with_a_run)
    capsys.readouterr()
    with jax.numpy_dtype_promotion("standard"):  # as for its readers; Optax's Adam mixes types
        exec(compile(shortened(block), block.page, "exec"), {})
    assert re.fullmatch(PRINTED.get(block[:2], ".*"), capsys.readouterr().out, re.DOTALL)


def test_what_is_expected_of_programs_is_of_programs_that_are_there():
    assert {*SHORTENED, *PRINTED} <= {block[:2] for block in PROGRAMS}


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 150
    assert README.stat().st_size <= 8192
    for program in [block.code for block in PROGRAMS if block.page == "README.md"]:
        assert len([line for line in program.splitlines() if line]) <= 25


def test_the_readme_has_two_commands_that_set_everything_up():
    commands = re.findall(r"^python3 -m venv .*$", PAGES["README.md"], re.MULTILINE)
    assert [command.split(" && ")[-1] for command in commands] == ["python -m jaxrnn.train", "python -m pytest"]


def slugs(text):
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ +(.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


LINKS = [
    (page, target)
    for page, text in PAGES.items()
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text))
    if "://" not in target
]


@pytest.mark.parametrize(("page", "target"), LINKS, ids=lambda value: value)
def test_a_link_leads_to_a_file_and_a_heading(page, target):
    file, _, anchor = target.partition("#")
    path = (ROOT / page).parent / file if file else ROOT / page
    assert path.is_file()
    assert not anchor or anchor in slugs(path.read_text("utf-8"))


INCLUDES = [
    (page, target)
    for page, text in PAGES.items()
    for target in re.findall(r"^```\{(?:literal)?include\} (.*)$", text, re.MULTILINE)
]


@pytest.mark.parametrize(("page", "target"), INCLUDES, ids=lambda value: value)
def test_what_a_page_includes_is_there_and_linked_before(page, target):
    assert ((ROOT / page).parent / target).is_file()
    before, _, _ = PAGES[page].partition(f"include}} {target}\n")
    assert f"]({target})" in before


def test_the_index_lists_every_page():
    listed = {target for page, target in LINKS if page == "docs/index.md"}
    pages = {Path(page).relative_to("docs").as_posix() for page in PAGES if page.startswith("docs/")}
    assert pages - {"index.md"} <= listed


@pytest.mark.parametrize("page", PAGES)
def test_scripts_that_a_page_names_are_there(page):
    for script in re.findall(r"\b(?:tests|experiments)/\w+\.\w+", PAGES[page]):
        assert (ROOT / script).exists(), script


def test_flags_that_shell_blocks_show_are_those_of_their_programs():
    shown = [line.partition("#")[0] for block in blocks("sh") for line in block.code.splitlines()]
    commands = [re.search(r"python -m jaxrnn\.(\w+)(.*)", line) for line in shown]
    for name, flags in [command.groups() for command in commands if command]:
        with contextlib.redirect_stdout(io.StringIO()) as help_text, pytest.raises(SystemExit):
            importlib.import_module(f"jaxrnn.{name}").main(["--help"])
        for flag in re.findall(r"(?<!\S)--[\w-]+", flags):
            assert re.search(rf"{flag}\b", help_text.getvalue()) or flag == "--help", (name, flag)


PACKAGE = [path for path in (ROOT / "jaxrnn").iterdir() if path.name != "__pycache__"]


def test_the_layout_lists_every_file_of_every_room():
    listed, room = {}, ""
    for first, names in re.findall(r"^\|([^|]*)\|([^|]*)\|[^|]*\|$", PAGES["docs/reference/development.md"], re.MULTILINE):
        room = first.strip(" `") or room
        listed.setdefault(room, set()).update(re.findall(r"`(\w+)`", names))
    for path in PACKAGE:
        if path.is_dir():
            files = {file.stem for file in path.iterdir() if file.suffix in (".py", ".js")} - {"__init__"}
            assert listed[f"{path.name}/"] == files, path.name

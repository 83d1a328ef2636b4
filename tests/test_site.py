"""The site: it builds without a warning, its search finds what people look for, and its reference is complete."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxrnn
from jaxrnn.runs import loop, rollback
from jaxrnn.storage import logs

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
SOMETIMES = {"source_nats", "tested"}  # keys that only some runs have
SOUGHT = {"perplexity": "perplex", "truncated backpropagation": "truncat", "checkpoint": "checkpoint"}  # to a stem in the index


def documented_keys():
    """The keys of each event of the metrics file, as the page lists them."""
    page = (REFERENCE / "run-folder.md").read_text("utf-8").partition("## Checkpoints")[0]
    sections = re.split(r"^`(\w+)`, ", page, flags=re.MULTILINE)[1:]
    tables = dict(zip(sections[::2], sections[1::2], strict=True))
    cells = {event: re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for event, table in tables.items()}
    return {event: set(re.findall(r"`(\w+)`", " ".join(names))) for event, names in cells.items()}


def test_the_page_lists_the_keys_of_the_metrics_file(trained):
    written = {}
    for run in sorted((trained / "runs").iterdir()):
        for event in logs.read_events(run):
            written.setdefault(event["event"], set()).update(event.keys() - {"event"})
    keys = documented_keys()
    assert {event: keys[event] - SOMETIMES for event in written} == written
    assert keys.keys() - written == {"plan", "divergence"}
    for event, module in {"plan": loop, "divergence": rollback}.items():
        source = Path(module.__file__).read_text("utf-8")
        assert all(f'"{key}": ' in source for key in keys[event])


def test_the_api_page_names_everything_public():
    page = (REFERENCE / "api" / "index.md").read_text("utf-8")
    described = {*re.findall(r"autofunction:: (\w+)", page), *re.findall(r"`jaxrnn\.(\w+)`", page)}
    assert {*jaxrnn.__all__} - {"__version__"} <= described


def test_each_module_of_the_library_has_its_place_in_the_api():
    pages = "".join(path.read_text("utf-8") for path in (REFERENCE / "api").glob("*.md"))
    described = set(re.findall(r"automodule:: jaxrnn\.([\w.]+)", pages))
    for room in ("models", "rules", "training", "scoring"):
        public = {f"{room}.{path.stem}" for path in (ROOT / "jaxrnn" / room).glob("[a-z]*.py")}
        assert public <= described, public - described


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("myst_nb"), reason="pip install 'jaxrnn[docs]'")
def test_the_site_builds_without_a_warning_and_finds_words(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", "nb_execution_mode=off"]
    done = subprocess.run([*command, str(ROOT / "docs"), str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "searchindex.js").read_text("utf-8").removeprefix("Search.setIndex(").removesuffix(")"))
    for stem in SOUGHT.values():
        assert stem in index["terms"]
    pages = "".join(path.read_text("utf-8") for path in tmp_path.rglob("*.html"))
    assert 'class="settings' in pages
    assert "--hidden-size" in (tmp_path / "reference" / "settings.html").read_text("utf-8")

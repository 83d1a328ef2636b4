"""The site's reference is complete; `test_built_site.py` builds the site."""

import re
from pathlib import Path

import jaxrnn
from jaxrnn.runs import loop, rollback
from jaxrnn.storage import logs

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
SOMETIMES = {"source_nats", "tested"}  # keys that only some runs have


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

"""The API pages are complete; `test_built_site.py` builds the site."""

import re
from pathlib import Path

import jaxrnn

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"


def test_the_api_page_names_everything_public():
    page = (REFERENCE / "api" / "index.md").read_text("utf-8")
    described = {*re.findall(r"autofunction:: (\w+)", page), *re.findall(r"`jaxrnn\.(\w+)`", page)}
    assert {*jaxrnn.__all__} - {"__version__"} <= described


def test_each_module_of_the_library_has_its_place_in_the_api():
    pages = "".join(path.read_text("utf-8") for path in (REFERENCE / "api").glob("*.md"))
    described = set(re.findall(r"automodule:: jaxrnn\.([\w.]+)", pages))
    for room in ("data", "models", "rules", "training", "scoring"):
        public = {f"{room}.{path.stem}" for path in (ROOT / "jaxrnn" / room).glob("[a-z]*.py")}
        assert public <= described, public - described

"""The site: it builds without a warning, its search finds the field's words, and all that its pages lead to is there."""

import html.parser
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("myst_nb"), reason="pip install 'jaxrnn[docs]'"),
]
# What is looked for, and a page that must be found.
SEARCHED = {
    "perplexity": "reference/metrics",
    "truncated backpropagation": "reference/glossary",
    "checkpoint": "reference/run-folder",
    "resume": "how-to/resume",
    "detach": "explanation/online-learning",
    "surprisal": "how-to/score-a-log",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built from nothing. `.ci/docs` also executes the course."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-D", "nb_execution_mode=off", "-d", folder / "trees"]
    done = subprocess.run([*command, ROOT / "docs", folder / "html"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.mark.parametrize("words", SEARCHED)
def test_a_search_finds(words, site):
    stem = importlib.import_module("sphinx.search.en").SearchEnglish({}).stem  # imported when Sphinx is there
    index = (site / "searchindex.js").read_text("utf-8")
    index = json.loads(index[index.index("{") : index.rindex("}") + 1])
    for word in words.split():
        found = [index[kind].get(stem(word), []) for kind in ("terms", "titleterms")]
        pages = [page for pages in found for page in (pages if isinstance(pages, list) else [pages])]
        assert SEARCHED[words] in [index["docnames"][page] for page in pages], word


class Page(html.parser.HTMLParser):
    """The targets of a page's links and pictures, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.anchors = [], set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.anchors.add(named.get("id"))
        self.targets += [named[name] for name in ("href", "src") if named.get(name)]


def test_links_and_pictures_lead_somewhere(site):
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 30
    ours = {path: page for path, page in pages.items() if "_modules" not in path.parts}  # Sphinx's lead to names as imported
    for path, page in ours.items():
        for target in page.targets:
            if target.startswith(("http", "data:", "mailto:")):
                continue
            file, _, anchor = unquote(target).partition("#")
            leads_to = (path.parent / file.partition("?")[0]).resolve() if file else path
            assert leads_to.exists(), (path.name, target)
            assert not anchor or leads_to not in pages or anchor in pages[leads_to].anchors, (path.name, target)


def test_the_settings_page_lists_flags(site):
    page = (site / "reference" / "settings.html").read_text("utf-8")
    assert 'class="settings' in page
    assert 'id="flag-hidden-size"' in page

"""A page in a browser, for tests: Chromium through `playwright`, and a page that is watched.

It needs `playwright` and a Chromium: Debian's `chromium`, or the one that CHROMIUM names.
"""

import os
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxrnn import fit, page
from jaxrnn.config import build, settings
from jaxrnn.data import text as texts
from jaxrnn.data.vocabulary import encode, merge_rare, of_text
from jaxrnn.runs.loaded import Run
from jaxrnn.training.learner import State
from jaxrnn.training.progress import Progress, Snapshot

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
# What the page draws by chance is the same in each test.
SEEDED = "let drawn = 1; Math.random = () => (drawn = (drawn * 48271) % 2147483647) / 2147483647;"
VARIANTS = {
    "plain": {},
    "layers": {"num_layers": 2, "embedding_size": 6},
    "tied": {"embedding_size": 12, "tied_readout": True, "initialisation": "orthogonal"},
    "no biases": {"initialisation": "mikolov"},
}
NEEDED = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Watched:
    """What a page has asked for, and what its console said."""

    def __init__(self, opened, path):
        self.requests, self.said = [], []
        opened.on("request", lambda request: self.requests.append(request.url))
        opened.on("console", lambda message: self.said.append(message.text))
        opened.on("pageerror", lambda error: self.said.append(str(error)))
        self.expected = [Path(path).resolve().as_uri()]

    def is_quiet(self):
        return self.said == [] and self.requests == self.expected


def wait_until(opened, expression, seconds=60):
    """Ask the page until it says yes; what waits inside of the page would break its own policy."""
    until = time.monotonic() + seconds
    while not opened.evaluate(expression):
        assert time.monotonic() < until, expression
        opened.wait_for_timeout(20)


@pytest.fixture
def opening(browser):
    """A function that opens a page and waits until it has read its passage."""
    contexts = []

    def open_page(path, language="en-GB", width=1400, theme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, locale=language, color_scheme=theme)
        contexts.append(context)
        context.add_init_script(SEEDED)
        opened = context.new_page()
        watched = Watched(opened, path)
        opened.goto(Path(path).resolve().as_uri())
        wait_until(opened, "globalThis.jaxrnn !== undefined")
        return opened, watched

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The course's run, and its page, which reads its whole passage here however slow the machine is."""
    folder = tmp_path_factory.mktemp("course")
    run = fit(run_dir=str(folder / "run"), show=False)
    page.main([str(folder / "run")])
    path = folder / "run" / "page.html"
    html = path.read_text("utf-8")
    assert "PATIENCE = 4;" in html
    path.write_text(html.replace("PATIENCE = 4;", "PATIENCE = 1000;"), "utf-8")
    return run, path


def make_run(cell, variant):
    """A run of a small network that has learned nothing, without a folder; and the text of its characters."""
    text = texts.read("comedie")[:1_001]
    known = of_text(text)
    known = merge_rare(known, encode(known, text), 3) if variant == "plain" else known
    config = settings.Config(
        model=settings.ModelConfig(cell=cell, hidden_size=12, **VARIANTS[variant]),
        text=settings.TextConfig(text="gone"),
        learning=settings.LearningConfig(learning_rate=0.1),
    )
    model = build.build_model(config, known)
    params = model.init(jax.random.key(1))
    snapshot = Snapshot(State(jnp.int32(0), params, (), (), ()), params, Progress(3.0))
    return Run(Path("none"), config, known, model, snapshot, params, len(text), "", None, None), text

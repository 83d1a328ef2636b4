"""The page of scores in a browser: colours, what was expected, and nothing from the network."""

import json
import math
import re

import numpy as np
import pytest
from in_browser import NEEDED, browser

import jaxrnn
from jaxrnn import score

__all__ = ["browser"]  # fixtures
TEXT = "COLAS.\nBonjour <b>Nicette</b> & co.\nxxq z€ 12\n</script><script>alert(1)</script>\n"


@pytest.fixture
def page(trained, folder, capsys):
    """The page, and the run that it is of."""
    run_dir = trained / "runs" / "notebook-comedie-0"
    (folder / "a.txt").write_text(TEXT, "utf-8")
    score.main([str(run_dir), "a.txt", "--format", "html"])
    path = folder / "scores.html"
    path.write_text(capsys.readouterr().out, "utf-8")
    return path, jaxrnn.load(run_dir)


def test_the_page_holds_each_character_and_its_nats(page):
    path, run = page
    html = path.read_text("utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    data = json.loads(found)
    assert "".join("".join(piece["characters"]) for piece in data["pieces"]) == TEXT
    nats = [each for piece in data["pieces"] for each in piece["nats"]]
    assert nats == pytest.approx(jaxrnn.surprisal(run, TEXT).tolist(), abs=1e-3)
    expected = [each for piece in data["pieces"] for each in piece["expected"]]
    for character, cost, named in zip(TEXT, nats, expected, strict=True):
        assert (named is None) == (character not in run.vocabulary.characters)
        for other, p in named or []:
            if other == character:
                assert p == pytest.approx(math.exp(-cost), abs=2e-3)
    assert html.count("<script") == 2


@pytest.mark.slow
@NEEDED[1]
@pytest.mark.filterwarnings("default")
def test_pointing_at_a_character_tells_what_was_expected(page, browser):
    path, run = page
    opened = browser.new_context(viewport={"width": 1000, "height": 700}).new_page()
    asked, said = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(path.resolve().as_uri())
    assert opened.locator("#rows tr").count() == 4
    assert opened.locator("#rows td.text").nth(1).text_content() == TEXT.splitlines()[1] + "⏎"
    colour = "element => getComputedStyle(element).backgroundColor"
    spans = opened.locator("#rows tr").nth(2).locator("span")
    assert spans.nth(4).evaluate(colour) != opened.locator("#rows tr").nth(0).locator("span").nth(5).evaluate(colour)
    spans.nth(0).hover()
    tip = opened.locator("#tip")
    assert tip.is_visible()
    nats = jaxrnn.surprisal(run, TEXT)[TEXT.index("xxq")]
    assert f"“x” cost {nats:.2f} nats" in tip.text_content()
    assert tip.locator("li").count() == 5
    spans.nth(TEXT.splitlines()[2].index("€")).hover()
    assert "not a character that the model knows" in tip.text_content()
    opened.click("#by-score")
    first = opened.locator("#rows tr").nth(0).locator("td.text").text_content()
    lines = TEXT.splitlines(keepends=True)
    ends = np.cumsum([len(line) for line in lines])
    excess = [part.sum() for part in np.split(np.maximum(jaxrnn.surprisal(run, TEXT) - 4, 0), ends[:-1])]
    assert first == lines[int(np.argmax(excess))].replace("\n", "⏎")
    opened.keyboard.press("ArrowRight")
    assert tip.is_visible()
    assert (said, asked) == ([], [path.resolve().as_uri()])

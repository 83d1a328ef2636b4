"""Make the live page of the documentation, and take the pictures of it.

    pip install -e '.[dev]' && python experiments/page.py

Trains the course's network on the comedy (ten seconds), makes its page, opens it in Chromium (Debian's `chromium`, or the one
that CHROMIUM names), has it read, and learn a rhyme. Writes docs/live/comedy.html, docs/images/page.png and page-learning.png.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from claims import expect
from playwright.sync_api import Page, sync_playwright

import jaxrnn
from jaxrnn import page

DOCS = Path(__file__).parent.parent / "docs"
RHYME = "Au clair de la lune,\nMon ami Pierrot,\nPrête-moi ta plume\nPour écrire un mot.\n"
READINGS, WIDTH, HEIGHT = 6, 1000, 900


def main() -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit("error: there is no chromium; install it, or name one with CHROMIUM=PATH")
    with tempfile.TemporaryDirectory() as folder:
        run = jaxrnn.fit(run_dir=f"{folder}/comedy", show=False)
        (DOCS / "live").mkdir(exist_ok=True)
        page.main([str(run.path), "--output", str(DOCS / "live" / "comedy.html")])
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB")
        opened.goto((DOCS / "live" / "comedy.html").as_uri())
        opened.wait_for_selector("#frozen .at")
        picture(opened, "reading", "page.png")
        first, last = learn(opened)
        picture(opened, "learning", "page-learning.png")
        browser.close()
    expect("loss of the last reading / of the first", last / first, 0.02, 0.3)


def learn(opened: Page) -> tuple[float, float]:
    """Let the page read a rhyme several times. Returns the mean loss of the first and of the last reading."""
    opened.fill("#yours", RHYME)
    for number in range(1, READINGS + 1):
        while opened.evaluate("jaxrnn.page.losses.length") < number * len(RHYME):
            opened.wait_for_timeout(50)
        if number < READINGS:
            opened.click("#again")
    opened.wait_for_timeout(1_000)  # it writes when it has nothing to read
    losses = opened.evaluate("jaxrnn.page.losses")
    return sum(losses[: len(RHYME)]) / len(RHYME), sum(losses[-len(RHYME) :]) / len(RHYME)


def picture(opened: Page, section: str, name: str) -> None:
    opened.locator(f"#{section}").scroll_into_view_if_needed()
    opened.evaluate(f"document.getElementById('{section}').scrollIntoView()")
    opened.screenshot(path=DOCS / "images" / name)


if __name__ == "__main__":
    main()

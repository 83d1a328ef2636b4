"""Make links that lead out of docs/ on a code host lead somewhere on the site, too."""

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent.parent
SHOWN = {"SECURITY.md": "reference/security", "CONTRIBUTING.md": "reference/contributing"}  # files of the root that are pages
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
OFFERED = re.compile(r"(\.\./)*(experiments/results/\w+\.md|LICENSE|CITATION\.cff|CHANGELOG\.md)|(\.\./)*cours\w*\.ipynb")
LIVE = re.compile(r"(\.\./)*live/(\w+\.html)")  # html_extra_path puts them at the top of the site


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to what is read."""
    app.connect("source-read", adapt_links)
    return {"parallel_read_safe": True}


def adapt_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Show files of the root as pages, offer tables and notebooks as downloads, and open pages of runs."""
    up = "../" * page.count("/")
    text = source[0]
    for name, shown in SHOWN.items():
        if page == shown:
            text = (ROOT / name).read_text("utf-8").replace("](docs/", f"]({up}")

    def adapt(link: re.Match[str]) -> str:
        words, target, anchor = link[1], link[2], link[3] or ""
        if (live := LIVE.fullmatch(target)) is not None:
            return f'<a href="{up}{live[2]}">{words}</a>'
        if OFFERED.fullmatch(target):
            place = f"../{up}{target}" if page in SHOWN.values() and not target.startswith(".") else target
            return f"{{download}}`{words} <{place}>`"
        if target.rpartition("/")[2] in SHOWN:
            return f"[{words}]({up}{SHOWN[target.rpartition('/')[2]]}.md{anchor})"
        return link[0]

    source[0] = LINK.sub(adapt, text)
